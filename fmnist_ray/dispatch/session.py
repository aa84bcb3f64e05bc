"""Starts Ray on this machine, or joins a cluster, for the length of one verb."""

import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fmnist_ray.dispatch.plan import Node
from fmnist_ray.errors import RequestError
from fmnist_ray.machine import usable_cpus

_CONNECT_SECONDS = 3.0
_terminated = threading.Event()


@contextmanager
def ray_session(address: str | None = None) -> Iterator[str]:
    """Connects to Ray, and on leaving disconnects or stops what it started.

    Args:
        address: `local` starts Ray here; `auto` or an address joins a cluster; None takes
            `$RAY_ADDRESS`, else `local`.

    Yields:
        The dashboard's address, or an empty string.

    Raises:
        RequestError: There is no cluster at the address.
    """
    import ray

    address = address or os.environ.get("RAY_ADDRESS") or "local"
    _check_listening(address)
    if ray.is_initialized():  # the caller's own session, from Python: use it and leave it open
        yield _dashboard()
        return
    try:
        options: dict[str, Any] = {}
        if address == "local":
            # Ray looks at a container's limits, but not at the CPUs that a process is bound to.
            # The dashboard's process also frees the resources of stopped nested trainers.
            options = {"num_cpus": max(1, int(usable_cpus())), "include_dashboard": True}
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise RequestError(
            f"No Ray cluster could be joined at --address {address}: {first} "
            "Use --address local to start Ray on this machine."
        ) from None
    try:
        with _terminable():
            yield _dashboard()
    finally:
        ray.shutdown()


def _check_listening(address: str) -> None:
    """Refuses an address at which nobody listens; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise RequestError(
            f"Nothing answers at --address {address}: {error}. Look at the address and at what "
            "`ray status` says there, or use --address local."
        ) from None


@contextmanager
def _terminable() -> Iterator[None]:
    """Makes SIGTERM, as a spot machine's notice, end the work like Ctrl-C.

    Ray sets a handler of its own when it starts, which would leave without saying how to resume.
    """

    def terminate(number: int, frame: object) -> None:
        _terminated.set()
        raise KeyboardInterrupt

    _terminated.clear()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def stop_exit_code() -> int:
    """The exit code of an interrupted verb: 143 after SIGTERM, else 130.

    Ray's calls may turn what a signal handler raises into a plain KeyboardInterrupt, so the
    exception itself does not tell.
    """
    return 143 if _terminated.is_set() else 130


def cluster_nodes() -> list[Node]:
    """What each living node of the connected cluster offers."""
    import ray

    return [
        Node(
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
            memory=node["Resources"].get("memory", math.inf),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def _dashboard() -> str:
    import ray

    url: str = ray._private.worker.get_dashboard_url() or ""
    return f"http://{url}" if url else ""

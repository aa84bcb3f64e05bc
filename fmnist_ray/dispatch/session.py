"""Starts Ray on this machine, or joins a cluster, for the length of one verb."""

import logging
import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import psutil
from rich.console import Console

from fmnist_ray.dispatch.plan import Node
from fmnist_ray.dispatch.ray_processes import shut_down
from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.errors import RequestError
from fmnist_ray.machine import usable_cpus
from fmnist_ray.signals import terminable, terminate

_CONNECT_SECONDS = 3.0
_AUTH_MODE = "RAY_AUTH_MODE"


@contextmanager
def ray_session(
    address: str | None = None, run: RunName | None = None, console: Console | None = None
) -> Iterator[str]:
    """Connects to Ray, and on leaving disconnects or stops what it started.

    Args:
        address: `local` starts Ray here; `auto` or an address joins a cluster; None takes
            `$RAY_ADDRESS`, else `local`.
        run: What Ray's table of jobs says of the work; in the caller's own session it says nothing.
        console: Told, once, where to watch the run.

    Yields:
        The dashboard's address, or an empty string.

    Raises:
        RequestError: There is no cluster at the address.
    """
    import ray

    address = _resolved(address)
    _check_listening(address)
    if ray.is_initialized():  # the caller's own session, from Python: use it and leave it open
        say_where(run, console)
        yield _dashboard()
        return
    with shut_down():
        _join(address, run)
        with terminable():  # again, since Ray has set a handler of its own
            say_where(run, console)
            yield _dashboard()


def is_local(address: str | None) -> bool:
    """Whether `ray_session` starts Ray here for an address, or uses the caller's own session."""
    return _resolved(address) == "local"


def _resolved(address: str | None) -> str:
    return address or os.environ.get("RAY_ADDRESS") or "local"


def _join(address: str, run: RunName | None) -> None:
    """Starts Ray here or joins a cluster; see `ray_session`."""
    import ray

    _show_token_at_home(address)
    options: dict[str, Any] = {}
    if run is not None:
        options["job_config"] = ray.job_config.JobConfig(metadata=run.metadata)
    if address == "local":
        # Ray looks at a container's limits, but not at the CPUs that a process is bound to.
        # The dashboard's process also frees the resources of stopped nested trainers.
        options |= {"num_cpus": max(1, int(usable_cpus())), "include_dashboard": True}
    try:
        with terminable(), _interrupts():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except ray.exceptions.AuthenticationError:
        raise RequestError(
            f"The cluster at --address {address} asks for its token, and there is none here. What "
            "`ray get-auth-token` prints on its head goes into ~/.ray/auth_token on this machine."
        ) from None
    except (ConnectionError, ValueError, RuntimeError) as error:
        lines = str(error).strip().splitlines()
        if lines[0].startswith("Version mismatch"):
            raise RequestError(
                f"The cluster at --address {address} cannot be joined. "
                f"{' '.join(line.strip() for line in lines)}. Use Ray and Python in its versions, "
                "or --address local to start Ray on this machine."
            ) from None
        token = ""
        if os.environ.get(_AUTH_MODE) != "token":
            token = f"If it asks for a token, set {_AUTH_MODE}=token. "
        raise RequestError(
            f"No Ray cluster could be joined at --address {address}: {lines[0]} {token}"
            "Use --address local to start Ray on this machine."
        ) from None


def _show_token_at_home(address: str) -> None:
    """Has Ray show its token, if there is one, to a cluster on this machine.

    Ray does so by itself for `auto` alone. To other machines it is shown when a person asks for
    that (RAY_AUTH_MODE=token), since whoever has it may run code on the person's own clusters.
    """
    if _AUTH_MODE in os.environ or address.rpartition(":")[0].strip("[]") not in _own_addresses():
        return
    raylet: Any = import_module("ray._raylet")
    if raylet.AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True):
        os.environ[_AUTH_MODE] = "token"
        raylet.Config.initialize("")  # Ray has read the environment when it was imported


def _own_addresses() -> set[str]:
    """Those of this machine's interfaces, and its name for itself."""
    interfaces = psutil.net_if_addrs().values()
    return {"localhost"} | {each.address for several in interfaces for each in several}


@contextmanager
def _interrupts() -> Iterator[None]:
    """Ray leaves by `sys.exit` if SIGTERM comes while it starts; makes that an interrupt, too."""
    try:
        yield
    except SystemExit:
        terminate()


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


def cluster_nodes() -> list[Node]:
    """What each living node of the connected cluster offers."""
    import ray

    return [
        Node(
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
            memory=node["Resources"].get("memory", math.inf),
            address=node["NodeManagerAddress"],
            id=node["NodeID"],
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def say_where(run: RunName | None, console: Console | None) -> None:
    """Prints the one line that tells people where to watch a run; `ray_session` does so itself."""
    dashboard = _dashboard()
    if run is not None and console is not None and dashboard:
        console.print(
            f"dashboard: {dashboard} (token: ray get-auth-token); "
            f"its actors and tasks are named {run}/...",
            markup=False,
        )


def started_here() -> bool:
    """Whether the connected cluster is this machine alone, started by this process."""
    import ray

    node = ray._private.worker._global_node
    return node is not None and bool(node.head)


def with_driver() -> Any:
    """The scheduling strategy of what the driver needs: on its own node.

    There the death of another node cannot end it.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    return NodeAffinitySchedulingStrategy(here, soft=False)


def _dashboard() -> str:
    import ray

    url: str = ray._private.worker.get_dashboard_url() or ""
    return f"http://{url}" if url else ""

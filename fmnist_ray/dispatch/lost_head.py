"""Ends a verb whose cluster's head is lost, with a word on how to go on."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_SECONDS = 2.0
_CONNECT_SECONDS = 3.0
# Ray ends the process itself, and without a word, after a minute.
_PATIENCE_SECONDS = 15.0


@contextmanager
def watching_head(lost: Callable[[str], None]) -> Iterator[None]:
    """Watches the head of the connected cluster from a thread, and exits with 1 if it is lost.

    Ray's calls wait for a lost head, in the way out of an exception as well, so the process ends
    at once, as by a kill: records are made to stand that.

    Args:
        lost: Called with the head's address before the process ends.
    """
    import ray

    from fmnist_ray.dispatch.session import started_here

    if not ray.is_initialized() or started_here():
        yield
        return
    address = ray.get_runtime_context().gcs_address
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(address, lost, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _watch(address: str, lost: Callable[[str], None], ended: threading.Event) -> None:
    seen = time.monotonic()
    while not ended.wait(_LOOK_SECONDS):
        if _answers(address):
            seen = time.monotonic()
        elif time.monotonic() - seen > _PATIENCE_SECONDS:
            try:
                lost(address)
            finally:
                os._exit(1)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError:
        return False
    return True

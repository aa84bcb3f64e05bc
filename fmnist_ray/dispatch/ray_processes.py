"""Leaves Ray, and no process of it behind that this process started."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from fmnist_ray.signals import undisturbed

_GRACE_SECONDS = 3.0


@contextmanager
def shut_down() -> Iterator[None]:
    """Calls `ray.shutdown` in the end.

    After an error or an interruption, maybe in the middle of Ray's start, it also ends what Ray
    started here and did not end: Ray's agents outlive a raylet that is killed while they start.
    """
    import ray

    before = {each.pid for each in _below()}
    try:
        yield
    except BaseException:
        with undisturbed():
            started = [each for each in _below() if each.pid not in before and _is_of_ray(each)]
            ray.shutdown()
            _, left = psutil.wait_procs(started, timeout=_GRACE_SECONDS)
            for each in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        raise
    ray.shutdown()


def _below() -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process().children(recursive=True)
    return found


def _is_of_ray(process: psutil.Process) -> bool:
    try:
        command = " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
    return command.startswith("ray::") or "/ray/" in command

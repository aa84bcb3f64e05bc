"""SIGTERM, as a spot machine's notice sends it, ends the work like Ctrl-C, with its own exit code."""

import atexit
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ENDING = (signal.SIGINT, signal.SIGTERM)
_terminated = threading.Event()


@contextmanager
def terminable() -> Iterator[None]:
    """Makes SIGTERM raise KeyboardInterrupt, so that state is saved and processes are ended.

    May stand within another, to take the signal back from a library that has set a handler.
    Signals are handled in main threads alone; in others this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    if before is not terminate:
        _terminated.clear()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignores Ctrl-C and SIGTERM for what ends by itself within seconds and must not be cut off."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_undisturbed() -> None:
    """Ignores them from the moment that Python begins to leave: the exit code is decided."""
    for number in _ENDING:
        atexit.register(signal.signal, number, signal.SIG_IGN)


def stop_exit_code() -> int:
    """The exit code of an interrupted verb: 143 after SIGTERM, else 130.

    Ray's calls may turn what a signal handler raises into a plain KeyboardInterrupt, so the
    exception itself does not tell.
    """
    return 143 if _terminated.is_set() else 130


def terminate(*signal_and_frame: object) -> None:
    """What SIGTERM does: raises KeyboardInterrupt, remembered as its own."""
    _terminated.set()
    raise KeyboardInterrupt

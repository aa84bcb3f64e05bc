"""SIGTERM interrupts like Ctrl-C, and is told apart from it."""

import os
import signal
import time

import pytest

from fmnist_ray.signals import stop_exit_code, terminable, undisturbed


def _send_and_wait(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    time.sleep(5)


def test_sigterm_interrupts_and_the_handler_before_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminable():
        _send_and_wait(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    assert stop_exit_code() == 143
    with pytest.raises(KeyboardInterrupt), terminable():
        raise KeyboardInterrupt
    assert stop_exit_code() == 130


def test_within_another_the_signal_is_taken_back_from_a_library() -> None:
    with terminable():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with pytest.raises(KeyboardInterrupt), terminable():
            _send_and_wait(signal.SIGTERM)
    assert stop_exit_code() == 143


def test_what_ends_by_itself_is_not_cut_off() -> None:
    before = signal.getsignal(signal.SIGINT)
    with undisturbed():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
    assert signal.getsignal(signal.SIGINT) is before

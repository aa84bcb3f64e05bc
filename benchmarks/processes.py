"""Commands with all processes below them: their memory, and their end."""

import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Measured:
    """What a command took.

    Attributes:
        seconds: Wall time.
        training_gib: Highest sum over the driver and the processes that train (proportional
            share: memory that processes share is counted once), in GiB.
        ray_gib: The same for Ray's own processes at that moment: raylet, GCS, dashboard, agents.
        output: Standard output.
    """

    seconds: float
    training_gib: float
    ray_gib: float
    output: str


def measure(arguments: list[str], every: float = 1.0) -> Measured:
    """Runs `python ARGUMENTS`, its messages going on to standard error.

    Raises:
        subprocess.CalledProcessError: It ended with another status than 0.
    """
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    peak = [0.0, 0.0]

    def watch() -> None:
        while process.poll() is None:
            ours, rays = _shares(process.pid)
            if ours > peak[0]:
                peak[:] = [ours, rays]
            time.sleep(every)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output = process.communicate()[0]
    watcher.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments, output)
    return Measured(time.monotonic() - started, peak[0], peak[1], output)


def kill_tree(process: int) -> None:
    """SIGKILL for a process and everything below it, as far as they still run."""
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(process)
        for each in [top, *top.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                each.kill()


def _shares(driver: int) -> tuple[float, float]:
    """GiB of the driver with its trials and tasks, and of everything else below it."""
    ours = rays = 0.0
    try:
        tree = [psutil.Process(driver), *psutil.Process(driver).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0, 0.0
    for each in tree:
        try:
            title = " ".join(each.cmdline())
            memory = each.memory_full_info().pss / 2**30
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if each.pid == driver or title.startswith("ray::"):
            ours += memory
        else:
            rays += memory
    return ours, rays

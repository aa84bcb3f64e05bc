"""How long work tells its caller how far it is; what is drawn is the caller's affair."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MEGABYTE = 1_000_000

Report = Callable[[str], None]
"""Takes one plain sentence for a person to read."""

Progress = Callable[[int, int], None]
"""Takes how much is done and how much in all: images, or megabytes (10^6) of a download."""


def no_progress(done: int, total: int) -> None:
    """Where nobody watches."""


@contextmanager
def watched_download(
    folder: Path, pattern: str, total: int, progress: Progress, interval: float = 0.1
) -> Iterator[None]:
    """Tells `progress` how many megabytes another program has written so far.

    Args:
        folder: Where the other program writes; looked at with everything below it.
        pattern: Names of the files that count, as in `Path.rglob`.
        total: Bytes to come in all.
        progress: Called from a thread of its own.
        interval: Seconds between two looks.
    """
    stop = threading.Event()
    megabytes = total // MEGABYTE

    def look() -> None:
        while not stop.wait(interval):
            progress(min(_bytes_below(folder, pattern), total) // MEGABYTE, megabytes)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
    progress(megabytes, megabytes)


def _bytes_below(folder: Path, pattern: str) -> int:
    found = 0
    for path in folder.rglob(pattern):
        try:
            found += path.stat().st_size
        except FileNotFoundError:  # renamed or removed between the listing and the look
            continue
    return found

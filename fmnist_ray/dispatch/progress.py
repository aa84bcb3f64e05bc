"""Progress of units that run as Ray tasks: a bar over all their epochs, a line per ended unit."""

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fmnist_ray.training.checkpoint import Row

_LINE_EVERY_SECONDS = 30.0


class UnitsProgress:
    """Shows epochs done of all, with the time left, and what each unit says last.

    On a terminal this is a bar; elsewhere a line at most every 30 seconds.

    Args:
        console: Where to show it; a quiet one shows nothing.
        what: What is running, for the bar.
        epochs: Epochs of all units together.
    """

    def __init__(self, console: Console, what: str, epochs: int) -> None:
        self._console, self._what = console, what
        self._done, self._total = 0, epochs
        self._last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=console.quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task(what, total=epochs)

    def __enter__(self) -> "UnitsProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def epoch(self, unit: str, row: Row) -> None:
        """A unit finished an epoch."""
        self._done += 1
        figures = [f"training accuracy {row['train_accuracy']:.4f}"]
        if "validation_accuracy" in row:
            figures.append(f"validation accuracy {row['validation_accuracy']:.4f}")
        text = f"{unit} epoch {row['epoch']}: {', '.join(figures)}"
        self._bar.update(self._task, completed=self._done, description=f"{self._what}  {text}")
        if (
            not self._console.is_terminal
            and time.monotonic() - self._last_line > _LINE_EVERY_SECONDS
        ):
            self.say(f"{text}; {self._done} of {self._total} epochs")

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self._last_line = time.monotonic()
        self._bar.console.print(text, markup=False)

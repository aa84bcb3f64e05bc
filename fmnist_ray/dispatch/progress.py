"""Progress of units that run as Ray tasks: a bar over all their epochs, a line per ended unit."""

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fmnist_ray.dispatch.units import FitUnit
from fmnist_ray.training.checkpoint import Row

_LINE_EVERY_SECONDS = 30.0


class UnitsProgress:
    """Shows units and epochs done of all, the last epoch's figures, and the time left.

    On a terminal this is a bar; elsewhere a line at most every 30 seconds.

    Args:
        console: Where to show it; a quiet one shows nothing.
        what: What the units are called, such as `folds`.
        units: Those that will run.
        slots: How many run at once.
    """

    def __init__(self, console: Console, what: str, units: Sequence[FitUnit], slots: int) -> None:
        self._console, self._what, self._slots = console, what, max(1, slots)
        self._units = {unit.name: unit for unit in units}
        self._done = dict.fromkeys(self._units, 0)
        self._ended = 0
        self._seconds: dict[str, list[float]] = {}
        self._last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            disable=console.quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task(what, total=self._epochs(), left="")

    def __enter__(self) -> "UnitsProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def epoch(self, unit: str, row: Row) -> None:
        """A unit finished an epoch."""
        self._done[unit] = row["epoch"]
        model = self._units[unit].config.model
        self._seconds.setdefault(model, []).append(row["seconds"])
        figures = [f"training accuracy {row['train_accuracy']:.4f}"]
        if "validation_accuracy" in row:
            figures.append(f"validation {row['validation_accuracy']:.4f}")
        self._show(f"{unit} epoch {row['epoch']}: {', '.join(figures)}")

    def ended(self, unit: str, text: str) -> None:
        """A unit is complete or has failed for good; `text` says so to people."""
        self._ended += 1
        # Early stopping or a failure may have left epochs over.
        self._done[unit] = self._units[unit].config.epochs
        self.say(f"{unit}: {text}")
        self._show(f"{unit} ended", line=False)

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self._last_line = time.monotonic()
        self._bar.console.print(text, markup=False)

    def seconds_left(self) -> float | None:
        """How long the rest takes if it goes on as so far; None before the first epoch."""
        known = [second for seconds in self._seconds.values() for second in seconds]
        if not known:
            return None
        total = 0.0
        for name, unit in self._units.items():
            # A network's epoch is not a perceptron's: each model is reckoned by its own.
            own = self._seconds.get(unit.config.model, known)
            total += (unit.config.epochs - self._done[name]) * sum(own) / len(own)
        waiting = len(self._units) - self._ended
        return total / max(1, min(self._slots, waiting))

    def _show(self, text: str, line: bool = True) -> None:
        seconds = self.seconds_left()
        left = "" if seconds is None else f"about {clock(seconds)} left"
        count = f"{self._ended} of {len(self._units)} {self._what}"
        self._bar.update(
            self._task,
            completed=sum(self._done.values()),
            description=f"{count}  {text}",
            left=left,
        )
        due = time.monotonic() - self._last_line > _LINE_EVERY_SECONDS
        if line and due and not self._console.is_terminal:
            self.say(f"{text}; {count} done, {left}")

    def _epochs(self) -> int:
        return sum(unit.config.epochs for unit in self._units.values())


def clock(seconds: float) -> str:
    """`m:ss`, or `h:mm:ss` from an hour on."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

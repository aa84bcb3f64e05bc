"""Fits of classical models as named Ray tasks, with their progress."""

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from fmnist_ray.dataset.arrays import Dataset
from fmnist_ray.dispatch import tasks
from fmnist_ray.dispatch.options import UnitOptions
from fmnist_ray.dispatch.progress import clock
from fmnist_ray.dispatch.room import Room
from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.models.classical import MODEL_NAMES
from fmnist_ray.records import Record
from fmnist_ray.training.classical import (
    ClassicalData,
    ClassicalFit,
    ClassicalUnit,
    FitsLeft,
    fit_unit,
    is_done,
    write_failure,
    write_fit,
)


class BaselinesOptions(UnitOptions):
    """Options of a comparison.

    Attributes:
        models: Names from `MODEL_NAMES`, with commas between them.
        validation_fraction: Share of the training images that settings are chosen by.
    """

    models: str = ",".join(MODEL_NAMES)
    validation_fraction: float = 0.1


class ClassicalFits:
    """The fits of a record: those that it lacks are run, and each is written as it ends.

    Attributes:
        failures: Why each fit failed that did, by its name.
    """

    def __init__(
        self,
        record: Record,
        dataset: Dataset,
        options: BaselinesOptions,
        slots: Room,
        progress: "FitsProgress",
        run: RunName,
    ) -> None:
        import ray

        self.failures: dict[str, str] = {}
        self._record, self._dataset, self._options = record, dataset, options
        self._slots, self._progress, self._run = slots, progress, run
        images, labels = dataset.train.images, dataset.train.labels
        self._shared = ray.put(ClassicalData(images, labels, dataset.test.images))

    def complete(self, units: Sequence[ClassicalUnit]) -> None:
        """Runs those of the units that the record lacks."""
        missing = {unit.name: unit for unit in units if not is_done(self._record, unit)}
        self._progress.skip([unit for unit in units if unit.name not in missing])
        cpus = self._options.cpus or 1.0
        for outcome in tasks.run_tasks(
            _fit,
            [
                tasks.Task(unit.name, (unit, [self._shared], max(1, int(cpus))), unit.model)
                for unit in missing.values()
            ],
            self._slots,
            run=self._run,
            complete=len(units) - len(missing),
            cpus=cpus,
            retries=self._options.retries,
            on_retry=lambda name, why: self._progress.say(f"{name} is tried again: {why}"),
        ):
            unit, fit = missing[outcome.name], outcome.value
            if outcome.failed:
                why = self.failures[unit.name] = outcome.failures[-1]
                write_failure(self._record, unit, outcome.failures)
                self._progress.ended(unit, f"failed: {why}")
                continue
            split, labels = "test", self._dataset.test.labels
            if unit.validation is not None:
                split, labels = "validation", self._dataset.train.labels[unit.validation]
            metrics = write_fit(self._record, unit, fit, labels, outcome.failures)
            seconds = fit.fit_seconds + fit.predict_seconds
            accuracy = f"{split} accuracy {metrics[f'{split}_accuracy']:.4f}"
            self._progress.ended(unit, f"{accuracy} after {clock(seconds)}", seconds)


def _fit(unit: ClassicalUnit, shared: list[Any], threads: int, tell: tasks.Tell) -> ClassicalFit:
    """What runs in the task."""
    import ray

    return fit_unit(unit, ray.get(shared[0]), threads)


class _TimeLeft(ProgressColumn):
    """Counts down to when the fits are expected to be done."""

    def render(self, task: Task) -> Text:
        ends = task.fields["ends"]
        return Text("" if ends is None else f"about {clock(max(0, ends - time.monotonic()))} left")


class FitsProgress:
    """A line per ended fit; on a terminal also a bar over what the fits are expected to take."""

    def __init__(self, console: Console, left: FitsLeft) -> None:
        self._console, self._left = console, left
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), _TimeLeft())
        hidden = console.quiet or not console.is_terminal
        self._bar = Progress(*columns, console=console, transient=True, disable=hidden)
        self._total = left.expected_seconds
        self._task = self._bar.add_task(f"{len(left)} fits to go", total=self._total, ends=None)

    def __enter__(self) -> "FitsProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self._console.print(text, markup=False)

    def skip(self, units: Sequence[ClassicalUnit]) -> None:
        """Those are complete already."""
        for unit in units:
            self._left.ended(unit.name)
        if units:
            self.say(f"{', '.join(unit.name for unit in units)}: complete already")
        self._update()

    def ended(self, unit: ClassicalUnit, text: str, seconds: float | None = None) -> None:
        """A fit is complete after so many seconds, or has failed; `text` says so to people."""
        self.say(f"{unit.name}: {text}")
        self._left.ended(unit.name, seconds)
        self._update()

    def _update(self) -> None:
        seconds = self._left.seconds
        self._bar.update(
            self._task,
            completed=self._total - self._left.expected_seconds,
            description=f"{len(self._left)} fits to go",
            ends=None if seconds is None else time.monotonic() + seconds,
        )

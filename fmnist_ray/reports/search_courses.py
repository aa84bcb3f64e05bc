"""How the trials of a search went: the best so far, rungs, and what early stops saved."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Aim(NamedTuple):
    """What a search compares.

    Attributes:
        name: Such as "validation accuracy".
        highest: Whether it is to be high.
        percent: Whether it is a share, shown in percent; else it is in nats.
    """

    name: str
    highest: bool
    percent: bool

    def shown(self, value: float) -> float:
        """The value in the unit of the axes."""
        return 100 * value if self.percent else value

    def text(self, value: float) -> str:
        """The value with its unit."""
        return f"{100 * value:.2f} %" if self.percent else f"{value:.4f}"

    @property
    def label(self) -> str:
        """What stands at an axis."""
        return f"{self.name.capitalize()} in {'percent' if self.percent else 'nats'}"

    def better(self, value: float, other: float) -> bool:
        """Whether a value is better than another."""
        return value > other if self.highest else value < other

    def best(self, values: Sequence[float]) -> float:
        """The best of values."""
        return max(values) if self.highest else min(values)


class TrialCourse(NamedTuple):
    """One trial on the clock of its search, which stands still while the search is interrupted.

    Attributes:
        unit: Its name.
        status: `complete`, `stopped`, `diverged`, `failed` or `running`.
        planned: Epochs it would have run if nothing had ended it.
        epoch: The epochs it finished, in the order of time (under PBT, which takes trials back,
            one may come again); one in which it diverged is not among them.
        value: The figure after each.
        at: When each ended, in seconds.
        seconds: What each took.
        spans: When it ran, as (from, to) in seconds.
        ended: When it ended, or None.
    """

    unit: str
    status: str
    planned: int
    epoch: tuple[int, ...]
    value: tuple[float, ...]
    at: tuple[float, ...]
    seconds: tuple[float, ...]
    spans: tuple[tuple[float, float], ...] = ()
    ended: float | None = None

    def best(self, aim: Aim, up_to: int | None = None) -> tuple[int, float] | None:
        """The epoch with the best figure and that figure, the earliest among equals.

        Args:
            aim: What is good.
            up_to: The last epoch to look at; None for all.
        """
        found: tuple[int, float] | None = None
        for epoch, value in zip(self.epoch, self.value, strict=True):
            if up_to is not None and epoch > up_to:
                continue
            if found is None or aim.better(value, found[1]):
                found = (epoch, value)
        return found


class BestStep(NamedTuple):
    """A trial became the best.

    Attributes:
        seconds: On the search's clock.
        epochs: Epochs that all trials together had finished by then.
        value: The new best.
        unit: Of which trial.
        epoch: Of that trial.
    """

    seconds: float
    epochs: int
    value: float
    unit: str
    epoch: int


class Savings(NamedTuple):
    """What a scheduler saved by stopping trials early.

    Attributes:
        epochs_run: Epochs finished, by all trials.
        epochs_to_the_end: Those, and the ones that stopped trials would have run yet.
        share: Of the latter, saved; between 0 and 1. 0 where there are none.
        seconds_run: Of training, by all trials together.
        seconds_saved: What the epochs not run would have taken, each at the mean of its trial's
            own. An estimate: first epochs, with their start, often take longer.
    """

    epochs_run: int
    epochs_to_the_end: int
    share: float
    seconds_run: float
    seconds_saved: float


class Rung(NamedTuple):
    """A rung of ASHA.

    Attributes:
        epoch: Where it is.
        reached: Trials that finished this epoch.
        kept: Those of them that were not stopped there.
    """

    epoch: int
    reached: int
    kept: int


def best_so_far(courses: Sequence[TrialCourse], aim: Aim) -> list[BestStep]:
    """Every improvement, in the order of time."""
    ends = sorted(
        (at, unit, epoch, value)
        for unit, course in ((each.unit, each) for each in courses)
        for epoch, value, at in zip(course.epoch, course.value, course.at, strict=True)
    )
    steps: list[BestStep] = []
    for count, (at, unit, epoch, value) in enumerate(ends, start=1):
        if not steps or aim.better(value, steps[-1].value):
            steps.append(BestStep(at, count, value, unit, epoch))
    return steps


def savings(courses: Sequence[TrialCourse]) -> Savings:
    """What stopping trials early saved.

    A trial that failed, diverged or still runs saved nothing: no scheduler ended it.
    """
    run = sum(len(course.epoch) for course in courses)
    stopped = [course for course in courses if course.status == "stopped"]
    left = [max(0, course.planned - len(course.epoch)) for course in stopped]
    seconds = sum(
        epochs * float(np.mean(course.seconds))
        for epochs, course in zip(left, stopped, strict=True)
        if course.seconds
    )
    whole = run + sum(left)
    trained = float(sum(sum(course.seconds) for course in courses))
    return Savings(run, whole, sum(left) / whole if whole else 0.0, trained, seconds)


def rung_counts(courses: Sequence[TrialCourse], epochs: Sequence[int]) -> list[Rung]:
    """How many trials reached each rung, and how many were not stopped there."""
    rungs = []
    for rung in epochs:
        reached = [course for course in courses if rung in course.epoch]
        stopped = sum(each.status == "stopped" and each.epoch[-1] == rung for each in reached)
        rungs.append(Rung(rung, len(reached), len(reached) - stopped))
    return rungs


def time_unit(seconds: float) -> tuple[float, str]:
    """The unit in which a time is shown best: its length in seconds, and its name."""
    if seconds < 180:
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")


def sane_limits(values: Sequence[float], aim: Aim) -> tuple[float, float]:
    """Limits of an axis that a few very bad trials do not squeeze.

    Values beyond one and a half times the distance between the quartiles on the bad side lie
    outside (the rule of a box plot).

    Args:
        values: As shown; at least one.
        aim: Tells the bad side.
    """
    shown = np.asarray(values, dtype=np.float64)
    low, high = float(shown.min()), float(shown.max())
    if len(shown) >= 4:
        first, third = np.quantile(shown, [0.25, 0.75])
        if aim.highest:
            low = float(shown[shown >= first - 1.5 * (third - first)].min())
        else:
            high = float(shown[shown <= third + 1.5 * (third - first)].max())
    margin = 0.06 * (high - low) or (0.5 if aim.percent else 0.02)
    return low - margin, high + margin

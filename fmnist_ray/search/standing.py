"""How a search stands, kept up trial by trial: a search of many trials is never counted anew."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from fmnist_ray.search.journal import TrialState


class Standing:
    """Trials by status, those that run, and the best so far.

    Attributes:
        counts: Trials by status.
        running: Trials under way, by unit.
        best: The trial with the best figure in any epoch and that epoch's row, the first of
            equals; None before any.

    Args:
        states: The trials that are known.
        metric: What is compared.
        mode: `max` or `min`.
    """

    def __init__(self, states: Iterable[TrialState], metric: str, mode: str) -> None:
        self._metric, self._sign = metric, 1 if mode == "max" else -1
        self.counts: Counter[str] = Counter()
        self.running: dict[str, TrialState] = {}
        self.best: tuple[TrialState, dict[str, Any]] | None = None
        self._merit = (0.0, 0.0)
        self._seen: dict[str, tuple[str, int]] = {}
        for state in states:
            self.see(state)

    def see(self, state: TrialState) -> None:
        """A trial is new, finished an epoch, paused or ended."""
        before, rows = self._seen.get(state.unit, (None, 0))
        if before is not None:
            self.counts[before] -= 1
        self.counts[state.status] += 1
        self._seen[state.unit] = (state.status, len(state.rows))
        self.running.pop(state.unit, None)
        if state.status == "running":
            self.running[state.unit] = state
        for at in range(rows, len(state.rows)):
            self._compare(state, at)

    @property
    def known(self) -> int:
        """Trials that have begun."""
        return len(self._seen)

    def _compare(self, state: TrialState, at: int) -> None:
        row = state.rows[at]
        value = row.get(self._metric)
        if value is None or "diverged" in row:
            return
        merit = (self._sign * value, -state.times[at])
        if self.best is None or merit > self._merit:
            self.best, self._merit = (state, row), merit


def best_trial(
    states: dict[str, TrialState], metric: str, mode: str
) -> tuple[TrialState, dict[str, Any]] | None:
    """The trial with the best figure in any epoch, and that epoch's row; None before any.

    Of equally good ones, the one that was so first.
    """
    return Standing(states.values(), metric, mode).best

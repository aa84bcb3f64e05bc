"""ASHA in the form of its paper: trials pause at a rung and go on only when they are among the best.

Ray Tune's ASHA stops trials instead. What reaches a rung first is compared with few others, so that
the first trials of a small machine run to the end whatever they are worth. Here a trial that
finishes a rung gives its place back, unless it is the one to go on, and whoever has a place asks
`promotion` first (Li et al. 2020, arXiv:1810.05934, algorithm 2).
"""

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

_Merit = tuple[float, int]
"""Lower is better: the figure with its sign, and when it was told, so that the first of equals wins."""


class _Rung:
    """The trials that finished one epoch, by what they reached there."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.promoted: set[str] = set()
        self._merits: list[_Merit] = []
        self._waiting: list[tuple[_Merit, str]] = []

    def __len__(self) -> int:
        return len(self._merits)

    def add(self, unit: str, merit: float, waits: bool) -> None:
        entry = (merit, len(self._merits))
        insort(self._merits, entry)
        if waits:
            heapq.heappush(self._waiting, (entry, unit))

    def best_waiting(self, ended: set[str]) -> tuple[str, int] | None:
        """The best trial that has not gone on, and its place among all, from 0."""
        while self._waiting and (
            self._waiting[0][1] in self.promoted or self._waiting[0][1] in ended
        ):
            heapq.heappop(self._waiting)
        if not self._waiting:
            return None
        merit, unit = self._waiting[0]
        return unit, bisect_left(self._merits, merit)


class PromotionASHA(FIFOScheduler):  # type: ignore[misc]
    """A scheduler of Ray Tune that pauses trials at rungs.

    It keeps no trials, only names: any object with `trial_id` and `epochs`, the epochs that the
    trial is to have, will do. A paused trial waits with its checkpoint; whoever starts trials asks
    `promotion` before it begins a new one, and says `begun` when it starts one.

    Args:
        metric: What is compared.
        mode: `max` or `min`.
        rungs: Epochs at which trials pause, ascending.
        reduction_factor: One trial in this many goes on from a rung.
    """

    def __init__(
        self, metric: str, mode: str, rungs: Iterable[int], reduction_factor: float
    ) -> None:
        super().__init__()
        self._metric, self._sign = metric, -1.0 if mode == "max" else 1.0
        self._rungs = [_Rung(epoch) for epoch in rungs]
        self._factor = reduction_factor
        self._paused: dict[str, _Rung] = {}
        self._ended: set[str] = set()

    @property
    def rungs(self) -> list[tuple[int, int]]:
        """(epoch, trials that reached it), lowest first."""
        return [(rung.epoch, len(rung)) for rung in self._rungs]

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """`PAUSE` at a rung, unless this trial is the next to go on."""
        unit, epoch = trial.trial_id, result["epoch"]
        rung = next((each for each in self._rungs if each.epoch == epoch), None)
        if "diverged" in result:
            self._ended.add(unit)
        if rung is None:
            return str(TrialScheduler.CONTINUE)
        over = epoch >= trial.epochs or unit in self._ended
        rung.add(unit, self._sign * result[self._metric], waits=not over)
        if over:
            return str(TrialScheduler.CONTINUE)  # it ends by itself
        if self.promotion() == unit:
            rung.promoted.add(unit)
            return str(TrialScheduler.CONTINUE)
        self._paused[unit] = rung
        return str(TrialScheduler.PAUSE)

    def promotion(self) -> str | None:
        """The trial to go on with: at the highest rung of which one of the best 1/eta waits."""
        for rung in reversed(self._rungs):
            best = rung.best_waiting(self._ended)
            if best is not None and best[1] < int(len(rung) / self._factor):
                return best[0]
        return None

    def last_promotion(self) -> str | None:
        """The best trial of the highest rung that was reached, if none went on from there.

        For the end of a search, when nothing runs and nothing new will begin. The paper's rule
        needs eta trials at a rung for one to go on: few trials would all stay below the top.
        """
        for rung in reversed(self._rungs):
            if len(rung):
                best = rung.best_waiting(self._ended)
                return best[0] if best is not None and not rung.promoted else None
        return None

    def begun(self, unit: str) -> None:
        """A trial starts: a new one, one that goes on from its rung, or one that is tried again."""
        rung = self._paused.pop(unit, None)
        if rung is not None:
            rung.promoted.add(unit)

    def ended(self, unit: str) -> None:
        """A trial will not go on."""
        self._ended.add(unit)

"""What a search tells Ray's metrics: trials by state, rungs, the best so far, each trial's epochs."""

from fmnist_ray.dispatch.metrics import RunMetrics
from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.search.journal import TrialState
from fmnist_ray.search.standing import Standing

_STATES = ("running", "paused", "complete", "stopped", "diverged", "failed")


class SearchMetrics:
    """Takes the same events as `SearchProgress`.

    Args:
        run: The search; None tells nothing.
        trials: Trials in all.
        metric: What is compared.
        mode: `max` or `min`.
    """

    def __init__(self, run: RunName | None, trials: int, metric: str, mode: str) -> None:
        self._metrics = RunMetrics(run, metric, mode)
        self._trials = trials
        self._aim = (metric, mode)
        self._now = Standing([], metric, mode)

    def begin(self, states: dict[str, TrialState], rungs: list[tuple[int, int]]) -> None:
        """Sets what is known before the first event of this session."""
        self._now = Standing(states.values(), *self._aim)
        if self._now.best is not None:
            self._metrics.candidate(self._now.best[1])
        self._metrics.rungs(rungs)
        self._count()

    def started(self, state: TrialState) -> None:
        """A trial starts, or goes on."""
        self._now.see(state)
        self._count()

    def epoch(self, state: TrialState, rungs: list[tuple[int, int]]) -> None:
        """A trial finished an epoch."""
        self._now.see(state)
        row = state.rows[-1]
        reached = [epoch for epoch, _ in rungs if epoch <= row["epoch"]]
        model = state.config.get("model")
        self._metrics.epoch(state.unit, row, model, max(reached, default=None))
        self._metrics.rungs(rungs)

    def ended(self, state: TrialState) -> None:
        """A trial ended, or paused."""
        self._now.see(state)
        self._metrics.ended(state.unit)
        self._count()

    def close(self) -> None:
        """Lets the figures go."""
        self._metrics.close()

    def _count(self) -> None:
        counts = {status: self._now.counts[status] for status in _STATES}
        self._metrics.units(waiting=max(0, self._trials - self._now.known), **counts)

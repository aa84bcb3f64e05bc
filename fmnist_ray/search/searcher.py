"""Hands trials to Ray Tune: first those that were under way, then new ones."""

from typing import Any

from ray.tune.search import Searcher

from fmnist_ray.dispatch.room import Room
from fmnist_ray.search.callbacks import StatelessCallback
from fmnist_ray.search.journal import Journal, TrialState
from fmnist_ray.search.samplers import Sampler
from fmnist_ray.search.schedulers import JournalledScheduler
from fmnist_ray.search.settings import SearchSettings
from fmnist_ray.search.space import SearchSpace
from fmnist_ray.training.config import FitConfig


class UnitSearcher(Searcher):  # type: ignore[misc]
    """Gives Tune the trials that the journal does not know as ended.

    Trials carry the names `trial-000`, `trial-001`, ... of their place in the search, which
    stay the same whatever Tune calls them in a session. No more are handed out than there is room
    for at that moment: the cluster may grow and shrink. Trials that paused at a rung are handed out
    again when the scheduler has them go on, before new ones are begun.
    """

    def __init__(
        self,
        settings: SearchSettings,
        space: SearchSpace,
        sampler: Sampler,
        journal: Journal,
        scheduler: JournalledScheduler,
        room: Room,
    ) -> None:
        super().__init__(metric=settings.metric, mode=settings.mode)
        self._settings, self._space = settings, space
        self._sampler, self._journal, self._room = sampler, journal, room
        self._scheduler = scheduler
        self._units: dict[str, str] = {}
        self._next = len(journal.states)
        self._unfinished: list[TrialState] = []
        for state in journal.states.values():
            waits = state.status == "paused" and settings.promotes
            if waits or state.status in ("complete", "stopped", "diverged"):
                self._tell(state)
            else:
                self._unfinished.append(state)

    @property
    def has_work(self) -> bool:
        """Whether anything is to be handed out still."""
        new = self._next < self._settings.trials
        return bool(self._unfinished) or new or self._scheduler.promotion(last=True) is not None

    def suggest(self, trial_id: str) -> Any:
        if not self._room.has_place(len(self._units)):
            return None  # Tune asks again
        if self._unfinished:
            return self._again(trial_id, self._unfinished.pop(0))
        unit = self._scheduler.promotion(last=False)
        if unit is None and self._next < self._settings.trials:
            point = self._sampler.propose(self._next)
            if point is not None:
                return self._new(trial_id, point)
        if unit is None and self._settings.promotes:
            if self._units:
                return None  # what runs now may have a trial go on
            unit = self._scheduler.promotion(last=True)
        return (
            Searcher.FINISHED if unit is None else self._again(trial_id, self._journal.states[unit])
        )

    def _new(self, trial_id: str, point: dict[str, Any]) -> dict[str, Any]:
        unit = f"trial-{self._next:03}"
        self._next += 1
        values = self._space.configuration(point)
        config = FitConfig.checked(values, self._space.source).model_dump()
        return self._handed_out(trial_id, unit, config, 0)

    def _again(self, trial_id: str, state: TrialState) -> dict[str, Any]:
        """A trial that was under way, failed, or paused at a rung: from now on it runs again."""
        reported = state.rows[-1]["epoch"] if state.rows else 0
        return self._handed_out(trial_id, state.unit, state.config, reported)

    def _handed_out(
        self, trial_id: str, unit: str, config: dict[str, Any], reported: int
    ) -> dict[str, Any]:
        """A trial as `run_trial` takes it, and which nodes may run it, see `Room.selector`."""
        self._units[trial_id] = unit
        self._journal.append("trial", unit=unit, config=config)
        self._scheduler.begun(unit)
        return {**config, "unit": unit, "reported": reported, "nodes": self._room.selector}

    def is_over(self, trial_id: str) -> None:
        """A trial takes up no room any more, whatever became of it."""
        self._units.pop(trial_id, None)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Samplers learn from finished trials only."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        unit = self._units.pop(trial_id, None)
        if unit is not None:
            self._tell(self._journal.states[unit], error)

    def _tell(self, state: TrialState, error: bool = False) -> None:
        """Tells the sampler what a trial has reached by now."""
        best = state.best(self._settings.metric, self._settings.mode)
        point = {key: state.config[key] for key in self._space.search}
        value = best[self._settings.metric] if best and not error else None
        self._sampler.tell(state.unit, point, value)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the journal has it all."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a search is resumed from its journal")


class SearcherWatch(StatelessCallback):
    """Tells the searcher what Tune does not.

    Tune asks a searcher only while it wants more trials, and gives some trials up without a word;
    those would take up room for ever.
    """

    def __init__(self, searcher: UnitSearcher, room: Room) -> None:
        self._searcher, self._room = searcher, room

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._room.look()
        for trial in trials:
            if trial.is_finished():
                self._searcher.is_over(trial.trial_id)

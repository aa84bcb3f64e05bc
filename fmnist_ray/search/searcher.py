"""Hands trials to Ray Tune: first those that were under way, then new ones."""

from typing import Any

from ray.tune.search import Searcher

from fmnist_ray.dispatch.room import Room
from fmnist_ray.search.callbacks import StatelessCallback
from fmnist_ray.search.journal import Journal, trial_states
from fmnist_ray.search.samplers import Sampler
from fmnist_ray.search.settings import SearchSettings
from fmnist_ray.search.space import SearchSpace
from fmnist_ray.training.config import FitConfig


class UnitSearcher(Searcher):  # type: ignore[misc]
    """Gives Tune the trials that the journal does not know as ended.

    Trials carry the names `trial-000`, `trial-001`, ... of their place in the search, which
    stay the same whatever Tune calls them in a session. No more are handed out than there is room
    for at that moment: the cluster may grow and shrink.
    """

    def __init__(
        self,
        settings: SearchSettings,
        space: SearchSpace,
        sampler: Sampler,
        journal: Journal,
        room: Room,
    ) -> None:
        super().__init__(metric=settings.metric, mode=settings.mode)
        self._settings, self._space = settings, space
        self._sampler, self._journal, self._room = sampler, journal, room
        self._points: dict[str, dict[str, Any]] = {}
        self._units: dict[str, str] = {}
        states = trial_states(journal.events)
        self._next = len(states)
        self._unfinished = []
        for state in states.values():
            self._points[state.unit] = {key: state.config[key] for key in space.search}
            if state.status in ("complete", "stopped", "diverged"):
                best = state.best(settings.metric, settings.mode)
                sampler.tell(self._points[state.unit], best[settings.metric] if best else None)
            else:
                self._unfinished.append(state)

    @property
    def left(self) -> int:
        """Trials still to be handed out."""
        return len(self._unfinished) + max(0, self._settings.trials - self._next)

    def suggest(self, trial_id: str) -> Any:
        if not self._room.has_place(len(self._units)):
            return None  # Tune asks again
        if self._unfinished:
            state = self._unfinished.pop(0)
            self._units[trial_id] = state.unit
            # A failed trial runs again: it is under way from now on.
            self._journal.append("trial", unit=state.unit, config=state.config)
            reported = state.rows[-1]["epoch"] if state.rows else 0
            return self._handed_out(state.unit, state.config, reported)
        if self._next >= self._settings.trials:
            return Searcher.FINISHED
        point = self._sampler.propose(self._next)
        if point is None:
            return Searcher.FINISHED
        unit = f"trial-{self._next:03}"
        self._next += 1
        values = self._space.configuration(point)
        config = FitConfig.checked(values, self._space.source).model_dump()
        self._points[unit], self._units[trial_id] = point, unit
        self._journal.append("trial", unit=unit, config=config)
        return self._handed_out(unit, config, 0)

    def _handed_out(self, unit: str, config: dict[str, Any], reported: int) -> dict[str, Any]:
        """A trial as `run_trial` takes it, and which nodes may run it, see `Room.selector`."""
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
            state = trial_states([e for e in self._journal.events if e.get("unit") == unit])[unit]
            best = state.best(self._settings.metric, self._settings.mode)
            value = best[self._settings.metric] if best and not error else None
            self._sampler.tell(self._points[unit], value)

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

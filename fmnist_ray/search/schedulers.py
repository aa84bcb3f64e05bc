"""Schedulers of Ray Tune that write down what they decide, and can be brought back from that."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from fmnist_ray.records import HISTORY_COLUMNS
from fmnist_ray.search.journal import Event, Journal
from fmnist_ray.search.promotion import PromotionASHA
from fmnist_ray.search.settings import SearchSettings
from fmnist_ray.search.space import SearchSpace

# What PBT may change in the middle of training: weights and optimizer state stay usable.
MUTABLE = frozenset(
    {"learning_rate", "momentum", "weight_decay", "dropout", "label_smoothing", "batch_size"}
)
_TUNE_KEYS = ("unit", "reported", "nodes")
_ROW_KEYS = (*HISTORY_COLUMNS[1:], "diverged")


@dataclass(frozen=True)
class UnitName:
    """Stands for a trial in a scheduler's books.

    Tune gives a trial a new identity in every session; its unit's name stays, and with it the
    scheduler's entries, so that a rung that knows a trial still knows it after a resume.

    Attributes:
        trial_id: The unit.
        epochs: That it is to have.
    """

    trial_id: str
    epochs: float = math.inf


class _WithoutSearcher:
    """Tune's controller as PBT wants to see it.

    PBT refuses to work beside a searcher, lest both choose configurations. Ours only hands out
    the points that the trials begin with.
    """

    search_alg = None

    def __init__(self, controller: Any) -> None:
        self._controller = controller

    def __getattr__(self, name: str) -> Any:
        return getattr(self._controller, name)


class JournalledScheduler(TrialScheduler):  # type: ignore[misc]
    """Asks a scheduler, writes its answer into the journal, and then lets Tune act on it.

    Args:
        inner: ASHA, the median rule, PBT or FIFO.
        journal: The search's journal; its results are fed through `inner` first.
        by_unit: Whether `inner` sees unit names instead of Tune's trials (not PBT, which acts
            on the trials themselves). What it pauses leaves Tune, which walks through all its
            trials again and again, and comes back as a new trial of Tune's when it is to go on.
    """

    def __init__(self, inner: TrialScheduler, journal: Journal, by_unit: bool) -> None:
        super().__init__()
        self.inner, self._by_unit = inner, by_unit
        self._journal = journal
        self._known: set[str] = set()
        self._replay(journal.events)

    @property
    def supports_buffered_results(self) -> bool:
        return False

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True

    def _replay(self, events: Iterable[Event]) -> None:
        """Feeds the journal's results through the scheduler, in their order."""
        for event in events:
            unit = event.get("unit", "")
            if event["event"] == "trial":
                if self._by_unit and unit not in self._known:
                    self._known.add(unit)
                    self.inner.on_trial_add(None, self._named(unit))
                self.begun(unit)
            elif event["event"] == "result":
                if self._by_unit:
                    self.inner.on_trial_result(None, self._named(unit), event["row"])
            elif event["event"] == "end" and isinstance(self.inner, PromotionASHA):
                self.inner.ended(unit)

    def _named(self, unit: str) -> UnitName:
        state = self._journal.states.get(unit)
        return UnitName(unit, state.config.get("epochs", math.inf) if state else math.inf)

    def _seen(self, trial: Any) -> Any:
        return self._named(unit_name(trial)) if self._by_unit else trial

    def promotion(self, last: bool) -> str | None:
        """The paused trial that is to go on now.

        Args:
            last: Whether nothing runs and nothing new will begin.
        """
        if not isinstance(self.inner, PromotionASHA):
            return None
        unit = self.inner.promotion()
        return self.inner.last_promotion() if unit is None and last else unit

    def begun(self, unit: str) -> None:
        """A trial is handed to Tune, new or not; its `trial` event is in the journal."""
        if isinstance(self.inner, PromotionASHA):
            self.inner.begun(unit)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        unit = unit_name(trial)
        if self._by_unit and unit in self._known:
            return
        self._known.add(unit)
        if not self._by_unit:
            tune_controller = _WithoutSearcher(tune_controller)
        self.inner.on_trial_add(tune_controller, self._seen(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        unit, row = unit_name(trial), row_of(result)
        state = self._journal.states.get(unit)
        told = state.rows[-1]["epoch"] if state and state.rows else 0
        if self._by_unit and row["epoch"] <= told:
            return str(TrialScheduler.CONTINUE)  # told again after a retry: already decided
        config = fit_values(trial.config)
        if state and config != state.config:
            self._journal.append("trial", unit=unit, config=config)
        decision = str(self.inner.on_trial_result(tune_controller, self._seen(trial), result))
        self._journal.append("result", unit=unit, row=row, decision=decision)
        leaves = self._by_unit and decision == TrialScheduler.PAUSE
        return str(TrialScheduler.STOP) if leaves else decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self.inner.on_trial_complete(tune_controller, self._seen(trial), result)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self.inner.on_trial_error(tune_controller, self._seen(trial))

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self.inner.on_trial_remove(tune_controller, self._seen(trial))

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        # Tune starts by itself what is pending; a FIFO scheduler walks through all trials for it.
        return None if self._by_unit else self.inner.choose_trial_to_run(tune_controller)

    def debug_string(self) -> str:
        return str(self.inner.debug_string())


def unit_name(trial: Any) -> str:
    """The unit that a Tune trial carries as its name."""
    return str(trial.custom_trial_name or trial.config["unit"])


def row_of(result: dict[str, Any]) -> dict[str, Any]:
    """The epoch's figures in what Tune made of a report."""
    return {key: result[key] for key in _ROW_KEYS if key in result}


def fit_values(config: dict[str, Any]) -> dict[str, Any]:
    """The fit's own values in a Tune trial's configuration."""
    return {key: value for key, value in config.items() if key not in _TUNE_KEYS}


def build_scheduler(
    settings: SearchSettings, space: SearchSpace, journal: Journal
) -> JournalledScheduler:
    """The scheduler of a search, standing where the journal ends.

    ASHA has its rungs at 1, `reduction_factor`, `reduction_factor`^2, ... epochs (Li et al.
    2020, arXiv:1810.05934), in the form that stops trials or in that which pauses them, see
    `search.promotion`; the median rule (Golovin et al.
    2017) stops a trial whose best is below the median of the others' means, from epoch 2 on;
    PBT (Jaderberg et al. 2017, arXiv:1711.09846) replaces the lower quarter every 2 epochs.
    """
    aims: dict[str, Any] = {"metric": settings.metric, "mode": settings.mode}
    match settings.scheduler:
        case "asha":
            inner: TrialScheduler = ASHAScheduler(
                time_attr="epoch",
                max_t=settings.max_epochs,
                grace_period=1,
                reduction_factor=settings.reduction_factor,
                **aims,
            )
        case "asha-promotion":
            inner = PromotionASHA(
                settings.metric,
                settings.mode,
                settings.rungs,
                settings.reduction_factor,
            )
        case "median":
            inner = MedianStoppingRule(
                time_attr="epoch",
                grace_period=2,
                # The rule can pause trials to let others catch up; here they run to the end.
                min_time_slice=float("inf"),
                **aims,
            )
        case "pbt":
            inner = PopulationBasedTraining(
                time_attr="epoch",
                perturbation_interval=2,
                hyperparam_mutations=_mutations(space),
                custom_explore_fn=_keeper(space),
                **aims,
            )
        case "none":
            inner = FIFOScheduler()
    return JournalledScheduler(inner, journal, by_unit=settings.scheduler != "pbt")


def rungs(scheduler: JournalledScheduler) -> list[tuple[int, int]]:
    """ASHA's rungs as (epoch, trials that reached it), lowest first; empty for the others."""
    if isinstance(scheduler.inner, PromotionASHA):
        return scheduler.inner.rungs
    brackets = getattr(scheduler.inner, "_brackets", [])
    return (
        [(int(epoch), len(recorded)) for epoch, recorded in reversed(brackets[0]._rungs)]
        if brackets
        else []
    )


def _mutations(space: SearchSpace) -> dict[str, Any]:
    import numpy as np

    random = np.random.default_rng(0)
    mutations: dict[str, Any] = {}
    for key, domain in space.search.items():
        if key not in MUTABLE:
            continue
        if domain.kind == "choice":
            mutations[key] = list(domain.values)
        else:
            mutations[key] = lambda domain=domain: domain.draw(random)
    return mutations


def _keeper(space: SearchSpace) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """PBT multiplies values by 0.8 or 1.2; this brings them back into their domains."""

    def keep(config: dict[str, Any]) -> dict[str, Any]:
        for key in MUTABLE & space.search.keys():
            if space.search[key].kind != "choice":
                config[key] = space.search[key].nearest(config[key])
        return config

    return keep

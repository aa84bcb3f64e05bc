"""How far a run is, from its record alone: its units, their courses, the rungs of a search."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fmnist_ray.errors import RequestError
from fmnist_ray.evaluation.provenance import as_mapping, number, read_or_note
from fmnist_ray.records import Record
from fmnist_ray.reports.curves import read_curves
from fmnist_ray.search.analysis import recorded_settings
from fmnist_ray.search.journal import (
    JOURNAL_FILE,
    UNFINISHED,
    TrialState,
    read_events,
    trial_states,
)
from fmnist_ray.search.progress import describe_configuration
from fmnist_ray.search.settings import SearchSettings

_DRAWN = ("validation_accuracy", "train_accuracy", "validation_loss", "train_loss")

Curve = Mapping[str, Sequence[float | None]]
"""By `epoch` and each of `_DRAWN`, a figure per epoch; None where there is none."""


class UnitState(NamedTuple):
    """A trial, fold, member or other fit of a run.

    Attributes:
        name: Its name.
        status: `running`, `paused`, or how it ended.
        epoch: The last that is finished.
        epochs: That it is to have; None if the record does not say.
        accuracy: The best on validation images so far, between 0 and 1.
        what: Its settings in words.
    """

    name: str
    status: str
    epoch: int
    epochs: int | None
    accuracy: float | None
    what: str


class Rung(NamedTuple):
    """A rung of ASHA, and the trials that reached it."""

    epoch: int
    trials: int


@dataclass(frozen=True)
class RunState:
    """What a run has done by now.

    Attributes:
        noun: What its units are called.
        units: Of a search, the best first; else as in the record.
        total: Units in all, those included that are not begun.
        rungs: Of a search by ASHA.
        curves: By unit.
    """

    noun: str
    units: Sequence[UnitState]
    total: int
    rungs: Sequence[Rung]
    curves: Mapping[str, Curve]

    @property
    def counts(self) -> dict[str, int]:
        """Units by their status; those that are not begun are `waiting`."""
        found = Counter(unit.status for unit in self.units)
        found["waiting"] += self.total - len(self.units)
        return {status: count for status, count in found.items() if count}

    @property
    def ended(self) -> int:
        """Units that are done, well or not."""
        return sum(unit.status not in UNFINISHED for unit in self.units)

    @property
    def progress(self) -> str:
        """Such as `3 of 24 trials`; empty if nothing is known of units."""
        return f"{self.ended} of {self.total} {self.noun}" if self.total else ""

    @property
    def best(self) -> float | None:
        """The best accuracy on validation images."""
        return max(
            (unit.accuracy for unit in self.units if unit.accuracy is not None), default=None
        )


def run_state(record: Record, run: Mapping[str, Any], problems: list[str]) -> RunState:
    """Reads it.

    Args:
        record: Of any verb.
        run: Content of its `run.json`.
        problems: Gets what could not be read.
    """
    if run.get("verb") == "tune":
        try:
            return _of_search(record, recorded_settings(record))
        except RequestError as error:
            problems.append(str(error))
    return _of_fits(record, run, problems)


def _of_search(record: Record, settings: SearchSettings) -> RunState:
    states = trial_states(list(read_events(record.path / JOURNAL_FILE)))
    searched = list(as_mapping(settings.space.get("search")))
    sign = 1 if settings.mode == "max" else -1

    def merit(state: TrialState) -> float:
        row = state.best(settings.metric, settings.mode)
        return sign * row[settings.metric] if row else -math.inf

    units = [
        UnitState(
            state.unit,
            state.status,
            int(state.rows[-1]["epoch"]) if state.rows else 0,
            state.config.get("epochs"),
            number((state.best("validation_accuracy", "max") or {}).get("validation_accuracy")),
            describe_configuration(state.config, [key for key in searched if key in state.config]),
        )
        for state in sorted(states.values(), key=merit, reverse=True)
    ]
    rungs = [Rung(epoch, sum(unit.epoch >= epoch for unit in units)) for epoch in settings.rungs]
    curves = {
        state.unit: {
            key: [number(row.get(key)) for row in state.rows] for key in ("epoch", *_DRAWN)
        }
        for state in states.values()
        if state.rows
    }
    return RunState("trials", units, max(settings.trials, len(units)), rungs, curves)


def _of_fits(record: Record, run: Mapping[str, Any], problems: list[str]) -> RunState:
    """Of folds, members and single fits: those that have finished an epoch."""
    curves: dict[str, Curve] = {}
    history = record.path / "history.csv"
    if history.is_file():
        try:
            for each in read_curves(history):
                values = {key: getattr(each, key).tolist() for key in ("epoch", *_DRAWN)}
                curves[each.unit] = {key: [number(v) for v in vs] for key, vs in values.items()}
        except RequestError as error:
            problems.append(str(error))
    names = {path.name for path in record.path.glob("units/*") if path.is_dir()}
    units = []
    for name in sorted(names | curves.keys()):
        metrics = read_or_note(record.path / "units" / name / "metrics.json", problems)
        config = read_or_note(record.path / "units" / name / "config.json", problems)
        curve = curves.get(name, {})
        known = [value for value in curve.get("validation_accuracy", ()) if value is not None]
        waits = "running" if run.get("status") == "running" else str(run.get("status", "?"))
        epochs = config.get("epochs")
        units.append(
            UnitState(
                name,
                str(metrics.get("status", "complete" if metrics else waits)),
                int(max((value or 0 for value in curve.get("epoch", ())), default=0)),
                epochs if isinstance(epochs, int) else None,
                number(metrics.get("validation_accuracy")) or max(known, default=None),
                str(config.get("model", "")),
            )
        )
    return RunState("fits", units, len(units), (), curves)

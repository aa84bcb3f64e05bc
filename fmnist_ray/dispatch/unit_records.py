"""Units in a record: fits those that it lacks, and keeps each as it ends."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from pydantic import BaseModel

from fmnist_ray.dataset.arrays import Dataset
from fmnist_ray.dispatch.plan import Plan
from fmnist_ray.dispatch.progress import UnitsProgress, clock
from fmnist_ray.dispatch.room import Room
from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.dispatch.tasks import Outcome
from fmnist_ray.dispatch.units import FitUnit, SharedData, UnitResult, run_units
from fmnist_ray.evaluation.ensembles import average
from fmnist_ray.evaluation.metrics import accuracy, negative_log_likelihood
from fmnist_ray.models.config import EnsembleConfig
from fmnist_ray.models.storage import (
    DESCRIPTION_FILE,
    WEIGHTS_FILE,
    ensemble_weights,
    load_weights,
    save_model,
)
from fmnist_ray.records import (
    PREDICTIONS_FILE,
    TEST_PREDICTIONS_FILE,
    Record,
    read_json,
    read_predictions,
    write_json,
    write_predictions,
    write_whole,
)
from fmnist_ray.training.checkpoint import Row
from fmnist_ray.training.checkpoint_store import CheckpointStore
from fmnist_ray.training.ray_train import Resources

_HISTORY_EVERY_SECONDS = 1.0


@dataclass(frozen=True)
class UnitsRun:
    """What a record holds of its units.

    Attributes:
        metrics: Of each complete unit, by name, in the units' order.
        failures: Why each of the others failed.
    """

    metrics: dict[str, dict[str, Any]]
    failures: dict[str, str]


def checkpoint_place(record: Record, storage: str | None) -> str:
    """Where the checkpoints of a record's units are kept.

    Args:
        record: The run's.
        storage: What a person named, for runs of any name; None for the record itself.
    """
    if storage is None:
        return str((record.path / "units").resolve())
    place = f"{storage.rstrip('/')}/{record.name}"
    return str(Path(place).resolve()) if CheckpointStore(place).is_local else place


class Unit(Protocol):
    """What every kind of unit is known by."""

    @property
    def name(self) -> str:
        """Names it in the record."""
        ...

    @property
    def config(self) -> BaseModel:
        """What is fitted."""
        ...

    @property
    def seed(self) -> int:
        """Of the fit."""
        ...


AnyUnit = TypeVar("AnyUnit", bound=Unit)


class UnitsHistory:
    """`history.csv` while units are fitted: it grows with their epochs.

    Args:
        record: Whose history it is.
        units: All of the run's, in the order of their rows.
        missing: Those to be fitted; the others have their rows from the record.
        before: Rows that stand before theirs, with their `unit`.
    """

    def __init__(
        self,
        record: Record,
        units: Sequence[Unit],
        missing: Sequence[Unit],
        before: Sequence[Row] = (),
    ) -> None:
        self._record, self._before = record, before
        self.rows: dict[str, list[Row]] = {unit.name: [] for unit in units}
        for name in self.rows.keys() - {unit.name for unit in missing}:
            self.rows[name] = read_json(record.unit(name) / "metrics.json")["history"]
        self._written = -_HISTORY_EVERY_SECONDS

    def add(self, name: str, row: Row) -> None:
        """A unit's epoch; a unit that is tried again tells its first epochs again."""
        kept = [each for each in self.rows[name] if each["epoch"] < row["epoch"]]
        self.rows[name] = [*kept, row]
        if time.monotonic() - self._written >= _HISTORY_EVERY_SECONDS:
            self.write()
            self._written = time.monotonic()

    def complete(self, name: str, rows: Sequence[Row]) -> None:
        """All epochs of a finished unit, of which some may not have been told."""
        self.rows[name] = list(rows)

    def write(self) -> None:
        """Writes what is there, which the other methods do only now and then."""
        rows = ({"unit": name, **row} for name in self.rows for row in self.rows[name])
        self._record.write_history([*self._before, *rows])


def is_done(record: Record, unit: Unit) -> bool:
    """Whether the record holds this very unit, complete."""
    folder = record.unit(unit.name)
    if not (folder / "metrics.json").is_file():
        return False
    metrics, config = read_json(folder / "metrics.json"), read_json(folder / "config.json")
    return (
        metrics.get("status") == "complete"
        and metrics.get("seed") == unit.seed
        and config == unit.config.model_dump()
    )


def missing_units(record: Record, units: Sequence[AnyUnit]) -> list[AnyUnit]:
    """The units that the record does not hold complete."""
    return [unit for unit in units if not is_done(record, unit)]


def note_failure(record: Record, unit: Unit, failures: Sequence[str]) -> None:
    """Writes why a unit failed for good."""
    write_json(record.unit(unit.name) / "config.json", unit.config.model_dump())
    noted = {"status": "failed", "seed": unit.seed, "failures": list(failures)}
    record.write_metrics(noted, unit.name)


def run_of(record: Record, units: Sequence[Unit], failures: dict[str, str]) -> UnitsRun:
    """What the record holds once its missing units were fitted."""
    done = {
        unit.name: read_json(record.unit(unit.name) / "metrics.json")
        for unit in units
        if unit.name not in failures
    }
    return UnitsRun(done, failures)


def fit_units(
    record: Record,
    units: Sequence[FitUnit],
    dataset: Dataset,
    places: Plan,
    resources: Resources,
    progress: UnitsProgress,
    run: RunName,
    *,
    at_most: int | None = None,
    storage: str | None = None,
    test: bool = True,
    retries: int = 2,
    rows_before: Sequence[Row] = (),
) -> UnitsRun:
    """Fits the units that the record lacks; what is complete stays as it is.

    Every unit is written as it ends, and `history.csv` grows with the epochs. One that fails
    more often than it is retried is noted in its folder, and the others go on.

    Args:
        record: The run's.
        units: All of them.
        dataset: Its training images are what indices count in.
        places: How many run at once, as the cluster is now.
        resources: Of each unit.
        progress: Told of the missing units' epochs and ends.
        run: Names the units in Ray's tables and metrics.
        at_most: Units at a time that a person asked for.
        storage: Where checkpoints are kept, see `checkpoint_place`.
        test: Whether the test images are predicted, too.
        retries: Times a unit is tried again.
        rows_before: Rows of the history that stand before the units', with their `unit`.
    """
    missing = missing_units(record, units)
    train, test_split = dataset.train, dataset.test
    history = UnitsHistory(record, units, missing, rows_before)
    failures: dict[str, str] = {}

    def on_epoch(name: str, row: Row) -> None:
        progress.epoch(name, row)
        history.add(name, row)

    def on_retry(name: str, reason: str) -> None:
        progress.say(f"{name} is tried again: {reason}")

    place = checkpoint_place(record, storage)
    test_images = test_split.images if test else test_split.images[:0]
    try:
        if missing:
            for unit, outcome in run_units(
                missing,
                SharedData(train.images, train.labels, test_images),
                Room.of(places, at_most, place, progress.say),
                resources,
                place,
                run=run,
                complete=len(units) - len(missing),
                retries=retries,
                on_epoch=on_epoch,
                on_retry=on_retry,
            ):
                if outcome.failed:
                    failures[unit.name] = outcome.failures[-1]
                    note_failure(record, unit, outcome.failures)
                    progress.ended(unit.name, f"failed: {outcome.failures[-1]}")
                    continue
                history.complete(unit.name, outcome.value.history)
                metrics = _save(record, unit, outcome, dataset, test)
                CheckpointStore(place).remove(unit.name)
                progress.ended(unit.name, _described(metrics))
    finally:
        history.write()
    return run_of(record, units, failures)


def adopt_model(record: Record, unit: str) -> None:
    """Makes a unit's model and predictions, of the test images if it has them, the record's."""
    folder = record.unit(unit)
    tested = (folder / TEST_PREDICTIONS_FILE).is_file()
    predictions = TEST_PREDICTIONS_FILE if tested else PREDICTIONS_FILE
    for source, target in (
        (WEIGHTS_FILE, WEIGHTS_FILE),
        (predictions, PREDICTIONS_FILE),
        (DESCRIPTION_FILE, DESCRIPTION_FILE),
    ):
        if (folder / source).is_file():
            write_whole(record.path / target, (folder / source).read_bytes())


def adopt_ensemble(record: Record, units: Sequence[str]) -> np.ndarray:
    """Makes the average of several units the record's model, and writes its test predictions.

    Returns:
        The test images' probabilities, float32 (n, 10).
    """
    folders = {unit: record.unit(unit) for unit in units}
    config = EnsembleConfig.model_validate(
        {
            "ensemble": {
                unit: read_json(folder / DESCRIPTION_FILE)["architecture"]
                for unit, folder in folders.items()
            }
        }
    )
    weights = {unit: load_weights(folder) for unit, folder in folders.items()}
    save_model(record.path, config, ensemble_weights(weights))
    stored = [read_predictions(folder / TEST_PREDICTIONS_FILE) for folder in folders.values()]
    probability = average(np.stack([each.probability for each in stored]))
    path = record.path / PREDICTIONS_FILE
    write_predictions(path, stored[0].index, stored[0].label, probability)
    return probability


def _save(
    record: Record, unit: FitUnit, outcome: Outcome, dataset: Dataset, test: bool
) -> dict[str, Any]:
    """Writes a finished unit, its `metrics.json` last: that marks it as done."""
    result: UnitResult = outcome.value
    folder = record.unit(unit.name)
    write_json(folder / "config.json", unit.config.model_dump())
    save_model(folder, unit.config.architecture, result.weights, unit=unit.name)
    metrics: dict[str, Any] = {
        **result.history[-1],
        "status": "complete",
        "seed": unit.seed,
        "epochs": len(result.history),
        "busy_seconds": sum(row["seconds"] for row in result.history),
        "failures": list(outcome.failures),
        "history": result.history,
    }
    if unit.held_out is not None and result.held_out_probability is not None:
        labels = dataset.train.labels[unit.held_out]
        # Of the model that is kept, which after early stopping is not that of the last epoch.
        metrics["validation_accuracy"] = accuracy(labels, result.held_out_probability)
        metrics["validation_loss"] = negative_log_likelihood(labels, result.held_out_probability)
        path = folder / PREDICTIONS_FILE
        write_predictions(path, unit.held_out, labels, result.held_out_probability)
    if test:
        labels = dataset.test.labels
        metrics["test_accuracy"] = accuracy(labels, result.test_probability)
        path = folder / TEST_PREDICTIONS_FILE
        write_predictions(path, np.arange(len(labels)), labels, result.test_probability)
    record.write_metrics(metrics, unit.name)
    return metrics


def _described(metrics: dict[str, Any]) -> str:
    parts = [
        f"{split} accuracy {metrics[f'{split}_accuracy']:.4f}"
        for split in ("train", "validation", "test")
        if f"{split}_accuracy" in metrics
    ]
    return f"{', '.join(parts)} after {clock(metrics['busy_seconds'])}"

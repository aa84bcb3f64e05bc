"""Fits output layers on features as parallel Ray tasks, and keeps them as units of a record."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fmnist_ray.dispatch.feature_store import FeatureSource
from fmnist_ray.dispatch.head_units import HeadUnit
from fmnist_ray.dispatch.plan import GIB
from fmnist_ray.dispatch.room import Room
from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.dispatch.tasks import Outcome, Task, Tell, run_tasks
from fmnist_ray.dispatch.unit_records import (
    UnitsHistory,
    UnitsRun,
    missing_units,
    note_failure,
    run_of,
)
from fmnist_ray.errors import DivergedError
from fmnist_ray.evaluation.metrics import accuracy, negative_log_likelihood
from fmnist_ray.models.vgg import Origin, TransferConfig, save_transferred
from fmnist_ray.records import (
    PREDICTIONS_FILE,
    TEST_PREDICTIONS_FILE,
    Record,
    write_json,
    write_predictions,
)
from fmnist_ray.training.checkpoint import Row
from fmnist_ray.training.head import Head, HeadConfig

# Measured on Linux: a process that fits a head, shared memory and mapped files apart.
PROCESS_MEMORY = 0.5 * GIB


@dataclass(frozen=True)
class HeadData:
    """What the heads of a run learn from.

    Attributes:
        train: Features of the training images.
        labels: Theirs, (n,).
        index: Where these images stand among all training images, (n,).
        test: Features of the test images; None if no head is judged on them.
        test_labels: Theirs.
    """

    train: FeatureSource
    labels: np.ndarray
    index: np.ndarray
    test: FeatureSource | None
    test_labels: np.ndarray


@dataclass(frozen=True)
class HeadResult:
    """What a finished head gives.

    Attributes:
        head: Its weights.
        history: A row per epoch.
        train_accuracy: Of the finished head on its training images.
        probability: Of the images that it is judged on, float32 (n, 10).
    """

    head: Head
    history: list[Row]
    train_accuracy: float
    probability: np.ndarray


def fit_heads(
    record: Record,
    units: Sequence[HeadUnit],
    data: HeadData,
    config: TransferConfig,
    origin: Origin,
    slots: int | Room,
    *,
    run: RunName | None = None,
    cpus: float = 1.0,
    retries: int = 2,
    rows_before: Sequence[Row] = (),
    on_epoch: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda text: None,
) -> UnitsRun:
    """Fits the heads that the record lacks, and writes each as it ends.

    Args:
        record: The run's.
        units: All of them.
        data: What they learn from.
        config: What classifier they make with the backbone.
        origin: Where the backbone's weights are, for the models' descriptions.
        slots: How many run at once, see `run_tasks`.
        run: That they belong to, as for `run_tasks`.
        cpus: Of each.
        retries: Times a head that fails is tried again.
        rows_before: Rows of the history that stand before the units', with their `unit`.
        on_epoch: Called with the number of epochs done and of those to do.
        say: Takes a line for people.
    """
    missing = {unit.name: unit for unit in missing_units(record, units)}
    history = UnitsHistory(record, units, list(missing.values()), rows_before)
    failures: dict[str, str] = {}
    total = sum(unit.config.epochs for unit in missing.values())

    def on_row(name: str, row: Row) -> None:
        history.add(name, row)
        on_epoch(sum(len(history.rows[each]) for each in missing), total)

    try:
        for outcome in run_tasks(
            _fit,
            [Task(unit.name, (unit, data, int(cpus))) for unit in missing.values()],
            slots,
            run=run,
            complete=len(units) - len(missing),
            cpus=cpus,
            retries=retries,
            hopeless=(DivergedError,),
            on_tell=on_row,
            on_retry=lambda name, why: say(f"{name} is tried again: {why}"),
        ):
            unit = missing[outcome.name]
            if outcome.failed:
                failures[unit.name] = outcome.failures[-1]
                note_failure(record, unit, outcome.failures)
                say(f"{unit.name}: failed: {outcome.failures[-1]}")
                continue
            metrics = _save(record, unit, outcome, data, config, origin)
            say(f"{unit.name}: {_described(unit.config, metrics)}")
    finally:
        history.write()
    return run_of(record, units, failures)


def _fit(unit: HeadUnit, data: HeadData, threads: int, tell: Tell) -> HeadResult:
    """What runs in the task: one fit, under Ray Train's local mode."""
    from fmnist_ray.training import head as training
    from fmnist_ray.training.train_locally import train_locally

    features = data.train.open()
    history: list[Row] = []

    def on_epoch(row: Row) -> None:
        history.append(row)
        tell(row)

    arrays = training.HeadData(features, data.labels, unit.train, unit.validation)
    head = train_locally(
        lambda: training.fit_head(unit.config, arrays, unit.seed, max(1, threads), on_epoch)
    )
    if len(unit.validation):
        probability = head.probabilities(features, unit.validation)
    else:
        assert data.test is not None
        probability = head.probabilities(data.test.open(), np.arange(len(data.test_labels)))
    trained = head.probabilities(features, unit.train)
    return HeadResult(head, history, accuracy(data.labels[unit.train], trained), probability)


def _save(
    record: Record,
    unit: HeadUnit,
    outcome: Outcome,
    data: HeadData,
    config: TransferConfig,
    origin: Origin,
) -> dict[str, Any]:
    """Writes a finished head, its `metrics.json` last: that marks it as done."""
    result: HeadResult = outcome.value
    folder = record.unit(unit.name)
    write_json(folder / "config.json", unit.config.model_dump())
    weights = {"head.weight": result.head.weight, "head.bias": result.head.bias}
    save_transferred(folder, config, weights, origin, unit=unit.name)
    if len(unit.validation):
        split, file = "validation", PREDICTIONS_FILE
        index, labels = data.index[unit.validation], data.labels[unit.validation]
    else:
        split, file = "test", TEST_PREDICTIONS_FILE
        index, labels = np.arange(len(data.test_labels)), data.test_labels
    write_predictions(folder / file, index, labels, result.probability)
    metrics: dict[str, Any] = {
        "status": "complete",
        "seed": unit.seed,
        "epochs": len(result.history),
        "train_images": len(unit.train),
        "train_accuracy": result.train_accuracy,
        "train_loss": result.history[-1]["train_loss"],
        f"{split}_accuracy": accuracy(labels, result.probability),
        f"{split}_loss": negative_log_likelihood(labels, result.probability),
        "busy_seconds": sum(row["seconds"] for row in result.history),
        "failures": list(outcome.failures),
        "history": result.history,
    }
    record.write_metrics(metrics, unit.name)
    return metrics


def _described(config: HeadConfig, metrics: dict[str, Any]) -> str:
    judged = "test" if "test_accuracy" in metrics else "validation"
    return (
        f"{judged} accuracy {metrics[f'{judged}_accuracy']:.4f} after "
        f"{metrics['busy_seconds']:.1f} s (learning rate {config.learning_rate:.2g}, weight decay "
        f"{config.weight_decay:.2g}, batch {config.batch_size}, {config.epochs} epochs)"
    )

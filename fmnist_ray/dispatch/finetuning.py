"""The training of a backbone's last blocks as one unit of a record, run as a Ray task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fmnist_ray.dataset.arrays import Dataset
from fmnist_ray.dispatch.progress import clock
from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.dispatch.tasks import Outcome, Task, Tell, run_tasks
from fmnist_ray.dispatch.unit_records import (
    UnitsHistory,
    adopt_model,
    checkpoint_place,
    missing_units,
    note_failure,
)
from fmnist_ray.errors import DivergedError, WorkError
from fmnist_ray.evaluation.metrics import (
    accuracy,
    accuracy_summary,
    negative_log_likelihood,
)
from fmnist_ray.machine import keep_freed_memory
from fmnist_ray.models.config import Weights
from fmnist_ray.models.vgg import Origin, save_transferred
from fmnist_ray.records import (
    PREDICTIONS_FILE,
    TEST_PREDICTIONS_FILE,
    Record,
    read_json,
    read_predictions,
    write_json,
    write_predictions,
)
from fmnist_ray.training.checkpoint import Row
from fmnist_ray.training.checkpoint_store import CheckpointStore
from fmnist_ray.training.ray_train import Resources

if TYPE_CHECKING:
    from fmnist_ray.training.finetune import FinetuneConfig, Start

UNIT = "finetune"


@dataclass(frozen=True)
class FinetuneUnit:
    """What is trained: small, so that it can be sent anywhere.

    Attributes:
        config: The classifier and its training.
        seed: Of the fit.
        train: Indices of the training images.
        validation: Indices of those that it is judged on after each epoch.
        name: Names it in the record and in Ray's task list.
    """

    config: "FinetuneConfig"
    seed: int
    train: np.ndarray
    validation: np.ndarray
    name: str = UNIT


@dataclass(frozen=True)
class FinetuneResult:
    """What the finished unit gives.

    Attributes:
        weights: The head and the unfrozen convolutions.
        history: A row per epoch.
        probability: Of the validation images, float32 (n, 10).
        test_probability: Of the test images, float32 (m, 10).
    """

    weights: Weights
    history: list[Row]
    probability: np.ndarray
    test_probability: np.ndarray


def finetune_blocks(
    record: Record,
    unit: FinetuneUnit,
    start: "Start",
    dataset: Dataset,
    origin: Origin,
    resources: Resources,
    *,
    run: RunName | None = None,
    retries: int = 2,
    storage: str | None = None,
    rows_before: Sequence[Row] = (),
    on_epoch: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Trains the blocks if the record does not hold them, from the last finished epoch.

    Args:
        record: The run's.
        unit: What to train.
        start: Where it begins.
        dataset: The images.
        origin: Where the backbone's weights are, for the model's description.
        resources: Of the fit.
        run: That it belongs to, as for `run_tasks`.
        retries: Times it is tried again.
        storage: Where checkpoints are kept, see `checkpoint_place`.
        rows_before: Rows of the history that stand before, with their `unit`.
        on_epoch: Called with the number of epochs done and of all.
        say: Takes a line for people.

    Returns:
        Metrics for the record, whose model the classifier becomes.

    Raises:
        WorkError: It failed for good.
    """
    missing = missing_units(record, [unit])
    history = UnitsHistory(record, [unit], missing, rows_before)
    epochs = unit.config.epochs

    def on_row(name: str, row: Row) -> None:
        history.add(name, row)
        on_epoch(row["epoch"], epochs)
        say(
            f"{UNIT} epoch {row['epoch']} of {epochs}: training accuracy "
            f"{row['train_accuracy']:.4f}, validation {row['validation_accuracy']:.4f}, about "
            f"{clock((epochs - row['epoch']) * row['seconds'])} left"
        )

    try:
        if missing:
            place = checkpoint_place(record, storage)
            metrics = _fitted(
                record, unit, start, dataset, origin, resources, run, retries, place, on_row, say
            )
        else:
            metrics = read_json(record.unit(UNIT) / "metrics.json")
    finally:
        history.write()
    adopt_model(record, UNIT)
    stored = read_predictions(record.unit(UNIT) / TEST_PREDICTIONS_FILE)
    return {
        "unfreeze": unit.config.unfrozen,
        "epochs": metrics["epochs"],
        "train_images": metrics["train_images"],
        "validation_images": len(unit.validation),
        "train_accuracy": metrics["train_accuracy"],
        "validation_accuracy": metrics["validation_accuracy"],
        "validation_loss": metrics["validation_loss"],
        **accuracy_summary(dataset.test.labels, stored.probability, "test"),
        "finetune_seconds": round(metrics["busy_seconds"], 1),
    }


def _fitted(
    record: Record,
    unit: FinetuneUnit,
    start: "Start",
    dataset: Dataset,
    origin: Origin,
    resources: Resources,
    run: RunName | None,
    retries: int,
    place: str,
    on_row: Callable[[str, Row], None],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Runs the fit, and writes the unit."""
    import ray

    train = dataset.train
    shared = [ray.put(each) for each in (start, train.images, train.labels, dataset.test.images)]
    task = Task(UNIT, (unit, shared, resources, place))
    (outcome,) = run_tasks(
        _finetune,
        [task],
        1,
        run=run,
        cpus=resources.cpus,
        gpus=resources.gpus,
        retries=retries,
        hopeless=(DivergedError,),
        on_tell=on_row,
        on_retry=lambda name, why: say(f"{name} is tried again: {why}"),
    )
    if outcome.failed:
        note_failure(record, unit, outcome.failures)
        raise WorkError(
            f"Fine-tuning failed: {outcome.failures[-1]}. The finished epochs are in {record.path}."
        )
    metrics = _save(record, unit, outcome, dataset, origin)
    CheckpointStore(place).remove(UNIT)
    return metrics


def _finetune(
    unit: FinetuneUnit, shared: list[Any], resources: Resources, storage: str, tell: Tell
) -> FinetuneResult:
    """What runs in the task: the fit, under Ray Train's local mode."""
    import ray

    from fmnist_ray.training.contract import Device, EpochEnd, FitData
    from fmnist_ray.training.finetune import FinetuneEngine
    from fmnist_ray.training.loop import run_fit
    from fmnist_ray.training.train_locally import train_locally

    start, images, labels, test_images = ray.get(shared)
    store = CheckpointStore(storage)
    checkpoint = store.load_for(UNIT, unit.config, unit.seed)
    for row in checkpoint.history if checkpoint is not None else []:
        tell(row)
    device = Device(
        name="cuda" if resources.gpus else "cpu",
        precision=resources.precision,
        threads=max(1, int(resources.cpus)),
    )
    data = FitData(images, labels, unit.train, unit.validation)

    def on_epoch(end: EpochEnd) -> None:
        store.save(UNIT, end.checkpoint())
        tell(end.row)

    def run() -> FinetuneResult:
        keep_freed_memory()
        engine = FinetuneEngine(unit.config, start, data, unit.seed, device)
        fitted = run_fit(engine, unit.config, data, unit.seed, on_epoch, checkpoint)
        assert fitted.probability is not None
        predicted = engine.predict(test_images)
        return FinetuneResult(fitted.weights, fitted.history, fitted.probability, predicted)

    return train_locally(run)


def _save(
    record: Record, unit: FinetuneUnit, outcome: Outcome, dataset: Dataset, origin: Origin
) -> dict[str, Any]:
    """Writes the finished unit, its `metrics.json` last: that marks it as done."""
    result: FinetuneResult = outcome.value
    folder = record.unit(UNIT)
    write_json(folder / "config.json", unit.config.model_dump())
    save_transferred(folder, unit.config.architecture, result.weights, origin, unit=UNIT)
    labels, test_labels = dataset.train.labels[unit.validation], dataset.test.labels
    write_predictions(folder / PREDICTIONS_FILE, unit.validation, labels, result.probability)
    path = folder / TEST_PREDICTIONS_FILE
    write_predictions(path, np.arange(len(test_labels)), test_labels, result.test_probability)
    metrics: dict[str, Any] = {
        **result.history[-1],
        "status": "complete",
        "seed": unit.seed,
        "epochs": len(result.history),
        "train_images": len(unit.train),
        "validation_accuracy": accuracy(labels, result.probability),
        "validation_loss": negative_log_likelihood(labels, result.probability),
        "test_accuracy": accuracy(test_labels, result.test_probability),
        "busy_seconds": sum(row["seconds"] for row in result.history),
        "failures": list(outcome.failures),
        "history": result.history,
    }
    record.write_metrics(metrics, UNIT)
    return metrics

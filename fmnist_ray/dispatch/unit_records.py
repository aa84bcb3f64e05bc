"""Units in a record: what a finished one leaves there, and which need not be run again."""

from typing import Any

import numpy as np

from fmnist_ray.dispatch.units import FitUnit, UnitResult
from fmnist_ray.evaluation.metrics import accuracy
from fmnist_ray.records import Record, read_json, write_json, write_predictions
from fmnist_ray.training.checkpoint_store import CheckpointStore

# Of the record itself, too, once its model is adopted from a unit.
PREDICTIONS_FILE = "predictions.npz"


def units_folder(record: Record) -> str:
    """Where the checkpoints of a record's units are kept."""
    return str((record.path / "units").resolve())


def save_unit(
    record: Record,
    unit: FitUnit,
    result: UnitResult,
    labels: np.ndarray,
    test_labels: np.ndarray,
) -> dict[str, Any]:
    """Writes a finished unit, its `metrics.json` last: that marks it as done.

    Predictions are those of the test images, or without any those of the validation images.

    Args:
        record: The run's.
        unit: What was fitted.
        result: What came of it.
        labels: Of the images that validation indices count in.
        test_labels: Of the test images; may be empty.

    Returns:
        The unit's metrics.
    """
    import torch

    from fmnist_ray.models.storage import save_model

    folder = record.unit(unit.name)
    write_json(folder / "config.json", unit.config.model_dump())
    weights = {name: torch.from_numpy(value.copy()) for name, value in result.weights.items()}
    save_model(folder, unit.config.architecture, weights, unit=unit.name)
    metrics: dict[str, Any] = {
        **result.history[-1],
        "status": "complete",
        "seed": unit.seed,
        "busy_seconds": sum(row["seconds"] for row in result.history),
        "history": result.history,
    }
    if len(test_labels):
        metrics["test_accuracy"] = accuracy(test_labels, result.test_probability)
        index, truth = np.arange(len(test_labels)), test_labels
        write_predictions(folder / PREDICTIONS_FILE, index, truth, result.test_probability)
    elif unit.validation is not None and result.validation_probability is not None:
        truth = labels[unit.validation]
        metrics["validation_accuracy"] = accuracy(truth, result.validation_probability)
        write_predictions(
            folder / PREDICTIONS_FILE, unit.validation, truth, result.validation_probability
        )
    record.write_metrics(metrics, unit.name)
    CheckpointStore(units_folder(record)).remove(unit.name)
    return metrics


def is_done(record: Record, unit: FitUnit) -> bool:
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


def adopt_model(record: Record, unit: str) -> None:
    """Makes a unit's model and predictions those of the record."""
    from fmnist_ray.models.storage import DESCRIPTION_FILE, WEIGHTS_FILE
    from fmnist_ray.records import write_whole

    for name in (WEIGHTS_FILE, PREDICTIONS_FILE, DESCRIPTION_FILE):
        source = record.unit(unit) / name
        if source.is_file():
            write_whole(record.path / name, source.read_bytes())

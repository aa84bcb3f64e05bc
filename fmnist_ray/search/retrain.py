"""The end of a search: the best configuration trained anew on all images, and scored once."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fmnist_ray.dataset.arrays import Dataset
from fmnist_ray.dispatch.plan import Node, plan
from fmnist_ray.dispatch.units import FitUnit, SharedData, UnitFailure, UnitResult, run_units
from fmnist_ray.errors import WorkError
from fmnist_ray.evaluation.metrics import accuracy
from fmnist_ray.records import Record, read_json, write_json, write_predictions
from fmnist_ray.search.sweep import trial_demand
from fmnist_ray.training.checkpoint import Row
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.ray_train import Resources


def retrain_units(config: FitConfig, count: int, seed: int, images: np.ndarray) -> list[FitUnit]:
    """Fits of one configuration on the given images with seeds of their own.

    Nothing is held out to stop early by, so each trains for all its epochs.
    """
    return [
        FitUnit(
            name=f"retrain-{number}",
            config=config.model_copy(update={"early_stopping": None}),
            seed=int(np.random.SeedSequence(seed, spawn_key=(1, number)).generate_state(1)[0]),
            train=images,
        )
        for number in range(count)
    ]


def retrain(
    record: Record,
    units: list[FitUnit],
    dataset: Dataset,
    nodes: list[Node],
    resources: Resources,
    at_most: int | None,
    on_epoch: Callable[[str, Row], None] | None = None,
    on_end: Callable[[str, dict[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """Trains the units that the record does not hold yet, as Ray tasks.

    Each leaves its model and its test predictions in `units/<name>/`, and its `metrics.json`
    last, which marks it as done.

    Returns:
        The metrics of all units, in their order.

    Raises:
        WorkError: A unit failed more often than it is retried.
    """
    from fmnist_ray.models.storage import save_model

    missing = [unit for unit in units if not is_done(record, unit)]
    if missing:
        shared = SharedData(dataset.train.images, dataset.train.labels, dataset.test.images)
        places = plan(len(missing), nodes, trial_demand(resources), at_most)
        failed = []
        for unit, result in run_units(missing, shared, places, resources, on_epoch):
            if isinstance(result, UnitFailure):
                failed.append(f"{unit.name}: {result.reason}")
                continue
            folder = record.unit(unit.name)
            write_json(folder / "config.json", unit.config.model_dump())
            save_model(folder, unit.config.architecture, as_tensors(result), unit=unit.name)
            labels = dataset.test.labels
            write_predictions(
                folder / "predictions.npz", np.arange(len(labels)), labels, result.test_probability
            )
            metrics = {
                **result.history[-1],
                "status": "complete",
                "seed": unit.seed,
                "test_accuracy": accuracy(labels, result.test_probability),
                "busy_seconds": sum(row["seconds"] for row in result.history),
                "history": result.history,
            }
            record.write_metrics(metrics, unit.name)
            if on_end is not None:
                on_end(unit.name, metrics)
        if failed:
            raise WorkError(f"Retraining failed. {'; '.join(failed)}.")
    return [read_json(record.unit(unit.name) / "metrics.json") for unit in units]


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


def as_tensors(result: UnitResult) -> dict[str, Any]:
    """A result's weights as torch tensors."""
    import torch

    return {name: torch.from_numpy(value.copy()) for name, value in result.weights.items()}

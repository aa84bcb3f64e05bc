"""The end of a search: the best configuration trained anew on all images, and scored once."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fmnist_ray.dataset.arrays import Dataset
from fmnist_ray.dispatch.plan import Node, plan
from fmnist_ray.dispatch.resources import fit_demand
from fmnist_ray.dispatch.unit_records import is_done, save_unit, units_folder
from fmnist_ray.dispatch.units import FitUnit, SharedData, UnitFailure, run_units
from fmnist_ray.errors import WorkError
from fmnist_ray.records import Record, read_json
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

    Returns:
        The metrics of all units, in their order.

    Raises:
        WorkError: A unit failed more often than it is retried.
    """
    missing = [unit for unit in units if not is_done(record, unit)]
    if missing:
        train, test = dataset.train, dataset.test
        shared = SharedData(train.images, train.labels, test.images)
        places = plan(len(missing), nodes, fit_demand(resources), at_most)
        storage, failed = units_folder(record), []
        for unit, result in run_units(missing, shared, places, resources, storage, on_epoch):
            if isinstance(result, UnitFailure):
                failed.append(f"{unit.name}: {result.reason}")
                continue
            metrics = save_unit(record, unit, result, train.labels, test.labels)
            if on_end is not None:
                on_end(unit.name, metrics)
        if failed:
            raise WorkError(f"Retraining failed. {'; '.join(failed)}.")
    return [read_json(record.unit(unit.name) / "metrics.json") for unit in units]

"""The end of a search: the best configuration trained anew on all images, and scored once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console

from fmnist_ray.dataset.arrays import Dataset
from fmnist_ray.dispatch.plan import Node, plan
from fmnist_ray.dispatch.progress import UnitsProgress
from fmnist_ray.dispatch.resources import fit_demand
from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.dispatch.seeds import RETRAIN, unit_seed
from fmnist_ray.dispatch.unit_records import fit_units, missing_units
from fmnist_ray.dispatch.units import FitUnit
from fmnist_ray.errors import WorkError
from fmnist_ray.records import Record
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
            seed=unit_seed(seed, RETRAIN, number),
            train=images,
        )
        for number in range(count)
    ]


def retrain(
    record: Record,
    run: RunName,
    units: list[FitUnit],
    dataset: Dataset,
    nodes: list[Node],
    resources: Resources,
    at_most: int | None,
    console: Console,
    trial_rows: Sequence[Row] = (),
    storage: str | None = None,
) -> list[dict[str, Any]]:
    """Trains the units that the record does not hold yet, as Ray tasks.

    Args:
        record: The search's.
        run: Names the fits in Ray's tables and metrics.
        units: From `retrain_units`.
        dataset: All images; the test images are predicted here.
        nodes: The cluster's.
        resources: Of each fit.
        at_most: Fits at a time that a person asked for.
        console: Where progress is shown.
        trial_rows: The trials' rows of the history, with their `unit`.
        storage: Where checkpoints are kept, see `checkpoint_place`.

    Returns:
        The metrics of all units, in their order.

    Raises:
        WorkError: A unit failed more often than it is retried.
    """
    missing = missing_units(record, units)
    places = plan(max(1, len(missing)), nodes, fit_demand(resources), at_most)
    with UnitsProgress(console, "fits", missing, places.slots) as progress:
        fitted = fit_units(
            record,
            units,
            dataset,
            places,
            resources,
            progress,
            run,
            at_most=at_most,
            storage=storage,
            rows_before=trial_rows,
        )
    if fitted.failures:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in fitted.failures.items())
        raise WorkError(f"Retraining failed. {reasons}.")
    return list(fitted.metrics.values())

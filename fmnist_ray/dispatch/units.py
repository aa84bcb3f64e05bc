"""Runs fits as parallel Ray tasks: the units of retraining, folds and ensembles."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fmnist_ray.dispatch.epoch_lines import print_epoch
from fmnist_ray.dispatch.room import Room
from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.dispatch.tasks import Outcome, Task, Tell, run_tasks
from fmnist_ray.errors import DivergedError
from fmnist_ray.models.config import Weights
from fmnist_ray.training.checkpoint import Row
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.ray_train import Resources


@dataclass(frozen=True)
class FitUnit:
    """One fit to run: small, so that it can be sent anywhere.

    Attributes:
        name: Names the unit in the record and in Ray's task list.
        config: The model and its training.
        seed: Of the fit.
        train: Indices of the training images; an image may be there several times.
        held_out: Indices of the images that the finished model is judged on, or None.
        validate: Whether it is also judged on them after each epoch, as curves and early
            stopping need.
    """

    name: str
    config: FitConfig
    seed: int
    train: np.ndarray
    held_out: np.ndarray | None = None
    validate: bool = True


@dataclass(frozen=True)
class SharedData:
    """The arrays that every unit reads from Ray's object store.

    Attributes:
        images: uint8, (n, 28, 28), to train and validate on.
        labels: uint8, (n,).
        test_images: uint8, (m, 28, 28), to predict when a unit is done; may be empty.
    """

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray


@dataclass(frozen=True)
class UnitResult:
    """What a finished unit gives.

    Attributes:
        weights: By their names in torch's state dict.
        history: A row per epoch.
        held_out_probability: float32 (n, 10), or None.
        test_probability: float32 (m, 10).
    """

    weights: Weights
    history: list[Row]
    held_out_probability: np.ndarray | None
    test_probability: np.ndarray


def run_units(
    units: Sequence[FitUnit],
    data: SharedData,
    slots: int | Room,
    resources: Resources,
    storage: str,
    *,
    run: RunName | None = None,
    complete: int = 0,
    retries: int = 2,
    on_epoch: Callable[[str, Row], None] | None = None,
    on_retry: Callable[[str, str], None] | None = None,
) -> Iterator[tuple[FitUnit, Outcome]]:
    """Runs units as Ray tasks and yields each, with an outcome of `UnitResult`, as it ends.

    With `resources.workers` at 0 a unit trains in its task; otherwise its task only waits for a
    Ray Train worker group.

    Args:
        units: What to fit.
        data: Put into the object store once.
        slots: How many run at once, see `run_tasks`.
        resources: Of each unit.
        storage: Where checkpoints are kept, see `CheckpointStore`. A unit that was cut off goes
            on from its own; the epochs it has are told to `on_epoch` again.
        run: That they belong to, as for `run_tasks`.
        complete: How many of the run's units were complete before.
        retries: Times a unit whose process dies or that raises is run again; one that diverged
            is not, since it would again.
        on_epoch: Called with a unit's name and each of its epochs' figures.
        on_retry: Called with the name of a unit that is run again, and why.
    """
    import ray

    shared = ray.put(data)
    by_name = {unit.name: unit for unit in units}
    grouped = resources.workers > 0
    for outcome in run_tasks(
        _run_unit,
        [
            Task(unit.name, (unit, [shared], resources, storage), unit.config.model)
            for unit in units
        ],
        slots,
        run=run,
        complete=complete,
        cpus=0 if grouped else resources.cpus,
        gpus=0 if grouped else resources.gpus,
        retries=retries,
        hopeless=(DivergedError,),
        on_tell=on_epoch,
        on_retry=on_retry,
    ):
        yield by_name[outcome.name], outcome


def _run_unit(
    unit: FitUnit, shared: list[Any], resources: Resources, storage: str, tell: Tell
) -> UnitResult:
    import ray

    from fmnist_ray.training.checkpoint_store import CheckpointStore
    from fmnist_ray.training.contract import FitData
    from fmnist_ray.training.fit import predict_with
    from fmnist_ray.training.ray_train import train_here, train_in_workers

    data: SharedData = ray.get(shared[0])
    validation = unit.held_out if unit.validate else None
    fit_data = FitData(data.images, data.labels, unit.train, validation)
    store = CheckpointStore(storage)
    checkpoint = store.load_for(unit.name, unit.config, unit.seed)
    for row in checkpoint.history if checkpoint is not None else []:
        tell(row)

    def on_epoch(end: Any) -> None:
        store.save(unit.name, end.checkpoint())
        print_epoch(unit.name, end.row)
        tell(end.row)

    arguments = (unit.seed, resources, on_epoch, checkpoint)
    if resources.workers:
        result = train_in_workers(unit.config, ray.put(fit_data), *arguments)
    else:
        result = train_here(unit.config, fit_data, *arguments)
    held_out = result.probability
    if held_out is None and unit.held_out is not None:
        held_out = predict_with(unit.config, result.weights, data.images[unit.held_out])
    return UnitResult(
        weights=result.weights,
        history=result.history,
        held_out_probability=held_out,
        test_probability=predict_with(unit.config, result.weights, data.test_images),
    )

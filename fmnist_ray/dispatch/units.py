"""Runs fits as parallel Ray tasks: the units of retraining, folds and ensembles."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fmnist_ray.dispatch.plan import Plan
from fmnist_ray.training.checkpoint import Row
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.ray_train import Resources

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class FitUnit:
    """One fit to run: small, so that it can be sent anywhere.

    Attributes:
        name: Names the unit in the record and in Ray's task list.
        config: The model and its training.
        seed: Of the fit.
        train: Indices of the training images.
        validation: Indices of the validation images, or None.
    """

    name: str
    config: FitConfig
    seed: int
    train: np.ndarray
    validation: np.ndarray | None = None


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
        weights: State dict as NumPy arrays.
        history: A row per epoch.
        validation_probability: float32 (n, 10), or None.
        test_probability: float32 (m, 10).
    """

    weights: dict[str, np.ndarray]
    history: list[Row]
    validation_probability: np.ndarray | None
    test_probability: np.ndarray


@dataclass(frozen=True)
class UnitFailure:
    """A unit that failed more often than it may be retried."""

    reason: str


class Events:
    """The actor that brings each epoch's figures from the tasks to the driver."""

    def __init__(self) -> None:
        self._events: list[tuple[str, Row]] = []

    def add(self, unit: str, row: Row) -> None:
        self._events.append((unit, row))

    def take(self) -> list[tuple[str, Row]]:
        """The events since the last call."""
        events, self._events = self._events, []
        return events


def run_units(
    units: Sequence[FitUnit],
    data: SharedData,
    plan: Plan,
    resources: Resources,
    storage: str,
    on_epoch: Callable[[str, Row], None] | None = None,
    retries: int = 2,
) -> Iterator[tuple[FitUnit, UnitResult | UnitFailure]]:
    """Runs units as Ray tasks, at most `plan.slots` at a time, and yields each as it ends.

    With `resources.workers` at 0 a unit trains in its task; otherwise its task only waits for a
    Ray Train worker group.

    Args:
        units: What to fit.
        data: Put into the object store once.
        plan: How many run at once.
        resources: Of each unit.
        storage: Where checkpoints are kept, see `CheckpointStore`. A unit that was cut off goes
            on from its own; the epochs it has are told to `on_epoch` again.
        on_epoch: Called with a unit's name and each of its epochs' figures.
        retries: Times a unit whose process dies or that raises is run again.
    """
    import ray

    shared = ray.put(data)
    events = ray.remote(num_cpus=0)(Events).remote()
    grouped = resources.workers > 0
    options: dict[str, Any] = {
        "num_cpus": 0 if grouped else resources.cpus,
        "num_gpus": 0 if grouped else resources.gpus,
        "max_retries": 0,  # counted below, together with errors of the task itself
    }
    if resources.gpus and not grouped:
        # Ends a GPU task's process, since its GPU memory would stay taken until then.
        options["max_calls"] = 1
    task = ray.remote(**options)(_run_unit)
    waiting = list(units)
    running: dict[Any, FitUnit] = {}
    failures = dict.fromkeys((unit.name for unit in units), 0)

    def forward() -> None:
        for name, row in ray.get(events.take.remote()):
            if on_epoch is not None:
                on_epoch(name, row)

    try:
        while waiting or running:
            while waiting and len(running) < plan.slots:
                unit = waiting.pop(0)
                reference = task.options(name=unit.name).remote(
                    unit, [shared], resources, storage, events
                )
                running[reference] = unit
            done, _ = ray.wait(list(running), timeout=_POLL_SECONDS)
            forward()
            for reference in done:
                unit = running.pop(reference)
                try:
                    yield unit, ray.get(reference)
                except ray.exceptions.RayError as error:
                    failures[unit.name] += 1
                    if failures[unit.name] <= retries:
                        waiting.insert(0, unit)
                    else:
                        yield unit, UnitFailure(_reason(error))
    finally:
        for reference in running:
            ray.cancel(reference, force=not grouped)
        ray.kill(events)
        del shared


def _run_unit(
    unit: FitUnit, shared: list[Any], resources: Resources, storage: str, events: Any
) -> UnitResult:
    import ray

    from fmnist_ray.models.torch_models import build_model
    from fmnist_ray.training.checkpoint_store import CheckpointStore
    from fmnist_ray.training.fit import FitData
    from fmnist_ray.training.predict import predict
    from fmnist_ray.training.ray_train import train_here, train_in_workers

    data: SharedData = ray.get(shared[0])
    fit_data = FitData(data.images, data.labels, unit.train, unit.validation)
    store = CheckpointStore(storage)
    checkpoint = store.load_for(unit.name, unit.config, unit.seed)

    def tell(row: Row) -> None:
        # Waited for, lest the unit's result overtake its last epochs.
        ray.get(events.add.remote(unit.name, row))

    for row in checkpoint.history if checkpoint is not None else []:
        tell(row)

    def on_epoch(end: Any) -> None:
        store.save(unit.name, end.checkpoint())
        tell(end.row)

    arguments = (unit.seed, resources, on_epoch, checkpoint)
    if resources.workers:
        result = train_in_workers(unit.config, ray.put(fit_data), *arguments)
    else:
        result = train_here(unit.config, fit_data, *arguments)
    module = build_model(unit.config.architecture, unit.seed)
    module.load_state_dict(result.weights)
    return UnitResult(
        weights={name: value.cpu().numpy() for name, value in result.weights.items()},
        history=result.history,
        validation_probability=result.probability,
        test_probability=predict(module, data.test_images),
    )


def _reason(error: BaseException) -> str:
    cause = getattr(error, "cause", None) or error
    return str(cause).strip().splitlines()[-1]

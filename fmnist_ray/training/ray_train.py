"""Runs fits under Ray Train, in its local mode or as a group of data-parallel workers.

Local mode (`workers=0`) trains in the calling process, which a Tune trial or a Ray task holds
resources for already, and so costs nothing to start. A worker group (`workers>=1`) takes its own
resources; every worker of it sees a share of each batch. Both run the same `fit`, and with one
worker both give the same weights.
"""

import importlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fmnist_ray.errors import DivergedError
from fmnist_ray.training.checkpoint import Checkpoint
from fmnist_ray.training.config import FitConfig, PrecisionChoice
from fmnist_ray.training.train_locally import train_locally

if TYPE_CHECKING:
    from ray import ObjectRef

    from fmnist_ray.training.contract import EpochEnd, FitData, FitResult

# Ray Train's controller looks at its workers this often, and a report waits for the next look;
# its default of 2 s would cost more than an epoch.
_POLL_SECONDS = "0.1"
PLACEMENT_GROUP = "placement_group"
"""Key under which a worker group's reports name what holds its resources."""


@dataclass(frozen=True)
class Resources:
    """What one fit may use.

    Attributes:
        cpus: CPUs of each process; the fit runs as many threads (at least one).
        gpus: GPUs of each process, a fraction to share one.
        workers: 0 for the calling process, else the number of worker processes.
        precision: See `FitConfig` users; `auto` is bf16 where the hardware has it.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    workers: int = 0
    precision: PrecisionChoice = "auto"


def train_here(
    config: FitConfig,
    data: "FitData",
    seed: int,
    resources: Resources,
    on_epoch: "Callable[[EpochEnd], None] | None" = None,
    checkpoint: Checkpoint | None = None,
) -> "FitResult":
    """Runs a fit in this process, under Ray Train's local mode."""
    from fmnist_ray.training.contract import Device
    from fmnist_ray.training.fit import fit

    device = Device(
        name="cuda" if resources.gpus else "cpu",
        precision=resources.precision,
        threads=max(1, int(resources.cpus)),
    )

    def run() -> "FitResult":
        return fit(config, data, seed, device, on_epoch, checkpoint)

    return train_locally(run, partial(_trainer, config))


def train_in_workers(
    config: FitConfig,
    data: "ObjectRef[FitData]",
    seed: int,
    resources: Resources,
    on_epoch: "Callable[[EpochEnd], None] | None" = None,
    checkpoint: Checkpoint | None = None,
    callbacks: list[Any] | None = None,
) -> "FitResult":
    """Runs a fit in a group of Ray Train workers.

    Args:
        config: The model and its training; `batch_size` is that of all workers together.
        data: Images and indices in Ray's object store, read there without a copy.
        seed: Of the fit.
        resources: Of each worker, and their number.
        on_epoch: Called in the first worker's process after each epoch, before it is reported.
        checkpoint: State to go on from.
        callbacks: Ray Train callbacks, such as the one that reports to Tune.
    """
    from ray.train import RunConfig, ScalingConfig, TrainingFailedError

    options: dict[str, Any] = {}
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = _POLL_SECONDS
    each = {"CPU": resources.cpus}
    if resources.gpus:
        each["GPU"] = resources.gpus
    # Ray Train wants a folder for its own state; ours is in the record.
    folder = tempfile.mkdtemp(prefix="fmnist_ray_train_")
    try:
        if config.framework == "torch":
            from ray.train.torch import TorchConfig

            # Of TensorFlow's workers there is nothing to choose.
            options["torch_config"] = TorchConfig(backend=None if resources.gpus else "gloo")
        trainer = _trainer(
            config,
            _worker,
            train_loop_config={
                "config": config,
                "data": [data],
                "seed": seed,
                "resources": resources,
                "on_epoch": on_epoch,
                "checkpoint": checkpoint,
            },
            scaling_config=ScalingConfig(
                num_workers=resources.workers,
                use_gpu=resources.gpus > 0,
                resources_per_worker=each,
            ),
            run_config=RunConfig(name="fit", storage_path=folder, callbacks=callbacks),
            **options,
        )
        try:
            result: FitResult = trainer.fit().return_value
        except TrainingFailedError as error:
            raise _own_error(error) from error
        return result
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _trainer(config: FitConfig, function: Callable[..., Any], **arguments: Any) -> Any:
    """The Ray Train trainer of the configuration's framework."""
    if config.framework == "tensorflow":
        # Before Ray imports TensorFlow by itself.
        importlib.import_module("fmnist_ray.tensorflow_setup")
        from ray.train.tensorflow import TensorflowTrainer

        return TensorflowTrainer(function, **arguments)
    from ray.train.torch import TorchTrainer

    return TorchTrainer(function, **arguments)


def _worker(arguments: dict[str, Any]) -> "FitResult | None":
    import ray
    import ray.train

    from fmnist_ray.training.contract import Device, EpochEnd
    from fmnist_ray.training.fit import fit

    context = ray.train.get_context()
    rank, on_epoch = context.get_world_rank(), arguments["on_epoch"]
    group = ray.util.get_current_placement_group()
    resources: Resources = arguments["resources"]

    def report(end: EpochEnd) -> None:
        if rank == 0 and on_epoch is not None:
            on_epoch(end)
        ray.train.report({**end.row, PLACEMENT_GROUP: group.id.hex() if group else ""})

    device = Device(
        name="cuda" if resources.gpus else "cpu",
        precision=resources.precision,
        threads=max(1, int(resources.cpus)),
        rank=rank,
        workers=context.get_world_size(),
    )
    data = ray.get(arguments["data"][0])
    result = fit(
        arguments["config"], data, arguments["seed"], device, report, arguments["checkpoint"]
    )
    # Only the first worker's return value reaches the caller.
    return result if rank == 0 else replace(result, weights={}, probability=None)


def release(placement_group: str) -> None:
    """Ends a worker group that was left alone, and frees what it held.

    Tune kills the process of a stopped trial, and with it what would have ended its workers. Ray
    Train's own cleaner finds them by the dashboard's state API, which may be slow or missing.
    """
    from ray import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(placement_group)))


def _own_error(error: Exception) -> Exception:
    """The error that a worker raised, if it is one of ours, else Ray Train's."""
    failures = getattr(error, "worker_failures", {}).values()
    causes = [getattr(each, "cause", each) for each in failures]
    return next((each for each in causes if isinstance(each, DivergedError)), error)

"""One trial: a fit that reports every epoch to Ray Tune and can go on where it was cut off."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fmnist_ray.dispatch.epoch_lines import print_epoch
from fmnist_ray.errors import DivergedError
from fmnist_ray.search.schedulers import fit_values
from fmnist_ray.training.checkpoint import Checkpoint
from fmnist_ray.training.checkpoint_store import CheckpointStore
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.ray_train import Resources, train_here, train_in_workers

# What a diverged trial reports: worse than any that did not diverge, and a number for samplers.
_DIVERGED = {"validation_accuracy": 0.0, "validation_loss": 1e9}


@dataclass(frozen=True)
class TrialSetup:
    """What all trials of a search share.

    Attributes:
        data: A list with the reference to `FitData` in the object store (a list, so that Ray
            hands on the reference and not the data).
        seed: The search's seed; a trial's own is derived from it and its number.
        resources: Of a trial.
        storage: Where checkpoints are kept.
        give_to_tune: Whether Tune gets checkpoints too, which PBT needs to copy trials.
        fit: What trains, with the arguments of `train_here`; tests script it.
    """

    data: list[Any]
    seed: int
    resources: Resources
    storage: str
    give_to_tune: bool
    fit: Callable[..., Any] = train_here


def trial_seed(seed: int, unit: str) -> int:
    """The seed of a trial: from the search's seed and the trial's number."""
    import numpy as np

    number = int(unit.rpartition("-")[2])
    sequence = np.random.SeedSequence(seed, spawn_key=(0, number))
    return int(sequence.generate_state(1)[0])


def run_trial(config: dict[str, Any], setup: TrialSetup) -> None:
    """Tune's function trainable.

    A checkpoint on disk may be ahead of what Tune was told before a crash. Its epochs are then
    reported from the checkpoint's history, without training them again, so that the scheduler
    sees every epoch once and in order.

    Args:
        config: Values of `FitConfig`, `unit`, and `reported`: epochs that the scheduler knows.
        setup: What all trials share.
    """
    import ray
    from ray import tune

    unit = tune.get_context().get_trial_name()
    values = fit_values(config)
    fit_config = FitConfig.checked(values, unit)
    seed = trial_seed(setup.seed, unit)
    store = CheckpointStore(setup.storage)
    checkpoint = _checkpoint_of_tune() or store.load_for(unit, fit_config, seed)
    reported = config["reported"]
    if checkpoint is not None and not setup.give_to_tune:
        for row in checkpoint.history:
            if row["epoch"] > reported:
                _report(row)

    def on_epoch(end: Any) -> None:
        state = end.checkpoint()
        store.save(unit, state)
        print_epoch(unit, end.row)
        if setup.resources.workers == 0 and end.row["epoch"] > reported:
            _report(end.row, state if setup.give_to_tune else None)

    if checkpoint is not None and checkpoint.epoch >= fit_config.epochs:
        return
    try:
        if setup.resources.workers:
            from ray.tune.integration.ray_train import TuneReportCallback

            train_in_workers(
                fit_config,
                setup.data[0],
                seed,
                setup.resources,
                on_epoch,
                checkpoint,
                callbacks=[TuneReportCallback()],
            )
        else:
            setup.fit(
                fit_config, ray.get(setup.data[0]), seed, setup.resources, on_epoch, checkpoint
            )
    except DivergedError as error:  # an outcome of the search, not a fault to retry
        last = store.load(unit)
        epoch = (last.epoch if last is not None else 0) + 1
        _report({"epoch": epoch, "diverged": str(error), **_DIVERGED})


def _report(row: dict[str, Any], checkpoint: Checkpoint | None = None) -> None:
    import tempfile
    from pathlib import Path

    from ray import tune

    if checkpoint is None:
        tune.report(row)
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "checkpoint.safetensors").write_bytes(checkpoint.to_bytes())
        tune.report(row, checkpoint=tune.Checkpoint.from_directory(folder))


def _checkpoint_of_tune() -> Checkpoint | None:
    """What Tune gives a trial to go on from: with PBT, another trial's state."""
    from pathlib import Path

    from ray import tune

    given = tune.get_checkpoint()
    if given is None:
        return None
    with given.as_directory() as folder:
        return Checkpoint.from_bytes((Path(folder) / "checkpoint.safetensors").read_bytes())

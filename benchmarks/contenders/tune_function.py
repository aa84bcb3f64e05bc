"""Ray Tune with a plain training function, ASHA and a checkpoint each epoch, two trials at a time."""

import tempfile
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from benchmarks.contenders.task import REDUCTION, Task, plain_training


def train(config: dict[str, Any], task: Task) -> None:
    """Reports the accuracy of each epoch, and goes on from its last checkpoint."""
    import torch

    name, state = tune.get_context().get_trial_name(), None
    last = tune.get_checkpoint()
    if last is not None:
        with last.as_directory() as folder:
            state = torch.load(Path(folder) / "state.pt", weights_only=True)
    for epoch, accuracy, seconds, now in plain_training(config["point"], task, state=state):
        task.tell(name, epoch, accuracy, seconds)
        with tempfile.TemporaryDirectory() as folder:
            torch.save(now, Path(folder) / "state.pt")
            checkpoint = tune.Checkpoint.from_directory(folder)
            tune.report({"accuracy": accuracy}, checkpoint=checkpoint)


def main() -> None:
    """Searches, or goes on."""
    task = Task.asked()
    ray.init("local", num_cpus=2)
    trainable = tune.with_parameters(train, task=task)
    there = str(task.folder / "tune")
    if tune.Tuner.can_restore(there):
        tuner = tune.Tuner.restore(there, trainable, resume_unfinished=True)
    else:
        tuner = tune.Tuner(
            trainable,
            param_space={"point": tune.grid_search(task.configurations())},
            tune_config=tune.TuneConfig(
                metric="accuracy",
                mode="max",
                scheduler=(
                    ASHAScheduler(max_t=task.max_epochs, reduction_factor=REDUCTION)
                    if task.early_stopping
                    else None
                ),
            ),
            run_config=tune.RunConfig(name="tune", storage_path=str(task.folder), verbose=0),
        )
    tuner.fit()
    ray.shutdown()


if __name__ == "__main__":
    main()

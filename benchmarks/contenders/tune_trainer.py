"""Ray Tune with a Ray Train trainer in each trial, as Ray's guide to hyperparameter tuning has it.

https://docs.ray.io/en/latest/train/user-guides/hyperparameter-optimization.html: a driver function
per trial builds a `TorchTrainer`, whose worker reports to Tune through `TuneReportCallback`. Each
trial takes a CPU for its driver and one for its worker, so that four are declared for two trials.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

os.environ["RAY_TRAIN_V2_ENABLED"] = "1"

import ray
import ray.train
import ray.train.torch
from ray import tune
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler

from benchmarks.contenders.task import REDUCTION, Task, plain_training


def train_worker(config: dict[str, Any]) -> None:
    """Trains, reports, and keeps a checkpoint of the model at each epoch."""
    import torch

    task = Task(*config["task"])
    kept: list[Any] = []

    def prepare(model: Any, loader: Any) -> tuple[Any, Any]:
        kept.append(ray.train.torch.prepare_model(model))
        return kept[0], ray.train.torch.prepare_data_loader(loader)

    for epoch, accuracy, seconds, _ in plain_training(config["point"], task, prepare):
        task.tell(config["name"], epoch, accuracy, seconds)
        with tempfile.TemporaryDirectory() as folder:
            torch.save(kept[0].state_dict(), Path(folder) / "model.pt")
            checkpoint = ray.train.Checkpoint.from_directory(folder)
            ray.train.report({"accuracy": accuracy}, checkpoint=checkpoint)


def train_driver(config: dict[str, Any]) -> None:
    """A trial: builds its trainer and waits for it."""
    name = tune.get_context().get_trial_name()
    TorchTrainer(
        train_worker,
        train_loop_config={"point": config["point"], "task": config["task"], "name": name},
        scaling_config=ray.train.ScalingConfig(num_workers=1),
        run_config=ray.train.RunConfig(
            name=name, storage_path=config["folder"], callbacks=[TuneReportCallback()]
        ),
    ).fit()


def main() -> None:
    """Searches."""
    task = Task.asked()
    ray.init("local", num_cpus=4)
    folder = str(task.folder)
    tune.Tuner(
        train_driver,
        param_space={
            "point": tune.grid_search(task.configurations()),
            "task": tuple(task),
            "folder": folder,
        },
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            max_concurrent_trials=2,
            scheduler=ASHAScheduler(max_t=task.max_epochs, reduction_factor=REDUCTION),
        ),
        run_config=tune.RunConfig(storage_path=folder, verbose=0),
    ).fit()
    ray.shutdown()


if __name__ == "__main__":
    main()

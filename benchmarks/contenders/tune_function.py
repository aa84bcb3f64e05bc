"""Ray Tune with a plain training function and ASHA, two trials at a time."""

import tempfile
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from benchmarks.contenders.task import REDUCTION, Task, plain_training


def train(config: dict[str, Any], task: Task) -> None:
    """Reports the accuracy of each epoch."""
    name = tune.get_context().get_trial_name()
    for epoch, accuracy, seconds in plain_training(config["point"], task):
        task.tell(name, epoch, accuracy, seconds)
        tune.report({"accuracy": accuracy})


def main() -> None:
    """Searches."""
    task = Task.asked()
    ray.init("local", num_cpus=2)
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            tune.with_parameters(train, task=task),
            param_space={"point": tune.grid_search(task.configurations())},
            tune_config=tune.TuneConfig(
                metric="accuracy",
                mode="max",
                scheduler=ASHAScheduler(max_t=task.max_epochs, reduction_factor=REDUCTION),
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
    ray.shutdown()


if __name__ == "__main__":
    main()

"""Runs a function under Ray Train's local mode, in the process that calls it."""

import logging
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def train_locally(fit: Callable[[], Result]) -> Result:
    """Calls `fit` as the training function of a Ray Train trainer without workers.

    `ray_train.train_here` does this for torch; the trainer here imports no framework.

    Args:
        fit: Trains a model in this process, with the resources that it holds already.
    """
    from ray.train import ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    # Ray Train announces its local mode on every fit, as if it were chosen for debugging.
    logging.getLogger("ray.train.v2.api.config").setLevel(logging.WARNING)
    trainer = DataParallelTrainer(fit, scaling_config=ScalingConfig(num_workers=0))
    result: Result = trainer.fit().return_value
    return result

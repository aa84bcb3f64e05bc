"""Runs a function under Ray Train's local mode, in the process that calls it."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


def train_locally(
    fit: Callable[[], Result], trainer_of: Callable[..., Any] | None = None
) -> Result:
    """Calls `fit` as the training function of a Ray Train trainer without workers.

    Args:
        fit: Trains a model in this process, with the resources that it holds already.
        trainer_of: Makes the trainer; None takes one that imports no framework.
    """
    from ray.train import ScalingConfig

    if trainer_of is None:
        from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

        trainer_of = DataParallelTrainer

    # Ray Train announces its local mode on every fit, as if it were chosen for debugging.
    logging.getLogger("ray.train.v2.api.config").setLevel(logging.WARNING)
    trainer = trainer_of(fit, scaling_config=ScalingConfig(num_workers=0))
    result: Result = trainer.fit().return_value
    return result

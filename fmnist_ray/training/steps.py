"""What the steps of an epoch are, in every framework: images, rates, streams of random numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fmnist_ray.training.config import ScheduleName
from fmnist_ray.training.schedules import learning_rate_factor

# A stream of random numbers for each use, so that turning one on changes no other.
SHUFFLE, DROPOUT, AUGMENT = 1, 2, 3


class StepsConfig(Protocol):
    """What the steps depend on; the rest of a configuration is the engine's."""

    @property
    def batch_size(self) -> int:
        """Images per step."""
        ...

    @property
    def epochs(self) -> int:
        """How many there will be, for the schedule."""
        ...

    @property
    def schedule(self) -> ScheduleName:
        """Of the learning rate."""
        ...


@dataclass(frozen=True)
class EpochSteps:
    """The steps of one epoch.

    Attributes:
        order: Indices of the images in the order in which they are met, (n,).
        bounds: First and last position (not included) in `order` of each step's batch.
        factors: What each step multiplies the configured learning rate by.
    """

    order: npt.NDArray[np.int64]
    bounds: list[tuple[int, int]]
    factors: list[float]

    def __iter__(self) -> Iterator[tuple[npt.NDArray[np.int64], float]]:
        """The images of each step and its factor."""
        for (first, last), factor in zip(self.bounds, self.factors, strict=True):
            yield self.order[first:last], factor


def epoch_steps(
    config: StepsConfig,
    train: npt.NDArray[np.integer],
    seed: int,
    epoch: int,
    workers: int = 1,
) -> EpochSteps:
    """The steps of epoch 1, 2, ..., which depend on nothing that came before.

    Args:
        config: Batch size, epochs and schedule.
        train: Indices of the training images.
        seed: Of the fit.
        epoch: Which one.
        workers: Processes that share each batch; a last batch too small for them joins the one
            before.
    """
    order = np.random.default_rng([seed, epoch, SHUFFLE]).permutation(np.asarray(train, np.int64))
    starts = list(range(0, len(order), config.batch_size))
    if len(starts) > 1 and len(order) - starts[-1] < 2 * workers:
        starts.pop()
    bounds = list(zip(starts, [*starts[1:], len(order)], strict=True))
    before, total = (epoch - 1) * len(bounds), config.epochs * len(bounds)
    factors = [
        learning_rate_factor(config.schedule, before + at, total) for at in range(len(bounds))
    ]
    return EpochSteps(order, bounds, factors)

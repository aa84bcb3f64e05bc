"""What the steps of an epoch are, in every framework: images, rates, streams of random numbers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmnist_ray.training.config import ScheduleName
from fmnist_ray.training.schedules import learning_rate_factor

# A stream of random numbers for each use, so that turning one on changes no other.
SHUFFLE, DROPOUT, AUGMENT = 1, 2, 3


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
    train: npt.NDArray[np.integer],
    seed: int,
    epoch: int,
    *,
    batch_size: int,
    epochs: int,
    schedule: ScheduleName,
    workers: int = 1,
) -> EpochSteps:
    """The steps of epoch 1, 2, ..., which depend on nothing that came before.

    Args:
        train: Indices of the training images.
        seed: Of the fit.
        epoch: Which one.
        batch_size: Images per step; a last batch too small for the workers joins the one before.
        epochs: How many there will be, for the schedule.
        schedule: Of the learning rate.
        workers: Processes that share each batch.
    """
    order = np.random.default_rng([seed, epoch, SHUFFLE]).permutation(np.asarray(train, np.int64))
    starts = list(range(0, len(order), batch_size))
    if len(starts) > 1 and len(order) - starts[-1] < 2 * workers:
        starts.pop()
    bounds = list(zip(starts, [*starts[1:], len(order)], strict=True))
    before, total = (epoch - 1) * len(bounds), epochs * len(bounds)
    factors = [learning_rate_factor(schedule, before + at, total) for at in range(len(bounds))]
    return EpochSteps(order, bounds, factors)

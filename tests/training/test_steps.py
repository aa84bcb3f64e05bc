import numpy as np
import pytest

from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.schedules import learning_rate_factor
from fmnist_ray.training.steps import EpochSteps, epoch_steps


def steps(epoch: int = 1, *, count: int = 600, size: int = 128, workers: int = 1) -> EpochSteps:
    train = np.arange(1000, 1000 + count)
    config = FitConfig(batch_size=size, epochs=3, schedule="one_cycle")
    return epoch_steps(config, train, 7, epoch, workers)


@pytest.mark.parametrize(("count", "size", "workers"), [(600, 128, 1), (601, 100, 2), (7, 64, 2)])
def test_every_image_is_met_once_an_epoch(count: int, size: int, workers: int) -> None:
    found = [batch for batch, _ in steps(count=count, size=size, workers=workers)]
    assert np.array_equal(np.sort(np.concatenate(found)), np.arange(1000, 1000 + count))
    for batch in found:
        shares = [len(batch[rank::workers]) for rank in range(workers)]
        assert min(shares) >= 1
        assert max(shares) - min(shares) <= 1


def test_each_epoch_has_an_order_of_its_own_whatever_came_before() -> None:
    assert np.array_equal(steps(2).order, steps(2).order)
    assert not np.array_equal(steps(1).order, steps(2).order)


def test_the_schedule_goes_on_from_epoch_to_epoch() -> None:
    factors = [factor for epoch in (1, 2, 3) for _, factor in steps(epoch)]
    assert factors == [learning_rate_factor("one_cycle", at, 15) for at in range(15)]

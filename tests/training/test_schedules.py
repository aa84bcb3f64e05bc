import pytest
import torch

from fmnist_ray.training.schedules import learning_rate_factor


def test_constant_stays_at_one() -> None:
    assert {learning_rate_factor("constant", step, 10) for step in range(10)} == {1.0}


def test_cosine_is_the_one_torch_has() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)
    for step in range(50):
        assert learning_rate_factor("cosine", step, 50) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


def test_one_cycle_warms_up_peaks_at_one_and_ends_near_zero() -> None:
    factors = [learning_rate_factor("one_cycle", step, 1000) for step in range(1000)]
    assert factors[0] == pytest.approx(1 / 25)
    assert max(factors) == pytest.approx(1.0)
    assert factors.index(max(factors)) == 300
    assert factors[:300] == sorted(factors[:300])
    assert factors[300:] == sorted(factors[300:], reverse=True)
    assert factors[-1] < 1e-4

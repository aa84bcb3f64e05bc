"""Dropout with masks of its own: what it drops, keeps and passes back."""

import numpy as np
import pytest
import torch
from torch import nn

from fmnist_ray.models.dropout import Dropout, reseed_dropout

SEED = np.random.SeedSequence(3)


def dropout(rate: float, seed: np.random.SeedSequence = SEED) -> Dropout:
    module = Dropout(rate)
    module.reseed(seed)
    return module


@pytest.mark.parametrize("rate", [0.25, 0.5, 0.1, 0.9])
def test_the_rate_is_kept_to_a_256th_and_the_mean_to_chance(rate: float) -> None:
    values = torch.ones(1_000_000)
    result = dropout(rate)(values)
    dropped = (result == 0).float().mean().item()
    nearest = round(rate * 256) / 256
    # Five standard deviations of a share of a million.
    assert dropped == pytest.approx(nearest, abs=5 * (rate * (1 - rate) / 1e6) ** 0.5)
    assert result.max().item() == pytest.approx(1 / (1 - nearest))
    assert result.mean().item() == pytest.approx(1, abs=0.02)


def test_values_are_dropped_independently_of_their_neighbours() -> None:
    kept = (dropout(0.5)(torch.ones(1_000_000)) > 0).float() - 0.5
    for distance in (1, 7, 8, 64):
        correlation = 4 * (kept[:-distance] * kept[distance:]).mean().item()
        assert abs(correlation) < 0.006


def test_the_gradient_is_the_mask() -> None:
    values = torch.full((50, 40), 3.0, requires_grad=True)
    result = dropout(0.25)(values)
    result.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, result.detach() / 3)
    assert values.grad.unique().tolist() == pytest.approx([0, 4 / 3])


def test_masks_differ_from_call_to_call_and_reseeding_repeats_them() -> None:
    module, values = dropout(0.5), torch.ones(1000)
    first, second = module(values), module(values)
    assert not torch.equal(first, second)
    module.reseed(SEED)
    assert torch.equal(module(values), first)
    assert torch.equal(module(values), second)


def test_torchs_random_state_is_neither_read_nor_changed() -> None:
    before = torch.get_rng_state()
    dropout(0.5)(torch.ones(1000))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_images_keep_their_layout_and_lose_values_at_the_rate(
    memory_format: torch.memory_format,
) -> None:
    values = torch.ones(16, 32, 13, 13).contiguous(memory_format=memory_format)
    result = dropout(0.25)(values)
    assert result.is_contiguous(memory_format=memory_format)
    assert (result == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    # No channel and no row is spared or hit as a whole.
    for dims in ((0, 2, 3), (0, 1, 3)):
        shares = (result == 0).float().mean(dim=dims)
        assert shares.min() > 0.15
        assert shares.max() < 0.35


def test_a_tensor_that_is_not_dense_works_too() -> None:
    values = torch.ones(100, 200)[:, ::2].requires_grad_()
    result = dropout(0.5)(values)
    assert (result == 0).float().mean().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("count", [0, 1, 7, 9])
def test_any_number_of_values_works(count: int) -> None:
    assert dropout(0.5)(torch.ones(count)).shape == (count,)


def test_bf16_values_stay_bf16() -> None:
    result = dropout(0.5)(torch.ones(1000, dtype=torch.bfloat16))
    assert result.dtype == torch.bfloat16
    assert set(result.tolist()) == {0.0, 2.0}


def test_evaluation_and_rate_0_change_nothing() -> None:
    values = torch.randn(100)
    assert dropout(0.5).eval()(values) is values
    assert dropout(0.0)(values) is values


def test_reseeding_a_model_gives_each_of_its_dropouts_a_stream_of_its_own() -> None:
    values = torch.ones(1000)

    def masks(seed: int) -> list[torch.Tensor]:
        module = nn.Sequential(Dropout(0.5), nn.Sequential(Dropout(0.5)), nn.ReLU())
        reseed_dropout(module, np.random.SeedSequence(seed))
        return [each(values) for each in module.modules() if isinstance(each, Dropout)]

    first, second = masks(1)
    assert not torch.equal(first, second)
    assert all(torch.equal(*pair) for pair in zip(masks(1), masks(1), strict=True))
    assert not torch.equal(first, masks(2)[0])

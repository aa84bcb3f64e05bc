"""Pooling over pairs of a convolution's result: values, gradients, and where it gives way to torch."""

import pytest
import torch
from torch import nn

from fmnist_ray.models.config import ModelConfig
from fmnist_ray.models.pooling import MaxPoolOfConvolution
from fmnist_ray.models.torch_models import build_model


def _images(size: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """Of different values, half of them negative, so that each window has one largest."""
    count = 4 * 8 * size * size
    assert count < 2**15
    generator = torch.Generator().manual_seed(size)
    # All finite bf16, each another number.
    bits = torch.cat([torch.arange(2**14), torch.arange(-(2**15) + 1, -(2**14))])
    order = bits[torch.randperm(len(bits), generator=generator)[:count]].to(torch.int16)
    values = order.view(torch.bfloat16).to(dtype).view(4, 8, size, size)
    return values.contiguous(memory_format=torch.channels_last)


def _results(
    pool: nn.Module, images: torch.Tensor, gradient: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What it gives, the gradient that it was given, and what it gives back."""
    leaf = images.clone(memory_format=torch.preserve_format).requires_grad_()
    pooled = pool(leaf * 1)  # a result, as a convolution's, that may be overwritten
    if gradient is None:
        gradient = torch.randn_like(pooled)
    pooled.backward(gradient)
    assert leaf.grad is not None
    return pooled.detach(), gradient, leaf.grad


@pytest.mark.parametrize("size", [2, 3, 8, 11, 20])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_it_gives_what_torch_gives(size: int, dtype: torch.dtype) -> None:
    images = _images(size, dtype)
    expected, gradient, expected_back = _results(nn.MaxPool2d(2), images, None)
    pooled, _, back = _results(MaxPoolOfConvolution(), images, gradient)
    assert torch.equal(pooled, expected)
    assert torch.equal(back, expected_back)
    assert pooled.is_contiguous(memory_format=torch.channels_last)
    assert back.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [2, 11])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_with_relu_it_gives_what_both_give_in_torch(size: int, dtype: torch.dtype) -> None:
    images = _images(size, dtype)
    both = nn.Sequential(nn.MaxPool2d(2), nn.ReLU())
    expected, gradient, expected_back = _results(both, images, None)
    pooled, _, back = _results(MaxPoolOfConvolution(relu=True), images, gradient)
    assert torch.equal(pooled, expected)
    assert torch.equal(back, expected_back)
    assert (pooled == 0).any(), "no window was negative"


def test_of_equal_values_one_gets_the_gradient() -> None:
    same = torch.ones(4, 8, 6, 6, dtype=torch.bfloat16)
    same = same.contiguous(memory_format=torch.channels_last)
    pooled, gradient, back = _results(MaxPoolOfConvolution(), same, None)
    assert torch.equal(pooled, torch.ones_like(pooled))
    assert int((back != 0).sum()) == gradient.numel()
    assert torch.equal(nn.functional.avg_pool2d(back.float(), 2) * 4, gradient.float())


def test_what_is_not_a_number_stays_so() -> None:
    images = _images(4)
    images[0, 0, 1, 1] = torch.nan
    assert torch.isnan(MaxPoolOfConvolution()(images)).nonzero().tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("bits", [0x7FC0, 0x7FC0 - 2**15, -1])
def test_where_nothing_is_a_number_nothing_becomes_one(relu: bool, bits: int) -> None:
    """As of a diverged network: its loss has to show that."""
    images = torch.full((4, 8, 6, 6), bits, dtype=torch.int16).view(torch.bfloat16)
    images = images.contiguous(memory_format=torch.channels_last)
    assert torch.isnan(images).all()
    assert torch.isnan(MaxPoolOfConvolution(relu)(images)).all()


@pytest.mark.parametrize(("activation", "quick"), [("relu", True), ("tanh", True), ("gelu", False)])
def test_only_a_convolutions_result_is_overwritten(activation: str, quick: bool) -> None:
    """An activation may need its own result for its gradient."""
    config = ModelConfig(model="cnn", activation=activation)  # type: ignore[arg-type]
    pools = [each for each in build_model(config, 0).modules() if isinstance(each, nn.MaxPool2d)]
    assert len(pools) == 2
    assert all(isinstance(each, MaxPoolOfConvolution) == quick for each in pools)


def test_a_whole_networks_gradients_are_as_near_to_those_of_fp32_as_torchs_in_bf16() -> None:
    def gradients(dtype: torch.dtype, layout: torch.memory_format) -> dict[str, torch.Tensor]:
        model = build_model(ModelConfig(model="cnn", activation="relu", dropout=0.0), 3)
        model = model.to(memory_format=layout).train()
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(256, 1, 28, 28, generator=generator).contiguous(memory_format=layout)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = model(images.to(dtype))
        labels = torch.arange(256) % 10
        nn.functional.cross_entropy(logits.float(), labels).backward()
        return {name: each.grad for name, each in model.named_parameters() if each.grad is not None}

    exact = gradients(torch.float32, torch.contiguous_format)
    torchs = gradients(torch.bfloat16, torch.contiguous_format)
    quick = gradients(torch.bfloat16, torch.channels_last)
    assert len(exact) == 8
    for name, gradient in exact.items():
        errors = [(each[name] - gradient).norm() / gradient.norm() for each in (torchs, quick)]
        assert errors[1] < 1.5 * errors[0], (name, errors)

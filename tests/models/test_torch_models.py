"""The models as torch modules: their sizes, shapes, weights, and pooling before activation."""

import pytest
import torch
from torch import nn

from fmnist_ray.models.config import ACTIVATION_NAMES, MONOTONE_ACTIVATIONS, ModelConfig
from fmnist_ray.models.torch_models import build_model, parameter_count

ALL_MODELS = ("dnn", "cnn", "resnet")


def build(seed: int = 0, **config: object) -> nn.Module:
    return build_model(ModelConfig.model_validate(config), seed)


def images(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        ({"model": "dnn"}, 109_386),
        ({"model": "cnn"}, 320 + 18_496 + 102_464 + 650),
        ({"model": "resnet", "width": 20}, 131_110),
        # 3 x 3 kernels of each stage, two numbers of each norm, the output.
        (
            {"model": "resnet", "width": 16, "width_growth": "double", "first_stride": 1},
            9 * (16 + 2 * 16**2 + 16 * 32 + 2 * 32**2 + 32 * 64 + 2 * 64**2) + 6 * 112 + 650,
        ),
        (
            {"model": "resnet", "width": 4, "blocks": 3},
            9 * (4 + 6 * 4**2 + 4 * 8 + 6 * 8**2 + 8 * 12 + 6 * 12**2) + 14 * 24 + 130,
        ),
    ],
)
def test_parameter_counts(config: dict[str, object], parameters: int) -> None:
    assert parameter_count(build(**config)) == parameters


def test_resnets_that_stay_below_130_000_parameters() -> None:
    assert 110_000 < parameter_count(build(model="resnet", width=19)) < 130_000
    doubled = {"width_growth": "double", "first_stride": 1}
    assert 110_000 < parameter_count(build(model="resnet", width=16, **doubled)) < 130_000


@pytest.mark.parametrize(("stride", "size"), [(1, 28), (2, 14)])
def test_the_first_stage_keeps_the_images_size_or_halves_it(stride: int, size: int) -> None:
    module = build(model="resnet", width=4, first_stride=stride)
    assert module.stage1(images(2)).shape == (2, 4, size, size)


@pytest.mark.parametrize("model", ALL_MODELS)
@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_ten_logits_per_image(model: str, activation: str) -> None:
    module = build(model=model, activation=activation).eval()
    logits = module(images())
    assert logits.shape == (3, 10)
    assert torch.isfinite(logits).all()


def test_shapes_within_the_cnn() -> None:
    shapes = {}
    values = images(2)
    for name, module in build(model="cnn").named_children():
        values = module(values)
        shapes[name] = tuple(values.shape[1:])
    assert shapes["conv1"] == (32, 26, 26)
    assert shapes["pool1"] == (32, 13, 13)
    assert shapes["conv2"] == (64, 11, 11)
    assert shapes["pool2"] == (64, 5, 5)
    assert shapes["flatten1"] == (1600,)
    assert shapes["dense1"] == (64,)
    assert shapes["output"] == (10,)


def test_shapes_within_the_resnet() -> None:
    module = build(model="resnet", width=8)
    values = images(2)
    sizes = []
    for stage in (module.stage1, module.stage2, module.stage3):
        values = stage(values)
        sizes.append(tuple(values.shape[1:]))
    assert sizes == [(8, 14, 14), (16, 7, 7), (24, 4, 4)]


def test_a_residual_block_adds_to_its_input() -> None:
    block = build(model="resnet", width=4).stage1.block.eval()
    nn.init.zeros_(block.norm2.weight)
    values = torch.rand(1, 4, 5, 5)
    assert torch.equal(block(values), values)


@pytest.mark.parametrize("model", ALL_MODELS)
def test_the_same_seed_gives_the_same_weights_and_another_others(model: str) -> None:
    first, again, other = (build(seed, model=model).state_dict() for seed in (7, 7, 8))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["output.weight"], other["output.weight"])


def test_building_neither_reads_nor_changes_the_global_random_state() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build(model="cnn").state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = build(model="cnn").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_weights_are_glorot_uniform_and_biases_zero() -> None:
    dense = build(model="dnn").dense1
    limit = (6 / (784 + 128)) ** 0.5
    assert 0.99 * limit < dense.weight.abs().max() <= limit
    assert dense.weight.mean().abs() < limit / 50
    assert not dense.bias.any()


@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_pooling_is_first_only_where_it_gives_the_same(activation: str) -> None:
    names = [name for name, _ in build(model="cnn", activation=activation).named_children()]
    assert (names.index("pool1") < names.index("activation1")) == (
        activation in MONOTONE_ACTIVATIONS
    )


@pytest.mark.parametrize("activation", sorted(MONOTONE_ACTIVATIONS))
def test_pooling_first_gives_what_activating_first_gives(activation: str) -> None:
    pool_first = build(model="cnn", activation=activation).eval()
    parts = dict(pool_first.named_children())
    expected = ["conv1", "pool1", "dropout1", "conv2", "pool2", "dropout2", "flatten1", "dense1"]
    expected += ["activation1", "dropout3", "output"]
    if activation != "relu":  # the poolings do it, too
        expected += ["activation2", "activation3"]
    assert sorted(expected) == sorted(parts)
    parts |= {"activation": parts["activation1"], "pool": nn.MaxPool2d(2)}
    order = ["conv1", "activation", "pool", "conv2", "activation", "pool"]
    order += ["flatten1", "dense1", "activation", "output"]
    activation_first = nn.Sequential(*(parts[name] for name in order))
    values = 3 * images(8)
    torch.testing.assert_close(pool_first(values), activation_first(values), rtol=1e-6, atol=1e-6)


def test_the_order_matters_for_an_activation_that_is_not_monotone() -> None:
    # What keeps GELU and SiLU out of MONOTONE_ACTIVATIONS, seen on the smallest example.
    values = torch.tensor([[[[-0.5, -5.0], [-5.0, -5.0]]]])
    pool = nn.MaxPool2d(2)
    for activation in (nn.GELU(), nn.SiLU()):
        assert not torch.equal(pool(activation(values)), activation(pool(values)))

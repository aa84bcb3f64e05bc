"""Builds the models as torch modules."""

from collections import OrderedDict

import torch
from torch import nn

from fmnist_ray.models.config import EnsembleConfig, ModelConfig
from fmnist_ray.models.dropout import Dropout
from fmnist_ray.models.ensemble import Ensemble
from fmnist_ray.models.layers import (
    CLASSES,
    IMAGE_SIZE,
    Activation,
    Convolution,
    Dense,
    Layer,
    MaxPool,
    layers_of,
    pool_first,
)
from fmnist_ray.models.layers import Dropout as DropoutLayer
from fmnist_ray.models.layers import Flatten as FlattenLayer
from fmnist_ray.models.memory_layout import Flatten
from fmnist_ray.models.pooling import MaxPoolOfConvolution
from fmnist_ray.models.resnet import ResNet

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


def build_model(config: ModelConfig | EnsembleConfig, seed: int) -> nn.Module:
    """Builds a model with Glorot-uniform weights and zero biases.

    Args:
        config: The model, or several to be averaged.
        seed: Of the initial weights; the global random state is neither read nor changed.

    Returns:
        A module from float images (n, 1, 28, 28) to logits (n, 10).
    """
    if isinstance(config, EnsembleConfig):
        return Ensemble({name: build_model(each, seed) for name, each in config.ensemble.items()})
    # Building draws torch's default weights first; fork_rng keeps that from the caller's state.
    with torch.random.fork_rng(devices=[]):
        if config.model == "resnet":
            most = 3 if config.width_growth == "linear" else 4
            module: nn.Module = ResNet(
                (config.width, 2 * config.width, most * config.width),
                config.first_stride,
                config.blocks,
                CLASSES,
                _ACTIVATIONS[config.activation],
                Dropout(config.dropout_rate),
            )
        else:
            module = _sequential(layers_of(config), config)
    _initialise(module, seed)
    return module


def parameter_count(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(each.numel() for each in module.parameters() if each.requires_grad)


def _sequential(layers: tuple[Layer, ...], config: ModelConfig) -> nn.Sequential:
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    channels, size, features = 1, IMAGE_SIZE, 0

    def add(kind: str, module: nn.Module) -> None:
        modules[f"{kind}{sum(name.startswith(kind) for name in modules) + 1}"] = module

    for layer in pool_first(layers, config.activation):
        before = next(reversed(modules.values()), None)
        match layer:
            case Convolution(name, filters, kernel):
                modules[name] = nn.Conv2d(channels, filters, kernel)
                channels, size = filters, size - kernel + 1
            case Dense(name, units):
                modules[name] = nn.Linear(features, units)
                features = units
            case MaxPool(pool):
                quick = pool == 2 and isinstance(before, nn.Conv2d)
                add("pool", MaxPoolOfConvolution() if quick else nn.MaxPool2d(pool))
                size //= pool
            case FlattenLayer():
                add("flatten", Flatten())
                features = channels * size * size
            case Activation():
                if isinstance(before, MaxPoolOfConvolution) and config.activation == "relu":
                    before.relu = True  # it does both in one
                else:
                    add("activation", _ACTIVATIONS[config.activation]())
            case DropoutLayer():
                add("dropout", Dropout(config.dropout_rate))
    return nn.Sequential(modules)


def _initialise(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for each in module.modules():
        if isinstance(each, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(each.weight, generator=generator)
            if each.bias is not None:
                nn.init.zeros_(each.bias)

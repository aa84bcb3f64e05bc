"""The plain models as lists of layers, told once for every framework.

A list is read from the input (1 channel, 28 x 28) to the 10 logits. Builders turn it into
modules of their framework; the ResNet, which is no list, is a torch module of its own.
"""

from dataclasses import dataclass

from fmnist_ray.models.config import MONOTONE_ACTIVATIONS, ModelConfig

IMAGE_SIZE = 28
CLASSES = 10


@dataclass(frozen=True)
class Convolution:
    """A convolution without padding, stride 1."""

    name: str
    filters: int
    kernel: int = 3


@dataclass(frozen=True)
class Dense:
    """A fully connected layer."""

    name: str
    units: int


@dataclass(frozen=True)
class Activation:
    """The configured activation."""


@dataclass(frozen=True)
class MaxPool:
    """Max pooling, stride equal to size."""

    size: int = 2


@dataclass(frozen=True)
class Dropout:
    """Dropout at the configured rate."""


@dataclass(frozen=True)
class Flatten:
    """All channels and pixels in one vector, in the order channel, row, column."""


Layer = Convolution | Dense | Activation | MaxPool | Dropout | Flatten


def layers_of(config: ModelConfig) -> tuple[Layer, ...]:
    """The layers of a DNN or CNN.

    Raises:
        ValueError: The model is not a list of layers.
    """
    if config.model == "dnn":
        return (
            Flatten(),
            Dense("dense1", 128),
            Activation(),
            Dropout(),
            Dense("dense2", 64),
            Activation(),
            Dropout(),
            Dense("output", CLASSES),
        )
    if config.model == "cnn":
        return (
            Convolution("conv1", 32),
            Activation(),
            MaxPool(),
            Dropout(),
            Convolution("conv2", 64),
            Activation(),
            MaxPool(),
            Dropout(),
            Flatten(),
            Dense("dense1", 64),
            Activation(),
            Dropout(),
            Dense("output", CLASSES),
        )
    raise ValueError(f"{config.model} is not a list of layers")


def pool_first(layers: tuple[Layer, ...], activation: str) -> list[Layer]:
    """The same function with pooling before monotone activations, where it is cheaper."""
    ordered = list(layers)
    if activation in MONOTONE_ACTIVATIONS:
        for at in range(len(ordered) - 1):
            if isinstance(ordered[at], Activation) and isinstance(ordered[at + 1], MaxPool):
                ordered[at], ordered[at + 1] = ordered[at + 1], ordered[at]
    return ordered

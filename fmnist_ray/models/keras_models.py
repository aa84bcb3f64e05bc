"""Builds the DNN and the CNN as Keras models, and moves their weights to and from torch's form.

Keras keeps images as (height, width, channels), kernels as (height, width, in, out) and dense
weights as (in, out); torch has the channels first and (out, in).
"""

import math

import numpy as np

from fmnist_ray.models.config import ModelConfig, Weights
from fmnist_ray.models.layers import (
    IMAGE_SIZE,
    Activation,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    layers_of,
    pool_first,
)
from fmnist_ray.tensorflow_setup import keras

_LEAKY_SLOPE = 0.01  # torch's; Keras' own is 0.3


def build_keras_model(config: ModelConfig, seed: int, dtype: str = "float32") -> keras.Model:
    """Builds a DNN or CNN with Glorot-uniform weights and zero biases.

    Args:
        config: The model.
        seed: Of the initial weights, which are not those that torch draws by it.
        dtype: Keras' policy, such as `mixed_bfloat16`.

    Returns:
        A model from float images (n, 28, 28, 1) to logits (n, 10).

    Raises:
        ValueError: The model is not a list of layers.
    """
    seeds = iter(np.random.SeedSequence(seed).generate_state(32).tolist())
    model = keras.Sequential([keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1))])

    def initializer() -> keras.initializers.Initializer:
        return keras.initializers.GlorotUniform(next(seeds))

    for layer in pool_first(layers_of(config), config.activation):
        match layer:
            case Convolution(name, filters, kernel):
                made = keras.layers.Conv2D(
                    filters, kernel, name=name, kernel_initializer=initializer(), dtype=dtype
                )
            case Dense(name, units):
                made = keras.layers.Dense(
                    units, name=name, kernel_initializer=initializer(), dtype=dtype
                )
            case MaxPool(pool):
                made = keras.layers.MaxPooling2D(pool, dtype=dtype)
            case Flatten():
                made = keras.layers.Flatten(dtype=dtype)
            case Activation() if config.activation == "leaky_relu":
                made = keras.layers.LeakyReLU(_LEAKY_SLOPE, dtype=dtype)
            case Activation():
                made = keras.layers.Activation(config.activation, dtype=dtype)
            case Dropout():
                made = keras.layers.Dropout(config.dropout_rate, seed=next(seeds), dtype=dtype)
        model.add(made)
    return model


def torch_weights(config: ModelConfig, model: keras.Model) -> Weights:
    """A copy of a model's weights by their names in torch's state dict."""
    weights: Weights = {}
    for name, (kernel, bias) in _layers(model):
        value = kernel.numpy()
        if value.ndim == 4:
            value = value.transpose(3, 2, 0, 1)
        elif name == _after_flatten(config):
            side = _side_before(value.shape[0], config)
            value = value.reshape(side, side, -1, value.shape[1])
            value = value.transpose(3, 2, 0, 1).reshape(value.shape[-1], -1)
        else:
            value = value.T
        weights[f"{name}.weight"] = np.array(value, np.float32, order="C")
        weights[f"{name}.bias"] = np.array(bias.numpy())
    return weights


def load_torch_weights(config: ModelConfig, model: keras.Model, weights: Weights) -> None:
    """Sets a model's weights to those of a torch state dict.

    Raises:
        ValueError: Names or shapes do not agree.
    """
    layers = _layers(model)
    wanted = {f"{name}.{kind}" for name, _ in layers for kind in ("weight", "bias")}
    if wanted != set(weights):
        odd = ", ".join(sorted(wanted ^ set(weights))[:3])
        raise ValueError(f"weights and the model {config.model} differ in {odd}")
    for name, (kernel, bias) in layers:
        value = weights[f"{name}.weight"]
        if value.ndim == 4:
            value = value.transpose(2, 3, 1, 0)
        elif name == _after_flatten(config):
            side = _side_before(value.shape[1], config)
            value = value.reshape(len(value), -1, side, side)
            value = value.transpose(2, 3, 1, 0).reshape(-1, len(value))
        else:
            value = value.T
        kernel.assign(value)
        bias.assign(weights[f"{name}.bias"])


def _layers(model: keras.Model) -> list[tuple[str, list[keras.Variable]]]:
    """Name, kernel and bias of each layer that has them."""
    return [(layer.name, layer.weights[:2]) for layer in model.layers if hasattr(layer, "kernel")]


def _after_flatten(config: ModelConfig) -> str:
    """The dense layer that reads pixels and channels; its inputs are ordered differently."""
    layers = layers_of(config)
    after = layers[layers.index(Flatten()) :]
    return next(layer.name for layer in after if isinstance(layer, Dense))


def _side_before(inputs: int, config: ModelConfig) -> int:
    """Height and width, in pixels, of what is flattened into so many inputs."""
    filters = [layer.filters for layer in layers_of(config) if isinstance(layer, Convolution)]
    return math.isqrt(inputs // (filters[-1] if filters else 1))

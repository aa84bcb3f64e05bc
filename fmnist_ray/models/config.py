"""What a model is: its architecture, activation, dropout and size."""

from collections import Counter
from typing import Any, Literal, get_args

import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

Weights = dict[str, npt.NDArray[Any]]
"""A model's weights by their names in torch's state dict, the form in which they are kept."""

ModelName = Literal["dnn", "cnn", "resnet"]
WidthGrowth = Literal["linear", "double"]
ActivationName = Literal["relu", "tanh", "sigmoid", "elu", "selu", "leaky_relu", "gelu", "silu"]

MODEL_NAMES: tuple[str, ...] = get_args(ModelName)
ACTIVATION_NAMES: tuple[str, ...] = get_args(ActivationName)

# Max pooling and a monotone activation commute, and pooling first leaves the activation a
# quarter of the values. GELU and SiLU dip below zero before they rise, so they are left out.
MONOTONE_ACTIVATIONS = frozenset({"relu", "tanh", "sigmoid", "elu", "selu", "leaky_relu"})

_DEFAULT_DROPOUT = {"dnn": 0.0, "cnn": 0.25, "resnet": 0.0}


class ModelConfig(BaseModel):
    """An image classifier for 28 x 28 grey images and 10 classes.

    Attributes:
        model: `dnn` (dense 128, 64), `cnn` (convolutions 32, 64, dense 64) or `resnet`
            (small residual network with batch norm).
        activation: After every hidden layer.
        dropout: Share of values dropped; None takes the model's own default (DNN 0, CNN 0.25,
            ResNet 0).
        width: Channels of the ResNet's first stage. Other models ignore this and what follows.
        width_growth: `linear` gives its other two stages two and three times as many, `double` two
            and four times.
        first_stride: 2 halves the image before the first stage, 1 leaves it at 28 pixels: three
            times as dear, and more accurate.
        blocks: Residual blocks of each stage.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelName = "cnn"
    activation: ActivationName = "relu"
    dropout: float | None = Field(default=None, ge=0.0, lt=1.0)
    width: int = Field(default=20, ge=1, le=1024)
    width_growth: WidthGrowth = "linear"
    first_stride: Literal[1, 2] = 2
    blocks: int = Field(default=1, ge=1, le=20)

    @property
    def dropout_rate(self) -> float:
        """The share of values dropped, the default resolved."""
        return _DEFAULT_DROPOUT[self.model] if self.dropout is None else self.dropout


class EnsembleConfig(BaseModel):
    """Several models whose probabilities are averaged.

    Attributes:
        ensemble: The members by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ensemble: dict[str, ModelConfig] = Field(min_length=1)

    @property
    def model(self) -> str:
        """What it is made of, such as `ensemble of 10 cnn and 10 dnn`."""
        counts = Counter(member.model for member in self.ensemble.values())
        return "ensemble of " + " and ".join(f"{n} {model}" for model, n in counts.items())

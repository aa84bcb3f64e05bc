"""Models as lists of layers, and their configuration."""

import pytest
from pydantic import ValidationError

from fmnist_ray.models.config import MODEL_NAMES, ModelConfig
from fmnist_ray.models.layers import Convolution, Dense, Dropout, MaxPool, layers_of


def test_the_dnn_is_dense_128_and_64_before_the_10_outputs() -> None:
    layers = layers_of(ModelConfig(model="dnn"))
    assert [layer.units for layer in layers if isinstance(layer, Dense)] == [128, 64, 10]


def test_the_cnn_is_two_convolutions_each_pooled_and_dropped_from() -> None:
    layers = layers_of(ModelConfig(model="cnn"))
    assert [layer.filters for layer in layers if isinstance(layer, Convolution)] == [32, 64]
    assert [layer.units for layer in layers if isinstance(layer, Dense)] == [64, 10]
    assert sum(isinstance(layer, MaxPool) for layer in layers) == 2
    assert sum(isinstance(layer, Dropout) for layer in layers) == 3


def test_the_resnet_is_no_list() -> None:
    with pytest.raises(ValueError, match="resnet"):
        layers_of(ModelConfig(model="resnet"))


def test_the_dropout_rate_is_the_models_own_unless_given() -> None:
    rates = {name: ModelConfig.model_validate({"model": name}).dropout_rate for name in MODEL_NAMES}
    assert rates == {"dnn": 0.0, "cnn": 0.25, "resnet": 0.0}
    assert ModelConfig(model="cnn", dropout=0.0).dropout_rate == 0.0


@pytest.mark.parametrize(
    "values",
    [{"model": "vgg"}, {"activation": "swish"}, {"dropout": 1.0}, {"width": 0}, {"widht": 3}],
)
def test_what_is_no_model_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        ModelConfig.model_validate(values)

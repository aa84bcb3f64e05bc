import numpy as np
import pytest

from fmnist_ray.models.config import ACTIVATION_NAMES, ModelConfig
from fmnist_ray.models.keras_models import (
    build_keras_model,
    load_torch_weights,
    torch_weights,
)
from fmnist_ray.models.storage import build_with
from fmnist_ray.models.torch_models import build_model, parameter_count
from fmnist_ray.training.keras_predict import keras_predict, logits_of
from fmnist_ray.training.precision import prepare_batch
from fmnist_ray.training.predict import predict

EVERY = [
    *((model, "relu") for model in ("dnn", "cnn")),
    *(("cnn", activation) for activation in ACTIVATION_NAMES[1:]),
]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize(("model", "activation"), EVERY)
def test_weights_of_torch_give_the_same_logits(
    model: str, activation: str, images: np.ndarray
) -> None:
    import torch

    config = ModelConfig(model=model, activation=activation)
    module = build_model(config, seed=1).eval()
    keras_model = build_keras_model(config, seed=2)
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    load_torch_weights(config, keras_model, weights)
    with torch.inference_mode():
        expected = module(prepare_batch(torch.from_numpy(images)[:, None], "fp32")).numpy()
    found = logits_of(keras_model, images, training=False).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(
        keras_predict(keras_model, images), predict(module, images), atol=1e-5
    )
    assert keras_model.count_params() == parameter_count(module)
    back = torch_weights(config, keras_model)
    assert back.keys() == weights.keys()
    for name, value in weights.items():
        assert np.array_equal(back[name], value), name


@pytest.mark.parametrize("model", ["dnn", "cnn"])
def test_weights_of_keras_give_the_same_probabilities_in_torch(
    model: str, images: np.ndarray
) -> None:
    config = ModelConfig(model=model)
    keras_model = build_keras_model(config, seed=3)
    module = build_with(config, torch_weights(config, keras_model))
    np.testing.assert_allclose(
        predict(module, images), keras_predict(keras_model, images), atol=1e-5
    )


def test_initial_weights_are_glorot_uniform_and_by_seed() -> None:
    config = ModelConfig(model="cnn")
    first, again, other = (
        torch_weights(config, build_keras_model(config, seed)) for seed in (1, 1, 2)
    )
    for name, value in first.items():
        assert np.array_equal(value, again[name])
        if name.endswith("bias"):
            assert not value.any()
            continue
        assert not np.array_equal(value, other[name])
        receptive = int(np.prod(value.shape[2:]))
        limit = np.sqrt(6 / ((value.shape[0] + value.shape[1]) * receptive))
        assert 0.97 * limit < np.abs(value).max() <= limit


def test_no_images_give_no_probabilities(images: np.ndarray) -> None:
    model = build_keras_model(ModelConfig(model="dnn"), 0)
    assert keras_predict(model, images[:0]).shape == (0, 10)


def test_weights_of_another_model_are_refused() -> None:
    weights = torch_weights(
        ModelConfig(model="dnn"), build_keras_model(ModelConfig(model="dnn"), 0)
    )
    config = ModelConfig(model="cnn")
    with pytest.raises(ValueError, match="differ in conv1"):
        load_torch_weights(config, build_keras_model(config, 0), weights)


def test_the_resnet_is_refused() -> None:
    with pytest.raises(ValueError, match="resnet"):
        build_keras_model(ModelConfig(model="resnet"), 0)

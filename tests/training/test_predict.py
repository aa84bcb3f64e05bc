import numpy as np

from fmnist_ray.models.storage import build_with
from fmnist_ray.models.torch_models import build_model
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.contract import FitData
from fmnist_ray.training.fit import fit
from fmnist_ray.training.predict import predict


def test_probabilities_are_those_that_training_reported(small_data: FitData) -> None:
    config = FitConfig(model="cnn", epochs=2)
    result = fit(config, small_data, 0)
    module = build_with(config.architecture, result.weights)
    assert small_data.validation is not None
    probability = predict(module, small_data.images[small_data.validation])
    assert probability.shape == (200, 10)
    np.testing.assert_allclose(probability.sum(1), 1, atol=1e-5)
    assert result.probability is not None
    # Training may validate in bf16.
    assert np.abs(probability - result.probability).max() < 0.05


def test_no_images_give_no_rows() -> None:
    module = build_model(FitConfig(model="dnn").architecture, 0)
    assert predict(module, np.zeros((0, 28, 28), np.uint8)).shape == (0, 10)

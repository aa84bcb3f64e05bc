from pathlib import Path

import numpy as np
import torch

from fmnist_ray.models.config import EnsembleConfig, ModelConfig
from fmnist_ray.models.ensemble import Ensemble
from fmnist_ray.models.storage import ensemble_weights, load_model, save_model
from fmnist_ray.models.torch_models import build_model
from fmnist_ray.training.predict import predict

DNN, CNN = ModelConfig(model="dnn"), ModelConfig(model="cnn", activation="silu")
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 28, 28)).astype(np.uint8)


def test_probabilities_are_the_mean_of_the_members() -> None:
    members = {"a": build_model(DNN, 1), "b": build_model(CNN, 2), "c": build_model(CNN, 3)}
    expected = np.mean([predict(module, IMAGES) for module in members.values()], axis=0)
    assert np.allclose(predict(Ensemble(members), IMAGES), expected, atol=1e-6)


def test_a_probability_of_zero_stays_a_number() -> None:
    class Sure(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[1e4] + [0.0] * 9]).expand(len(images), 10)

    found = predict(Ensemble({"sure": Sure()}), IMAGES)
    assert np.allclose(found[:, 0], 1)
    assert np.isfinite(found).all()


def test_an_ensemble_comes_back_from_its_files(tmp_path: Path) -> None:
    modules = {"dnn-member-01": build_model(DNN, 1), "cnn-seed-10": build_model(CNN, 2)}
    config = EnsembleConfig(ensemble={"dnn-member-01": DNN, "cnn-seed-10": CNN})
    weights = ensemble_weights({name: module.state_dict() for name, module in modules.items()})
    save_model(tmp_path, config, weights)
    module, found = load_model(tmp_path)
    assert found == config
    assert found.model == "ensemble of 1 dnn and 1 cnn"
    expected = predict(Ensemble(modules), IMAGES)
    assert np.array_equal(predict(module, IMAGES), expected)

"""Models saved and loaded, whole, damaged and swapped."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fmnist_ray.errors import RequestError
from fmnist_ray.models.config import ModelConfig
from fmnist_ray.models.storage import DESCRIPTION_FILE, WEIGHTS_FILE, load_model, save_model
from fmnist_ray.models.torch_models import build_model

DNN = ModelConfig(model="dnn", activation="tanh")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(tmp_path, DNN, build_model(DNN, seed=4).state_dict(), unit="trial-1")
    return tmp_path


@pytest.mark.parametrize(
    "config", [DNN, ModelConfig(model="cnn", dropout=0.5), ModelConfig(model="resnet", width=6)]
)
def test_a_saved_model_comes_back_ready_to_predict(tmp_path: Path, config: ModelConfig) -> None:
    module = build_model(config, seed=4)
    module(torch.randn(8, 1, 28, 28))  # moves the batch norms' averages, which are saved too
    save_model(tmp_path, config, module.to(memory_format=torch.channels_last).state_dict())
    loaded, loaded_config = load_model(tmp_path)
    assert loaded_config == config
    assert not loaded.training
    images = torch.randn(5, 1, 28, 28)
    torch.testing.assert_close(loaded(images), module.eval()(images))


def test_the_description_names_architecture_size_and_further_facts(saved: Path) -> None:
    description = json.loads((saved / DESCRIPTION_FILE).read_text())
    assert description["architecture"]["model"] == "dnn"
    assert description["parameters"] == 109_386
    assert description["unit"] == "trial-1"


@pytest.mark.parametrize("name", [WEIGHTS_FILE, DESCRIPTION_FILE])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(RequestError, match=name):
        load_model(saved)


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.5, 0.9999])
def test_truncated_weights_are_refused(saved: Path, share: float) -> None:
    content = (saved / WEIGHTS_FILE).read_bytes()
    (saved / WEIGHTS_FILE).write_bytes(content[: int(share * len(content))])
    with pytest.raises(RequestError, match=r"model\.safetensors is damaged"):
        load_model(saved)


def test_what_is_no_safetensors_file_is_refused_and_never_unpickled(saved: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (saved / "unpickled",))

    (saved / WEIGHTS_FILE).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(RequestError, match="damaged"):
        load_model(saved)
    assert not (saved / "unpickled").exists()


def test_a_folder_in_the_place_of_the_weights_is_refused(saved: Path) -> None:
    (saved / WEIGHTS_FILE).unlink()
    (saved / WEIGHTS_FILE).mkdir()
    with pytest.raises(RequestError, match=r"model\.safetensors"):
        load_model(saved)


def test_weights_of_another_shape_are_refused(saved: Path) -> None:
    weights = load_file(saved / WEIGHTS_FILE)
    weights["output.weight"] = torch.zeros(11, 64)
    save_file(weights, saved / WEIGHTS_FILE)
    with pytest.raises(RequestError, match=r"does not fit the model dnn.*output\.weight"):
        load_model(saved)


def test_missing_weights_are_refused(saved: Path) -> None:
    weights = load_file(saved / WEIGHTS_FILE)
    del weights["dense1.bias"]
    save_file(weights, saved / WEIGHTS_FILE)
    with pytest.raises(RequestError, match=r"does not fit the model dnn.*dense1\.bias"):
        load_model(saved)


def test_weights_of_another_model_are_refused(saved: Path, tmp_path: Path) -> None:
    (saved / DESCRIPTION_FILE).write_text(json.dumps({"architecture": {"model": "cnn"}}))
    with pytest.raises(RequestError, match="does not fit the model cnn"):
        load_model(saved)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"architecture": {"model": "vgg"}}'])
def test_a_damaged_description_is_refused(saved: Path, content: str) -> None:
    (saved / DESCRIPTION_FILE).write_text(content)
    with pytest.raises(RequestError, match=r"model\.json"):
        load_model(saved)

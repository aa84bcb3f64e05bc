"""`export`: files that other programs load, the same answers as torch, and a card."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from fmnist_ray.dataset.sample import load_sample
from fmnist_ray.errors import RequestError, WorkError
from fmnist_ray.export import export
from fmnist_ray.models.config import EnsembleConfig, ModelConfig
from fmnist_ray.models.storage import ensemble_weights, load_model, save_model
from fmnist_ray.models.torch_models import build_model
from fmnist_ray.pretrained import PRETRAINED_FOLDER
from fmnist_ray.records import Record
from fmnist_ray.training import exporting
from fmnist_ray.training.predict import predict
from tests.conftest import ROOT

IMAGES = load_sample().test.images
MODELS = ["dnn", "cnn", "resnet", "ensemble"]


def _weights(config: ModelConfig, seed: int) -> dict[str, np.ndarray]:
    state = build_model(config, seed=seed).state_dict()
    return {key: value.numpy() for key, value in state.items()}


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An untrained model of each kind."""
    record = Record.create(tmp_path, "run", "train", "cnn")
    record.start("train", {}, 0, {"source": "sample", "sha256": {"test_labels": "0123"}})
    if request.param == "ensemble":
        configs = {f"m{n}": ModelConfig(model=name) for n, name in enumerate(MODELS[:3])}
        weights = {name: _weights(config, 1) for name, config in configs.items()}
        save_model(record.path, EnsembleConfig(ensemble=configs), ensemble_weights(weights))
    else:
        config = ModelConfig(model=request.param)
        save_model(record.path, config, _weights(config, 0))
    return record.path


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated")
@pytest.mark.parametrize("folder", MODELS, indirect=True)
def test_onnx_and_torchscript_say_what_torch_says(folder: Path) -> None:
    told = export(str(folder), "onnx,torchscript", quiet=True)
    expected = predict(load_model(folder)[0], IMAGES)
    session = onnxruntime.InferenceSession(told["files"]["onnx"]["file"])
    loaded = torch.jit.load(told["files"]["torchscript"]["file"])
    for count in (1, 3, 500):
        (found,) = session.run(["probabilities"], {"images": IMAGES[:count]})
        assert np.abs(found - expected[:count]).max() < 1e-4
        with torch.inference_mode():
            found = loaded(torch.from_numpy(IMAGES[:count].copy())).numpy()
        assert np.abs(found - expected[:count]).max() < 1e-4
    for each in told["files"].values():
        assert each["largest_difference"] < 1e-4
        assert each["images"] == 500
        assert Path(each["file"]).stat().st_size == each["bytes"]


def test_the_card_tells_what_the_record_knows(tmp_path: Path) -> None:
    record = tmp_path / "search"
    shutil.copytree(ROOT / "results" / "reference" / "tune-cnn", record)
    for file in ("model.json", "model.safetensors"):
        shutil.copy(PRETRAINED_FOLDER / file, record)
    told = export(str(record), "safetensors", quiet=True)
    card = Path(told["card"]).read_text()
    metrics = json.loads((record / "metrics.json").read_text())
    run = json.loads((record / "run.json").read_text())
    assert f"{metrics['test_accuracy']:.2%} of the 10,000 test images" in card
    assert "121,930 parameters" in card
    assert run["data"]["sha256"]["test_labels"] in card
    assert "| Shirt | 0." in card
    assert "## What it is not for" in card
    copied = Path(told["folder"])
    probabilities = predict(load_model(copied)[0], IMAGES[:10])
    assert np.array_equal(probabilities, predict(load_model(PRETRAINED_FOLDER)[0], IMAGES[:10]))


def test_the_model_that_comes_along_is_exported_where_one_says(tmp_path: Path) -> None:
    told = export(None, "onnx", str(tmp_path / "out"), quiet=True)
    assert "91.76% of the test images" in Path(told["card"]).read_text()
    with pytest.raises(RequestError, match="--to DIR"):
        export(None, quiet=True)


@pytest.mark.parametrize("folder", ["dnn"], indirect=True)
def test_a_file_that_differs_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "LARGEST_DIFFERENCE", -1.0)
    with pytest.raises(WorkError, match="It was not kept"):
        export(str(folder), "onnx", quiet=True)
    assert not (folder / "export").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["results/nothing"], "There is no record at results/nothing"),
        (["--format", "pmml", "--to", "x"], "--format 'pmml' names pmml. There are onnx,"),
        (["--format", ",", "--to", "x"], "names nothing"),
        (["."], "holds no model"),
    ],
)
def test_wrong_wishes_are_refused_in_a_sentence(
    tmp_path: Path, options: list[str], words: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fmnist_ray.export", *options],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin", "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert not list(tmp_path.iterdir())

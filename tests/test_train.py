"""`train` as a person runs it."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fmnist_ray import train as train_verb
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.errors import RequestError
from fmnist_ray.models.storage import load_model
from fmnist_ray.records import Record, read_json
from fmnist_ray.train import train
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.predict import predict

SMALL: dict[str, Any] = {"model": "dnn", "data": "sample", "train_size": 400, "quiet": True}


@pytest.mark.ray
def test_a_model_and_its_history_are_in_the_record(ray_cluster: None, tmp_path: Path) -> None:
    metrics = train(set_=["epochs=3", "learning_rate=5e-3"], results=str(tmp_path), **SMALL)
    record = Path(metrics["record"])
    module, config = load_model(record)
    assert config.model == "dnn"
    assert isinstance(module, torch.nn.Module)
    with (record / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["validation_accuracy"]) == pytest.approx(metrics["validation_accuracy"])
    run = read_json(record / "run.json")
    assert run["status"] == "complete"
    assert run["config"]["fit"]["learning_rate"] == 0.005
    # Its configuration is where the next one may begin.
    again = train(
        config=str(record), set_=["epochs=1"], data="sample", results=str(tmp_path), quiet=True
    )
    fit = read_json(Path(again["record"]) / "run.json")["config"]["fit"]
    assert (fit["model"], fit["learning_rate"], fit["epochs"]) == ("dnn", 0.005, 1)


@pytest.mark.ray
def test_a_worker_gives_the_weights_of_local_mode(ray_cluster: None, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("model: cnn\nepochs: 2\nflip: true\n")
    options: dict[str, Any] = {**SMALL, "model": None, "config": str(config), "cpus": 1}
    weights = []
    for workers in (0, 1):
        metrics = train(workers=workers, results=str(tmp_path / "results"), **options)
        weights.append(load_model(Path(metrics["record"]))[0].state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name])


@pytest.mark.ray
def test_a_model_of_tensorflow_is_a_model_like_any_other(ray_cluster: None, tmp_path: Path) -> None:
    options: dict[str, Any] = {**SMALL, "model": "cnn", "precision": "fp32"}
    metrics = train(
        framework="tensorflow", set_=["epochs=2"], results=str(tmp_path), name="keras", **options
    )
    record = Path(metrics["record"])
    assert read_json(record / "run.json")["config"]["fit"]["framework"] == "tensorflow"
    module, config = load_model(record)
    assert config.model == "cnn"
    with np.load(record / "units" / "fit" / "predictions.npz") as found:
        images = load_dataset("sample").train.images[found["index"]]
        np.testing.assert_allclose(predict(module, images), found["probability"], atol=1e-4)
        right = (found["probability"].argmax(1) == found["label"]).mean()
    assert right == pytest.approx(metrics["validation_accuracy"])


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--set", "epochz=3"], ["epochz", "epochs"]),
        (["--set", "epochs"], ["epochs", "KEY=VALUE"]),
        (["--set", "epochs=many"], ["epochs", "many"]),
        (["--set", "optimizer=adagrad"], ["adagrad", "rmsprop"]),
        (["--model", "lenet"], ["lenet", "resnet"]),
        (["--framework", "jax"], ["jax", "tensorflow"]),
        (["--framework", "tensorflow", "--model", "resnet"], ["resnet", "torch only", "`cnn`"]),
        (["--config", "missing.yaml"], ["missing.yaml"]),
        (["--precision", "fp8"], ["fp8", "bf16"]),
        (["--resume", "/nowhere"], ["/nowhere"]),
        (["--address", "127.0.0.1:1", "--data", "sample"], ["127.0.0.1:1", "--address"]),
        (["--data", "/nowhere"], ["/nowhere"]),
    ],
)
def test_a_wrong_request_is_refused(options: list[str], parts: list[str], tmp_path: Path) -> None:
    found = CliRunner().invoke(train_verb.app, ["--results", str(tmp_path / "results"), *options])
    assert found.exit_code == 2, found.output
    message = " ".join(found.stderr.split())
    for part in parts:
        assert part in message
    assert not (tmp_path / "results").exists()


@pytest.mark.ray
@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"cpus": 0}, "0 CPUs for a fit"),
        ({"cpus": -1}, "-1 CPUs for a fit"),
        ({"cpus": 64}, "64 CPU can never be met"),
        ({"gpus": -1}, "-1 GPUs for each process"),
        ({"gpus": 1.5}, "1.5 GPUs for each process"),
        ({"workers": 8}, "in each of 8 workers"),
        ({"train_size": 5}, "5 images are too few"),
        ({"validation_fraction": 1.5}, "validation fraction 1.5"),
        ({"validation_fraction": 0, "set_": ["early_stopping=2"]}, "--validation-fraction above 0"),
        ({"name": "../outside"}, "'../outside' cannot be a name"),
    ],
)
def test_what_can_never_run_is_refused_before_a_record_is_begun(
    options: dict[str, Any], part: str, ray_cluster: None, tmp_path: Path
) -> None:
    with pytest.raises(RequestError) as error:
        train(results=str(tmp_path / "results"), **{**SMALL, **options})
    assert part in str(error.value)
    assert not (tmp_path / "results").exists()


@pytest.mark.ray
def test_a_resume_is_refused_where_it_would_be_another_training(
    ray_cluster: None, tmp_path: Path
) -> None:
    record = Record.create(tmp_path, "cut", "train", "dnn")
    request = {"fit": FitConfig(model="dnn", epochs=1).model_dump(), "workers": 0, "cpus": None}
    request |= {"gpus": None, "precision": "auto", "train_size": None, "validation_fraction": 0.1}
    record.start("train", {**request, "data": "sample", "seed": 0}, 0, {"sha256": {"x": "other"}})
    for changed in ({"model": "cnn"}, {"set_": ["epochs=9"]}, {"name": "new"}, {"train_size": 50}):
        (option,) = changed
        with pytest.raises(RequestError, match=f"--{option.strip('_').replace('_', '-')} cannot"):
            train(resume=str(record.path), quiet=True, **changed)
    with pytest.raises(RequestError, match="Name the same data with --data"):
        train(resume=str(record.path), quiet=True)
    record.end("complete")
    with pytest.raises(RequestError, match="is complete"):
        train(resume=str(record.path), quiet=True)
    record.update(verb="tune")
    with pytest.raises(RequestError, match="record of `tune`"):
        train(resume=str(record.path), quiet=True)


@pytest.mark.ray
def test_an_interrupted_training_goes_on(tmp_path: Path) -> None:
    options = [
        "--data",
        "sample",
        "--set",
        "epochs=40",
        "--results",
        str(tmp_path),
        "--name",
        "cut",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "fmnist_ray.train", *options],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    history, deadline = tmp_path / "cut" / "history.csv", time.monotonic() + 90
    while time.monotonic() < deadline:
        if history.exists() and len(history.read_text().splitlines()) >= 4:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 130, messages
    assert "--resume" in messages
    before = history.read_text().splitlines()
    train(resume=str(tmp_path / "cut"), quiet=True)
    after = history.read_text().splitlines()
    assert len(after) == 41
    assert after[:4] == before[:4], "an epoch was trained again"

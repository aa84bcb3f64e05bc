"""The service in this process, without Ray, for what needs none; and the real one, on Ray Serve."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from fmnist_ray.app.api import Classify, build_api
from fmnist_ray.app.bundle import ModelBundle, read_bundle
from fmnist_ray.app.classified import Classified
from fmnist_ray.dataset.sample import load_sample
from fmnist_ray.models.config import EnsembleConfig, ModelConfig
from fmnist_ray.models.storage import ensemble_weights, save_model
from fmnist_ray.models.torch_models import build_model
from fmnist_ray.pretrained import PRETRAINED_FOLDER
from fmnist_ray.training.predict import predict_members
from tests.conftest import ROOT

TEST = load_sample().test


def classifier_of(bundle: ModelBundle) -> Classify:
    """Asks the model in this process."""
    module = bundle.load()

    async def classify(images: np.ndarray) -> Classified:
        return Classified(bundle.name, bundle.members, predict_members(module, images))

    return classify


def api_of(bundle: ModelBundle, classify: Classify | None = None) -> TestClient:
    """The REST service of a model."""

    async def facts() -> Mapping[str, Any]:
        return bundle.facts

    app = build_api(classify or classifier_of(bundle), facts)
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture(scope="session")
def api() -> TestClient:
    """The REST service of the CNN that comes with the package."""
    return api_of(read_bundle(None))


@pytest.fixture(scope="session")
def ensemble_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of an ensemble of three untrained networks."""
    folder = tmp_path_factory.mktemp("ensemble")
    configs = {f"member-{n}": ModelConfig(model="dnn" if n else "cnn") for n in range(3)}
    members = {
        name: {
            key: value.numpy() for key, value in build_model(config, seed=seed).state_dict().items()
        }
        for seed, (name, config) in enumerate(configs.items())
    }
    save_model(folder, EnsembleConfig(ensemble=configs), ensemble_weights(members))
    return folder


@dataclass(frozen=True)
class Service:
    """A service in processes of its own.

    Attributes:
        url: Without a slash at its end.
        results: Its results folder.
        cluster: Address of its Ray.
        process: That was started.
    """

    url: str
    results: Path
    cluster: str
    process: "subprocess.Popen[str]"


@contextmanager
def served(results: Path, *options: str) -> Iterator[Service]:
    """`python -m fmnist_ray.serve`, until it is left."""
    command = [sys.executable, "-m", "fmnist_ray.serve", "--results", str(results), "--json"]
    process = subprocess.Popen(
        [*command, "--port", "0", *options], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the service ended with {process.wait()}"
        summary = json.loads(line)
        url = summary["api"].removesuffix("/api/predict")
        yield Service(url, results, summary["cluster"], process)
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
    assert code == 0


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with the CNN that comes along, and the reference records to look at."""
    results = tmp_path_factory.mktemp("served")
    shutil.copytree(ROOT / "results" / "reference", results / "reference")
    with served(results, str(PRETRAINED_FOLDER)) as running:
        yield running

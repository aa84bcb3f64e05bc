"""`baselines` as a person runs it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from fmnist_ray import baselines as baselines_verb
from fmnist_ray.baselines import baselines
from fmnist_ray.errors import RequestError, WorkError
from fmnist_ray.evaluation.metrics import accuracy
from fmnist_ray.models import classical
from fmnist_ray.records import Record, read_json, write_json
from tests.conftest import ROOT

SMALL: dict[str, Any] = {"data": "sample", "train_size": 400, "quiet": True}
# Settings that cannot do as well as the others are first, where a tie would choose them.
GRIDS = {
    "svm": {"C": (10,), "gamma": (100, "scale")},
    "random_forest": {"bootstrap": (False,), "min_samples_leaf": (100, 1)},
    "logistic_regression": {"C": (1e-8, 0.1)},
}


@pytest.fixture(autouse=True)
def _small_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classical, "GRIDS", GRIDS)


def _units(record: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: read_json(path) for path in record.glob("units/*/metrics.json")}


@pytest.mark.ray
def test_each_models_best_setting_is_scored_and_the_rest_is_not(
    ray_cluster: None, tmp_path: Path
) -> None:
    metrics = baselines(results=str(tmp_path), name="run", **SMALL)
    record = tmp_path / "run"
    run, units = read_json(record / "run.json"), _units(record)
    assert run["status"] == "complete"
    assert run["config"]["models"] == "svm,random_forest,logistic_regression"
    assert metrics == {"record": str(record), **read_json(record / "metrics.json")}
    assert set(units) == {
        "svm-c10-gamma-100",
        "svm-c10-gamma-scale",
        "svm-final",
        "random_forest-bootstrap-false-leaf100",
        "random_forest-bootstrap-false-leaf1",
        "random_forest-final",
        "logistic_regression-c1e-08",
        "logistic_regression-c0.1",
        "logistic_regression-final",
    }
    assert metrics["svm_best_unit"] == "svm-c10-gamma-scale"
    assert metrics["random_forest_best_unit"] == "random_forest-bootstrap-false-leaf1"
    assert metrics["logistic_regression_C"] == 0.1
    config = read_json(record / "units" / "svm-final" / "config.json")
    assert config == {"model": "svm", "C": 10, "gamma": "scale", "train_images": 400}
    assert units["svm-c10-gamma-scale"]["train_images"] == 360
    for name, unit in units.items():
        tested = record / "units" / name / "test_predictions.npz"
        assert ("test_accuracy" in unit) == tested.is_file() == name.endswith("-final")
    with np.load(record / "units" / "svm-final" / "test_predictions.npz") as stored:
        found = accuracy(stored["label"], stored["probability"])
        assert found == metrics["svm_test_accuracy"] > 0.6
    best = metrics["best_model"]
    validated = {m: metrics[f"{m}_validation_accuracy"] for m in GRIDS}
    assert validated[best] == max(validated.values()) == metrics["validation_accuracy"]
    assert metrics["test_accuracy"] == metrics[f"{best}_test_accuracy"]
    own = record / "units" / f"{best}-final" / "test_predictions.npz"
    assert (record / "predictions.npz").read_bytes() == own.read_bytes()


@pytest.mark.ray
def test_a_second_call_fits_only_what_is_missing_or_failed(
    ray_cluster: None, tmp_path: Path
) -> None:
    options = {**SMALL, "models": "logistic_regression,svm"}
    before = baselines(results=str(tmp_path), name="run", seed=3, **options)
    record = tmp_path / "run"
    units = _units(record)
    failed = record / "units" / "svm-c10-gamma-scale" / "metrics.json"
    write_json(failed, {"status": "failed", "seed": 0, "failures": ["once"]})
    (record / "units" / "logistic_regression-final" / "metrics.json").unlink()
    # The options left out are the record's.
    after = baselines(results=str(tmp_path), name="run", quiet=True)
    again = _units(record)
    assert set(again) == set(units)
    refitted = {name for name in units if again[name]["fit_seconds"] != units[name]["fit_seconds"]}
    assert refitted == {"svm-c10-gamma-scale", "logistic_regression-final"}
    same = ("svm_test_accuracy", "logistic_regression_test_accuracy", "best_model")
    assert [after[key] for key in same] == [before[key] for key in same]
    # How much it gets may change, and a complete record stays as it is.
    assert baselines(results=str(tmp_path), name="run", cpus=2, quiet=True) == after
    assert _units(record) == again
    assert read_json(record / "run.json")["config"]["seed"] == 3
    for changed, option in (
        ({"models": "svm"}, "--models svm,logistic_regression"),
        ({"seed": 4}, "--seed 3"),
        ({"train_size": 300}, "--train-size 400"),
        ({"validation_fraction": 0.2}, "--validation-fraction 0.1"),
    ):
        with pytest.raises(RequestError, match=f"begun with {option}"):
            baselines(results=str(tmp_path), name="run", quiet=True, **changed)
    run = read_json(record / "run.json")
    run["data"]["sha256"]["test_labels"] = "other"
    write_json(record / "run.json", run)
    with pytest.raises(RequestError, match="Name the same data with --data"):
        baselines(results=str(tmp_path), name="run", quiet=True)


@pytest.mark.ray
def test_a_fit_that_fails_is_reported_and_the_others_complete(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GRIDS, "logistic_regression", {"C": (-1, 0.1)})
    arguments = ["--data", "sample", "--train-size", "400", "--models"]
    arguments += ["random_forest,logistic_regression", "--retries", "1", "--name", "run"]
    found = CliRunner().invoke(baselines_verb.app, [*arguments, "--results", str(tmp_path)])
    assert found.exit_code == 1, found.output
    messages = " ".join(found.stderr.split())
    assert "logistic_regression-c-1 is tried again" in messages
    assert "1 of 6 fits failed" in messages
    assert f"go on with: python -m fmnist_ray.baselines --name run --results {tmp_path}" in messages
    record = tmp_path / "run"
    units = _units(record)
    failed = units.pop("logistic_regression-c-1")
    assert failed["status"] == "failed"
    assert len(failed["failures"]) == 2
    assert "'C' parameter" in failed["failures"][0]
    assert {unit["status"] for unit in units.values()} == {"complete"}
    assert {"random_forest-final", "logistic_regression-final"} < set(units)
    assert read_json(record / "run.json")["status"] == "failed"
    metrics = read_json(record / "metrics.json")
    assert metrics["fits_failed"] == 1
    assert metrics["logistic_regression_C"] == 0.1


@pytest.mark.ray
def test_a_model_without_any_fit_leaves_the_others(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GRIDS, "logistic_regression", {"C": (-1,)})
    options = {**SMALL, "models": "svm,logistic_regression", "retries": 0}
    with pytest.raises(WorkError, match="1 of 5 fits failed"):
        baselines(results=str(tmp_path), name="run", **options)
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert metrics["best_model"] == "svm"
    assert "logistic_regression_test_accuracy" not in metrics


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--models", "svm,forest"], ["--models names 'forest'", "random_forest"]),
        (["--models", ""], ["--models names ''"]),
        (["--train-size", "5"], ["--train-size is 5"]),
        (["--train-size", "50"], ["50 training images, 5 of them", "about 100"]),
        (["--train-size", "5000"], ["5000", "2000"]),
        (["--validation-fraction", "1"], ["validation fraction 1.0"]),
        (["--cpus", "0"], ["--cpus is 0"]),
        (["--retries", "-1"], ["--retries is -1"]),
        (["--max-concurrent", "0"], ["--max-concurrent is 0"]),
        (["--name", "../outside"], ["'../outside' cannot be a name"]),
        (["--data", "/nowhere"], ["/nowhere"]),
        (["--address", "127.0.0.1:1"], ["127.0.0.1:1", "--address"]),
    ],
)
def test_a_wrong_request_is_refused(options: list[str], parts: list[str], tmp_path: Path) -> None:
    arguments = ["--data", "sample", "--results", str(tmp_path / "results"), *options]
    found = CliRunner().invoke(baselines_verb.app, arguments)
    assert found.exit_code == 2, found.output
    message = " ".join(found.stderr.split())
    for part in parts:
        assert part in message
    assert not (tmp_path / "results").exists()


def test_another_verbs_record_is_refused(tmp_path: Path) -> None:
    Record.create(tmp_path, "mine", "train", "cnn").start("train", {}, 0, {})
    with pytest.raises(RequestError, match="mine is a record of `train`, not of `baselines`"):
        baselines(results=str(tmp_path), name="mine", data="sample")


@pytest.mark.ray
def test_more_cpus_than_there_are_are_refused(ray_cluster: None, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="64 CPU can never be met"):
        baselines(results=str(tmp_path / "results"), cpus=64, **SMALL)
    assert not (tmp_path / "results").exists()


def test_its_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; import fmnist_ray.baselines; "
        "print([m for m in ('ray', 'torch', 'sklearn', 'sklearnex') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert found.stdout.strip() == "[]"

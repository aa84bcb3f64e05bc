"""`transfer` from the request to the record."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fmnist_ray import transfer as verb
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.errors import Interrupted, RequestError
from fmnist_ray.evaluation.metrics import accuracy
from fmnist_ray.models.vgg import convolution_shapes
from fmnist_ray.models.vgg_torch import load_transferred
from fmnist_ray.records import Record, read_json
from fmnist_ray.training.predict import predict
from fmnist_ray.transfer import transfer

SMALL: dict[str, Any] = {"data": "sample", "train_size": 300, "quiet": True}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random convolutions, scaled so that activations neither vanish nor explode."""
    generator = torch.Generator().manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    state = {
        name: torch.randn(shape, generator=generator) / (4.5 * shape[0]) ** 0.5
        for name, shape in convolution_shapes("vgg16").items()
    }
    torch.save(state, path)
    return path


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cache of its own, shared by this module's tests."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def frozen(
    ray_cluster: None, weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    results = tmp_path_factory.mktemp("results")
    metrics = transfer(
        weights=str(weights), trials=3, epochs=4, name="frozen", results=str(results), **SMALL
    )
    return results / "frozen", metrics


def _feature_files(cache: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in cache.rglob("features.npy")}


@pytest.mark.ray
def test_the_record_holds_heads_figures_and_the_model(
    frozen: tuple[Path, dict[str, Any]],
) -> None:
    record, metrics = frozen
    run = read_json(record / "run.json")
    assert (run["verb"], run["status"]) == ("transfer", "complete")
    assert run["weights"]["sha256"] == metrics["weights_sha256"]
    assert read_json(record / "metrics.json").items() <= metrics.items()
    facts = {"backbone": "vgg16", "mode": "frozen", "input_size": 32, "trials": 3}
    assert facts.items() <= metrics.items()
    assert (metrics["train_images"], metrics["validation_images"]) == (300, 30)
    units = {path.parent.name: read_json(path) for path in record.glob("units/*/metrics.json")}
    assert set(units) == {"trial-01", "trial-02", "trial-03", "final"}
    trials = {name: each for name, each in units.items() if name != "final"}
    assert metrics["validation_accuracy"] == max(e["validation_accuracy"] for e in trials.values())
    assert all(each["train_images"] == 270 for each in trials.values())
    assert not any("test_accuracy" in each for each in trials.values())
    with (record / "history.csv").open() as stream:
        rows = [row["unit"] for row in csv.DictReader(stream)]
    assert {name: rows.count(name) for name in units} == {
        name: each["epochs"] for name, each in units.items()
    }
    test = load_dataset("sample").test
    with np.load(record / "predictions.npz", allow_pickle=False) as stored:
        probability = stored["probability"]
        np.testing.assert_array_equal(stored["label"], test.labels)
    assert metrics["test_accuracy"] == accuracy(test.labels, probability)
    assert metrics["test_accuracy_low"] < metrics["test_accuracy"] < metrics["test_accuracy_high"]
    module, config = load_transferred(record)
    assert config.backbone == "vgg16"
    # Features in bf16 where the processor has it, in fp32 here.
    found = predict(module, test.images[:100])
    assert np.abs(found - probability[:100]).mean() < 0.02
    assert (record / "model.safetensors").stat().st_size < 30_000
    assert (record / "figures" / "learning_curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.ray
def test_a_second_call_on_the_name_changes_nothing(
    frozen: tuple[Path, dict[str, Any]], cache: Path
) -> None:
    record, before = frozen
    paths = [*record.glob("units/*/metrics.json"), *record.glob("units/*/model.safetensors")]
    times, history = {p: p.stat().st_mtime_ns for p in paths}, (record / "history.csv").read_text()
    features = _feature_files(cache)
    after = transfer(name="frozen", results=str(record.parent), quiet=True)
    assert after == before
    assert {path: path.stat().st_mtime_ns for path in paths} == times
    assert (record / "history.csv").read_text() == history
    assert _feature_files(cache) == features


@pytest.mark.ray
def test_another_run_finds_the_features_and_fits_only_heads(
    frozen: tuple[Path, dict[str, Any]], weights: Path, cache: Path, tmp_path: Path
) -> None:
    features = _feature_files(cache)
    assert len(features) == 2
    options = {"name": "more", "results": str(tmp_path), **SMALL}
    metrics = transfer(weights=str(weights), trials=4, epochs=4, **options)
    assert _feature_files(cache) == features
    for unit in ("trial-01", "trial-02", "trial-03"):
        path = Path("units") / unit / "model.safetensors"
        assert (tmp_path / "more" / path).read_bytes() == (frozen[0] / path).read_bytes()
    assert metrics["trials"] == 4


@pytest.mark.ray
def test_another_run_under_the_same_name_is_refused(
    frozen: tuple[Path, dict[str, Any]], tmp_path: Path, weights: Path
) -> None:
    record, _ = frozen
    options = {"name": "frozen", "results": str(record.parent), "quiet": True}
    with pytest.raises(RequestError, match="--epochs 4, and now 5"):
        transfer(epochs=5, **options)
    state = torch.load(weights, weights_only=True)
    torch.save({name: value + 1 for name, value in state.items()}, tmp_path / "other.pth")
    with pytest.raises(RequestError, match="was begun with weights of SHA-256"):
        transfer(weights=str(tmp_path / "other.pth"), **options)
    moved = tmp_path / "moved.pth"
    moved.write_bytes(weights.read_bytes())
    transfer(weights=str(moved), **options)
    Record.create(record.parent, "other", "train", "cnn").start("train", {}, 0, {})
    with pytest.raises(RequestError, match="record of `train`, not of `transfer`"):
        transfer(name="other", results=str(record.parent), quiet=True)


@pytest.mark.ray
def test_fine_tuning_has_figures_of_its_own(
    frozen: tuple[Path, dict[str, Any]], weights: Path, tmp_path: Path
) -> None:
    options = {"name": "tuned", "results": str(tmp_path)}
    metrics = transfer(weights=str(weights), mode="finetune", epochs=1, cpus=2, **options, **SMALL)
    record = tmp_path / "tuned"
    assert 0 <= metrics["head_validation_accuracy"] <= 1
    assert (metrics["mode"], metrics["input_size"], metrics["unfreeze"]) == ("finetune", 32, 1)
    with (record / "history.csv").open() as stream:
        assert [row["unit"] for row in csv.DictReader(stream)] == ["trial-01", "finetune"]
    test = load_dataset("sample").test
    with np.load(record / "predictions.npz", allow_pickle=False) as stored:
        probability = stored["probability"]
    assert metrics["test_accuracy"] == accuracy(test.labels, probability)
    module, config = load_transferred(record)
    assert config.unfrozen == 1
    assert np.abs(predict(module, test.images[:50]) - probability[:50]).mean() < 0.02
    assert not list(record.rglob("checkpoint.safetensors"))
    assert transfer(**options, quiet=True) == metrics


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--backbone", "vgg11"], "--backbone is 'vgg11'"),
        (["--input-size", "31"], "--input-size is 31"),
        (["--trials", "0"], "--trials is 0"),
        (["--epochs", "0"], "--epochs is 0"),
        (["--mode", "warm"], "--mode is 'warm'"),
        (["--mode", "finetune", "--unfreeze", "3"], "--unfreeze is 3"),
        (["--mode", "finetune", "--trials", "3"], "--trials belongs to --mode frozen"),
        (["--unfreeze", "1"], "--unfreeze belongs to --mode finetune"),
        (["--weights", "nowhere.pth"], "there is no such file"),
        (["--backbone", "vgg19"], "is of vgg16. Give --backbone vgg16"),
        (["--train-size", "3"], "--train-size is 3"),
        (["--cpus", "0"], "--cpus is 0"),
        (["--precision", "fp8"], "--precision is 'fp8'"),
        (["--name", "a/b"], "cannot be a name"),
    ],
)
def test_a_wrong_request_is_refused(
    options: list[str], part: str, weights: Path, tmp_path: Path, cache: Path
) -> None:
    small = ["--data", "sample", "--results", str(tmp_path / "results")]
    before = _feature_files(cache)
    outcome = CliRunner().invoke(verb.app, ["--weights", str(weights), *small, *options])
    assert outcome.exit_code == 2, outcome.output
    assert part in outcome.output
    assert outcome.output.count("error:") == 1
    assert not (tmp_path / "results").exists()
    assert _feature_files(cache) == before


def test_bad_weights_are_refused_before_any_work(tmp_path: Path, weights: Path) -> None:
    bad = tmp_path / "bad.pth"
    bad.write_bytes(weights.read_bytes()[:1_000_000])
    small = ["--data", "sample", "--results", str(tmp_path / "results")]
    outcome = CliRunner().invoke(verb.app, ["--weights", str(bad), *small])
    assert outcome.exit_code == 2
    assert "bad.pth is damaged" in outcome.output
    assert not (tmp_path / "results").exists()


@pytest.mark.ray
def test_more_than_the_cluster_has_is_refused_before_a_record_is_begun(
    ray_cluster: None, weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match="64 CPU can never be met"):
        transfer(weights=str(weights), cpus=64, results=str(tmp_path / "results"), **SMALL)
    assert not (tmp_path / "results").exists()


@pytest.mark.ray
def test_an_interrupted_fine_tuning_goes_on_from_its_last_epoch(
    ray_cluster: None, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def stopping(description: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
        def progress(done: int, total: int) -> None:
            if description.startswith("Fine-tuning") and done == 2:
                raise KeyboardInterrupt

        yield progress

    options = {"name": "cut", "results": str(tmp_path)}
    record = tmp_path / "cut"

    def history() -> list[dict[str, str]]:
        with (record / "history.csv").open() as stream:
            return [row for row in csv.DictReader(stream) if row["unit"] == "finetune"]

    with monkeypatch.context() as patch:
        patch.setattr(verb, "progress_bar", stopping)
        with pytest.raises(Interrupted, match=r"fmnist_ray\.transfer --name cut --results"):
            transfer(weights=str(weights), mode="finetune", epochs=4, **options, **SMALL)
    assert read_json(record / "run.json")["status"] == "interrupted"
    before = history()
    assert [row["epoch"] for row in before] == ["1", "2"]
    transfer(**options, quiet=True)
    assert read_json(record / "run.json")["status"] == "complete"
    after = history()
    assert [row["epoch"] for row in after] == ["1", "2", "3", "4"]
    assert after[:2] == before, "the first epochs are not trained again"

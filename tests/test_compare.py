"""Comparing records, from Python and from a shell, on small records of the shipped sample."""

import csv
import html
import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fmnist_ray.compare import app, compare
from fmnist_ray.dataset.arrays import Dataset, fingerprint
from fmnist_ray.dataset.export import export_dataset
from fmnist_ray.dataset.layouts import Layout
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.errors import RequestError, WorkError
from fmnist_ray.evaluate import evaluate
from fmnist_ray.evaluation.published import PUBLISHED
from fmnist_ray.models.config import ModelConfig
from fmnist_ray.models.storage import load_model, save_model
from fmnist_ray.models.torch_models import build_model
from fmnist_ray.records import Record, read_json, write_predictions
from fmnist_ray.reports.comparison import CAPTIONS
from fmnist_ray.training.classical import ClassicalData, final_unit, fit_unit, grid_units, write_fit
from fmnist_ray.training.predict import predict

DNN = ModelConfig(model="dnn")


@pytest.fixture(scope="module")
def sample() -> Dataset:
    return load_dataset("sample")


def start(folder: Path, sample: Dataset, verb: str = "train") -> Record:
    record = Record.create(folder.parent, folder.name, verb, "dnn")
    config = {"data": "sample", "validation_fraction": 0.1, "fit": {"model": "dnn"}}
    record.start(verb, config, 0, {"source": "sample", "sha256": fingerprint(sample)})
    record.end("complete")
    return record


def wrong_on(sample: Dataset, images: slice) -> np.ndarray:
    """Probabilities of a classifier that is sure and right, but for some images."""
    labels = sample.test.labels.astype(int)
    labels[images] = (labels[images] + 1) % 10
    return np.where(np.eye(10, dtype=bool)[labels], 0.91, 0.01).astype(np.float32)


def answering(folder: Path, sample: Dataset, wrong: slice) -> Path:
    """A record that keeps predictions, and no model."""
    record = start(folder, sample)
    labels = sample.test.labels
    path = record.path / "predictions.npz"
    write_predictions(path, np.arange(500), labels, wrong_on(sample, wrong))
    return record.path


def modelled(folder: Path, sample: Dataset, seed: int = 0) -> Path:
    """A record that keeps a model, and predictions of other images than the test images."""
    record = start(folder, sample)
    save_model(record.path, DNN, build_model(DNN, seed).state_dict(), unit="fit")
    few = np.arange(200)
    validation = np.full((200, 10), 0.1)
    write_predictions(record.path / "predictions.npz", few, sample.train.labels[few], validation)
    unit = record.unit("fit")
    unit.mkdir(parents=True)
    shutil.copy(record.path / "predictions.npz", unit)
    record.write_metrics({"status": "complete", "busy_seconds": 12.5}, unit="fit")
    return record.path


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_figures_and_pairs_are_those_of_the_answers(tmp_path: Path, sample: Dataset) -> None:
    first = answering(tmp_path / "first", sample, slice(0, 10))
    second = answering(tmp_path / "second", sample, slice(5, 55))
    third = answering(tmp_path / "third", sample, slice(6, 56))
    found = compare([str(second), str(first), str(third)], results=str(tmp_path), name="all")
    own = [row for row in found["rows"] if row["source"] == "record"]
    assert [(row["name"], row["test_accuracy"]) for row in own] == [
        ("first", 0.98),
        ("second", 0.9),
        ("third", 0.9),
    ]
    # -ln of 0.91 where it is right and of 0.01 where it is wrong
    loss = 0.98 * -np.log(0.91) + 0.02 * -np.log(0.01)
    assert own[0]["test_loss"] == pytest.approx(loss, rel=1e-5)
    assert own[0]["test_calibration_error"] == pytest.approx(0.98 - 0.91, abs=1e-6)
    assert own[0]["test_accuracy_low"] < 0.98 < own[0]["test_accuracy_high"]
    counts = [(each["first_only"], each["second_only"], each["shown"]) for each in found["pairs"]]
    assert counts == [(45, 5, True), (46, 6, True), (1, 1, False)]
    assert found["pairs"][0]["difference"] == 8
    assert found["sentences"][0].startswith("first is right on 8.00 points more of the 500 images")
    assert found["sentences"][2].startswith("No difference shown between second and third")
    assert "after Holm's correction" in found["sentences"][2]


def test_the_comparison_is_a_record(tmp_path: Path, sample: Dataset) -> None:
    paths = [
        str(answering(tmp_path / name, sample, slice(0, wrong)))
        for name, wrong in (("one", 30), ("two", 20), ("three", 90))
    ]
    found = compare(paths, results=str(tmp_path), name="all", quiet=True)
    folder = tmp_path / "all"
    run_json, metrics = read_json(folder / "run.json"), read_json(folder / "metrics.json")
    assert (run_json["verb"], run_json["status"]) == ("compare", "complete")
    assert run_json["config"]["records"] == paths
    assert run_json["data"]["source"] == "sample"
    assert run_json["data"]["sha256"]["test_images"] == fingerprint(sample)["test_images"]
    assert metrics == {
        "models": 3,
        "test_images": 500,
        "best": "two",
        "best_test_accuracy": 0.96,
        "pairs_tested": 3,
        "pairs_shown": 3,
    }
    written = read_json(folder / "comparison.json")
    assert written == {key: found[key] for key in ("rows", "pairs", "sentences")}
    table = rows_of(folder / "comparison.csv")
    assert len(table) == 3 + len(PUBLISHED)
    accuracies = [float(row["test_accuracy"]) for row in table]
    assert accuracies == sorted(accuracies, reverse=True)
    assert [float(row["difference"]) for row in rows_of(folder / "pairs.csv")] == [2, 14, 12]
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert figures == {"comparison.png", "pairwise.png"}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert found["sentences"][0] in html.unescape(page)
    assert CAPTIONS["pairwise.png"].title in page
    with Image.open(folder / "figures" / "comparison.png") as image:
        assert image.width > 1000


def test_published_figures_may_be_left_out(tmp_path: Path, sample: Dataset) -> None:
    path = answering(tmp_path / "one", sample, slice(0, 30))
    found = compare([str(path)], published=False, results=str(tmp_path), name="alone", quiet=True)
    assert [row["source"] for row in found["rows"]] == ["record"]
    assert found["pairs"] == found["sentences"] == []
    assert not (tmp_path / "alone" / "pairs.csv").exists()
    assert not (tmp_path / "alone" / "figures" / "pairwise.png").exists()


def test_a_model_without_kept_predictions_is_scored_and_its_record_left_alone(
    tmp_path: Path, sample: Dataset
) -> None:
    paths = [modelled(tmp_path / "runs" / str(seed), sample, seed) for seed in (1, 2)]
    kept = answering(tmp_path / "runs" / "kept", sample, slice(0, 30))
    before = contents(tmp_path / "runs")
    found = compare([str(path) for path in (*paths, kept)], results=str(tmp_path), quiet=True)
    rows = {row["name"]: row for row in found["rows"]}
    for path in paths:
        right = predict(load_model(path)[0], sample.test.images).argmax(1) == sample.test.labels
        assert rows[path.name]["test_accuracy"] == right.mean()
        assert rows[path.name]["fit_seconds"] == 12.5
        assert rows[path.name]["parameters"] == 109_386
        assert rows[path.name]["what"] == "train: dnn"
    assert rows["kept"]["parameters"] is None
    assert contents(tmp_path / "runs") == before


def test_units_are_named_with_their_record(tmp_path: Path, sample: Dataset) -> None:
    record = start(tmp_path / "folds", sample, "cross_validate")
    for unit, seed in (("fold-1", 1), ("fold-2", 2)):
        save_model(record.unit(unit), DNN, build_model(DNN, seed).state_dict(), unit=unit)
    paths = [str(record.unit(unit)) for unit in ("fold-1", "fold-2")]
    found = compare(paths, published=False, results=str(tmp_path), quiet=True)
    assert {row["name"] for row in found["rows"]} == {"folds/fold-1", "folds/fold-2"}
    assert found["rows"][0]["what"] == "cross_validate unit: dnn"


def test_a_record_of_classical_models_stands_for_its_final_ones(
    tmp_path: Path, sample: Dataset
) -> None:
    record = start(tmp_path / "classical", sample, "baselines")
    train, validation = np.arange(300), np.arange(300, 400)
    data = ClassicalData(sample.train.images, sample.train.labels, sample.test.images)
    fitted = {}
    for model in ("svm", "logistic_regression"):
        tried = grid_units(model, train, validation, seed=0)[0]
        tried_fit = fit_unit(tried, data, threads=1)
        write_fit(record, tried, tried_fit, sample.train.labels[validation])
        final = final_unit(tried, np.arange(400))
        fitted[final.name] = fit_unit(final, data, threads=1)
        write_fit(record, final, fitted[final.name], sample.test.labels)
    found = compare([str(record.path)], published=False, results=str(tmp_path), quiet=True)
    rows = {row["name"]: row for row in found["rows"]}
    assert set(rows) == {"classical/svm-final", "classical/logistic_regression-final"}
    for name, row in rows.items():
        fit = fitted[name.split("/")[1]]
        accuracy = (fit.probability.argmax(1) == sample.test.labels).mean()
        assert row["test_accuracy"] == accuracy > 0.5
        assert row["fit_seconds"] == fit.fit_seconds
        assert row["trained_on"] == "400 images"
    # An SVM's outputs are scores: a loss or a calibration of them would say nothing.
    assert rows["classical/svm-final"]["test_loss"] is None
    assert rows["classical/svm-final"]["test_calibration_error"] is None
    assert rows["classical/logistic_regression-final"]["test_loss"] > 0


def test_predictions_of_other_images_with_the_same_labels_are_not_used(
    tmp_path: Path, sample: Dataset
) -> None:
    path = modelled(tmp_path / "model", sample, 1)
    turned = replace(sample.test, images=sample.test.images[:, ::-1].copy())
    export_dataset(replace(sample, test=turned), Layout.IDX, tmp_path / "turned")
    evaluate(str(path), data=str(tmp_path / "turned"), quiet=True)
    found = compare([str(path)], published=False, results=str(tmp_path), quiet=True)
    right = predict(load_model(path)[0], sample.test.images).argmax(1) == sample.test.labels
    assert found["rows"][0]["test_accuracy"] == right.mean()


def test_records_of_one_name_are_told_apart(tmp_path: Path, sample: Dataset) -> None:
    paths = [
        str(answering(tmp_path / results / "run", sample, slice(0, 10 * number)))
        for number, results in enumerate(("a", "b", "c"), start=1)
    ]
    found = compare(paths, published=False, results=str(tmp_path), quiet=True)
    assert [row["name"] for row in found["rows"]] == ["a/run", "b/run", "c/run"]


def test_all_problems_are_named_at_once_and_nothing_is_written(
    tmp_path: Path, sample: Dataset
) -> None:
    runs = tmp_path / "runs"
    good = answering(runs / "good", sample, slice(0, 10))
    other = replace(sample, test=replace(sample.test, labels=np.roll(sample.test.labels, 1)))
    elsewhere = answering(runs / "elsewhere", other, slice(0, 10))
    unfinished = start(runs / "unfinished", sample, "tune")
    unfinished.update(status="interrupted")
    half = start(runs / "half", sample)
    (half.path / "run.json").write_text('{"verb": "train", ')
    torn = answering(runs / "torn", sample, slice(0, 10))
    whole = (torn / "predictions.npz").read_bytes()
    (torn / "predictions.npz").write_bytes(whole[: len(whole) // 2])
    broken = modelled(runs / "broken", sample)
    (broken / "model.safetensors").write_bytes(b"not weights")
    (tmp_path / "empty").mkdir()
    bad = [elsewhere, unfinished.path, half.path, torn, broken, tmp_path / "empty", "nowhere"]
    result = run(good, good, *bad, good / "units" / "fit", "--results", tmp_path / "out")
    assert result.exit_code == 2
    for part in (
        "9 things keep the records from being compared",
        f"{good} is named twice",
        f"{elsewhere.resolve()} was made on other test images than {good.resolve()} (test labels",
        "neither predictions of its test images nor a model: tune: dnn, status `interrupted`",
        f"{half.path.resolve() / 'run.json'} cannot be read as JSON",
        f"{torn.resolve() / 'predictions.npz'} is damaged",
        "model.safetensors is damaged",
        "empty is no record",
        "There is no record at nowhere",
        "has no such unit",
    ):
        assert part in result.stderr, part
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "spoil",
    [
        {"probability": np.full((500, 10), np.nan, np.float32)},
        {"probability": np.full((500, 4), 0.25, np.float32)},
        {"probability": np.zeros((500, 10), np.int64)},
        {"probability": np.full((499, 10), 0.1, np.float32)},
    ],
    ids=["not finite", "four classes", "whole numbers", "too few"],
)
def test_predictions_that_cannot_be_are_refused(
    tmp_path: Path, sample: Dataset, spoil: dict[str, np.ndarray]
) -> None:
    path = answering(tmp_path / "one", sample, slice(0, 10))
    with np.load(path / "predictions.npz") as stored:
        arrays = dict(stored)
    np.savez(path / "predictions.npz", **{**arrays, **spoil})
    with pytest.raises(RequestError, match=r"is damaged.*Run it again"):
        compare([str(path)], results=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_beside_a_model_says_what_writes_it_anew(
    tmp_path: Path, sample: Dataset
) -> None:
    path = modelled(tmp_path / "one", sample)
    (path / "predictions.npz").write_bytes(b"PK")
    with pytest.raises(RequestError, match=r"fmnist_ray\.evaluate .*one` writes them anew"):
        compare([str(path)], results=str(tmp_path / "out"))
    evaluate(str(path), quiet=True)
    assert compare([str(path)], results=str(tmp_path / "out"), quiet=True)["models"] == 1


def test_data_that_the_records_were_not_made_on_are_refused_and_leave_no_record(
    tmp_path: Path, sample: Dataset
) -> None:
    path = modelled(tmp_path / "one", sample)
    dark = replace(sample.test, images=sample.test.images // 2)
    export_dataset(replace(sample, test=dark), Layout.IDX, tmp_path / "dark")
    result = run(path, "--data", tmp_path / "dark", "--results", tmp_path / "out")
    assert result.exit_code == 2
    assert "(test images differ)" in result.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_a_diverged_model_is_named(tmp_path: Path, sample: Dataset) -> None:
    path = modelled(tmp_path / "one", sample)
    weights = build_model(DNN, seed=0).state_dict()
    weights["output.bias"][3] = float("nan")
    save_model(path, DNN, weights)
    with pytest.raises(WorkError, match=r"^one: .*NaN"):
        compare([str(path)], results=str(tmp_path / "out"), quiet=True)


def test_a_record_that_says_little_is_scored_with_warnings(tmp_path: Path, sample: Dataset) -> None:
    path = modelled(tmp_path / "old", sample)
    (path / "run.json").write_text(json.dumps({"verb": "train", "config": {"data": "sample"}}))
    result = run(path, "--results", tmp_path, "--quiet", "--json")
    assert result.exit_code == 0
    assert "old does not say what data it was trained on" in result.stderr
    assert "old is `unknown`" in result.stderr
    (row,) = (row for row in json.loads(result.stdout)["rows"] if row["source"] == "record")
    assert row["trained_on"] is row["run_seconds"] is row["images_per_second"] is None


def test_the_command_prints_a_table_and_sentences(tmp_path: Path, sample: Dataset) -> None:
    paths = [
        answering(tmp_path / name, sample, slice(0, wrong)) for name, wrong in (("a", 9), ("b", 99))
    ]
    result = run(*paths, "--results", tmp_path, "--name", "both")
    assert result.exit_code == 0, result.stderr
    table = [" ".join(line.split()) for line in result.stderr.splitlines()]
    assert any(line.startswith("a 98.20") for line in table)
    assert "published: random forest 87.3 to 88.5" in table
    assert "a is right on 18.00 points more of the 500 images than b" in result.stdout
    quiet = run(*paths, "--results", tmp_path, "--quiet", "--json", "--no-published")
    assert quiet.stderr == ""
    summary = json.loads(quiet.stdout)
    assert [row["name"] for row in summary["rows"]] == ["a", "b"]
    assert len(summary["sentences"]) == len(summary["pairs"]) == 1


def test_many_pairs_are_not_all_printed(tmp_path: Path, sample: Dataset) -> None:
    paths = [answering(tmp_path / f"r{at}", sample, slice(0, 10 * at)) for at in range(1, 8)]
    result = run(*paths, "--results", tmp_path, "--name", "many", "--quiet")
    assert result.stdout.count("after Holm's correction") == 6
    assert "15 more are in" in result.stdout
    assert len(rows_of(tmp_path / "many" / "pairs.csv")) == 21


def test_neither_ray_nor_a_framework_is_imported_for_kept_predictions(
    tmp_path: Path, sample: Dataset
) -> None:
    path = answering(tmp_path / "one", sample, slice(0, 10))
    code = (
        "import sys; from fmnist_ray.compare import compare; "
        f"compare([{str(path)!r}], results={str(tmp_path)!r}, quiet=True); "
        "print(sorted({'ray', 'torch', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rows_of_published_figures_say_so() -> None:
    from fmnist_ray.evaluation.comparison import published_row

    row = asdict(published_row(next(each for each in PUBLISHED if each.low < each.high)))
    assert row["source"] == "published"
    assert row["reported_low"] < row["test_accuracy"] < row["reported_high"]
    assert row["test_accuracy_low"] is row["test_images"] is None

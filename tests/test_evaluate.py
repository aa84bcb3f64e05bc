"""Scoring a record, from Python and from a shell, on the shipped sample."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from fmnist_ray.dataset.arrays import CLASS_NAMES, fingerprint
from fmnist_ray.dataset.export import export_dataset
from fmnist_ray.dataset.layouts import Layout
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.errors import RequestError, WorkError
from fmnist_ray.evaluate import app, evaluate
from fmnist_ray.evaluation import metrics
from fmnist_ray.evaluation.calibration import fit_temperature, reliability, with_temperature
from fmnist_ray.models.config import ModelConfig
from fmnist_ray.models.storage import load_model, save_model
from fmnist_ray.models.torch_models import build_model
from fmnist_ray.records import Record, read_json, write_predictions
from fmnist_ray.training.predict import predict

DNN = ModelConfig(model="dnn")
ROW = {"train_loss": 1.0, "train_accuracy": 0.5, "validation_loss": 1.1}


def save(folder: Path, seed: int = 0) -> None:
    save_model(folder, DNN, build_model(DNN, seed).state_dict())


def write_history(record: Record) -> None:
    units = ("trial-1", "trial-2")
    record.write_history(
        {"unit": unit, "epoch": epoch, **ROW} for unit in units for epoch in (1, 2)
    )


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """A search that ended: a model, one unit that kept its own, and one that did not."""
    record = Record.create(tmp_path, "search", "tune", "dnn")
    record.start("tune", {}, 0, {"source": "sample", "sha256": fingerprint(load_dataset("sample"))})
    save(record.path)
    save(record.unit("trial-1"), seed=1)
    record.write_metrics({"status": "complete"}, unit="trial-2")
    record.write_metrics({"trials": 2, "test_accuracy": 0.01})
    write_history(record)
    record.end("complete")
    return record


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def test_mirror_images_are_averaged_in_when_asked_for_and_stand_apart(record: Record) -> None:
    plain = evaluate(str(record.path), data="sample", quiet=True)
    result = evaluate(str(record.path), data="sample", average_flips=True, quiet=True)
    test = load_dataset("sample").test
    module = load_model(record.path)[0]
    mirrored = predict(module, np.ascontiguousarray(np.flip(test.images, axis=2)))
    right = (predict(module, test.images) + mirrored).argmax(1) == test.labels
    assert result.test_accuracy_with_flips == pytest.approx(right.mean())
    assert plain.test_accuracy_with_flips is None
    assert result.test_accuracy == plain.test_accuracy != result.test_accuracy_with_flips
    shown = run(record.path, "--data", "sample", "--average-flips")
    assert f"with flips averaged  {right.mean():.4f}" in " ".join(shown.stdout.split("\n"))


def test_the_figures_are_those_of_the_models_predictions(record: Record) -> None:
    result = evaluate(str(record.path), data="sample", quiet=True)
    test = load_dataset("sample").test
    expected = predict(load_model(record.path)[0], test.images)
    summary = metrics.summarise(test.labels, expected, "test")
    assert {name: getattr(result, name) for name in summary} == pytest.approx(summary)
    assert result.model == "dnn"
    assert result.data_as_trained is True
    with np.load(record.path / "predictions.npz", allow_pickle=False) as predictions:
        assert predictions["index"].tolist() == list(range(500))
        assert predictions["label"].tolist() == test.labels.tolist()
        assert predictions["probability"] == pytest.approx(expected, abs=1e-6)


def test_metrics_are_merged_into_those_already_there(record: Record) -> None:
    result = evaluate(str(record.path), data="sample", quiet=True)
    written = read_json(record.path / "metrics.json")
    assert written["trials"] == 2
    assert written["test_accuracy"] == result.test_accuracy
    assert written["test_accuracy_low"] < result.test_accuracy < written["test_accuracy_high"]


def test_tables_hold_every_class(record: Record) -> None:
    result = evaluate(str(record.path), data="sample", quiet=True)
    header, *report = rows(record.path / "classification_report.csv")
    assert header == ["class", "precision", "recall", "f1", "support"]
    assert [line[0] for line in report] == list(CLASS_NAMES)
    assert np.mean([float(line[2]) for line in report]) == pytest.approx(
        result.test_macro_recall, abs=1e-6
    )
    header, *matrix = rows(record.path / "confusion_matrix.csv")
    assert header[1:] == [line[0] for line in matrix] == list(CLASS_NAMES)
    counts = np.array([line[1:] for line in matrix], dtype=int)
    assert counts.sum() == 500
    assert np.trace(counts) / 500 == result.test_accuracy


def test_figures_are_drawn(record: Record) -> None:
    evaluate(str(record.path), data="sample", quiet=True)
    for name in ("confusion_matrix.png", "learning_curves.png"):
        with Image.open(record.path / "figures" / name) as image:
            assert image.width > 1000


def test_learning_curves_are_left_out_without_a_history(record: Record) -> None:
    (record.path / "history.csv").unlink()
    evaluate(str(record.path), data="sample", quiet=True)
    names = {path.stem for path in (record.path / "figures").iterdir()}
    assert names == {
        "confusion_matrix",
        "reliability",
        "confused_pairs",
        "confident_mistakes",
        "test_predictions",
    }


def test_a_units_model_is_scored_into_the_units_folder(record: Record) -> None:
    unit = record.unit("trial-1")
    (unit / "predictions.npz").write_bytes(b"those of its validation images")
    run_files = {path: path.read_bytes() for path in record.path.iterdir() if path.is_file()}
    result = evaluate(str(record.path), data="sample", unit="trial-1", quiet=True)
    test = load_dataset("sample").test
    own = metrics.accuracy(test.labels, predict(load_model(unit)[0], test.images))
    assert result.test_accuracy == own == read_json(unit / "metrics.json")["test_accuracy"]
    assert {path: path.read_bytes() for path in run_files} == run_files
    assert (unit / "predictions.npz").read_bytes() == b"those of its validation images"
    assert (unit / "test_predictions.npz").is_file()
    assert (unit / "figures" / "learning_curves.png").is_file()
    assert not (record.path / "report.html").exists()


def test_damaged_validation_predictions_are_named_and_cost_only_the_temperature(
    record: Record,
) -> None:
    (record.unit("trial-1") / "predictions.npz").write_bytes(b"cut short")
    result = run(record.path, "--data", "sample", "--unit", "trial-1", "--quiet", "--json")
    assert result.exit_code == 0
    told = "".join(result.stderr.split())  # whatever the width of the terminal
    assert "notemperatureisfitted" in told
    assert "trial-1/predictions.npzisdamaged" in told
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["temperature"] is None
    assert summary["test_ece"] is not None


def test_a_temperature_is_fitted_on_validation_images_and_never_on_test_images(
    record: Record,
) -> None:
    unit = record.unit("trial-1")
    train = load_dataset("sample").train
    index = np.arange(300)
    sure = np.full((300, 10), 0.01, np.float32)
    # Right in half of the cases and sure in all: far too sure.
    sure[index, np.where(index % 2, train.labels[:300], (train.labels[:300] + 1) % 10)] = 0.91
    write_predictions(unit / "predictions.npz", index, train.labels[:300], sure)
    result = evaluate(str(record.path), data="sample", unit="trial-1", quiet=True)
    assert result.temperature == pytest.approx(fit_temperature(train.labels[:300], sure), rel=1e-6)
    assert result.temperature is not None
    assert result.temperature > 1.5
    assert result.temperature_from == "the validation images of trial-1"
    test = load_dataset("sample").test
    own = predict(load_model(unit)[0], test.images)
    scaled = with_temperature(own, result.temperature)
    assert result.test_ece_with_temperature == pytest.approx(reliability(test.labels, scaled).error)


def test_likely_wrong_labels_are_found_where_the_record_holds_out_of_fold_predictions(
    record: Record,
) -> None:
    train = load_dataset("sample").train
    index = np.arange(len(train))
    probability = np.full((len(train), 10), 0.01, np.float32)
    probability[index, train.labels] = 0.91
    probability[7] = 0.01
    wrong = (int(train.labels[7]) + 3) % 10
    probability[7, wrong] = 0.91
    write_predictions(record.path / "out_of_fold.npz", index, train.labels, probability)
    result = evaluate(str(record.path), data="sample", quiet=True)
    assert result.label_issues == 1
    header, *issues = rows(record.path / "label_issues.csv")
    assert issues == [["7", CLASS_NAMES[train.labels[7]], CLASS_NAMES[wrong], "0.01", "0.91"]]
    assert header[0] == "index"
    assert (record.path / "figures" / "label_issues.png").is_file()


def test_out_of_fold_predictions_of_other_data_judge_no_label(record: Record) -> None:
    labels = np.roll(load_dataset("sample").train.labels, 1)
    probability = np.eye(10, dtype=np.float32)[labels]
    write_predictions(record.path / "out_of_fold.npz", np.arange(len(labels)), labels, probability)
    result = run(record.path, "--data", "sample", "--quiet", "--json")
    assert result.exit_code == 0
    assert "none of them is judged" in result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["label_issues"] is None


def test_the_run_gets_a_report_with_the_figures_inside(record: Record) -> None:
    evaluate(str(record.path), data="sample", quiet=True)
    page = (record.path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(list((record.path / "figures").iterdir()))
    assert "The most confused pairs of classes" in page


def test_classical_models_are_scored_by_the_predictions_that_were_kept(tmp_path: Path) -> None:
    dataset = load_dataset("sample")
    record = Record.create(tmp_path, "classical", "baselines", "svm")
    record.start("baselines", {}, 0, {"source": "sample", "sha256": fingerprint(dataset)})
    scores = np.eye(10, dtype=np.float32)[np.roll(dataset.test.labels, 1)]
    count = len(dataset.test)
    write_predictions(
        record.path / "predictions.npz", np.arange(count), dataset.test.labels, scores
    )
    record.write_metrics({"best_model": "svm"})
    record.end("complete")
    result = evaluate(str(record.path), data="sample", quiet=True)
    expected = np.mean(np.roll(dataset.test.labels, 1) == dataset.test.labels)
    assert result.test_accuracy == pytest.approx(expected)
    assert result.test_loss is None
    assert result.test_ece is None
    assert not (record.path / "figures" / "reliability.png").exists()


def test_other_data_are_scored_with_a_warning_that_names_what_differs(
    record: Record, tmp_path: Path
) -> None:
    dataset = load_dataset("sample")
    labels = np.roll(dataset.test.labels, 1)
    other = replace(dataset, test=replace(dataset.test, labels=labels))
    export_dataset(other, Layout.IDX, tmp_path / "other")
    result = run(record.path, "--data", tmp_path / "other", "--quiet", "--json")
    assert result.exit_code == 0
    assert "are not those that" in result.stderr
    assert "(test labels differ)" in result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["data_as_trained"] is False
    written = read_json(record.path / "metrics.json")
    assert written["test_data_as_trained"] is False
    assert str(tmp_path / "other") in written["test_data"]


def test_a_record_without_a_fingerprint_is_scored_with_a_warning(record: Record) -> None:
    record.update(data=None)
    result = run(record.path, "--data", "sample", "--quiet", "--json")
    assert result.exit_code == 0
    assert "does not say what data" in result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["data_as_trained"] is None


def test_a_table_by_class_goes_to_standard_error(record: Record) -> None:
    result = run(record.path, "--data", "sample")
    assert result.exit_code == 0
    assert all(name in result.stderr for name in CLASS_NAMES)
    assert "test accuracy" in result.stdout
    assert "warning" not in result.stderr


@pytest.mark.parametrize(
    ("verb", "status", "words"),
    [
        ("tune", "running", r"`running`.*if it was killed.*fmnist_ray\.tune --resume"),
        ("train", "interrupted", r"fmnist_ray\.train --resume"),
        ("tune", "failed", r"fmnist_ray\.tune --resume"),
        ("tune", "complete", "Run `tune` again under another --name"),
    ],
)
def test_a_record_without_a_model_says_how_to_come_by_one(
    record: Record, verb: str, status: str, words: str
) -> None:
    record.update(verb=verb, status=status)
    (record.path / "model.json").unlink()
    (record.path / "model.safetensors").unlink()
    with pytest.raises(RequestError, match=f"holds no model yet.*{words}.*trial-1"):
        evaluate(str(record.path), data="sample")


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ("trial-2", r"trial-2 .* keeps no model\. Units with a model: trial-1\."),
        ("trial-9", r"trial-9 .* does not exist\. Units with a model: trial-1\."),
        ("../trial-1", "cannot be a name"),
    ],
)
def test_a_unit_without_a_model_is_refused(record: Record, unit: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        evaluate(str(record.path), data="sample", unit=unit)


@pytest.mark.parametrize("kind", ["no folder", "no record", "half a model", "damaged", "no data"])
def test_bad_input_exits_with_2_and_one_message(record: Record, tmp_path: Path, kind: str) -> None:
    arguments = [str(record.path), "--data", "sample"]
    weights = record.path / "model.safetensors"
    if kind == "no folder":
        arguments[0], words = str(tmp_path / "nowhere"), "folder does not exist"
    elif kind == "no record":
        arguments[0], words = str(tmp_path), "holds no run.json"
    elif kind == "half a model":
        weights.unlink()
        words = "model.safetensors does not exist"
    elif kind == "damaged":
        weights.write_bytes(weights.read_bytes()[:1000])
        words = "model.safetensors is damaged"
    else:
        arguments[2], words = str(tmp_path / "data"), "is not there"
    before = set(record.path.rglob("*"))
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("error:") == 1
    assert "Traceback" not in result.stderr
    assert set(record.path.rglob("*")) == before


def test_a_diverged_model_is_told_and_leaves_the_record_as_it_was(record: Record) -> None:
    weights = build_model(DNN, seed=0).state_dict()
    weights["output.bias"][3] = torch.nan
    save_model(record.path, DNN, weights)
    before = (record.path / "metrics.json").read_bytes()
    with pytest.raises(WorkError, match=r"NaN.*500 of 500.*learning rate"):
        evaluate(str(record.path), data="sample", quiet=True)
    assert (record.path / "metrics.json").read_bytes() == before


def test_a_record_that_cannot_be_written_fails_with_a_remedy(record: Record) -> None:
    (record.path / "figures").write_bytes(b"a file where a folder is needed")
    result = run(record.path, "--data", "sample", "--quiet")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
    assert "Traceback" not in result.stderr


def test_it_runs_as_a_module_and_on_a_record_that_was_moved(record: Record, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(record.path, moved)
    done = subprocess.run(
        [sys.executable, "-m", "fmnist_ray.evaluate", moved, "--data", "sample", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1])["record"] == str(moved)


@pytest.mark.parametrize("verb", ["explore", "compare", "predict"])
def test_a_record_that_never_has_a_model_is_named_as_one(tmp_path: Path, verb: str) -> None:
    record = Record.create(tmp_path, "run", verb, "data")
    record.start(verb, {}, 0, {})
    record.end("complete")
    with pytest.raises(RequestError, match=f"a record of `{verb}`, which trains nothing"):
        evaluate(str(record.path), data="sample", quiet=True)


def test_a_record_of_classical_models_is_named_as_one_without_models(tmp_path: Path) -> None:
    record = Record.create(tmp_path, "classical", "baselines", "svm")
    record.start("baselines", {}, 0, {})
    record.end("complete")
    with pytest.raises(RequestError, match=r"keeps predictions and no models.*metrics\.json"):
        evaluate(str(record.path), data="sample", quiet=True)

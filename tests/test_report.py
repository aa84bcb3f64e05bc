"""Making a record's report again."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fmnist_ray import reporting
from fmnist_ray.dataset.arrays import fingerprint
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.errors import RequestError
from fmnist_ray.records import Record, write_predictions
from fmnist_ray.report import app, report
from fmnist_ray.reporting import captions, report_on, write_report

TEST = load_dataset("sample").test


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """A training with a history and predictions of the test images."""
    record = Record.create(tmp_path, "training", "train", "dnn")
    record.start("train", {}, 0, {"sha256": fingerprint(load_dataset("sample"))})
    figures = {"train_loss": 1.0, "train_accuracy": 0.5, "validation_loss": 1.1}
    record.write_history({"unit": "fit", "epoch": epoch, **figures} for epoch in (1, 2))
    given = TEST.labels.astype(np.int64).copy()
    given[given == 6] = 4
    probability = np.full((len(TEST), 10), 0.02, np.float32)
    probability[np.arange(len(TEST)), given] = 0.82
    path = record.path / "predictions.npz"
    write_predictions(path, np.arange(len(TEST)), TEST.labels, probability)
    record.write_metrics({"test_accuracy": float((given == TEST.labels).mean())})
    record.end("complete")
    return record


def test_figures_are_drawn_anew_from_the_records_files(record: Record) -> None:
    done = report([str(record.path)], quiet=True)
    assert done.report == (str(record.path / "report.html"),)
    names = {path.stem for path in (record.path / "figures").iterdir()}
    assert names == {"learning_curves", "confusion_matrix", "reliability"}
    page = Path(done.report[0]).read_text(encoding="utf-8")
    count = (TEST.labels == 6).sum()
    assert f"Most often confused: Shirt / Coat ({count} images)." in page


def test_predictions_of_validation_images_are_not_taken_for_those_of_test_images(
    record: Record,
) -> None:
    labels = load_dataset("sample").train.labels[:100]
    probability = np.eye(10, dtype=np.float32)[labels]
    write_predictions(record.path / "predictions.npz", np.arange(100), labels, probability)
    write_report(record)
    assert not (record.path / "figures" / "confusion_matrix.png").exists()


def test_each_damaged_file_is_named_on_the_page_and_the_rest_is_drawn(record: Record) -> None:
    (record.path / "history.csv").write_text("unit,epoch\nfit,one\n")
    (record.path / "metrics.json").write_text("{")
    page = write_report(record).read_text(encoding="utf-8")
    assert "history.csv, line 2" in page
    assert "metrics.json cannot be read as JSON" in page
    assert (record.path / "figures" / "confusion_matrix.png").is_file()


def test_several_records_are_done_in_one_call(record: Record, tmp_path: Path) -> None:
    other = Record.create(tmp_path, "other", "ensemble", "cnn")
    other.start("ensemble", {}, 0, {})
    result = CliRunner().invoke(app, [str(record.path), str(other.path), "--json", "--quiet"])
    assert result.exit_code == 0
    pages = json.loads(result.stdout.splitlines()[-1])["report"]
    assert [Path(page).parent.name for page in pages] == ["training", "other"]
    assert "its status is running" in Path(pages[1]).read_text(encoding="utf-8")


@pytest.mark.parametrize("damage", ["no folder", "no record", "torn"])
def test_a_folder_that_is_no_record_is_refused_before_any_page_is_written(
    record: Record, tmp_path: Path, damage: str
) -> None:
    other = tmp_path / "other"
    words = "does not exist"
    if damage != "no folder":
        other.mkdir()
        words = "holds no run.json"
    if damage == "torn":
        (other / "run.json").write_text('{"verb"')
        words = "cannot be read as JSON"
    result = CliRunner().invoke(app, [str(record.path), str(other)])
    assert result.exit_code == 2
    assert words in result.stderr
    assert not (record.path / "report.html").exists()


def test_a_report_that_fails_does_not_undo_the_run(
    record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    (record.path / "figures").write_bytes(b"a file where a folder is needed")
    report_on(record.path, quiet=True)
    assert "the report could not be made" in caplog.text
    assert f"fmnist_ray.report {record.path}" in caplog.text


def test_every_caption_has_words_and_ends_in_a_full_stop() -> None:
    assert len(captions()) > 12
    for name, caption in captions().items():
        assert name.endswith(".png")
        assert caption.title
        assert caption.text.endswith((".", "?"))


def test_a_run_json_that_is_damaged_is_named(record: Record) -> None:
    (record.path / "run.json").write_text("[]")
    with pytest.raises(RequestError, match=r"run\.json must hold a JSON object"):
        reporting.write_report(record)

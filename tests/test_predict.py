"""Labelling a person's files, from Python and from a shell."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fmnist_ray.dataset.arrays import CLASS_NAMES
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.errors import RequestError
from fmnist_ray.models.config import ModelConfig
from fmnist_ray.models.storage import load_model, save_model
from fmnist_ray.models.torch_models import build_model
from fmnist_ray.predict import app, predict
from fmnist_ray.pretrained import PRETRAINED_FOLDER
from fmnist_ray.records import Record, read_json
from fmnist_ray.training import predict as model

IMAGES = load_dataset("sample").test.images


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three test images as they are, and one as a photograph on white."""
    folder = tmp_path / "my photos"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(IMAGES[number]).save(folder / f"{number}.png")
    Image.fromarray(255 - IMAGES[3]).resize((600, 600)).convert("RGB").save(folder / "3.jpg")
    return folder


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_record_says_of_each_file_what_the_model_says(photos: Path, tmp_path: Path) -> None:
    result = predict([str(photos)], results=str(tmp_path / "results"), name="mine", quiet=True)
    record = Record.open(tmp_path / "results" / "mine")
    assert result["record"] == str(record.path)
    assert (result["files"], result["labelled"], result["skipped"]) == (4, 4, 0)
    expected = model.predict(load_model(PRETRAINED_FOLDER)[0], IMAGES[:3])
    table = rows(record.path / "predictions.csv")
    assert list(table[0]) == ["file", "class", "probability", *CLASS_NAMES]
    assert [line["file"] for line in table] == [
        str(photos / f"{n}.{s}") for n, s in ((0, "png"), (1, "png"), (2, "png"), (3, "jpg"))
    ]
    shares = np.array([[float(line[name]) for name in CLASS_NAMES] for line in table])
    np.testing.assert_allclose(shares[:3], expected, atol=1e-5)
    assert [line["class"] for line in table] == [CLASS_NAMES[at] for at in shares.argmax(1)]
    written = read_json(record.path / "predictions.json")["predictions"]
    assert [each["class"] for each in written] == [line["class"] for line in table]
    assert written[0]["probability"] == pytest.approx(expected[0].max(), abs=1e-5)
    assert [each["class"] for each in result["predictions"]] == [each["class"] for each in written]
    assert not (record.path / "skipped.csv").exists()
    assert record.run()["status"] == "complete"
    assert read_json(record.path / "metrics.json")["labelled"] == 4
    with Image.open(record.path / "figures" / "predictions.png") as image:
        assert image.width > 1000


def test_what_cannot_be_labelled_is_named_and_skipped(photos: Path, tmp_path: Path) -> None:
    for number in range(25):
        (photos / f"broken {number:02}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (photos / "notes.txt").write_text("no image, and not named")
    result = run(photos, photos / "notes.txt", "--results", tmp_path / "results", "--json")
    assert result.exit_code == 0
    summary = json.loads(result.stdout.splitlines()[-1])
    assert (summary["labelled"], summary["skipped"]) == (4, 26)
    assert result.stderr.count("is skipped:") == 20
    assert "6 more are in skipped.csv" in result.stderr
    assert "comes with the package" in result.stderr
    skipped = rows(Path(summary["record"]) / "skipped.csv")
    assert len(skipped) == 26
    assert skipped[-1]["file"].endswith("notes.txt")
    assert "no PNG, JPEG" in skipped[-1]["reason"]


def test_a_table_names_file_class_and_second_guess(photos: Path, tmp_path: Path) -> None:
    (photos / "0.png").rename(photos / "[bold]0.png")
    result = run(photos / "[bold]0.png", "--results", tmp_path / "results")
    assert result.exit_code == 0
    words = "".join(result.stderr.split())
    assert "[bold]0.png" in words
    label = int(model.predict(load_model(PRETRAINED_FOLDER)[0], IMAGES[:1]).argmax())
    assert CLASS_NAMES[label].replace(" ", "") in words
    assert "1 labelled" in result.stdout


@pytest.mark.parametrize("unit", [None, "fold-1"])
def test_a_records_or_a_units_model_labels(photos: Path, tmp_path: Path, unit: str | None) -> None:
    folder = tmp_path / "search" if unit is None else tmp_path / "search" / "units" / unit
    config = ModelConfig(model="dnn")
    save_model(folder, config, build_model(config, seed=1).state_dict())
    result = predict(
        [str(photos / "0.png")], str(folder), results=str(tmp_path / "results"), quiet=True
    )
    expected = model.predict(load_model(folder)[0], IMAGES[:1])
    assert result["predictions"][0]["probability"] == pytest.approx(expected.max(), abs=1e-5)
    assert result["model"] == f"the dnn of {folder}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{photos}/gone.png"], "gone.png does not exist. Name image files"),
        (["{photos}/0.png", "{tmp}/empty"], None),
        (["{tmp}/empty"], "There are no images below"),
        (["{tmp}/notes.txt"], "No file could be labelled"),
        (["{photos}", "--record", "{tmp}/nowhere"], "the folder does not exist"),
        (["{photos}", "--record", "{tmp}/empty"], "holds no model"),
        (["{photos}", "--record", "{tmp}/cut"], "damaged or no safetensors"),
        (["{photos}", "--address", "127.0.0.1:1"], "Nothing answers at --address"),
        ([], "Missing argument"),
    ],
)
def test_bad_requests_exit_with_2_and_leave_nothing(
    arguments: list[str], words: str | None, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    config = ModelConfig(model="dnn")
    save_model(tmp_path / "cut", config, build_model(config, seed=1).state_dict())
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    filled = [argument.format(photos=photos, tmp=tmp_path) for argument in arguments]
    result = run(*filled, "--results", tmp_path / "results")
    assert result.exit_code == (0 if words is None else 2)
    if words is not None:
        assert words in result.stderr
        assert "Traceback" not in result.stderr
        assert not list((tmp_path / "results").glob("*"))


def test_a_name_that_is_taken_is_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("not a record, and not to be lost")
    with pytest.raises(RequestError, match="exists already"):
        predict([str(photos)], results=str(tmp_path), name="mine", quiet=True)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.ray
def test_many_files_by_ray_data_with_nothing_else_printed(photos: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "fmnist_ray.predict", "my photos", "--address", "local"),
            *("--quiet", "--json"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    summary = json.loads(done.stdout)
    assert summary["labelled_by"] == "Ray Data"
    assert [Path(each["file"]).name for each in summary["predictions"]] == [
        *("0.png", "1.png", "2.png", "3.jpg")
    ]

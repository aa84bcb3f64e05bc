"""The `data` verb: as functions, as a command in this process, and as a process of its own."""

import gzip
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fmnist_ray import data as verb
from fmnist_ray.dataset.arrays import fingerprint
from fmnist_ray.dataset.layouts import Layout
from fmnist_ray.dataset.release import RELEASE
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.errors import RequestError


@pytest.fixture(autouse=True)
def no_data_in_the_environment(monkeypatch):
    monkeypatch.delenv("FMNIST_DATA", raising=False)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The sample in every layout, by the layout's name. Not to be changed."""
    folder = tmp_path_factory.mktemp("exported")
    for layout in Layout:
        verb.export(to=str(folder / layout), format=layout, data="sample", quiet=True)
    return folder


@pytest.fixture
def csv(exported, tmp_path):
    """A copy of the sample as CSV that may be changed."""
    folder = tmp_path / "csv"
    folder.mkdir()
    for path in (exported / "csv").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def run(*arguments):
    return CliRunner().invoke(verb.app, [str(argument) for argument in arguments])


def run_process(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "fmnist_ray.data", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
    )


def refusal(*arguments):
    """The message of a command that must exit with status 2 and print nothing as its result."""
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    return done.stderr


def test_help_is_quick_and_imports_nothing_heavy():
    program = (
        "import sys, fmnist_ray.data; "
        "sys.exit(' '.join({'torch', 'torchvision', 'pandas', 'PIL', 'ray'} & set(sys.modules)))"
    )
    imported = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert imported.stderr.strip() == ""
    start = time.perf_counter()
    done = run_process("--help")
    assert time.perf_counter() - start < 5  # about 0.3 s on an idle machine
    assert done.returncode == 0
    for name in ("fetch", "verify", "clean", "export"):
        assert name in done.stdout


def test_help_of_a_command_says_nothing_of_python():
    for name in ("fetch", "verify", "clean", "export"):
        text = run(name, "--help").stdout
        assert "Raises" not in text
        assert "Returns" not in text
        assert "--json" in text


@pytest.mark.parametrize("layout", list(Layout))
def test_an_export_reads_back_as_the_same_arrays(exported, layout):
    expected = fingerprint(load_dataset("sample"))
    assert fingerprint(load_dataset(str(exported / layout))) == expected
    result = verb.verify(data=str(exported / layout), quiet=True)
    assert result.train_images_sha256 == expected["train_images"]
    assert (result.train_images, result.validation_images, result.test_images) == (2000, 0, 500)
    assert not result.matches_release
    assert result.differs == "train_images, train_labels, test_images, test_labels"


def test_json_is_the_last_line_and_one_object(exported):
    done = run("verify", "--data", exported / "csv", "--json")
    assert done.exit_code == 0
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["train_images"] == 2000
    assert summary["matches_release"] is False
    assert summary["source"] == f"CSV files in {exported / 'csv'}"


def test_export_with_a_validation_set(tmp_path):
    target = tmp_path / "out"
    arguments = ("--format", "folders", "--validation-fraction", 0.1, "--seed", 3, "--json")
    done = run("export", "--data", "sample", "--to", target, *arguments)
    summary = json.loads(done.stdout)
    assert (summary["train_images"], summary["validation_images"]) == (1800, 200)
    assert summary["written_to"] == str(target)
    for label in range(10):
        assert len(list((target / "validation" / str(label)).glob("*.png"))) == 20
        assert len(list((target / "train" / str(label)).glob("*.png"))) == 180
        assert len(list((target / "test" / str(label)).glob("*.png"))) == 50
    read = load_dataset(str(target))
    again = tmp_path / "again"
    verb.export(
        to=str(again), format=Layout.CSV, data="sample", validation_fraction=0.1, seed=3, quiet=True
    )
    assert fingerprint(load_dataset(str(again))) == fingerprint(read)


def test_clean_counts_and_drop_writes_a_copy_without(csv, tmp_path):
    path = csv / "fashion-mnist_train.csv"
    rows = [row.split(",") for row in path.read_text().splitlines()]
    rows[7][3], rows[8][0], rows[9][100] = "", "10", "shirt"
    rows[20] = list(rows[15])
    rows[30] = (csv / "fashion-mnist_test.csv").read_text().splitlines()[4].split(",")
    path.write_text("\n".join(",".join(row) for row in rows))
    assert "line 8, column pixel3: the cell is empty" in refusal("verify", "--data", csv)

    counted = run("clean", "--data", csv, "--json")
    summary = json.loads(counted.stdout)
    expected = {
        "train_images": 1997,
        "train_duplicates": 1,
        "shared_by_train_and_test": 1,
        "missing_values": 1,
        "labels_out_of_range": 1,
        "not_whole_numbers": 1,
        "pixels_out_of_range": 0,
        "written_to": "nothing written",
    }
    assert {key: summary[key] for key in expected} == expected
    said = re.sub(r"\s+", " ", counted.stderr)
    assert "fashion-mnist_train.csv, line 8, column pixel3: missing value" in said

    target = tmp_path / "cleaned"
    dropped = json.loads(
        run("clean", "--data", csv, "--drop", "--to", target, "--json").stdout.splitlines()[-1]
    )
    assert (dropped["dropped_train"], dropped["dropped_test"]) == (5, 0)
    result = verb.verify(data=str(target), quiet=True)
    assert result.source == f"CSV files in {target}"
    assert (result.train_images, result.test_images) == (1995, 500)


def test_cleaning_keeps_the_layout(exported, tmp_path):
    for layout in Layout:
        target = tmp_path / layout
        verb.clean(data=str(exported / layout), drop=True, to=str(target), quiet=True)
        assert fingerprint(load_dataset(str(target))) == fingerprint(load_dataset("sample"))
        assert {path.name for path in target.iterdir()} == {
            path.name for path in (exported / layout).iterdir()
        }


def test_clean_honours_the_environment(csv, monkeypatch):
    monkeypatch.setenv("FMNIST_DATA", str(csv))
    assert verb.clean(quiet=True)["source"] == f"CSV files in {csv}"


def test_drop_and_to_belong_together(exported, tmp_path):
    assert "--drop and --to" in refusal("clean", "--data", "sample", "--drop")
    assert "--drop and --to" in refusal("clean", "--data", "sample", "--to", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["export", "clean"])
def test_a_target_that_holds_something_is_refused_before_reading(tmp_path, command):
    (tmp_path / "mine.txt").write_text("mine")
    extra = ["--drop"] if command == "clean" else []
    message = refusal(command, "--data", tmp_path / "not read", "--to", tmp_path, *extra)
    assert "is not empty" in message
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def _truncate(folder):
    path = folder / "idx" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:10_000])
    return folder / "idx", [str(path), "cut short or damaged"]


def _wrong_magic(folder):
    path = folder / "idx" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(b"PNG and so on"))
    return folder / "idx", [str(path), "starts with 50 4e 47 20"]


def _wrong_checksum(folder):
    stem = "t10k-labels-idx1-ubyte"
    path = folder / "idx" / f"{stem}.gz"
    path.write_bytes(gzip.compress(bytes((0, 0, 8, 1, 0, 0, 0x27, 0x10)) + bytes(10_000)))
    return folder / "idx", [str(path), RELEASE[stem].sha256, "SHA-256"]


def _text_cell(folder):
    path = folder / "csv" / "fashion-mnist_test.csv"
    path.write_text(path.read_text().replace("\n", "\nshirt", 1))
    return folder / "csv", [str(path), "line 2, column label", "is not a whole number"]


def _missing_columns(folder):
    path = folder / "csv" / "fashion-mnist_test.csv"
    path.write_text(path.read_text().replace("pixel300,", "", 1))
    return folder / "csv", [str(path), "line 1", "pixel300 is missing"]


def _label_outside(folder):
    path = folder / "csv" / "fashion-mnist_train.csv"
    path.write_text(re.sub(r"\n\d,", "\n77,", path.read_text(), count=1))
    return folder / "csv", [str(path), "line 2, column label: label outside 0..9: 77"]


def _image_size(folder):
    path = next((folder / "folders" / "train" / "6").iterdir())
    Image.new("L", (64, 64)).save(path)
    return folder / "folders", [str(path), "64 x 64 pixels"]


def _unreadable_image(folder):
    path = next((folder / "folders" / "test" / "6").iterdir())
    path.write_bytes(path.read_bytes()[:50])
    return folder / "folders", [str(path), "cannot be read as an image"]


def _lacking_class(folder):
    for path in (folder / "folders" / "test" / "6").iterdir():
        path.unlink()
    (folder / "folders" / "test" / "6").rmdir()
    return folder / "folders", [str(folder / "folders" / "test"), "lacks the class folder 6"]


def _empty_folder(folder):
    (folder / "empty").mkdir()
    return folder / "empty", ["empty is empty", "IDX", "fashion-mnist_train.csv", "train/0..9"]


def _no_folder(folder):
    return folder / "nowhere", ["nowhere is not there", "IDX", "fashion-mnist_train.csv"]


@pytest.mark.parametrize(
    "spoil",
    [
        _truncate,
        _wrong_magic,
        _wrong_checksum,
        _text_cell,
        _missing_columns,
        _label_outside,
        _image_size,
        _unreadable_image,
        _lacking_class,
        _empty_folder,
        _no_folder,
    ],
)
def test_bad_data_is_refused_with_what_and_where_and_nothing_is_written(tmp_path, exported, spoil):
    folder = tmp_path / "data"
    _copy_some(exported, folder)
    source, parts = spoil(folder)
    target = tmp_path / "out"
    for arguments in (("verify",), ("export", "--to", target)):
        message = refusal(*arguments, "--data", source)
        for part in parts:
            assert part in message
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def _copy_some(exported: Path, folder: Path) -> None:
    """A small copy of every layout: of the PNGs, two per class."""
    for name in ("idx", "csv"):
        (folder / name).mkdir(parents=True)
        for path in (exported / name).iterdir():
            (folder / name / path.name).write_bytes(path.read_bytes())
    for split in ("train", "test"):
        for label in map(str, range(10)):
            target = folder / "folders" / split / label
            target.mkdir(parents=True)
            for path in sorted((exported / "folders" / split / label).iterdir())[:2]:
                (target / path.name).write_bytes(path.read_bytes())


def test_exit_codes_and_streams_of_the_real_command(exported, tmp_path):
    good = run_process("verify", "--json", FMNIST_DATA=str(exported / "idx"))
    assert good.returncode == 0
    assert json.loads(good.stdout)["source"] == f"IDX files in {exported / 'idx'}"
    bad = run_process("verify", "--data", tmp_path / "nowhere")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert "nowhere is not there" in bad.stderr
    wrong = run_process("export", "--data", "sample", "--to", tmp_path / "o", "--format", "parquet")
    assert wrong.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_rows_that_are_left_out_are_told_of_by_the_real_command(csv):
    path = csv / "fashion-mnist_test.csv"
    rows = path.read_text().splitlines()
    rows[1:9] = [f"x{row}" for row in rows[1:9]]
    path.write_text("\n".join(rows))
    said = run_process("clean", "--data", csv, COLUMNS="200").stderr
    assert said.count("column label: not a whole number") == 5
    assert "fashion-mnist_test.csv: 3 more rows like these" in said
    assert "more rows" not in run_process("clean", "--data", csv, "--quiet").stderr


def test_fetch_says_where_it_looked_when_nothing_works(tmp_path, monkeypatch):
    monkeypatch.setattr("fmnist_ray.dataset.sources.SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    message = refusal("fetch", "--quiet")
    for part in ("cache", "system folder", "public mirrors", "apt-get", "--data sample"):
        assert part in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.full_data
def test_fetch_and_verify_know_the_release():
    fetched = verb.fetch(quiet=True)
    assert (fetched.train_images, fetched.test_images) == (60_000, 10_000)
    assert fetched.checksums == "verified"
    result = verb.verify(quiet=True)
    assert result.matches_release
    assert result.differs == "none"


@pytest.mark.full_data
def test_the_release_comes_back_from_class_folders(tmp_path):
    start = time.perf_counter()
    verb.export(to=str(tmp_path / "out"), validation_fraction=0.1, quiet=True)
    read = load_dataset(str(tmp_path / "out"))
    assert time.perf_counter() - start < 120  # about 12 s on an idle machine
    assert read.validation is not None
    assert np.bincount(read.validation.labels).tolist() == [600] * 10
    assert len(read.train) == 54_000


def test_python_gets_the_error_and_not_an_exit(tmp_path):
    with pytest.raises(RequestError, match="is not there"):
        verb.verify(data=str(tmp_path / "nowhere"))

"""Records: files that appear whole, names that stay in their folder, and what is read back."""

import hashlib
import json
import math
import stat
from pathlib import Path

import numpy as np
import pytest

from fmnist_ray import records
from fmnist_ray.errors import RequestError, WorkError
from fmnist_ray.records import HISTORY_COLUMNS, Record


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    records.write_whole(path, b"first")
    records.write_whole(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_as_readable_as_others_of_its_owner(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    records.write_whole(tmp_path / "whole", b"")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "whole")]
    assert modes[0] == modes[1]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    records.write_whole(path, b"old")
    with pytest.raises(TypeError):
        records.write_whole(path, "not bytes")  # type: ignore[arg-type]  # fails once opened
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_rename_that_fails_leaves_nothing_aside(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(WorkError, match="taken cannot be written"):
        records.write_whole(tmp_path / "taken", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    records.write_whole(path, b"a" * 100_000)
    with path.open("rb") as before:
        half = before.read(50_000)
        records.write_whole(path, b"b" * 100_000)
        assert half + before.read() == b"a" * 100_000
    assert path.read_bytes() == b"b" * 100_000


def test_json_holds_plain_values_of_numpy_and_paths(tmp_path: Path) -> None:
    content = {
        "share": np.float32(0.5),
        "count": np.int64(3),
        "scores": np.array([1.0, math.nan]),
        "folder": Path("results/a"),
        "names": ("a", "b"),
        "nested": {"loss": math.inf, 1: True, "none": None},
    }
    records.write_json(tmp_path / "file.json", content)
    assert records.read_json(tmp_path / "file.json") == {
        "share": 0.5,
        "count": 3,
        "scores": [1.0, None],
        "folder": "results/a",
        "names": ["a", "b"],
        "nested": {"loss": None, "1": True, "none": None},
    }


def test_what_json_cannot_hold_leaves_the_old_file(tmp_path: Path) -> None:
    records.write_json(tmp_path / "file.json", {"a": 1})
    with pytest.raises(TypeError, match="object"):
        records.write_json(tmp_path / "file.json", {"a": object()})
    assert records.read_json(tmp_path / "file.json") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as JSON"),
        (b'{"a": 1', "cannot be read as JSON"),
        (b"\xff\xfe\x00", "cannot be read as JSON"),
        (b"[1]", "must hold a JSON object, not a list"),
    ],
)
def test_json_that_is_damaged_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=f"{path} {message}"):
        records.read_json(path)


def test_json_that_is_missing_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="does not exist"):
        records.read_json(tmp_path / "run.json")
    with pytest.raises(RequestError, match="cannot be read"):
        records.read_json(tmp_path)


def test_predictions_are_read_back_without_pickle(tmp_path: Path) -> None:
    probability = np.random.default_rng(0).dirichlet(np.ones(10), size=3)
    records.write_predictions(tmp_path / "p.npz", np.array([4, 5, 6]), np.arange(3), probability)
    with np.load(tmp_path / "p.npz", allow_pickle=False) as content:
        assert set(content) == {"index", "label", "probability"}
        assert content["index"].tolist() == [4, 5, 6]
        assert content["label"].dtype == np.uint8
        assert content["probability"].dtype == np.float32
        assert content["probability"] == pytest.approx(probability, abs=1e-6)


@pytest.mark.parametrize(
    "name",
    ["..", ".", "", "../up", "a/b", "/etc", "a\\b", ".hidden", "-rf", "a b", "a\n", "ä", "a" * 101],
)
def test_names_that_could_leave_the_folder_or_confuse_a_shell_are_refused(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(RequestError, match="cannot be a name"):
        records.check_name(name)
    with pytest.raises(RequestError, match="cannot be a name"):
        Record(tmp_path).unit(name)
    if name:  # an empty name asks for a made-up one
        with pytest.raises(RequestError, match="cannot be a name"):
            Record.create(tmp_path, name, "train", "cnn")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "tune-cnn-1121-0402", "v1.2_b", "7", "a" * 100])
def test_plain_names_are_allowed(tmp_path: Path, name: str) -> None:
    assert Record.create(tmp_path, name, "train", "cnn").path == tmp_path / name


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:word@bucket/path",
        "s3://bucket/path?secret_key=word&region=eu",
        "https://me:word@tracking.example/",
        "s3://bucket/path?AWSAccessKeyId=word",
    ],
)
def test_a_place_that_holds_a_secret_is_refused_before_it_is_written_down(uri: str) -> None:
    with pytest.raises(RequestError, match="--storage holds") as error:
        records.check_no_secret(uri, "--storage")
    assert "word" not in str(error.value).replace("password", "").replace("PASSWORD", "")


@pytest.mark.parametrize("uri", ["results", "s3://bucket/path?region=eu", "http://me@host:5000"])
def test_a_place_without_a_secret_is_taken(uri: str) -> None:
    assert records.check_no_secret(uri, "--storage") == uri


def test_a_record_in_the_copy_that_ray_makes_for_a_job_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_0123"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    with pytest.raises(RequestError, match="deletes later"):
        Record.create("results", None, "train", "cnn")
    assert list(copy.iterdir()) == []
    assert Record.create(tmp_path / "stays", "a", "train", "cnn").path.is_dir()


def test_a_taken_name_is_refused_and_its_record_kept(tmp_path: Path) -> None:
    Record.create(tmp_path, "a", "train", "cnn").write_metrics({"test_accuracy": 0.9})
    with pytest.raises(RequestError, match="exists already"):
        Record.create(tmp_path, "a", "train", "cnn")
    assert records.read_json(tmp_path / "a" / "metrics.json") == {"test_accuracy": 0.9}


def test_made_up_names_tell_verb_and_model_and_never_collide(tmp_path: Path) -> None:
    names = [Record.create(tmp_path, None, "train", "cnn").name for _ in range(3)]
    assert len(set(names)) == 3
    assert all(name.startswith("train-cnn-") for name in names)


def test_missing_results_folders_are_made(tmp_path: Path) -> None:
    assert Record.create(tmp_path / "a" / "b", "c", "train", "cnn").path.is_dir()


@pytest.mark.parametrize("kind", ["a file", "below a file", "not writable"])
def test_a_results_folder_that_cannot_be_written_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").touch()
    # /proc refuses new files even to root.
    folder = {
        "a file": tmp_path / "file",
        "below a file": tmp_path / "file" / "results",
        "not writable": Path("/proc/self"),
    }[kind]
    if not folder.parent.exists():
        pytest.skip("there is no /proc here")
    with pytest.raises(RequestError, match=r"cannot be written.*--results DIR"):
        Record.create(folder, None, "train", "cnn")


def test_a_record_is_opened_only_where_there_is_one(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="folder does not exist"):
        Record.open(tmp_path / "nowhere")
    with pytest.raises(RequestError, match=r"holds no run\.json"):
        Record.open(tmp_path)


def test_a_run_tells_what_it_is_from_its_start_to_its_end(tmp_path: Path) -> None:
    record = Record.create(tmp_path, "a", "tune", "cnn")
    record.start("tune", {"epochs": 3}, seed=7, data={"source": "sample"})
    run = Record.open(record.path).run()
    assert (run["verb"], run["name"], run["status"]) == ("tune", "a", "running")
    assert (run["config"], run["seed"], run["data"]) == ({"epochs": 3}, 7, {"source": "sample"})
    assert run["ended"] is None
    assert {"python", "fmnist_ray", "ray", "torch"} <= set(run["versions"])
    assert run["hardware"]["cpus"] >= 1
    record.update(note="x")
    record.end("complete")
    ended = record.run()
    assert (ended["status"], ended["note"], ended["started"]) == ("complete", "x", run["started"])
    assert ended["ended"] >= ended["started"]


def test_metrics_are_written_for_a_run_and_for_a_unit(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.write_metrics({"a": 1})
    record.write_metrics({"a": 2}, unit="fold-1")
    assert records.read_json(tmp_path / "metrics.json") == {"a": 1}
    assert records.read_json(tmp_path / "units" / "fold-1" / "metrics.json") == {"a": 2}


def test_a_history_has_the_agreed_columns_and_empty_cells(tmp_path: Path) -> None:
    row = {"unit": "a", "epoch": 1, "train_loss": 0.123456789, "learning_rate": 3, "seconds": 2.0}
    Record(tmp_path).write_history([row])
    header, line = (tmp_path / "history.csv").read_text().splitlines()
    assert header == (
        "unit,epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,seconds,"
        "images_per_second"
    )
    assert dict(zip(HISTORY_COLUMNS, line.split(","), strict=True)) == {
        "unit": "a",
        "epoch": "1",
        "train_loss": "0.123457",
        "train_accuracy": "",
        "validation_loss": "",
        "validation_accuracy": "",
        "seconds": "2",
        "images_per_second": "",
    }


def test_run_json_is_readable_by_any_json_reader(tmp_path: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    record = Record.create(tmp_path, "a", "train", "cnn")
    record.start("train", {"loss": math.nan}, seed=0, data={})
    json.loads((record.path / "run.json").read_text(), parse_constant=refuse)


def test_a_bit_that_flipped_in_predictions_is_named_and_nothing_crashes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / "p.npz"
    records.write_predictions(path, np.arange(50), np.arange(50) % 10, random.random((50, 10)))
    whole = path.read_bytes()
    refused = []
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        try:
            records.read_predictions(path)
        except RequestError as error:
            refused.append(str(error))
    assert all(message.startswith(str(path)) for message in refused)
    assert len(refused) > len(whole) / 3 / 2


def write_some_predictions(path: Path) -> np.ndarray:
    labels = np.arange(20, dtype=np.uint8) % 10
    records.write_predictions(path, np.arange(20), labels, np.eye(10, dtype=np.float32)[labels])
    return labels


def test_predictions_are_read_back_and_know_their_labels(tmp_path: Path) -> None:
    labels = write_some_predictions(tmp_path / "predictions.npz")
    found = records.read_predictions(tmp_path / "predictions.npz")
    assert found.label.tolist() == labels.tolist()
    assert found.probability.shape == (20, 10)
    assert found.are_of(hashlib.sha256(labels.tobytes()).hexdigest())
    assert not found.are_of(hashlib.sha256(labels[:-1].tobytes()).hexdigest())
    assert not found.are_of(None)


@pytest.mark.parametrize("damage", ["cut", "text", "pickle", "lengths", "keys", "missing"])
def test_damaged_predictions_are_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "predictions.npz"
    write_some_predictions(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "text":
        path.write_text("no archive")
    elif damage == "pickle":
        np.savez(path, index=np.array([{}]), label=np.array([1]), probability=np.array([1]))
    elif damage == "lengths":
        np.savez(path, index=np.arange(3), label=np.arange(2), probability=np.eye(2))
    elif damage == "keys":
        np.savez(path, index=np.arange(3))
    else:
        path.unlink()
    with pytest.raises(RequestError, match=r"predictions\.npz (is damaged|does not exist)"):
        records.read_predictions(path)


def test_test_predictions_are_found_by_their_labels_and_not_by_their_name(tmp_path: Path) -> None:
    record = Record.create(tmp_path, "run", "train", "cnn")
    labels = write_some_predictions(record.path / "predictions.npz")
    sha256 = hashlib.sha256(labels.tobytes()).hexdigest()
    record.start("train", {}, 0, {"sha256": {"test_labels": "other"}})
    assert record.test_predictions() is None
    record.update(data={"sha256": {"test_labels": sha256}})
    assert record.test_predictions() is not None
    record.update(data=None)
    assert record.test_predictions() is None
    write_some_predictions(record.unit("fold-1") / "test_predictions.npz")
    record.update(data={"sha256": {"test_labels": sha256}})
    assert record.test_predictions("fold-1") is not None
    assert record.test_predictions("fold-2") is None


def test_a_new_record_is_gone_if_the_work_is_refused(tmp_path: Path) -> None:
    for begun in (False, True):
        record = Record.create(tmp_path / "results", "a", "train", "cnn")
        with pytest.raises(RequestError), record.gone_if_refused():  # noqa: PT012
            if begun:
                record.start("train", {}, 0, {})
            raise RequestError("there is no room")
        assert record.begun == begun
        assert (tmp_path / "results").exists() == begun
    other = Record.create(tmp_path / "results", "b", "train", "cnn")
    with pytest.raises(RequestError), other.gone_if_refused():
        raise RequestError("there is no room")
    assert record.begun
    assert not other.path.exists()

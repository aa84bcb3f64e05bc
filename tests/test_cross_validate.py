import csv
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

from fmnist_ray import cross_validate as verb
from fmnist_ray.cross_validate import cross_validate
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.dispatch.tasks import DEATHS_PER_FAILURE
from fmnist_ray.errors import RequestError, WorkError
from fmnist_ray.evaluation.metrics import accuracy
from fmnist_ray.models.storage import load_model
from fmnist_ray.records import Record, read_json
from fmnist_ray.training.predict import predict
from tests.conftest import ROOT

SMALL: dict[str, Any] = {
    "model": "dnn",
    "set_": ["epochs=2"],
    "data": "sample",
    "train_size": 600,
    "quiet": True,
}


def _probabilities(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def validated(
    ray_cluster: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    results = tmp_path_factory.mktemp("results")
    # Side by side, although units as short as these would run one after another by themselves.
    side_by_side = {**SMALL, "max_concurrent": 2}
    metrics = cross_validate(folds=3, name="three", results=str(results), **side_by_side)
    return results / "three", metrics


@pytest.mark.ray
def test_every_image_is_judged_by_a_model_that_has_not_seen_it(
    validated: tuple[Path, dict[str, Any]],
) -> None:
    record, metrics = validated
    split = load_dataset("sample").train
    found = _probabilities(record / "out_of_fold.npz")
    assert len(found["index"]) == len(np.unique(found["index"])) == 600
    assert metrics["out_of_fold_accuracy"] == accuracy(found["label"], found["probability"])
    with np.load(record / "folds.npz") as folds:
        parts = {name: folds[name] for name in folds.files}
    assert sorted(parts) == ["fold-1", "fold-2", "fold-3"]
    for name, held_out in parts.items():
        module, _ = load_model(record / "units" / name)
        own = predict(module, split.images[held_out])
        at = np.searchsorted(found["index"], held_out)
        # Validated in bf16 within the fit where the processor has it, in fp32 here.
        assert np.abs(own - found["probability"][at]).max() < 0.05
        unit = read_json(record / "units" / name / "metrics.json")
        assert unit["validation_accuracy"] == pytest.approx(
            accuracy(split.labels[held_out], found["probability"][at])
        )


@pytest.mark.ray
def test_the_record_is_whole_and_its_model_is_the_average_of_the_folds(
    validated: tuple[Path, dict[str, Any]],
) -> None:
    record, metrics = validated
    assert read_json(record / "run.json")["status"] == "complete"
    with (record / "history.csv").open() as stream:
        rows = [(row["unit"], row["epoch"]) for row in csv.DictReader(stream)]
    assert rows == [(f"fold-{fold}", epoch) for fold in (1, 2, 3) for epoch in "12"]
    test = load_dataset("sample").test
    module, config = load_model(record)
    assert config.model == "ensemble of 3 dnn"
    averaged = np.mean(
        [
            _probabilities(record / "units" / f"fold-{fold}" / "test_predictions.npz")[
                "probability"
            ]
            for fold in (1, 2, 3)
        ],
        axis=0,
    )
    assert np.allclose(predict(module, test.images), averaged, atol=1e-5)
    kept = _probabilities(record / "predictions.npz")
    assert np.allclose(kept["probability"], averaged, atol=1e-6)
    assert metrics["test_accuracy"] == accuracy(test.labels, kept["probability"])
    scores = [
        read_json(record / "units" / f"fold-{fold}" / "metrics.json")["validation_accuracy"]
        for fold in (1, 2, 3)
    ]
    assert metrics["validation_accuracy_mean"] == pytest.approx(np.mean(scores))
    assert metrics["validation_accuracy_deviation"] == pytest.approx(np.std(scores, ddof=1))
    assert (record / "figures" / "folds.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.ray
def test_a_second_call_on_the_name_fits_only_what_is_missing(
    validated: tuple[Path, dict[str, Any]],
) -> None:
    record, before = validated
    weights = {path: path.read_bytes() for path in record.glob("units/*/model.safetensors")}
    times = {path: path.stat().st_mtime_ns for path in weights}
    lost = record / "units" / "fold-2" / "model.safetensors"
    (lost.parent / "metrics.json").unlink()
    options = {"name": "three", "results": str(record.parent), "quiet": True}
    after = cross_validate(**options)
    assert {**after, "busy_seconds": 0} == {**before, "busy_seconds": 0}
    changed = {path for path in times if path.stat().st_mtime_ns != times[path]}
    assert changed == {lost}
    assert lost.read_bytes() == weights[lost], "the same fold gives the same model"


@pytest.mark.ray
def test_another_run_under_the_same_name_is_refused(
    validated: tuple[Path, dict[str, Any]],
) -> None:
    record, _ = validated
    options = {"name": "three", "results": str(record.parent), "quiet": True}
    for changed, part in (
        ({"folds": 4}, "--folds 3, and now 4"),
        ({"seed": 1}, "--seed 0, and now 1"),
        ({"model": "cnn"}, "--fit"),
    ):
        with pytest.raises(RequestError, match=part):
            cross_validate(**options, **changed)
    Record.create(record.parent, "other", "train", "cnn").start("train", {}, 0, {})
    with pytest.raises(RequestError, match="record of `train`, not of `cross_validate`"):
        cross_validate(name="other", results=str(record.parent), quiet=True)


@pytest.mark.ray
def test_repeats_part_the_images_anew(ray_cluster: None, tmp_path: Path) -> None:
    small = {**SMALL, "train_size": 200, "set_": ["epochs=1"]}
    metrics = cross_validate(folds=2, repeats=2, results=str(tmp_path), name="twice", **small)
    assert metrics["units"] == 4
    with np.load(tmp_path / "twice" / "folds.npz") as folds:
        assert not np.array_equal(folds["repeat-1-fold-1"], folds["repeat-2-fold-1"])
    assert len(_probabilities(tmp_path / "twice" / "out_of_fold.npz")["index"]) == 200


@pytest.mark.ray
def test_in_parallel_and_in_sequence_the_result_is_the_same_bit_for_bit(
    validated: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    record, _ = validated
    cross_validate(folds=3, max_concurrent=1, name="one", results=str(tmp_path), **SMALL)
    for fold in (1, 2, 3):
        for file in ("model.safetensors", "predictions.npz", "test_predictions.npz"):
            path = Path("units") / f"fold-{fold}" / file
            assert (tmp_path / "one" / path).read_bytes() == (record / path).read_bytes()


@pytest.mark.ray
def test_a_fold_that_always_fails_is_reported_and_the_others_are_complete(
    ray_cluster: None, tmp_path: Path
) -> None:
    killed: set[int] = set()
    over = threading.Event()

    def kill_fold_2() -> None:
        while not over.is_set():
            for process in _processes("ray::cross_validate/one-fails/fold-2"):
                os.kill(process.pid, signal.SIGKILL)
                killed.add(process.pid)
            time.sleep(0.01)

    killer = threading.Thread(target=kill_fold_2)
    killer.start()
    options = {"name": "one-fails", "results": str(tmp_path), "folds": 3}
    try:
        with pytest.raises(WorkError, match=r"1 of 3 folds failed.*fold-2: WorkerCrashedError"):
            cross_validate(retries=1, **options, **{**SMALL, "set_": ["epochs=20"]})
    finally:
        over.set()
        killer.join()
    assert len(killed) == 1 + DEATHS_PER_FAILURE
    record = tmp_path / "one-fails"
    assert read_json(record / "run.json")["status"] == "failed"
    assert read_json(record / "metrics.json")["units_failed"] == 1
    failed = read_json(record / "units" / "fold-2" / "metrics.json")
    assert failed["status"] == "failed"
    assert len(failed["failures"]) == 1 + DEATHS_PER_FAILURE
    times = {path: path.stat().st_mtime_ns for path in record.glob("units/*/model.safetensors")}
    assert len(times) == 2
    again = cross_validate(name="one-fails", results=str(tmp_path), quiet=True)
    assert (again["units"], again["units_failed"]) == (3, 0)
    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.mark.ray
def test_units_too_short_to_be_worth_a_second_process_run_in_one(
    ray_cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cross_validate(folds=2, results=str(tmp_path), **{**SMALL, "quiet": False})
    assert "2 folds, 1 at a time (limited by what starting a process costs)" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--folds", "1"], "--folds is 1"),
        (["--folds", "61"], "has only"),
        (["--repeats", "0"], "--repeats is 0"),
        (["--model", "vgg99"], "vgg99"),
        (["--set", "epochs=-1"], "`epochs` is -1"),
        (["--config", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (["--train-size", "3"], "--train-size is 3"),
        (["--retries", "-1"], "--retries is -1"),
        (["--cpus", "0"], "--cpus is 0"),
        (["--name", "a/b"], "cannot be a name"),
    ],
)
def test_a_wrong_request_is_refused(options: list[str], part: str, tmp_path: Path) -> None:
    small = ["--data", "sample", "--train-size", "600", "--results", str(tmp_path / "results")]
    outcome = CliRunner().invoke(verb.app, [*small, *options])
    assert outcome.exit_code == 2, outcome.output
    assert part in outcome.output
    assert not (tmp_path / "results").exists()


def test_a_configuration_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_text("epochs: 3\n")
    with pytest.raises(RequestError, match=r"some.yaml names no model.*model: cnn"):
        cross_validate(config=str(tmp_path / "some.yaml"), data="sample", results=str(tmp_path))


@pytest.mark.ray
def test_more_than_the_cluster_has_is_refused_before_a_record_is_begun(
    ray_cluster: None, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match="64 CPU can never be met"):
        cross_validate(cpus=64, results=str(tmp_path / "results"), **SMALL)
    assert not (tmp_path / "results").exists()


@pytest.mark.ray
def test_a_killed_driver_loses_nothing_complete_and_a_killed_worker_is_tried_again(
    tmp_path: Path,
) -> None:
    options = ["--model", "cnn", "--set", "epochs=8", "--data", "sample", "--folds", "4"]
    base = [sys.executable, "-m", "fmnist_ray.cross_validate", "--results", str(tmp_path)]
    driver = subprocess.Popen(
        [*base, "--name", "cut", *options],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
        start_new_session=True,
    )
    record = tmp_path / "cut"
    _wait(lambda: len(list(record.glob("units/*/metrics.json"))) >= 1)
    driver.kill()
    driver.wait()
    complete = {
        path.parent.name: path.stat().st_mtime_ns
        for path in record.glob("units/*/model.safetensors")
        if (path.parent / "metrics.json").exists()
    }
    assert 1 <= len(complete) < 4
    _wait(
        lambda: not _processes("ray::cross_validate/cut/fold-")
    )  # a killed driver's workers end by themselves
    again = subprocess.Popen(
        [*base, "--name", "cut"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    _wait(lambda: bool(_processes("ray::cross_validate/cut/fold-")))
    victim = _processes("ray::cross_validate/cut/fold-")[0]
    os.kill(victim.pid, signal.SIGKILL)
    _, messages = again.communicate(timeout=300)
    assert again.returncode == 0, messages
    assert "is tried again" in messages
    assert f"{len(complete)} of 4 folds are complete already" in messages
    for unit, when in complete.items():
        assert (record / "units" / unit / "model.safetensors").stat().st_mtime_ns == when
    metrics = [read_json(path) for path in sorted(record.glob("units/*/metrics.json"))]
    assert len(metrics) == 4
    assert sum(len(each["failures"]) for each in metrics) == 1
    with (record / "history.csv").open() as stream:
        rows = [(row["unit"], int(row["epoch"])) for row in csv.DictReader(stream)]
    assert rows == [(f"fold-{fold}", epoch) for fold in range(1, 5) for epoch in range(1, 9)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that holds 4 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.ray
def test_a_full_disk_loses_nothing_complete(ray_cluster: None, small_disk: Path) -> None:
    options = {"name": "full", "results": str(small_disk)}
    small = {**SMALL, "model": "cnn", "set_": ["epochs=1"], "max_concurrent": 1, "retries": 0}
    with pytest.raises(WorkError, match="No space left on device"):
        cross_validate(folds=6, **options, **small)
    record = small_disk / "full"
    complete = {
        path.parent.name: path.stat().st_mtime_ns
        for path in record.glob("units/*/metrics.json")
        if read_json(path)["status"] == "complete"
    }
    assert 1 <= len(complete) < 6
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    metrics = cross_validate(**options, quiet=True)
    assert (metrics["units"], metrics["units_failed"]) == (6, 0)
    for unit, when in complete.items():
        assert (record / "units" / unit / "metrics.json").stat().st_mtime_ns == when
    assert read_json(record / "run.json")["status"] == "complete"


def _processes(title: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if title in " ".join(process.info["cmdline"] or [])
    ]


def _wait(condition: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)

from pathlib import Path

import numpy as np
import pytest

from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.errors import RequestError
from fmnist_ray.models import classical as models
from fmnist_ray.records import Record, read_json
from fmnist_ray.training.classical import (
    ClassicalData,
    ClassicalFit,
    ClassicalUnit,
    FitsLeft,
    best_unit,
    conclude,
    final_unit,
    fit_unit,
    grid_units,
    is_done,
    split_images,
    write_failure,
    write_fit,
)

LABELS = (np.arange(20) % 10).astype(np.uint8)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    made = Record.create(tmp_path, "run", "baselines", "mixed")
    made.start("baselines", {}, 0, {})
    return made


def _fit(right: int) -> ClassicalFit:
    """A fit that takes the first `right` of the 20 images for what they are."""
    said = np.where(np.arange(20) < right, LABELS, (LABELS + 1) % 10)
    return ClassicalFit(np.eye(10, dtype=np.float32)[said], 1.5, 0.25)


def _unit(model: str, name: str, train: int = 90, *, test: bool = False) -> ClassicalUnit:
    validation = None if test else np.arange(20)
    return ClassicalUnit(name, model, {"C": 1}, 0, np.arange(train), validation)


def test_the_parts_of_the_images_are_apart_and_even() -> None:
    labels = (np.arange(1000) % 10).astype(np.uint8)
    used, train, validation = split_images(labels, 500, 0.2, 3)
    assert sorted([*train, *validation]) == used.tolist()
    assert np.bincount(labels[train]).tolist() == [40] * 10
    assert np.bincount(labels[validation]).tolist() == [10] * 10
    assert len(split_images(labels, None, 0.1, 0)[0]) == 1000


@pytest.mark.parametrize(
    ("size", "fraction", "parts"),
    [
        (50, 0.1, ["50 training images, 5 of them", "about 100 with --train-size"]),
        (50, 0.9, ["45 of them", "about 100"]),
        (2000, 0.1, ["2000", "1000"]),
        (100, 0.0, ["validation fraction 0.0"]),
    ],
)
def test_too_few_images_are_refused(size: int, fraction: float, parts: list[str]) -> None:
    labels = (np.arange(1000) % 10).astype(np.uint8)
    with pytest.raises(RequestError) as error:
        split_images(labels, size, fraction, 0)
    for part in parts:
        assert part in str(error.value)


def test_a_final_fit_has_the_best_setting_and_all_images() -> None:
    labels = (np.arange(500) % 10).astype(np.uint8)
    used, train, validation = split_images(labels, None, 0.1, 0)
    units = grid_units("svm", train, validation, 7)
    assert [unit.settings for unit in units] == models.grid("svm")
    final = final_unit(units[2], used)
    assert (final.name, final.settings, final.seed) == ("svm-final", units[2].settings, 7)
    assert len(final.train) == 500
    assert final.validation is None


def test_a_fit_judges_the_images_it_was_not_fitted_on() -> None:
    dataset = load_dataset("sample")
    data = ClassicalData(dataset.train.images, dataset.train.labels, dataset.test.images)
    settings = {"C": 0.01}
    unit = ClassicalUnit(
        "x", "logistic_regression", settings, 0, np.arange(800), np.arange(900, 950)
    )
    fit = fit_unit(unit, data, 1)
    assert fit.probability.shape == (50, 10)
    assert fit.fit_seconds > 0
    assert fit.details["converged"]
    assert (
        len(fit_unit(_unit("logistic_regression", "y", 800, test=True), data, 1).probability) == 500
    )


def test_a_fit_is_done_once_it_is_written_whole_and_as_it_was_asked_for(record: Record) -> None:
    unit = _unit("svm", "svm-c1")
    assert not is_done(record, unit)
    write_failure(record, unit, ["out of memory"])
    assert not is_done(record, unit)
    assert read_json(record.unit("svm-c1") / "metrics.json")["failures"] == ["out of memory"]
    metrics = write_fit(record, unit, _fit(15), LABELS, ["once"])
    assert metrics["validation_accuracy"] == 0.75
    assert metrics["failures"] == ["once"]
    assert "validation_loss" not in metrics, "scores have no likelihood"
    assert is_done(record, unit)
    assert not is_done(record, _unit("svm", "svm-c1", train=80))


def test_the_best_setting_is_that_of_the_validation_images(record: Record) -> None:
    units = [_unit("svm", f"svm-{number}") for number in range(4)]
    assert best_unit(record, units) is None
    for unit, right in zip(units[:3], (12, 16, 16), strict=True):
        write_fit(record, unit, _fit(right), LABELS)
    write_failure(record, units[3], ["no"])
    assert best_unit(record, units) is units[1]


def test_the_test_images_do_not_choose_the_best_model(record: Record) -> None:
    assert conclude(record, []) == {}
    fits = []
    for model, judged, tested in (("svm", 12, 19), ("random_forest", 14, 10)):
        unit, final = _unit(model, f"{model}-c1"), _unit(model, f"{model}-final", 100, test=True)
        write_fit(record, unit, _fit(judged), LABELS)
        write_fit(record, final, _fit(tested), LABELS)
        fits.append((unit, final))
    metrics = conclude(record, fits)
    assert metrics["best_model"] == "random_forest"
    assert metrics["test_accuracy"] == metrics["random_forest_test_accuracy"] == 0.5
    assert metrics["svm_test_accuracy"] == 0.95
    assert metrics["svm_C"] == 1
    with np.load(record.path / "predictions.npz") as stored:
        assert np.mean(stored["probability"].argmax(axis=1) == stored["label"]) == 0.5


def test_the_time_left_goes_by_what_the_ended_fits_took() -> None:
    stages = [
        [_unit("logistic_regression", name, 1000) for name in names] for names in ("abcd", "ef")
    ]
    each = stages[0][0].expected_seconds
    left = FitsLeft(stages, slots=2)
    assert (len(left), left.seconds) == (6, None)
    assert left.expected_seconds == pytest.approx(6 * each)
    left.ended("a")  # complete already
    assert left.seconds is None
    left.ended("b", 10.0)
    assert left.seconds == pytest.approx(10.0 + 10.0)
    left.ended("c", 20.0)
    assert left.seconds == pytest.approx(15.0 + 15.0), "one fit is not shared by two slots"
    for name in "def":
        left.ended(name, 15.0)
    assert (len(left), left.seconds) == (0, 0.0)

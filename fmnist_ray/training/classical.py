"""Fits of classical models as units of a record: what they are, one fit, and what they come to."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fmnist_ray.dataset.arrays import Bytes
from fmnist_ray.dataset.splits import Indices, stratified_split, stratified_subset
from fmnist_ray.errors import RequestError
from fmnist_ray.evaluation.metrics import summarise
from fmnist_ray.models.classical import (
    Floats,
    Settings,
    build,
    details,
    expected_seconds,
    grid,
    probabilities,
    rows,
    setting_name,
)
from fmnist_ray.records import (
    PREDICTIONS_FILE,
    TEST_PREDICTIONS_FILE,
    Record,
    plain,
    read_json,
    write_json,
    write_predictions,
    write_whole,
)


@dataclass(frozen=True)
class ClassicalUnit:
    """One fit to run: small, so that it can be sent anywhere.

    Attributes:
        name: Names the unit in the record and in Ray's task list.
        model: One of `models.classical.MODEL_NAMES`.
        settings: What the grid varies.
        seed: Of the fit.
        train: Indices of the training images to fit on.
        validation: Indices of those that the fit is judged on; None for the test images.
    """

    name: str
    model: str
    settings: Settings
    seed: int
    train: Indices
    validation: Indices | None = None

    @property
    def config(self) -> dict[str, Any]:
        """What tells this fit from others, for the record."""
        return {"model": self.model, **self.settings, "train_images": len(self.train)}

    @property
    def expected_seconds(self) -> float:
        """See `models.classical.expected_seconds`."""
        return expected_seconds(self.model, self.settings, len(self.train))


@dataclass(frozen=True)
class ClassicalData:
    """The arrays that every fit reads.

    Attributes:
        images: uint8, (n, 28, 28).
        labels: uint8, (n,).
        test_images: uint8, (m, 28, 28).
    """

    images: Bytes
    labels: Bytes
    test_images: Bytes


@dataclass(frozen=True)
class ClassicalFit:
    """What a finished fit gives.

    Attributes:
        probability: float32 (m, 10) of the images it is judged on; of the SVM, scores: see
            `models.classical.probabilities`.
        fit_seconds: Time of fitting.
        predict_seconds: Time of predicting.
        details: Figures of the model's own, such as its number of support vectors.
    """

    probability: Floats
    fit_seconds: float
    predict_seconds: float
    details: dict[str, Any] = field(default_factory=dict)


def split_images(
    labels: Bytes, size: int | None, validation_fraction: float, seed: int
) -> tuple[Indices, Indices, Indices]:
    """Draws the images to use, and parts them, with the classes as even as they are.

    Args:
        labels: Of all training images.
        size: How many to use; None for all.
        validation_fraction: Share of them to validate on.
        seed: Same seed: same images.

    Returns:
        Indices of the images used, and of those of them to train and to validate on.

    Raises:
        RequestError: A number is impossible, or a class is missing in one of the parts.
    """
    used = np.arange(len(labels)) if size is None else stratified_subset(labels, size, seed)
    parts = stratified_split(labels[used], validation_fraction, seed)
    train, validation = (used[part] for part in parts)
    classes = len(np.unique(labels))
    if min(len(np.unique(labels[part])) for part in (train, validation)) < classes:
        smaller = round(min(validation_fraction, 1 - validation_fraction), 9)
        enough = int(np.ceil(classes / smaller))
        raise RequestError(
            f"{len(used)} training images, {len(validation)} of them for validation, are too few: "
            f"not all {classes} classes are in both parts. Use about {enough} with --train-size, "
            "or another --validation-fraction."
        )
    return used, train, validation


def grid_units(model: str, train: Indices, validation: Indices, seed: int) -> list[ClassicalUnit]:
    """A unit for each setting of a model's grid.

    Args:
        model: One of `models.classical.MODEL_NAMES`.
        train: Indices of the images to fit on.
        validation: Indices of those to judge on.
        seed: Of all fits, lest luck choose among forests.
    """
    return [
        ClassicalUnit(setting_name(model, settings), model, settings, seed, train, validation)
        for settings in grid(model)
    ]


def final_unit(best: ClassicalUnit, used: Indices) -> ClassicalUnit:
    """The fit that follows a grid, `<model>-final`, judged on the test images.

    Args:
        best: Of the model's grid.
        used: Indices of the images to fit on: those of the grid and those it was judged on.
    """
    return replace(best, name=f"{best.model}-final", train=used, validation=None)


class FitsLeft:
    """The fits that have not ended, and how long they will take.

    Args:
        stages: Fits; those of one stage begin when those before it have ended.
        slots: How many run at once.
    """

    def __init__(self, stages: Sequence[Sequence[ClassicalUnit]], slots: int) -> None:
        self._slots = slots
        self._stages = [{unit.name: unit.expected_seconds for unit in stage} for stage in stages]
        self._expected = self._taken = 0.0

    def __len__(self) -> int:
        return sum(len(stage) for stage in self._stages)

    @property
    def expected_seconds(self) -> float:
        """What they were all together expected to take on one core."""
        return sum(sum(stage.values()) for stage in self._stages)

    @property
    def seconds(self) -> float | None:
        """How long they take if they go on as those that ended; None before the first."""
        if not self._expected:
            return None
        # The longest fit of a stage is not shared among slots.
        stages = [list(stage.values()) for stage in self._stages if stage]
        left = sum(max(sum(stage) / self._slots, *stage) for stage in stages)
        return left * self._taken / self._expected

    def ended(self, unit: str, seconds: float | None = None) -> None:
        """A fit has ended after so many seconds; None if it failed or need not run at all."""
        expected = sum(stage.pop(unit, 0.0) for stage in self._stages)
        if seconds is not None:
            self._expected, self._taken = self._expected + expected, self._taken + seconds


def fit_unit(unit: ClassicalUnit, data: ClassicalData, threads: int) -> ClassicalFit:
    """Fits a model and predicts the images it is judged on.

    Args:
        unit: What to fit.
        data: The images.
        threads: That the fit may use.
    """
    from threadpoolctl import threadpool_limits

    judged = data.test_images if unit.validation is None else data.images[unit.validation]
    estimator = build(unit.model, unit.settings, unit.seed, threads)
    with threadpool_limits(threads), warnings.catch_warnings():
        # Whether lbfgs converged is among the details.
        warnings.filterwarnings("ignore", message="lbfgs failed to converge")
        started = time.perf_counter()
        estimator.fit(rows(data.images[unit.train]), data.labels[unit.train])
        fitted = time.perf_counter()
        probability = probabilities(estimator, rows(judged))
        predicted = time.perf_counter()
    own = details(unit.model, estimator)
    return ClassicalFit(probability, fitted - started, predicted - fitted, own)


def is_done(record: Record, unit: ClassicalUnit) -> bool:
    """Whether the record holds this very fit, complete."""
    folder = record.unit(unit.name)
    if not (folder / "metrics.json").is_file():
        return False
    if read_json(folder / "config.json") != plain(unit.config):
        return False
    return bool(unit_metrics(record, unit)["status"] == "complete")


def unit_metrics(record: Record, unit: ClassicalUnit) -> dict[str, Any]:
    """What the record holds of a fit that has ended."""
    return read_json(record.unit(unit.name) / "metrics.json")


def best_unit(record: Record, units: Sequence[ClassicalUnit]) -> ClassicalUnit | None:
    """The fit with the highest validation accuracy, the first of several; None if none is done."""
    done = [unit for unit in units if is_done(record, unit)]
    key = "validation_accuracy"
    return max(done, key=lambda unit: unit_metrics(record, unit)[key], default=None)


def write_fit(
    record: Record,
    unit: ClassicalUnit,
    fit: ClassicalFit,
    labels: Bytes,
    failures: Sequence[str] = (),
) -> dict[str, Any]:
    """Writes a finished fit, its `metrics.json` last: that marks it as done.

    Args:
        record: The run's.
        unit: What was fitted.
        fit: What came of it.
        labels: Of the images it is judged on.
        failures: Why attempts before it failed.

    Returns:
        Its metrics.
    """
    folder = record.unit(unit.name)
    split = "test" if unit.validation is None else "validation"
    figures: dict[str, Any] = dict(summarise(labels, fit.probability, split))
    if unit.model == "svm":
        del figures[f"{split}_loss"]  # of scores that are no probabilities, it says nothing
    metrics = {
        "status": "complete",
        "seed": unit.seed,
        "train_images": len(unit.train),
        **figures,
        "fit_seconds": fit.fit_seconds,
        "predict_seconds": fit.predict_seconds,
        **fit.details,
        "failures": list(failures),
    }
    write_json(folder / "config.json", unit.config)
    if unit.validation is None:
        path = folder / TEST_PREDICTIONS_FILE
        write_predictions(path, np.arange(len(labels)), labels, fit.probability)
    record.write_metrics(metrics, unit.name)
    return metrics


def write_failure(record: Record, unit: ClassicalUnit, failures: Sequence[str]) -> None:
    """Notes that a fit failed for good, and why each attempt did."""
    write_json(record.unit(unit.name) / "config.json", unit.config)
    noted = {"status": "failed", "seed": unit.seed, "failures": list(failures)}
    record.write_metrics(noted, unit.name)


def conclude(record: Record, fits: Sequence[tuple[ClassicalUnit, ClassicalUnit]]) -> dict[str, Any]:
    """Gathers the record's metrics from its fits, and adopts the best model's predictions.

    The best model is the one of highest validation accuracy; the test images have no say.

    Args:
        record: The run's.
        fits: Of each model the best of its grid and the final one, both done.

    Returns:
        Flat metrics; those of a model begin with its name. None at all without a model.
    """
    figures: dict[str, Any] = {}
    for best, final in fits:
        judged, scored = unit_metrics(record, best), unit_metrics(record, final)
        own = {"best_unit": best.name, **best.settings}
        own["validation_accuracy"] = judged["validation_accuracy"]
        shown = ("test_accuracy", "test_accuracy_low", "test_accuracy_high", "fit_seconds")
        for key in (*shown, "predict_seconds", "library"):
            if key in scored:
                own[key] = scored[key]
        figures |= {f"{best.model}_{key}": value for key, value in own.items()}
    if not fits:
        return {}
    accuracies = {best.model: figures[f"{best.model}_validation_accuracy"] for best, _ in fits}
    chosen = max(accuracies, key=lambda model: accuracies[model])
    final = next(final for _, final in fits if final.model == chosen)
    predictions = record.unit(final.name) / TEST_PREDICTIONS_FILE
    write_whole(record.path / PREDICTIONS_FILE, predictions.read_bytes())
    scored = unit_metrics(record, final)
    return {
        "best_model": chosen,
        "best_unit": final.name,
        "validation_accuracy": accuracies[chosen],
        **{key: value for key, value in scored.items() if key.startswith("test_")},
        **figures,
    }

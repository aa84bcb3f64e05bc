"""Rows of a comparison: one's own models, scored on the same images, and published figures."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fmnist_ray.evaluation.calibration import brier_score, reliability
from fmnist_ray.evaluation.contenders import Contender
from fmnist_ray.evaluation.metrics import Floats, Integers, accuracy_summary
from fmnist_ray.evaluation.published import Published
from fmnist_ray.records import Predictions

CLASSES = 10


@dataclass(frozen=True)
class Row:
    """One model or published figure; what is not known is None.

    Attributes:
        name: Of the model, or the published technique.
        source: `record` or `published`.
        what: Verb and kind of model, or what is known of the published figure.
        trained_on: The images it learned from, in words.
        test_images: It was scored on.
        test_accuracy: Between 0 and 1; of a published range its middle.
        test_accuracy_low: Lower bound of the 95 % interval (Wilson).
        test_accuracy_high: Upper bound.
        reported_low: Lower end of the published range.
        reported_high: Its upper end; the same where one figure was reported.
        test_loss: Mean negative log-likelihood, in nats.
        test_calibration_error: Expected calibration error in 15 bins, between 0 and 1.
        test_brier_score: 0 to 2.
        parameters: Numbers that were trained.
        fit_seconds: See `contenders.fit_seconds`.
        run_seconds: Wall time of the whole run, see `contenders.Contender`.
        images_per_second: In training, median over the epochs.
    """

    name: str
    source: str
    what: str
    trained_on: str | None = None
    test_images: int | None = None
    test_accuracy: float = 0.0
    test_accuracy_low: float | None = None
    test_accuracy_high: float | None = None
    reported_low: float | None = None
    reported_high: float | None = None
    test_loss: float | None = None
    test_calibration_error: float | None = None
    test_brier_score: float | None = None
    parameters: int | None = None
    fit_seconds: float | None = None
    run_seconds: float | None = None
    images_per_second: float | None = None


def scored_row(contender: Contender, name: str, labels: Integers, probabilities: Floats) -> Row:
    """The row of one's own model.

    Args:
        contender: The model.
        name: To call it.
        labels: True classes of the test images, shape (n,).
        probabilities: Shape (n, 10). If they are scores and no probabilities, as an SVM's, loss,
            calibration error and Brier score are left out.
    """
    figures = accuracy_summary(labels, probabilities, "test")
    proper = contender.has_probabilities
    return Row(
        name=name,
        source="record",
        what=contender.what,
        trained_on=contender.trained_on,
        test_images=len(labels),
        test_accuracy=figures["test_accuracy"],
        test_accuracy_low=figures["test_accuracy_low"],
        test_accuracy_high=figures["test_accuracy_high"],
        test_loss=figures["test_loss"] if proper else None,
        test_calibration_error=reliability(labels, probabilities).error if proper else None,
        test_brier_score=brier_score(labels, probabilities) if proper else None,
        parameters=contender.parameters,
        fit_seconds=contender.fit_seconds,
        run_seconds=contender.run_seconds,
        images_per_second=contender.images_per_second,
    )


def published_row(published: Published) -> Row:
    """The row of a published figure."""
    return Row(
        name=published.technique,
        source="published",
        what=published.detail,
        test_accuracy=published.middle,
        reported_low=published.low,
        reported_high=published.high,
        parameters=published.parameters,
    )


def ranked(rows: Iterable[Row]) -> list[Row]:
    """The rows, the most accurate first."""
    return sorted(rows, key=lambda row: -row.test_accuracy)


def problem_of(predictions: Predictions) -> str | None:
    """What keeps stored predictions of test images from being compared; None if nothing does."""
    probabilities, images = predictions.probability, len(predictions.label)
    if probabilities.shape != (images, CLASSES):
        return f"its predictions have the shape {probabilities.shape}, not ({images}, {CLASSES})"
    if not np.issubdtype(probabilities.dtype, np.floating):
        return f"its predictions are of type {probabilities.dtype}"
    broken = int((~np.isfinite(probabilities).all(axis=1)).sum())
    return f"its predictions are no numbers for {broken} images" if broken else None

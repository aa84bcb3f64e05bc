"""A run in a few numbers and sentences, from its record's files."""

from collections.abc import Mapping
from typing import Any, NamedTuple

Metrics = Mapping[str, Any]

ODD_VALUES = (
    "missing_values",
    "not_whole_numbers",
    "wrong_numbers_of_cells",
    "pixels_out_of_range",
    "labels_out_of_range",
)
"""An exploration's counts of what is no pixel or no label, as `dataset.cleaning` names them."""


class Card(NamedTuple):
    """A key figure.

    Attributes:
        label: What it is.
        value: With its unit.
        note: Smaller, below it; may be empty.
    """

    label: str
    value: str
    note: str = ""


def cards(metrics: Metrics, model: Metrics) -> list[Card]:
    """The key figures among a record's metrics.

    Args:
        metrics: Of `metrics.json`.
        model: Of `model.json`; may be empty.
    """
    found: list[Card] = []
    if (test := _share(metrics, "test_accuracy")) is not None:
        images = metrics.get("test_images")
        of = f"of {images:,} images" if isinstance(images, int) else ""
        found.append(Card("Test accuracy", test, _interval(metrics, "test_accuracy") or of))
    if (mean := _share(metrics, "test_accuracy_mean")) is not None:
        count = len(metrics.get("test_accuracy_by_seed") or []) or metrics.get("units")
        what = "seeds" if "test_accuracy_by_seed" in metrics else "models"
        deviation = _number(metrics, "test_accuracy_deviation")
        note = f"{count} {what}, deviation {100 * deviation:.2f}" if deviation is not None else ""
        found.append(Card("Mean test accuracy", mean, note))
    for key, label in (
        ("out_of_fold_accuracy", "Out-of-fold accuracy"),
        ("best_validation_accuracy", "Best validation accuracy"),
        ("validation_accuracy", "Validation accuracy"),
        ("train_accuracy", "Training accuracy"),
    ):
        if (share := _share(metrics, key)) is not None:
            found.append(Card(label, share, _interval(metrics, key)))
    if (loss := _number(metrics, "test_loss")) is not None:
        found.append(Card("Test loss (NLL)", f"{loss:.4f}", "nats"))
    if (ece := _number(metrics, "test_ece")) is not None:
        found.append(Card("Calibration error (ECE)", f"{100 * ece:.2f}", "points, 15 bins"))
    if isinstance(parameters := model.get("parameters"), int):
        found.append(Card("Parameters", f"{parameters:,}"))
    for key, label in (
        ("trials", "Trials"),
        ("epochs", "Epochs"),
        ("units", "Fits"),
        ("train_images", "Training images"),
        ("test_images", "Test images"),
        ("files", "Files"),
        ("labelled", "Files labelled"),
    ):
        if isinstance(count := metrics.get(key), int):
            found.append(Card(label, f"{count:,}"))
    return found


def sentences(metrics: Metrics) -> list[str]:
    """What a reader wants to know first.

    Args:
        metrics: Of `metrics.json`.
    """
    said = []
    if (test := _share(metrics, "test_accuracy")) is not None:
        interval = _interval(metrics, "test_accuracy")
        inside = f" ({interval})" if interval else ""
        said.append(f"The model is right on {test} of the test images{inside}.")
    mean, deviation = (
        _number(metrics, f"validation_accuracy_{name}") for name in ("mean", "deviation")
    )
    if mean is not None and deviation is not None:
        said.append(
            f"{metrics.get('units')} folds: {100 * mean:.2f} % ± {100 * deviation:.2f} points on the "
            "images that each held out."
        )
    said += _of_members(metrics)
    ece, scaled = _number(metrics, "test_ece"), _number(metrics, "test_ece_with_temperature")
    if ece is not None:
        text = f"Its probabilities are off by {100 * ece:.2f} points on average (ECE)"
        temperature = _number(metrics, "temperature")
        if scaled is not None and temperature is not None:
            does = "brings that down to" if scaled < ece else "does not help: it makes that"
            text += (
                f"; a temperature of {temperature:.2f}, fitted on {metrics.get('temperature_from')}"
                f", {does} {100 * scaled:.2f}"
            )
        said.append(text + ".")
    if isinstance(issues := metrics.get("label_issues"), int):
        said.append(
            f"{issues:,} training labels are likely wrong, by models that did not see the images."
        )
    said += _of_data(metrics)
    if isinstance(classes := metrics.get("by_class"), Mapping):
        counts = ", ".join(f"{count:,} {name}" for name, count in classes.items() if count)
        said.append(
            f"{metrics.get('labelled'):,} of {metrics.get('files'):,} files labelled: {counts}."
        )
    failed = metrics.get("units_failed") or metrics.get("fits_failed")
    if failed:
        said.append(f"{failed} fits failed and are left out.")
    return said


def _of_members(metrics: Metrics) -> list[str]:
    """What averaging gained, of the groups of an ensemble."""
    said = []
    for key, gain in metrics.items():
        if not key.endswith("_gain") or not isinstance(gain, float):
            continue
        group = key.removesuffix("_gain")
        members = metrics.get(f"{group}_members")
        together, alone = (
            _share(metrics, f"{group}_{name}")
            for name in ("ensemble_accuracy", "member_accuracy_mean")
        )
        said.append(
            f"{group.replace('_', ' ')}: {members} members are right on {alone} each and on "
            f"{together} together, {100 * gain:+.2f} points."
        )
    return said


def _of_data(metrics: Metrics) -> list[str]:
    """What an exploration found."""
    said = []
    if (balance := _number(metrics, "train_balance_p_value")) is not None:
        even = "equally frequent" if balance >= 0.01 else "not equally frequent"
        said.append(f"The classes are {even} in the training images (p = {balance:.3g}).")
    if "shared_by_train_and_test" in metrics:
        said.append(
            f"Exact duplicates: {metrics.get('train_duplicates')} within train, "
            f"{metrics.get('test_duplicates')} within test, "
            f"{metrics['shared_by_train_and_test']} in both."
        )
    if "near_duplicates_test_and_train" in metrics:
        said.append(
            f"Near-duplicates: {metrics.get('near_duplicates_train')} pairs within train, "
            f"{metrics.get('near_duplicates_test')} within test, "
            f"{metrics['near_duplicates_test_and_train']} across."
        )
    odd = {name: metrics[name] for name in ODD_VALUES if metrics.get(name)}
    if odd:
        listed = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in odd.items())
        said.append(f"Odd values: {listed}.")
    return said


def _number(metrics: Metrics, key: str) -> float | None:
    value = metrics.get(key)
    return float(value) if isinstance(value, int | float) else None


def _share(metrics: Metrics, key: str) -> str | None:
    value = _number(metrics, key)
    return None if value is None else f"{100 * value:.2f} %"


def _interval(metrics: Metrics, key: str) -> str:
    low, high = _number(metrics, f"{key}_low"), _number(metrics, f"{key}_high")
    if low is None or high is None:
        return ""
    return f"95 % interval {100 * low:.2f} to {100 * high:.2f}"

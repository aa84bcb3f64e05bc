"""Predictions of images that a record's model, or one like it, was not trained on."""

from pathlib import Path
from typing import NamedTuple

from fmnist_ray.errors import RequestError
from fmnist_ray.evaluation.calibration import fit_temperature
from fmnist_ray.evaluation.provenance import as_mapping, read_if_there
from fmnist_ray.records import (
    OUT_OF_BAG_FILE,
    OUT_OF_FOLD_FILE,
    PREDICTIONS_FILE,
    Predictions,
    Record,
    read_predictions,
)


class HeldOut(NamedTuple):
    """Predictions with their origin.

    Attributes:
        predictions: Of training images, by models that did not see them.
        origin: What they are, in words.
    """

    predictions: Predictions
    origin: str


def validation_predictions(record: Record, unit: str | None = None) -> HeldOut | None:
    """What a temperature may be fitted on: validation images, never test images.

    Of a search's retrained model, which has seen all images, it is those of the trial whose
    configuration it has; of a bootstrap ensemble, the out-of-bag ones. None for an average of
    folds or of seeds: no image is unseen by all of its models, and single ones are less sure than
    their average is.

    Raises:
        RequestError: A file is damaged.
    """
    if unit is not None:
        return _of_unit(record, unit, f"the validation images of {unit}")
    metrics = read_if_there(record.path / "metrics.json")
    verb = record.run().get("verb")
    if verb in ("train", "transfer") and not metrics.get("best_unit"):
        units = _units_with_predictions(record)
        return _of_unit(record, units[0], "its validation images") if len(units) == 1 else None
    if verb in ("tune", "transfer"):
        best = str(metrics.get("best_unit") or "")
        return _of_unit(
            record, best, f"the validation images of {best}, which has the same configuration"
        )
    if verb == "ensemble" and "bootstrap" in str(metrics.get("final")):
        path = record.path / OUT_OF_BAG_FILE
        if path.is_file():
            return HeldOut(read_predictions(path), "out-of-bag predictions of the members")
    return None


class Temperature(NamedTuple):
    """A temperature with the origin of the predictions that it was fitted on."""

    value: float
    origin: str


def fitted_temperature(record: Record, unit: str | None = None) -> Temperature | None:
    """The temperature of a record's model, or a unit's; None without validation predictions.

    Raises:
        RequestError: A file is damaged.
    """
    held_out = validation_predictions(record, unit)
    if held_out is None:
        return None
    predictions = held_out.predictions
    return Temperature(fit_temperature(predictions.label, predictions.probability), held_out.origin)


def gives_probabilities(record: Record, unit: str | None = None) -> bool:
    """Whether a model's outputs are probabilities: an SVM's are scores, see `models.classical`."""
    if record.run().get("verb") != "baselines":
        return True
    if unit is not None:
        return read_if_there(record.unit(unit) / "config.json").get("model") != "svm"
    return read_if_there(record.path / "metrics.json").get("best_model") != "svm"


def unseen_predictions(record: Record) -> HeldOut | None:
    """Out-of-fold or out-of-bag predictions of the training images, where a record keeps them.

    Raises:
        RequestError: The file is damaged.
    """
    for file, origin in (
        (OUT_OF_FOLD_FILE, "out-of-fold predictions"),
        (OUT_OF_BAG_FILE, "out-of-bag predictions"),
    ):
        if (record.path / file).is_file():
            return HeldOut(read_predictions(record.path / file), origin)
    return None


def _units_with_predictions(record: Record) -> list[str]:
    return sorted(path.parent.name for path in _unit_files(record))


def _unit_files(record: Record) -> list[Path]:
    return list((record.path / "units").glob(f"*/{PREDICTIONS_FILE}"))


def _of_unit(record: Record, unit: str, origin: str) -> HeldOut | None:
    if not unit:
        return None
    path = record.unit(unit) / PREDICTIONS_FILE
    if not path.is_file():
        return None
    found = read_predictions(path)
    known = as_mapping(as_mapping(record.run().get("data")).get("sha256"))
    # A unit that was trained on all images keeps those of the test images under this name.
    if found.are_of(known.get("test_labels")):
        return None
    if not len(found.label):
        raise RequestError(f"{path} is damaged: it holds no predictions.")
    return HeldOut(found, origin)

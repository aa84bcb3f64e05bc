"""Where a record's model comes from, in words: its kind and the images it learned from.

Records of other versions may lack what is read here; then less is said, and nothing is guessed.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmnist_ray.errors import RequestError
from fmnist_ray.records import PREDICTIONS_FILE, Record, read_json, read_predictions


def read_if_there(path: Path) -> dict[str, Any]:
    """A JSON object; empty if there is no such file.

    Raises:
        RequestError: It is damaged.
    """
    return read_json(path) if path.is_file() else {}


def read_or_note(path: Path, problems: list[str]) -> dict[str, Any]:
    """A JSON object; empty if it is missing, or damaged, which is among the problems then."""
    try:
        return read_if_there(path)
    except RequestError as error:
        problems.append(str(error))
        return {}


def as_mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def number(value: Any) -> float | None:
    """The value as a finite number, or None."""
    try:
        found = None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
    return found if found is not None and math.isfinite(found) else None


def described_model(
    description: Mapping[str, Any],
    config: Mapping[str, Any],
    unit_configs: Sequence[Mapping[str, Any]],
) -> str:
    """A model's kind in a few words, such as `10 cnn` or `vgg16, new output layer`.

    Args:
        description: Content of its `model.json`; empty if it has none.
        config: Of the run.
        unit_configs: Of the units that it consists of.

    Returns:
        Empty if nothing says.
    """
    architecture = as_mapping(description.get("architecture"))
    members = as_mapping(architecture.get("ensemble"))
    fit = as_mapping(config.get("fit"))
    if members:
        counts = Counter(str(as_mapping(each).get("model", "?")) for each in members.values())
        name = " + ".join(f"{count} {model}" for model, count in counts.items())
    elif "backbone" in architecture:
        blocks = architecture.get("unfrozen")
        new = f"last {blocks} blocks trained" if blocks else "new output layer"
        return f"{architecture['backbone']}, {'last block trained' if blocks == 1 else new}"
    else:
        known = [architecture, *unit_configs, fit]
        name = next((str(each["model"]) for each in known if each.get("model")), "")
    frameworks = {str(each.get("framework", "torch")) for each in [*unit_configs, fit]}
    return f"{name}, TensorFlow" if name and "tensorflow" in frameworks else name


def trained_on(
    record: Record,
    run: Mapping[str, Any],
    unit: str | None,
    units: Sequence[str],
    metrics: Mapping[str, Mapping[str, Any]],
    training_images: Mapping[str, int],
) -> str | None:
    """The images that a model learned from, in a few words.

    Args:
        record: The model's.
        run: Content of its `run.json`.
        unit: That the model is; None for the run's own.
        units: That it is or consists of.
        metrics: Theirs, by name.
        training_images: How many images there are to learn from, by the SHA-256 of their labels.

    Returns:
        None if the record does not say.
    """
    if not units:
        return None
    counted = number(metrics[units[0]].get("train_images")) if len(units) == 1 else None
    if counted is not None:
        return _images(counted)
    config, data = as_mapping(run.get("config")), as_mapping(run.get("data"))
    labels = as_mapping(data.get("sha256")).get("train_labels")
    total = number(config.get("train_size")) or number(training_images.get(str(labels)))
    several = "each on " if unit is None and len(units) > 1 else ""
    match run.get("verb"):
        case "tune":
            parts = [number(data.get(f"{split}_images")) for split in ("train", "validation")]
            retrained = units[0].startswith("retrain")
            known = [part for part in (parts if retrained else parts[:1]) if part is not None]
            return _images(sum(known)) if len(known) == (2 if retrained else 1) else None
        case "cross_validate":
            folds = number(config.get("folds"))
            if folds is None:
                return None
            of = f" of {total:,.0f} images" if total else ""
            return f"{several}{folds - 1:.0f} of {folds:.0f} folds{of}"
        case "ensemble":
            kinds = {"bootstrap" if "-member-" in each else "all" for each in units}
            whole = _images(total) if total else "the training images"
            drawn = f"a bootstrap sample of {whole}"
            words = {frozenset({"bootstrap"}): drawn, frozenset({"all"}): whole}
            return several + words.get(frozenset(kinds), f"{whole} or {drawn}")
        case "train":
            return _of_a_training(
                record, units[0], number(config.get("validation_fraction")), total
            )
    return None


def _of_a_training(
    record: Record, unit: str, fraction: float | None, total: float | None
) -> str | None:
    if fraction is None:
        return None
    if total is None:
        return f"{1 - fraction:.0%} of the training images"
    try:
        # Those it was validated on; the split by classes makes them more or less than the share.
        held_out = len(read_predictions(record.unit(unit) / PREDICTIONS_FILE).label)
    except RequestError:
        return f"{1 - fraction:.0%} of {_images(total)}"
    return _images(total - held_out)


def _images(count: float) -> str:
    return f"{count:,.0f} images"

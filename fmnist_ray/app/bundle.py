"""A model as it travels to the processes that serve it, and what people are told of it."""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmnist_ray.errors import RequestError
from fmnist_ray.evaluation.contenders import MODEL_FILES, find_contenders
from fmnist_ray.evaluation.provenance import as_mapping, described_model, number, read_if_there
from fmnist_ray.pretrained import PRETRAINED_FOLDER
from fmnist_ray.records import read_json
from fmnist_ray.training.scoring import model_folder

if TYPE_CHECKING:
    from torch import nn

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelBundle:
    """A model's two files in memory, so that no other node needs the record.

    Attributes:
        name: Of its record, with the unit's after a `/`; `pretrained` for the one that comes along.
        description: Content of `model.json`.
        weights: Content of `model.safetensors`.
        facts: What `/api/model` tells.
    """

    name: str
    description: bytes = field(repr=False)
    weights: bytes = field(repr=False)
    facts: Mapping[str, Any]

    @property
    def members(self) -> tuple[str, ...]:
        """Names of an ensemble's members."""
        return tuple(self.facts["members"])

    def load(self) -> "nn.Module":
        """The model, ready to predict.

        Raises:
            RequestError: Weights and description do not agree, or of a VGG: the backbone's file is
                not there.
        """
        from fmnist_ray.models.storage import load_model

        with tempfile.TemporaryDirectory(prefix="fmnist-model-") as folder:
            for file, content in zip(MODEL_FILES, (self.description, self.weights), strict=True):
                (Path(folder) / file).write_bytes(content)
            return load_model(Path(folder))[0]


def read_bundle(record: str | Path | None) -> ModelBundle:
    """Reads the model of a record or a unit, or the one that comes with the package.

    Args:
        record: `results/NAME` or `results/NAME/units/ID`; None for the one that comes along.

    Raises:
        RequestError: There is no model; the message says how to come by one.
    """
    folder = model_folder(record)
    facts = _pretrained_facts() if record is None else _facts(folder)
    description, weights = ((folder / file).read_bytes() for file in MODEL_FILES)
    return ModelBundle(facts["name"], description, weights, facts)


def newest_with_model(results: Path) -> Path | None:
    """The record below a results folder that was begun last, of those that hold a model.

    One whose `run.json` is damaged is passed over, with a warning.
    """
    found = []
    for path in results.glob("*/run.json"):
        if all((path.parent / file).is_file() for file in MODEL_FILES):
            try:
                found.append((str(read_json(path).get("started", "")), path.parent))
            except RequestError as error:
                _log.warning("warning: %s is passed over. %s", path.parent, error)
    return max(found)[1] if found else None


def _pretrained_facts() -> dict[str, Any]:
    description = read_json(PRETRAINED_FOLDER / MODEL_FILES[0])
    return {
        "name": "pretrained",
        "model": described_model(description, {}, []),
        "trained_on": "60,000 images",
        "test_accuracy": description["test_accuracy"],
        **_architecture(description),
    }


def _facts(folder: Path) -> dict[str, Any]:
    """Of a record's model; what the record does not say is None."""
    description = read_json(folder / MODEL_FILES[0])
    facts: dict[str, Any] = {"name": folder.name, "model": described_model(description, {}, [])}
    if (folder / "run.json").is_file() or folder.absolute().parent.name == "units":
        contender = find_contenders(folder)[0]
        facts = {
            "name": contender.name,
            "model": contender.what,
            "trained_on": contender.trained_on,
        }
    measured = read_if_there(folder / "metrics.json").get("test_accuracy")
    return {
        "trained_on": None,
        **facts,
        "test_accuracy": number(measured or description.get("test_accuracy")),
        **_architecture(description),
    }


def _architecture(description: Mapping[str, Any]) -> dict[str, Any]:
    architecture = as_mapping(description.get("architecture"))
    return {
        "parameters": description.get("parameters"),
        "architecture": architecture,
        "members": list(as_mapping(architecture.get("ensemble"))),
    }

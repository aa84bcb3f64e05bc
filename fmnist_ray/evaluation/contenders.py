"""Models of records to compare: which there are, and what their records say of them.

Nothing here needs the model itself, so it reads records of any verb and of earlier layouts; what
a record does not say is None.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from fmnist_ray.errors import RequestError
from fmnist_ray.evaluation.held_out import gives_probabilities
from fmnist_ray.evaluation.provenance import (
    as_mapping,
    described_model,
    number,
    read_if_there,
    trained_on,
)
from fmnist_ray.records import TEST_PREDICTIONS_FILE, Record

MODEL_FILES = ("model.json", "model.safetensors")


@dataclass(frozen=True)
class Contender:
    """One model to compare.

    Attributes:
        name: Of its record, with the unit's after a `/`.
        record: Holds it.
        unit: The trial, fold, member or classical model that it is; None for the run's own.
        what: Its verb and kind, such as `ensemble: 10 cnn`.
        trained_on: The images it learned from, in words.
        parameters: Numbers that were trained; None for classical models.
        fit_seconds: See `fit_seconds`.
        run_seconds: Wall time from the start of the run to its end, pauses of a resumed run
            included, with everything that came before the final model, such as a search. None
            for a unit, since the run was not its alone.
        images_per_second: Median over the epochs of its fits.
        has_probabilities: Whether its outputs are probabilities; an SVM's are scores.
        status: Of the run.
        data: What `--data` was given to the run.
        sha256: Fingerprints of the run's data, by array.
    """

    name: str
    record: Record
    unit: str | None
    what: str
    trained_on: str | None
    parameters: int | None
    fit_seconds: float | None
    run_seconds: float | None
    images_per_second: float | None
    has_probabilities: bool
    status: str
    data: str | None
    sha256: Mapping[str, str]

    @property
    def folder(self) -> Path:
        """Where its model and predictions are."""
        return self.record.path if self.unit is None else self.record.unit(self.unit)

    @property
    def has_model(self) -> bool:
        """Whether a model is kept there."""
        return all((self.folder / file).is_file() for file in MODEL_FILES)


def find_contenders(
    path: str | Path, training_images: Mapping[str, int] | None = None
) -> list[Contender]:
    """The models of a record or of a unit's folder.

    A record of `baselines` has one for each kind of classical model, any other has its final one.

    Args:
        path: `results/NAME` or `results/NAME/units/ID`.
        training_images: How many images there are to learn from, by the SHA-256 of their labels.

    Raises:
        RequestError: There is no such record or unit, or one of its JSON files is damaged.
    """
    folder, unit = Path(path).resolve(), None
    if folder.parent.name == "units" and (folder.parent.parent / "run.json").is_file():
        unit, of_record = folder.name, folder.parent.parent
        if not folder.is_dir():
            raise RequestError(f"There is no {path}: the record {of_record} has no such unit.")
        folder = of_record
    else:
        Record.open(path)  # refuses what is no record, under the name it was given
    record = Record(folder)
    run = record.run()
    units: list[str | None] = [unit]
    if run.get("verb") == "baselines" and unit is None:
        finals = sorted(folder.glob(f"units/*-final/{TEST_PREDICTIONS_FILE}"))
        units = [final.parent.name for final in finals]
        if not units:
            raise RequestError(
                f"{path} has no classical model that is complete. Go on with `python -m "
                f"fmnist_ray.baselines --name {record.name} --results {folder.parent}`."
            )
    return [_contender(record, run, each, training_images or {}) for each in units]


def _contender(
    record: Record, run: Mapping[str, Any], unit: str | None, training_images: Mapping[str, int]
) -> Contender:
    folder = record.path if unit is None else record.unit(unit)
    description = read_if_there(folder / "model.json")
    units = _units(description, unit)
    metrics = {each: read_if_there(record.unit(each) / "metrics.json") for each in units}
    configs = {each: read_if_there(record.unit(each) / "config.json") for each in units}
    verb = str(run.get("verb", ""))
    config = as_mapping(run.get("config"))
    parameters = description.get("parameters")
    data = as_mapping(run.get("data"))
    sha256 = {str(key): str(value) for key, value in as_mapping(data.get("sha256")).items()}
    model = described_model(description, config, list(configs.values()))
    kind = f"{verb} unit" if unit is not None and verb != "baselines" else verb
    source = config.get("data")
    return Contender(
        name=record.name if unit is None else f"{record.name}/{unit}",
        record=record,
        unit=unit,
        what=f"{kind}: {model}" if model else kind,
        trained_on=trained_on(record, run, unit, units, metrics, training_images),
        parameters=parameters if isinstance(parameters, int) else None,
        fit_seconds=fit_seconds(record, verb, unit, list(metrics.values())),
        run_seconds=None if unit is not None else run_seconds(run),
        images_per_second=_images_per_second(record, description, metrics),
        has_probabilities=gives_probabilities(record, unit),
        status=str(run.get("status", "unknown")),
        data=source if isinstance(source, str) else None,
        sha256=sha256,
    )


def fit_seconds(
    record: Record, verb: str, unit: str | None, metrics: Sequence[Mapping[str, Any]]
) -> float | None:
    """Seconds of fitting the compared model, and nothing that only served to choose it.

    The wall time of each fit that the model consists of, on as many threads as the run gave a
    fit, summed over its members as if they had run one after the other. The epochs' validation
    counts, starting processes does not. With a pretrained backbone, the time that its features
    of all images took counts. The trials of a search and the grid of a classical model do not.

    Args:
        record: The model's.
        verb: That made it.
        unit: That it is; None for the run's own model.
        metrics: Of its units.

    Returns:
        None if the record does not say.
    """
    seconds = [number(each.get("busy_seconds", each.get("fit_seconds"))) for each in metrics]
    known = [each for each in seconds if each is not None]
    if not known or len(known) < len(seconds):
        return None
    features: float | None = 0.0
    if verb == "transfer":
        features = number(read_if_there(record.path / "metrics.json").get("feature_seconds"))
    return None if features is None else sum(known) + features


def _units(description: Mapping[str, Any], unit: str | None) -> list[str]:
    """The units that a model is or is made of."""
    if unit is not None:
        return [unit]
    members = as_mapping(as_mapping(description.get("architecture")).get("ensemble"))
    if members:
        return [str(member) for member in members]
    own = description.get("unit")
    return [own] if isinstance(own, str) else []


def run_seconds(run: Mapping[str, Any]) -> float | None:
    """From a run's start to its end; None if it has not ended, or is of another layout."""
    try:
        started, ended = (datetime.fromisoformat(str(run[key])) for key in ("started", "ended"))
        return max(0.0, (ended - started).total_seconds())
    except (KeyError, ValueError, TypeError):  # not ended, or of another layout
        return None


def _images_per_second(
    record: Record, description: Mapping[str, Any], metrics: Mapping[str, Mapping[str, Any]]
) -> float | None:
    architecture = as_mapping(description.get("architecture"))
    if "backbone" in architecture and not architecture.get("unfrozen"):
        return None  # of features that were computed before, not of images
    speeds = [
        speed
        for row in _history(record.path / "history.csv")
        if row.get("unit") in metrics and (speed := number(row.get("images_per_second")))
    ]
    if not speeds:  # the retrainings of a search are not in the run's history
        rows = [each.get("history") for each in metrics.values()]
        speeds = [
            speed
            for history in rows
            for row in (history if isinstance(history, list) else [])
            if (speed := number(as_mapping(row).get("images_per_second")))
        ]
    return median(speeds) if speeds else None


def _history(path: Path) -> list[dict[str, Any]]:
    """The rows of a history; none if it is missing or no table."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        return list(csv.DictReader(io.StringIO(text)))
    except (OSError, csv.Error):
        return []


def unique_names(contenders: Sequence[Contender]) -> list[str]:
    """Names that tell them apart: those that share one get the folders above, as far as it takes."""
    above = 0
    names = [each.name for each in contenders]
    while len(set(names)) < len(names) and above < 100:
        above += 1
        names = [
            name if names.count(name) == 1 else "/".join((*_folders(each, above), each.name))
            for name, each in zip(names, contenders, strict=True)
        ]
    return names


def _folders(contender: Contender, above: int) -> tuple[str, ...]:
    return contender.record.path.parent.parts[-above:]

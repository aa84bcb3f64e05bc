"""What the models of several records say of the same test images."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmnist_ray.dataset.arrays import Bytes, fingerprint
from fmnist_ray.dataset.progress import Progress
from fmnist_ray.dataset.release import RELEASE, TRAIN_LABELS
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.errors import RequestError, WorkError
from fmnist_ray.evaluation.comparison import problem_of
from fmnist_ray.evaluation.contenders import Contender, find_contenders, unique_names
from fmnist_ray.evaluation.provenance import as_mapping, read_if_there
from fmnist_ray.models.storage import load_weights
from fmnist_ray.records import Predictions
from fmnist_ray.training.scoring import score_model

TEST_ARRAYS = ("test_images", "test_labels")

Watch = Callable[[str], AbstractContextManager[Progress]]
"""Takes what is done, in words, and gives what is told how far it is."""


@dataclass(frozen=True)
class Entrant:
    """A model to compare.

    Attributes:
        name: Tells it from the others.
        contender: What its record says of it.
        kept: Predictions of the test images that the record keeps; None if it has to be scored.
    """

    name: str
    contender: Contender
    kept: Predictions | None


@dataclass(frozen=True)
class Answers:
    """Every entrant's, to the same images.

    Attributes:
        labels: True classes, uint8 (n,).
        probabilities: float32 (n, 10), by the entrant's name.
        source: Of the images, in words; None if not known.
        sha256: Fingerprints of the test images and their labels.
    """

    labels: Bytes
    probabilities: dict[str, npt.NDArray[np.float32]]
    source: str | None
    sha256: dict[str, str]


def gather(paths: Sequence[str]) -> list[Entrant]:
    """The models of records, as far as that goes without scoring one.

    Args:
        paths: Records' and units' folders, see `contenders.find_contenders`.

    Raises:
        RequestError: Some cannot be compared. The message has every problem of every record.
    """
    sizes = {RELEASE[TRAIN_LABELS].array_sha256: RELEASE[TRAIN_LABELS].shape[0]}
    problems: list[str] = []
    found: list[Contender] = []
    kept: dict[int, Predictions | None] = {}
    for path in paths:
        try:
            contenders = find_contenders(path, sizes)
        except RequestError as error:
            problems.append(str(error))
            continue
        for one in contenders:
            if any(one.folder == other.folder for other in found):
                problems.append(f"{path} is named twice, or with what it is part of. Name it once.")
                continue
            found.append(one)
            try:
                kept[len(found) - 1] = _kept(one)
            except RequestError as error:
                problems.append(str(error))
    if not paths:
        problems.append("No record is named. Name at least one, such as results/NAME.")
    problems += _other_images(found)
    if len(problems) > 1:
        lines = "".join(f"\n- {problem}" for problem in problems)
        raise RequestError(f"{len(problems)} things keep the records from being compared.{lines}")
    if problems:
        raise RequestError(problems[0])
    names = unique_names(found)
    return [Entrant(names[at], one, kept[at]) for at, one in enumerate(found)]


def _other_images(found: Sequence[Contender]) -> list[str]:
    """A problem for each that was made on other test images than the first."""
    known = [one for one in found if one.sha256]
    problems = []
    for one in known[1:]:
        differing = _differing(one.sha256, known[0].sha256)
        if differing:
            problems.append(
                f"{one.folder} was made on other test images than {known[0].folder} "
                f"({' and '.join(differing)} differ), and only answers to the same images can be "
                "compared. Leave it out, or run it again on the same --data."
            )
    return problems


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    return [
        key.replace("_", " ")
        for key in TEST_ARRAYS
        if key in one and key in other and one[key] != other[key]
    ]


def _kept(one: Contender) -> Predictions | None:
    """The predictions of the test images that a record keeps, or None if it has a model.

    Raises:
        RequestError: There are neither predictions nor a model, or one is damaged.
    """
    try:
        found = one.record.test_predictions(one.unit)
        if read_if_there(one.folder / "metrics.json").get("test_data_as_trained") is False:
            found = None  # `evaluate` was given other images, which may have the same labels
        problem = None if found is None else problem_of(found)
        if problem is not None:
            raise RequestError(f"{one.folder} is damaged: {problem}.")
    except RequestError as error:
        remedy = "Run it again under another --name."
        if one.has_model:
            unit = "" if one.unit is None else f" --unit {one.unit}"
            path = shlex.quote(str(one.record.path))
            remedy = f"`python -m fmnist_ray.evaluate {path}{unit}` writes them anew."
        raise RequestError(f"{error} {remedy}") from None
    if found is not None:
        return found
    if not one.has_model:
        raise RequestError(
            f"{one.folder} holds neither predictions of its test images nor a model: {one.what}, "
            f"status `{one.status}`. Name one that is complete and keeps its model, or go on "
            "with this one first."
        )
    load_weights(one.folder)  # a damaged file is named now, beside all other problems
    return None


def answer(entrants: Sequence[Entrant], data: str | None, watch: Watch) -> Answers:
    """Every entrant's predictions; models without kept ones are scored now.

    Args:
        entrants: At least one.
        data: Names the data to score on; None for what the first record was made from that keeps
            no predictions. Not read if all are kept.
        watch: Shows how far it is.

    Raises:
        RequestError: The data are not those that the records were made on, or cannot be read.
        WorkError: A model's output is no number.
    """
    unscored = [entrant for entrant in entrants if entrant.kept is None]
    if not unscored:
        first = entrants[0]
        assert first.kept is not None
        sha256 = {key: first.contender.sha256.get(key, "") for key in TEST_ARRAYS}
        known = {each.name: each.kept.probability for each in entrants if each.kept is not None}
        source = as_mapping(first.contender.record.run().get("data")).get("source")
        return Answers(first.kept.label, known, None if source is None else str(source), sha256)
    with watch("Reading the data") as progress:
        dataset = load_dataset(data or unscored[0].contender.data, progress=progress)
    sha256 = {key: value for key, value in fingerprint(dataset).items() if key in TEST_ARRAYS}
    for entrant in entrants:
        differing = _differing(entrant.contender.sha256, sha256)
        if differing:
            raise RequestError(
                f"{unscored[0].name} keeps no predictions of its test images, and those in "
                f"{dataset.source} are not those that {entrant.name} was made on "
                f"({' and '.join(differing)} differ). Name its data with --data."
            )
    found = {}
    for entrant in entrants:
        if entrant.kept is not None:
            found[entrant.name] = entrant.kept.probability
            continue
        with watch(f"Scoring {entrant.name}") as progress:
            folder, images = entrant.contender.folder, dataset.test.images
            try:
                found[entrant.name], _ = score_model(folder, images, progress)
            except (RequestError, WorkError) as error:
                raise type(error)(f"{entrant.name}: {error}") from None
    return Answers(dataset.test.labels, found, dataset.source, sha256)

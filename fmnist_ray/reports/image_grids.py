"""Images in rows, each with a line on what a model says of it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fmnist_ray.evaluation.label_issues import LabelIssues
from fmnist_ray.evaluation.metrics import (
    ConfusedPair,
    Floats,
    Integers,
    predicted_classes,
)
from fmnist_ray.evaluation.mistakes import confident_mistakes, examples_of_pair
from fmnist_ray.reports.captions import Caption
from fmnist_ray.reports.figures import new_figure

Images = npt.NDArray[np.uint8]

RIGHT, WRONG = "#00785A", "#B84A00"
"""Okabe and Ito's green and vermilion, darkened to be read as text on white."""

CAPTIONS = {
    "confused_pairs.png": Caption(
        "The most confused pairs of classes",
        "Each row shows images of two classes that were taken for each other, the surest errors "
        "first. Could you tell them apart at 28 x 28 pixels?",
    ),
    "confident_mistakes.png": Caption(
        "The most confident mistakes",
        "Wrong answers that the model was surest of. Some are the model's fault; others show "
        "labels that are open to doubt.",
    ),
    "label_issues.png": Caption(
        "Labels that are likely wrong",
        "Training images of which models that did not see them are as sure of another class as "
        "they usually are where they are right (confident learning, Northcutt et al. 2021). Look "
        "before you change a label.",
    ),
    "test_predictions.png": Caption(
        "Predictions on test images",
        "Test images drawn at random, with the model's answer and its probability. Green with a "
        "tick is right, orange with a cross is wrong, with the true class below.",
    ),
}

_CONFIDENT = 24
_DRAWN = 40
_OF_EACH = 4


class Tile(NamedTuple):
    """One image with what is said of it.

    Attributes:
        image: uint8, (28, 28).
        text: At most two lines.
        right: Whether the text is good news; None where it is neither.
    """

    image: Images
    text: str
    right: bool | None = None


def prediction_tiles(
    images: Images,
    labels: Integers,
    probabilities: Floats,
    indices: Integers,
    names: Sequence[str],
) -> list[Tile]:
    """What a model says of some images."""
    given = predicted_classes(probabilities)
    tiles = []
    for index in indices.tolist():
        answer, truth = int(given[index]), int(labels[index])
        sure = f"{100 * float(probabilities[index, answer]):.0f} %"
        if answer == truth:
            tiles.append(Tile(images[index], f"✓ {names[answer]}\n{sure}", True))
        else:
            text = f"✗ {names[answer]}, {sure}\nis {names[truth]}"
            tiles.append(Tile(images[index], text, False))
    return tiles


def random_tiles(
    images: Images, labels: Integers, probabilities: Floats, names: Sequence[str], seed: int = 0
) -> list[Tile]:
    """Predictions on images drawn at random, in the order of their indices."""
    count = min(_DRAWN, len(labels))
    drawn = np.sort(np.random.default_rng(seed).choice(len(labels), count, replace=False))
    return prediction_tiles(images, labels, probabilities, drawn, names)


def mistake_tiles(
    images: Images, labels: Integers, probabilities: Floats, names: Sequence[str]
) -> list[Tile]:
    """The most confident mistakes."""
    found = confident_mistakes(labels, probabilities, _CONFIDENT)
    return prediction_tiles(images, labels, probabilities, found, names)


def pair_rows(
    images: Images,
    labels: Integers,
    probabilities: Floats,
    pairs: Sequence[ConfusedPair],
    names: Sequence[str],
) -> dict[str, list[Tile]]:
    """A row of examples for each pair of classes, by a title such as `Shirt / Coat`."""
    rows = {}
    for pair in pairs:
        first, second = names[pair.first], names[pair.second]
        tiles = []
        for indices in examples_of_pair(labels, probabilities, pair, _OF_EACH):
            tiles += prediction_tiles(images, labels, probabilities, indices, names)
        title = (
            f"{first} and {second}: {pair.first_as_second} of {first} taken for {second}, "
            f"{pair.second_as_first} the other way"
        )
        rows[title] = tiles
    return rows


def issue_tiles(
    images: Images, issues: LabelIssues, index: Integers, names: Sequence[str]
) -> list[Tile]:
    """Images whose label is likely wrong.

    Args:
        images: All training images.
        issues: Positions in `index`.
        index: Of each position, the index of its image.
        names: Of the classes.
    """
    return [
        Tile(images[index[at]], f"labelled {names[label]}\nlike {names[suggested]}")
        for at, label, suggested in zip(
            issues.position[:_CONFIDENT].tolist(),
            issues.label.tolist(),
            issues.suggested.tolist(),
            strict=False,
        )
    ]


def draw_tiles(tiles: Sequence[Tile], title: str, columns: int = 8) -> Figure:
    """Images in rows.

    Raises:
        ValueError: There are no images.
    """
    if not tiles:
        raise ValueError("there are no images to draw")
    rows = -(-len(tiles) // columns)
    figure = new_figure(12, 1.95 * rows + 0.7)
    figure.suptitle(title, fontsize=14)
    places = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axes in places:
        axes.set_axis_off()
    for axes, tile in zip(places, tiles, strict=False):
        _draw_tile(axes, tile)
    return figure


def draw_tile_rows(rows: dict[str, list[Tile]], title: str) -> Figure:
    """Rows of images, each with a title of its own.

    Raises:
        ValueError: There are no rows.
    """
    if not rows:
        raise ValueError("there are no images to draw")
    columns = max(len(tiles) for tiles in rows.values())
    figure = new_figure(12, 2.35 * len(rows) + 0.7)
    figure.suptitle(title, fontsize=14)
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, (name, tiles) in zip(parts, rows.items(), strict=True):
        part.suptitle(name, fontsize=11.5, x=0.01, ha="left")
        places = part.subplots(1, columns, squeeze=False)[0]
        for axes in places:
            axes.set_axis_off()
        for axes, tile in zip(places, tiles, strict=False):
            _draw_tile(axes, tile)
    return figure


def _draw_tile(axes: Axes, tile: Tile) -> None:
    axes.imshow(tile.image, cmap="gray_r", vmin=0, vmax=255)
    colour = "black" if tile.right is None else RIGHT if tile.right else WRONG
    axes.set_title(tile.text, fontsize=9, color=colour)

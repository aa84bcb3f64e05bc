"""The confusion matrix as a figure: counts, and the share of each true class."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from fmnist_ray.evaluation.metrics import row_shares
from fmnist_ray.reports.captions import Caption
from fmnist_ray.reports.figures import new_figure

CAPTIONS = {
    "confusion_matrix.png": Caption(
        "Confusion matrix",
        "Rows are the true classes, columns the answers. The diagonal is right; dark cells off it "
        "are the confusions to look at. Left in images, right in percent of the true class.",
    ),
}


class ConfusionData(NamedTuple):
    """What the figure shows.

    Attributes:
        class_names: Names of the k classes.
        counts: Images, int64 of shape (k, k); row = true class, column = predicted class.
        percent: Share of the row's images in percent, float64 of shape (k, k).
    """

    class_names: tuple[str, ...]
    counts: npt.NDArray[np.int64]
    percent: npt.NDArray[np.float64]


def confusion_data(counts: npt.NDArray[np.int64], class_names: Sequence[str]) -> ConfusionData:
    """What `draw_confusion` draws.

    Args:
        counts: Confusion matrix of shape (k, k), as from `metrics.confusion_counts`.
        class_names: k names.

    Raises:
        ValueError: There is not one name for each row.
    """
    if counts.shape != (len(class_names), len(class_names)):
        raise ValueError(f"{len(class_names)} names for a matrix of shape {counts.shape}")
    return ConfusionData(tuple(class_names), counts, 100 * row_shares(counts))


def draw_confusion(data: ConfusionData, title: str) -> Figure:
    """Two matrices side by side: images on the left, percent of the true class on the right."""
    figure = new_figure(16, 8)
    figure.suptitle(title, fontsize=15)
    left, right = figure.subplots(1, 2)
    counts = [[f"{value:,}" if value else "" for value in row] for row in data.counts]
    percent = [[f"{value:.1f}" if value else "" for value in row] for row in data.percent]
    _matrix(left, data.counts.astype(np.float64), counts, data.class_names)
    _matrix(right, data.percent, percent, data.class_names)
    left.set_title("Images", fontsize=13)
    right.set_title("Percent of the true class", fontsize=13)
    return figure


def _matrix(
    axes: Axes,
    values: npt.NDArray[np.float64],
    texts: list[list[str]],
    class_names: tuple[str, ...],
) -> None:
    # The diagonal is a hundred times the rest: below 1, the exponent spreads the colours of the
    # errors, which are what one looks for. Cells without an image stay empty for the same reason.
    norm = PowerNorm(0.5, vmin=0, vmax=max(float(values.max()), 1.0))
    axes.imshow(values, cmap="Blues", norm=norm)
    for row, column in np.ndindex(values.shape):
        dark = float(norm(values[row, column])) > 0.65
        axes.text(
            column,
            row,
            texts[row][column],
            ha="center",
            va="center",
            fontsize=11,
            color="white" if dark else "black",
            fontweight="bold" if row == column else "normal",
        )
    places = range(len(class_names))
    axes.set_xticks(places, class_names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, class_names)
    axes.set_xlabel("Predicted class", fontsize=12)
    axes.set_ylabel("True class", fontsize=12)
    axes.tick_params(labelsize=11, length=0)
    # White lines between the cells.
    axes.set_xticks([place - 0.5 for place in places][1:], minor=True)
    axes.set_yticks([place - 0.5 for place in places][1:], minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)

"""A comparison's figure of pairs: by how much each model is better than each other."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fmnist_ray.evaluation.significance import PairTest
from fmnist_ray.reports.comparison import shortened
from fmnist_ray.reports.figures import new_figure

Values = npt.NDArray[np.float64]

MOST_IN_MATRIX = 20
"""Models; more would not be readable."""


class PairMatrix(NamedTuple):
    """What `draw_pairs` draws.

    Attributes:
        names: Of the models, the most accurate first.
        difference: Row's accuracy minus column's in percentage points, (n, n); NaN on the
            diagonal.
        shown: Whether the difference is shown after Holm's correction, bool (n, n).
    """

    names: tuple[str, ...]
    difference: Values
    shown: npt.NDArray[np.bool_]


def pair_matrix(pairs: Sequence[PairTest]) -> PairMatrix:
    """The data of `draw_pairs`, from all pairs in the order of `significance.compare_pairs`.

    Raises:
        ValueError: There are no pairs.
    """
    if not pairs:
        raise ValueError("there are no pairs to draw")
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))
    difference = np.full((len(names), len(names)), np.nan)
    shown = np.zeros(difference.shape, np.bool_)
    for pair in pairs:
        row, column = names.index(pair.first), names.index(pair.second)
        difference[row, column], difference[column, row] = pair.difference, -pair.difference
        shown[row, column] = shown[column, row] = pair.shown
    return PairMatrix(tuple(names), difference, shown)


def draw_pairs(matrix: PairMatrix) -> Figure:
    """Draws the differences as a matrix; those that are shown are framed and bold."""
    count = len(matrix.names)
    side = 0.72 * count
    figure = new_figure(max(side + 4.6, 8.0), max(side + 2.9, 5.2))
    axes = figure.subplots()
    reach = max(float(np.nanmax(np.abs(matrix.difference))), 0.1)
    # Green-blue and brown, which colour-blind people tell apart; white is no difference.
    image = axes.imshow(matrix.difference, cmap="BrBG", vmin=-1.25 * reach, vmax=1.25 * reach)
    axes.set_facecolor("#EEEEEE")
    for row, column in np.argwhere(np.isfinite(matrix.difference)):
        value, shown = matrix.difference[row, column], bool(matrix.shown[row, column])
        axes.text(
            column,
            row,
            f"{round(value, 2) + 0.0:+.2f}",  # 0.0 takes the sign off a zero
            ha="center",
            va="center",
            fontsize=10,
            fontweight="bold" if shown else "normal",
            color="white" if abs(value) > 0.7 * reach else "black",
        )
        if shown:
            corner = (column - 0.46, row - 0.46)
            axes.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, linewidth=1.6))
    names = [shortened(name) for name in matrix.names]
    axes.set_xticks(range(count), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), names)
    axes.tick_params(labelsize=10, length=0)
    axes.spines[:].set_visible(False)
    figure.suptitle("Row minus column; framed: shown after Holm's correction", fontsize=12)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("Difference in accuracy, percentage points", fontsize=11)
    return figure

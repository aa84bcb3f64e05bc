"""The learning curves of a cross-validation: each fold, and the mean over the folds."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fmnist_ray.reports.captions import Caption
from fmnist_ray.reports.curves import (
    UnitCurve,
    Values,
    dress_panel,
    label_losses,
    loss_limits,
    plot_line,
)
from fmnist_ray.reports.figures import COLOURS, new_figure

CAPTIONS = {
    "folds.png": Caption(
        "Folds",
        "A line per fold. Lines close together mean that the figure does not hang on which images "
        "were held out; a validation loss that turns upwards means too many epochs.",
    ),
}

# Those of the other figures but for black, which the mean has, and three of Paul Tol's "muted"
# scheme, https://sronpersonalpages.nl/~pault/.
_FOLD_COLOURS = (*COLOURS[:6], COLOURS[7], "#882255", "#332288", "#999933")


class FoldMean(NamedTuple):
    """One figure, epoch by epoch, over the folds that have it there.

    Attributes:
        epoch: Ascending, shape (n,), as are the others.
        mean: Over the folds that have a finite value at the epoch.
        deviation: Sample standard deviation over them; NaN if there is only one.
        folds: How many they are.
    """

    epoch: Values
    mean: Values
    deviation: Values
    folds: npt.NDArray[np.int64]


def fold_mean(curves: Sequence[UnitCurve], figure: str) -> FoldMean:
    """Mean and deviation over the folds.

    Args:
        curves: One per fold. Folds may have different numbers of epochs.
        figure: An attribute of `UnitCurve`, such as `validation_loss`.

    Returns:
        Only the epochs at which at least one fold has a finite value.
    """
    points = sorted(
        (float(epoch), float(value))
        for curve in curves
        for epoch, value in zip(curve.epoch, getattr(curve, figure), strict=True)
        if np.isfinite(value)
    )
    columns = np.array(points, dtype=np.float64).reshape(-1, 2)
    epochs, starts = np.unique(columns[:, 0], return_index=True)
    groups = np.split(columns[:, 1], starts[1:]) if len(starts) else []
    return FoldMean(
        epochs,
        np.array([group.mean() for group in groups]),
        np.array([group.std(ddof=1) if len(group) > 1 else np.nan for group in groups]),
        np.array([len(group) for group in groups], dtype=np.int64),
    )


def draw_folds(curves: Sequence[UnitCurve], title: str) -> Figure:
    """Draws validation accuracy, training loss and validation loss of every fold.

    A thin line per fold, the mean as a thick black one, and a band of one standard deviation
    around it where at least two folds have the epoch. Folds have a colour and a name in the
    legend each, or are grey if there are more than ten.

    Raises:
        ValueError: There are no curves.
    """
    if not curves:
        raise ValueError("there are no folds to draw")
    figure = new_figure(17, 5.2)
    figure.suptitle(title, fontsize=14)
    accuracy, train_loss, validation_loss = figure.subplots(1, 3)
    # On one scale, so that the gap between the two losses is to be seen.
    validation_loss.sharey(train_loss)
    _draw_panel(accuracy, curves, "validation_accuracy")
    _draw_panel(train_loss, curves, "train_loss")
    _draw_panel(validation_loss, curves, "validation_loss")
    accuracy.set_title("Accuracy, validation images", fontsize=13)
    train_loss.set_title("Loss, training images", fontsize=13)
    validation_loss.set_title("Loss, validation images", fontsize=13)
    accuracy.set_ylabel("Accuracy in percent", fontsize=12)
    for loss in (train_loss, validation_loss):
        label_losses(loss, curves)
    named = {
        str(part.get_label()): part
        for axes in figure.axes
        for part in (*axes.lines, *axes.collections)
        if not str(part.get_label()).startswith("_")
    }
    figure.legend(
        named.values(), named.keys(), loc="outside right upper", fontsize=11, frameon=False
    )
    return figure


def _draw_panel(axes: Axes, curves: Sequence[UnitCurve], figure: str) -> None:
    is_loss = figure.endswith("loss")
    scale = 1 if is_loss else 100
    for curve, look in zip(curves, _looks(curves), strict=True):
        plot_line(axes, curve.epoch, scale * getattr(curve, figure), look)
    mean = fold_mean(curves, figure)
    # A fold that diverged carries the mean of the losses out of the panel, where a band would only
    # shade all of it, and stretches that of the accuracies beyond 100 percent.
    limits = loss_limits(curves) if is_loss else None
    banded = (mean.folds > 1) & (mean.mean <= (limits[1] if limits else math.inf))
    if banded.sum() > 1:
        axes.fill_between(
            mean.epoch,
            np.maximum(scale * (mean.mean - mean.deviation), 0),
            np.minimum(scale * (mean.mean + mean.deviation), math.inf if is_loss else 100),
            where=banded.tolist(),
            color="black",
            alpha=0.15,
            linewidth=0,
            label="mean ± deviation",
        )
    # Of a single fold, the mean would be the same line once more.
    if len(curves) > 1:
        look = {"color": "black", "linewidth": 2.2, "zorder": 3, "label": "mean over the folds"}
        plot_line(axes, mean.epoch, scale * mean.mean, look)
    dress_panel(axes, curves)
    axes.set_xlabel("Epoch", fontsize=12)


def _looks(curves: Sequence[UnitCurve]) -> list[dict[str, Any]]:
    if len(curves) > len(_FOLD_COLOURS):
        grey = {"color": "#8C8C8C", "linewidth": 0.8, "label": f"the {len(curves)} folds"}
        return [grey for _ in curves]
    return [
        {"color": colour, "linewidth": 1.2, "label": curve.unit}
        for curve, colour in zip(curves, _FOLD_COLOURS, strict=False)
    ]

"""Learning curves: accuracy and loss per epoch, for training and validation images."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fmnist_ray.errors import RequestError
from fmnist_ray.records import Record
from fmnist_ray.reports.captions import Caption
from fmnist_ray.reports.figures import COLOURS, new_figure, write_png

CAPTIONS = {
    "learning_curves.png": Caption(
        "Learning curves",
        "A validation loss that rises while the training loss falls is overfitting; two curves "
        "that still fall want more epochs.",
    ),
}

Values = npt.NDArray[np.float64]

_FIGURES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
# A loss above that of guessing evenly among 10 classes (2.3 nats) has diverged; shown in full, one
# such unit would press all others into a flat line.
_LOSS_LIMIT = 1.1 * math.log(10)


class UnitCurve(NamedTuple):
    """One unit's course: a trial, a fold, a member, or the one model of a run.

    Attributes:
        unit: Its name.
        epoch: Ascending, shape (n,), as are the others.
        train_loss: Nats; NaN where the history has no figure.
        train_accuracy: Between 0 and 1; NaN likewise.
        validation_loss: As `train_loss`.
        validation_accuracy: As `train_accuracy`.
    """

    unit: str
    epoch: Values
    train_loss: Values
    train_accuracy: Values
    validation_loss: Values
    validation_accuracy: Values


def read_curves(history: Path) -> tuple[UnitCurve, ...]:
    """Reads a record's `history.csv`.

    Args:
        history: The file; see `records.HISTORY_COLUMNS`.

    Returns:
        One curve per unit, in the order in which they first appear.

    Raises:
        RequestError: The file is missing, lacks a column or holds something that is no number.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(history.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        raise RequestError(f"{history} does not exist.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"{history} cannot be read as CSV: {error}") from None
    units: dict[str, list[list[float]]] = {}
    for line, row in enumerate(rows, start=2):
        values = [_number(row, name, history, line) for name in ("epoch", *_FIGURES)]
        if not math.isfinite(values[0]):
            raise RequestError(f"{history}, line {line}: there is no epoch.")
        units.setdefault(str(row.get("unit")), []).append(values)
    curves = []
    for unit, points in units.items():
        columns = np.array(points, dtype=np.float64).T
        curves.append(UnitCurve(unit, *columns[:, np.argsort(columns[0], kind="stable")]))
    return tuple(curves)


def write_curves(record: Record, unit: str | None = None) -> None:
    """Draws the learning curves of a record's units, or of one into its own folder.

    Nothing is drawn without a history.

    Raises:
        RequestError: `history.csv` is damaged.
    """
    history = record.path / "history.csv"
    curves = read_curves(history) if history.is_file() else ()
    shown = [curve for curve in curves if unit in (None, curve.unit)]
    if shown:
        name = record.name if unit is None else f"{record.name}, {unit}"
        folder = record.path if unit is None else record.unit(unit)
        drawn = draw_curves(shown, f"Learning curves of {name}")
        write_png(folder / "figures" / "learning_curves.png", drawn)


def best_curve(curves: Sequence[UnitCurve]) -> UnitCurve:
    """The curve that reaches the highest validation accuracy.

    Without a validation figure in any of them, the highest training accuracy decides.

    Raises:
        ValueError: There are no curves.
    """
    return max(
        curves, key=lambda curve: (_top(curve.validation_accuracy), _top(curve.train_accuracy))
    )


def loss_limits(curves: Sequence[UnitCurve]) -> tuple[float, float] | None:
    """Where to cut the loss axis because a fit has diverged; None where none has.

    Returns:
        The lowest and the highest loss among those that have not, in nats.
    """
    losses = np.concatenate([[*curve.train_loss, *curve.validation_loss] for curve in curves])
    losses = losses[~np.isnan(losses)]
    sane = losses[losses <= _LOSS_LIMIT]
    if len(sane) in (0, len(losses)):
        return None
    return float(sane.min()), float(sane.max())


def draw_curves(curves: Sequence[UnitCurve], title: str) -> Figure:
    """Draws the learning curves.

    One unit gets a panel each for accuracy and loss, with a line each for training and
    validation. Several get four panels, training on the left and validation on the right, with
    one line per unit; where there are more units than colours, the best stands out from the rest.

    Raises:
        ValueError: There are no curves.
    """
    if not curves:
        raise ValueError("there are no curves to draw")
    return _draw_one(curves[0], title) if len(curves) == 1 else _draw_many(curves, title)


def _draw_one(curve: UnitCurve, title: str) -> Figure:
    figure = new_figure(12, 4.8)
    figure.suptitle(title, fontsize=14)
    accuracy, loss = figure.subplots(1, 2)
    for split, colour, style in (("train", COLOURS[1], "--"), ("validation", COLOURS[0], "-")):
        look = {"color": colour, "linestyle": style, "label": split}
        plot_line(accuracy, curve.epoch, 100 * _of(curve, f"{split}_accuracy"), look)
        plot_line(loss, curve.epoch, _of(curve, f"{split}_loss"), look)
    for axes in (accuracy, loss):
        dress_panel(axes, [curve])
        axes.set_xlabel("Epoch", fontsize=12)
        if axes.lines:
            axes.legend(fontsize=11, frameon=False)
    _label(accuracy, loss, [curve])
    return figure


def _draw_many(curves: Sequence[UnitCurve], title: str) -> Figure:
    figure = new_figure(13, 8.5)
    figure.suptitle(title, fontsize=14)
    panels = figure.subplots(2, 2, sharex=True, sharey="row")
    for curve, look in zip(curves, _looks(curves), strict=True):
        for column, split in enumerate(("train", "validation")):
            plot_line(panels[0, column], curve.epoch, 100 * _of(curve, f"{split}_accuracy"), look)
            plot_line(panels[1, column], curve.epoch, _of(curve, f"{split}_loss"), look)
    for axes in panels.flat:
        dress_panel(axes, curves)
    for column, name in enumerate(("Training images", "Validation images")):
        panels[0, column].set_title(name, fontsize=13)
        panels[1, column].set_xlabel("Epoch", fontsize=12)
    _label(panels[0, 0], panels[1, 0], curves)
    named = {
        str(line.get_label()): line
        for axes in panels.flat
        for line in axes.lines
        if not str(line.get_label()).startswith("_")
    }
    figure.legend(
        named.values(), named.keys(), loc="outside right upper", fontsize=11, frameon=False
    )
    return figure


def _looks(curves: Sequence[UnitCurve]) -> list[dict[str, Any]]:
    if len(curves) <= len(COLOURS):
        return [
            {"color": colour, "label": curve.unit}
            for curve, colour in zip(curves, COLOURS, strict=False)
        ]
    best = best_curve(curves)
    grey = {"color": "#8C8C8C", "linewidth": 0.8, "label": f"the other {len(curves) - 1} units"}
    bold = {"color": COLOURS[1], "linewidth": 2.5, "label": f"best: {best.unit}", "zorder": 3}
    return [bold if curve is best else grey for curve in curves]


def plot_line(axes: Axes, epochs: Values, values: Values, look: dict[str, Any]) -> None:
    """Draws a line through the finite values; nothing if there are none."""
    there = np.isfinite(values)
    if there.any():
        # A lone point has no line to be seen by.
        marker = "o" if there.sum() == 1 else None
        axes.plot(epochs[there], values[there], **{"linewidth": 1.8, "marker": marker, **look})


def dress_panel(axes: Axes, curves: Sequence[UnitCurve]) -> None:
    """Gives a panel over epochs its ticks, grid and limits, after its lines were drawn."""
    epochs = np.concatenate([curve.epoch for curve in curves])
    axes.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.tick_params(labelsize=11)
    axes.grid(color="#E0E0E0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if not axes.lines:
        axes.text(0.5, 0.5, "no figures", transform=axes.transAxes, ha="center", color="#595959")


def _label(accuracy: Axes, loss: Axes, curves: Sequence[UnitCurve]) -> None:
    accuracy.set_ylabel("Accuracy in percent", fontsize=12)
    label_losses(loss, curves)


def label_losses(loss: Axes, curves: Sequence[UnitCurve]) -> None:
    """Names the axis of a panel of losses, and cuts it where a fit has diverged."""
    limits = loss_limits(curves)
    if limits is None:
        loss.set_ylabel("Loss in nats", fontsize=12)
        return
    margin = 0.05 * (limits[1] - limits[0]) or 0.05
    loss.set_ylim(limits[0] - margin, limits[1] + margin)
    loss.set_ylabel("Loss in nats (diverged fits are cut off)", fontsize=12)


def _of(curve: UnitCurve, figure: str) -> Values:
    values: Values = getattr(curve, figure)
    return values


def _top(values: Values) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if len(finite) else -math.inf


def _number(row: dict[str, str | None], name: str, history: Path, line: int) -> float:
    text = row.get(name)
    if text is None:
        raise RequestError(
            f"{history}, line {line}: there is no column {name}. A history has the columns unit, "
            f"epoch, {', '.join(_FIGURES)}."
        )
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise RequestError(f"{history}, line {line}: {name} is {text!r}, not a number.") from None

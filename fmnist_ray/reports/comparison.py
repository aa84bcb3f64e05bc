"""A comparison's figures: accuracies with intervals, and accuracy against cost."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from fmnist_ray.evaluation.comparison import Row
from fmnist_ray.reports.captions import Caption
from fmnist_ray.reports.figures import COLOURS, new_figure

Values = npt.NDArray[np.float64]

CAPTIONS = {
    "comparison.png": Caption(
        "Accuracy of every model",
        "Filled dots are this comparison's models with their 95 % intervals, hollow ones are "
        "published figures, which came without. Intervals that overlap may still belong to models "
        "of which one is shown to be better, as all answered the same images: see the pairs.",
    ),
    "pairwise.png": Caption(
        "Differences between the models",
        "Each cell is the accuracy of its row's model minus that of its column's, in percentage "
        "points. Framed and bold: shown after Holm's correction for all pairs. The rest may be "
        "luck with these images.",
    ),
    "accuracy_against_cost.png": Caption(
        "Accuracy against the time of fitting",
        "Up and to the left is better. The time is that of the fits that the model consists of, "
        "one after the other, without the search that chose it, on a logarithmic scale.",
    ),
}
"""By the figure's file name."""

_OWN, _OTHERS = COLOURS[0], COLOURS[7]
_LONGEST = 38


class AccuracyDots(NamedTuple):
    """What `draw_accuracies` draws, the most accurate first; every array has shape (n,).

    Attributes:
        names: Of the models or published techniques.
        details: What each is, in smaller letters.
        accuracy: In percent.
        low: Lower end of the interval or of the published range, in percent.
        high: Upper end.
        published: Whether it is a published figure, bool.
    """

    names: tuple[str, ...]
    details: tuple[str, ...]
    accuracy: Values
    low: Values
    high: Values
    published: npt.NDArray[np.bool_]


def accuracy_dots(rows: Sequence[Row]) -> AccuracyDots:
    """The data of `draw_accuracies`.

    Args:
        rows: At least one, in the order in which they are drawn from the top.

    Raises:
        ValueError: There are none.
    """
    if not rows:
        raise ValueError("there are no rows to draw")
    ends = [
        (row.reported_low, row.reported_high)
        if row.source == "published"
        else (row.test_accuracy_low, row.test_accuracy_high)
        for row in rows
    ]
    accuracy = np.array([row.test_accuracy for row in rows])
    low, high = (
        np.array(
            [
                value if end[at] is None else end[at]
                for end, value in zip(ends, accuracy, strict=True)
            ]
        )
        for at in (0, 1)
    )
    return AccuracyDots(
        tuple(row.name for row in rows),
        tuple("published" if row.source == "published" else row.what for row in rows),
        100 * accuracy,
        100 * low.astype(np.float64),
        100 * high.astype(np.float64),
        np.array([row.source == "published" for row in rows], np.bool_),
    )


def draw_accuracies(dots: AccuracyDots, images: int) -> Figure:
    """Draws a dot for each model with its interval, and a hollow one for each published figure.

    Args:
        dots: From `accuracy_dots`.
        images: Test images that the models answered, for the axis.
    """
    count = len(dots.names)
    figure = new_figure(11, 1.5 + 0.5 * count)
    axes = figure.subplots()
    places = np.arange(count)
    for place in places:
        low, value, high = (float(each[place]) for each in (dots.low, dots.accuracy, dots.high))
        published = bool(dots.published[place])
        colour = _OTHERS if published else _OWN
        if not published or high > low:
            axes.plot(
                [low, high],
                [place, place],
                color=colour,
                linewidth=2.5,
                linestyle=(0, (1, 1)) if published else "-",
                solid_capstyle="butt",
            )
        if not published or high == low:
            face = "white" if published else colour
            axes.plot(value, place, "D" if published else "o", ms=8, mec=colour, mfc=face, mew=2)
        else:
            axes.plot([low, high], [place, place], "D", ms=7, mec=colour, mfc="white", mew=2)
        text = f"{value:.2f}" if not published or high == low else f"{low:g} to {high:g}"
        axes.annotate(
            text,
            (high, place),
            xytext=(11, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
            color="#555555" if published else "black",
        )
    _name_rows(axes, dots)
    span = float(dots.high.max() - dots.low.min()) or 1.0
    axes.set_xlim(float(dots.low.min()) - 0.04 * span, float(dots.high.max()) + 0.13 * span)
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_xlabel(
        f"Test accuracy in percent (line: 95 % interval on {images:,} images)", fontsize=12
    )
    axes.grid(axis="x", color="#E0E0E0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if dots.published.any():
        for label, marker, colour, face in (
            ("this comparison", "o", _OWN, _OWN),
            ("published (no interval known)", "D", _OTHERS, "white"),
        ):
            axes.plot([], [], marker, ms=8, mec=colour, mfc=face, mew=2, label=label)
        figure.legend(loc="outside upper right", ncols=2, fontsize=11, frameon=False)
    return figure


def _name_rows(axes: Axes, dots: AccuracyDots) -> None:
    labels = [
        name if published else f"{shortened(name)}\n{shortened(detail, 44)}"
        for name, detail, published in zip(dots.names, dots.details, dots.published, strict=True)
    ]
    axes.set_yticks(range(len(labels)), labels, fontsize=10)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=11)
    for label, published in zip(axes.get_yticklabels(), dots.published, strict=True):
        label.set_color("#555555" if published else "black")


class CostDots(NamedTuple):
    """What `draw_cost` draws: the models whose time is known, the most accurate first.

    Attributes:
        names: Of the models.
        seconds: Of fitting, shape (n,), as the others; above 0.
        accuracy: In percent.
        low: Lower end of the interval, in percent.
        high: Upper end.
    """

    names: tuple[str, ...]
    seconds: Values
    accuracy: Values
    low: Values
    high: Values


def cost_dots(rows: Sequence[Row]) -> CostDots:
    """The data of `draw_cost`; empty if no model's time is known."""
    known = [row for row in rows if row.source == "record" and row.fit_seconds]
    columns = [
        [getattr(row, key) for row in known]
        for key in ("fit_seconds", "test_accuracy", "test_accuracy_low", "test_accuracy_high")
    ]
    seconds, *shares = (np.array(column, np.float64) for column in columns)
    accuracy, low, high = (100 * share for share in shares)
    return CostDots(tuple(row.name for row in known), seconds, accuracy, low, high)


def draw_cost(dots: CostDots) -> Figure:
    """Draws accuracy against the seconds of fitting; numbers in the dots are those of the list."""
    figure = new_figure(11, max(5.6, 1 + 0.25 * len(dots.names)))
    axes = figure.subplots()
    for at, name in enumerate(dots.names):
        seconds, value = float(dots.seconds[at]), float(dots.accuracy[at])
        colour = COLOURS[at % len(COLOURS)]
        axes.plot([seconds] * 2, [dots.low[at], dots.high[at]], color=colour, linewidth=2)
        axes.plot(
            seconds,
            value,
            "o",
            ms=15,
            color=colour,
            mec="white",
            zorder=3 + at,
            label=f"{at + 1}  {shortened(name)}",
        )
        pale = colour in (COLOURS[4], COLOURS[5])
        text = "black" if pale else "white"
        axes.text(
            seconds,
            value,
            str(at + 1),
            ha="center",
            va="center",
            fontsize=9,
            color=text,
            zorder=3 + at,
        )
    axes.set_xscale("log")
    # Ticks between powers of ten, too: times may all lie between two of them.
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    low, high = float(dots.seconds.min()), float(dots.seconds.max())
    axes.set_xlim(low / 1.8, high * 1.8)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.set_xlabel("Seconds of fitting the model, without its search (logarithmic)", fontsize=12)
    axes.set_ylabel("Test accuracy in percent", fontsize=12)
    axes.tick_params(labelsize=11)
    axes.grid(which="both", color="#E8E8E8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", fontsize=10, frameon=False, markerscale=0.5)
    return figure


def shortened(name: str, longest: int = _LONGEST) -> str:
    """The name, its middle left out if it is too long for a figure."""
    if len(name) <= longest:
        return name
    head = (longest - 1) // 2
    return f"{name[:head]}…{name[head + 1 - longest :]}"

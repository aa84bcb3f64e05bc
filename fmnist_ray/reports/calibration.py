"""The reliability diagram: how often a model is right, against how sure it is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fmnist_ray.evaluation.calibration import Reliability
from fmnist_ray.reports.captions import Caption
from fmnist_ray.reports.figures import COLOURS, new_figure

CAPTIONS = {
    "reliability.png": Caption(
        "Calibration",
        "Of images that the model gives 80 %, 80 % should be right: points on the bars. A point "
        "above its bar is overconfidence. The histogram shows how many images each bar stands for. "
        "Where a temperature could be fitted on held-out images, it is applied on the right side.",
    ),
}


class ReliabilityPanel(NamedTuple):
    """One diagram.

    Attributes:
        title: Above it.
        reliability: As from `calibration.reliability`.
    """

    title: str
    reliability: Reliability


def reliability_title(what: str, reliability: Reliability) -> str:
    """What stands above a diagram."""
    return f"{what}: ECE {100 * reliability.error:.2f} points"


def draw_reliability(panels: Sequence[ReliabilityPanel], title: str) -> Figure:
    """Diagrams side by side, each above the histogram of its confidence.

    Raises:
        ValueError: There are none.
    """
    if not panels:
        raise ValueError("there are no diagrams to draw")
    figure = new_figure(6.2 * len(panels), 6.6)
    figure.suptitle(title, fontsize=14)
    places = figure.subplots(
        2, len(panels), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 1)
    )
    for (above, below), panel in zip(places.T, panels, strict=True):
        _bars(above, panel.reliability)
        above.set_title(panel.title, fontsize=12)
        _histogram(below, panel.reliability)
        below.set_xlabel("Probability of the answer, percent", fontsize=11)
    places[0, 0].set_ylabel("Right answers, percent", fontsize=11)
    places[1, 0].set_ylabel("Images, percent", fontsize=11)
    places[0, 0].legend(fontsize=10, frameon=False, loc="upper left")
    return figure


def _bars(axes: Axes, reliability: Reliability) -> None:
    there = reliability.counts > 0
    edges = 100 * reliability.edges
    left, width = edges[:-1][there], np.diff(edges)[there]
    accuracy, confidence = 100 * reliability.accuracy[there], 100 * reliability.confidence[there]
    middle = left + width / 2
    axes.bar(middle, accuracy, width, color=COLOURS[5], edgecolor="white", label="right answers")
    axes.vlines(middle, accuracy, confidence, color=COLOURS[1], linewidth=2)
    axes.plot(
        middle, confidence, "o", color=COLOURS[1], markersize=6, label="mean probability given"
    )
    axes.plot([0, 100], [0, 100], color="#595959", linestyle="--", linewidth=1.2)
    _dress(axes)
    axes.set_ylim(0, 100)


def _histogram(axes: Axes, reliability: Reliability) -> None:
    edges = 100 * reliability.edges
    share = 100 * reliability.counts / max(int(reliability.counts.sum()), 1)
    axes.bar(
        edges[:-1],
        share,
        np.diff(edges),
        align="edge",
        color=COLOURS[7],
        edgecolor="white",
        linewidth=1,
    )
    _dress(axes)


def _dress(axes: Axes) -> None:
    axes.set_xlim(0, 100)
    axes.grid(color="#E0E0E0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=10)
    axes.spines[["top", "right"]].set_visible(False)

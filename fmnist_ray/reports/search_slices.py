"""One parameter at a time: how much each of them matters, and each trial against its values."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from fmnist_ray.reports.figures import COLOURS, new_figure
from fmnist_ray.reports.search_courses import Aim, sane_limits
from fmnist_ray.reports.search_looks import dress
from fmnist_ray.reports.search_parameters import (
    Importance,
    Parameter,
    TrialTable,
    Values,
    unit_ticks,
)

_COLUMNS = 3


def draw_importance(importances: Sequence[Importance], title: str) -> Figure:
    """Draws the importances as bars, the largest on top, each with its range as a line."""
    figure = new_figure(10, 1.9 + 0.42 * len(importances))
    figure.suptitle(title, fontsize=13)
    axes = figure.subplots()
    places = range(len(importances))
    shares = [100 * each.share for each in importances]
    axes.barh(places, shares, color=COLOURS[0], height=0.62)
    for place, each in zip(places, importances, strict=True):
        axes.plot([100 * each.low, 100 * each.high], [place] * 2, color="black", linewidth=1.6)
        axes.annotate(
            f"{100 * each.share:.0f} %",
            (100 * max(each.share, each.high), place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=11,
        )
    axes.set_yticks(places, [each.name for each in importances])
    axes.set_ylim(len(importances) - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * max(100 * max(each.share, each.high) for each in importances))
    dress(axes)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", labelsize=12, length=0)
    axes.set_xlabel(
        "Importance in percent (line: with a fifth of the trials left out)", fontsize=12
    )
    return figure


def draw_slices(table: TrialTable, aim: Aim, title: str) -> Figure:
    """Draws every trial's figure against each parameter, one panel per parameter."""
    count = len(table.parameters)
    columns = min(_COLUMNS, count)
    rows = math.ceil(count / columns)
    figure = new_figure(max(10.0 * columns / _COLUMNS, 6.0), 0.9 + 2.75 * rows)
    figure.suptitle(title, fontsize=13)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    shown = np.array([aim.shown(value) for value in table.value])
    limits = sane_limits(shown.tolist(), aim)
    for axes in panels.flat[count:]:
        axes.remove()
    for axes, parameter in zip(panels.flat, table.parameters, strict=False):
        _slice(axes, parameter, shown, limits, aim)
    figure.supylabel(aim.label, fontsize=12)
    return figure


def _slice(
    axes: Axes, parameter: Parameter, shown: Values, limits: tuple[float, float], aim: Aim
) -> None:
    across = _spread(parameter)
    inside = (shown >= limits[0]) & (shown <= limits[1])
    reach = 0.03 * (limits[1] - limits[0])
    edge = limits[0] + reach if aim.highest else limits[1] - reach
    outside = "v" if aim.highest else "^"
    axes.plot(across[inside], shown[inside], "o", color=COLOURS[0], alpha=0.75, markersize=6)
    axes.plot(
        across[~inside],
        np.full((~inside).sum(), edge),
        outside,
        color=COLOURS[0],
        markerfacecolor="white",
        markersize=7,
    )
    best = int(np.argmax(shown) if aim.highest else np.argmin(shown))
    axes.plot(across[best], shown[best], "*", color=COLOURS[1], markersize=14, zorder=4)
    for index in range(len(parameter.choices)):
        here = shown[parameter.place == index]
        if len(here):
            axes.plot([index - 0.3, index + 0.3], [np.median(here)] * 2, color="black", linewidth=2)
    dress(axes)
    axes.tick_params(labelleft=True)
    axes.set_ylim(*limits)
    axes.set_xlabel(parameter.name, fontsize=12)
    _scale_axis(axes, parameter)


def _spread(parameter: Parameter) -> Values:
    """The places, those of one choice side by side so that no dot hides another."""
    across = parameter.place.copy()
    for index in range(len(parameter.choices)):
        here = np.flatnonzero(parameter.place == index)
        if len(here) > 1:
            across[here] = index + np.linspace(-0.22, 0.22, len(here))
    return across


def _scale_axis(axes: Axes, parameter: Parameter) -> None:
    """Gives the lower axis of a narrow panel, in the parameter's own numbers, scale and ticks."""
    low, high = parameter.bounds
    if parameter.choices:
        texts = list(parameter.choices)
        crowded = sum(len(text) + 2 for text in texts) > 26
        axes.set_xticks(
            range(len(texts)),
            texts,
            rotation=35 if crowded else 0,
            ha="right" if crowded else "center",
            rotation_mode="anchor" if crowded else None,
        )
        axes.set_xlim(-0.6, len(texts) - 0.4)
        return
    if parameter.log:
        axes.set_xscale("log")
        places, labels = unit_ticks(parameter)
        ratio = math.log(high / low)
        axes.xaxis.set_major_locator(LogLocator())
        axes.xaxis.set_minor_locator(NullLocator())
        thin = max(1, math.ceil(len(places) / 4))
        axes.set_xticks([low * math.exp(at * ratio) for at in places][::thin], labels[::thin])
        axes.set_xlim(low * math.exp(-0.05 * ratio), high * math.exp(0.05 * ratio))
        return
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlim(low - 0.06 * (high - low), high + 0.06 * (high - low))

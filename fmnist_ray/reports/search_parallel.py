"""Several parameters at once: two of them as a plane, and all of them side by side."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from fmnist_ray.reports.figures import COLOURS, new_figure
from fmnist_ray.reports.search_colours import colour_bar, value_colours, value_scale
from fmnist_ray.reports.search_courses import Aim
from fmnist_ray.reports.search_parameters import Parameter, TrialTable, Values, unit_ticks

_HALO = [withStroke(linewidth=3, foreground="white")]
_NEIGHBOURHOOD = 0.14
# An axis from 0 to 1 with a little room beyond both ends.
_EDGES = (-0.06, 1.06)
_UNUSED_HEIGHT = -0.12
_MOST_LABELS = 14


def draw_contour(
    table: TrialTable, first: Parameter, second: Parameter, aim: Aim, title: str
) -> Figure:
    """Draws the trials over two parameters, coloured by their figure, on a shaded ground.

    The ground is the mean of the trials, weighted by their nearness (Nadaraya and Watson, both
    1964); it fades where none is near.
    """
    figure = new_figure(9, 6.3)
    figure.suptitle(title, fontsize=13)
    axes = figure.subplots()
    shown = np.array([aim.shown(value) for value in table.value])
    scale = value_scale(shown, aim)
    ground, near = shading(first.unit, second.unit, np.clip(shown, scale.vmin, scale.vmax))
    colours = value_colours(scale(ground), aim)
    colours[..., 3] = 0.75 * near
    axes.imshow(
        colours,
        origin="lower",
        extent=(*_EDGES, *_EDGES),
        aspect="auto",
        interpolation="bilinear",
    )
    across, up = first.unit, second.unit
    axes.scatter(
        across,
        up,
        c=value_colours(scale(shown), aim),
        s=75,
        edgecolors="black",
        linewidths=1.1,
        zorder=3,
    )
    best = int(np.argmax(shown) if aim.highest else np.argmin(shown))
    axes.plot(
        across[best],
        up[best],
        "*",
        color=COLOURS[1],
        markersize=19,
        markeredgecolor="white",
        zorder=4,
    )
    for axis, parameter in ((axes.xaxis, first), (axes.yaxis, second)):
        places, labels = unit_ticks(parameter)
        axis.set_ticks(places, labels)
    axes.set_xlim(*_EDGES)
    axes.set_ylim(*_EDGES)
    axes.tick_params(labelsize=11)
    axes.set_xlabel(first.name, fontsize=12)
    axes.set_ylabel(second.name, fontsize=12)
    colour_bar(figure, axes, scale, shown, aim)
    return figure


def shading(across: Values, up: Values, value: Values, side: int = 60) -> tuple[Values, Values]:
    """The weighted mean of values over a square of side 1, a little beyond its edges.

    Args:
        across: Places between 0 and 1, shape (n,).
        up: Likewise.
        value: At the places.
        side: Points per side.

    Returns:
        The mean, and how near values are, between 0 and 1; each of shape (side, side).
    """
    line = np.linspace(*_EDGES, side)
    squares = (line[None, :, None] - across) ** 2 + (line[:, None, None] - up) ** 2
    exponent = -squares / (2 * _NEIGHBOURHOOD**2)
    # Seen from far away all weights are tiny: only their ratios matter for the mean.
    weight = np.exp(exponent - exponent.max(axis=-1, keepdims=True))
    mean = (weight * value).sum(axis=-1) / weight.sum(axis=-1)
    return mean, np.clip(np.exp(exponent).sum(axis=-1), 0, 1)


def draw_parallel(table: TrialTable, aim: Aim, title: str) -> Figure:
    """Draws each trial as a line through its values, coloured by its figure.

    A trial that does not use a parameter runs through the place below its axis.
    """
    names = [parameter.name for parameter in table.parameters]
    shown = np.array([aim.shown(value) for value in table.value])
    scale = value_scale(shown, aim)
    heights = np.column_stack([_parallel_heights(each) for each in table.parameters])
    figure = new_figure(max(8.0, min(1.1 * len(names) + 2.0, 12.0)), 5.8)
    figure.suptitle(title, fontsize=13)
    axes = figure.subplots()
    places = np.arange(len(names))
    order = np.argsort(shown if aim.highest else -shown, kind="stable")
    colours = value_colours(scale(shown), aim)
    for rank, trial in enumerate(order):
        best = rank == len(order) - 1
        axes.plot(
            places,
            heights[trial],
            color=COLOURS[1] if best else colours[trial],
            linewidth=3.2 if best else 1.7,
            alpha=1.0 if best else 0.8,
            marker="o" if len(names) == 1 else None,
            zorder=2 + rank / len(order),
        )
    for place, parameter in enumerate(table.parameters):
        axes.axvline(place, ymin=0.02, ymax=0.98, color="#595959", linewidth=1.0, zorder=1.5)
        _parallel_labels(axes, place, parameter)
    axes.set_xlim(-0.25, len(names) - 1 + 0.75)
    axes.set_ylim(-0.17 if np.isnan([p.place for p in table.parameters]).any() else -0.04, 1.04)
    axes.set_xticks(places, [name.replace(" ", "\n") for name in names])
    axes.set_yticks([])
    axes.tick_params(labelsize=11.5, length=0)
    axes.spines[:].set_visible(False)
    colour_bar(figure, axes, scale, shown, aim)
    return figure


def _parallel_heights(parameter: Parameter) -> Values:
    """Heights between 0 and 1, trials of one choice beside each other, unused ones below."""
    heights = parameter.unit
    if parameter.choices:
        heights = _choice_height(heights)
        room = min(0.035, 0.25 / len(parameter.choices))
        for index in range(len(parameter.choices)):
            here = np.flatnonzero(parameter.place == index)
            if len(here) > 1:
                heights[here] += np.linspace(-room, room, len(here))
    unused = np.flatnonzero(np.isnan(heights))
    heights[unused] = _UNUSED_HEIGHT + np.linspace(-0.02, 0.02, len(unused))
    return heights


def _choice_height(unit: Values) -> Values:
    """Where a choice stands: a little within the ends, for its trials to fan out."""
    return 0.05 + 0.9 * unit


def _parallel_labels(axes: Axes, place: float, parameter: Parameter) -> None:
    places, texts = unit_ticks(parameter)
    if parameter.choices:
        places = _choice_height(np.array(places)).tolist()
    thin = math.ceil(len(places) / _MOST_LABELS)
    ticks = list(zip(places, texts, strict=True))[::thin]
    if np.isnan(parameter.place).any():
        ticks.append((_UNUSED_HEIGHT, "not used"))
    for height, text in ticks:
        axes.annotate(
            text,
            (place, height),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=10.5,
            zorder=5,
            path_effects=_HALO,
        )

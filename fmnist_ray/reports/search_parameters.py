"""What a search says of its parameters: importance, slices, pairs, and all of them together."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from fmnist_ray.reports.figures import COLOURS, new_figure
from fmnist_ray.reports.search import Aim, dress, sane_limits

Values = npt.NDArray[np.float64]

# Light yellow is hard to see on white, so the scale ends before it.
_SCALE = colormaps["viridis"].resampled(256)
_BRIGHTEST = 0.93
_HALO = [withStroke(linewidth=3, foreground="white")]
_NEIGHBOURHOOD = 0.14
# An axis from 0 to 1 with a little room beyond both ends.
_EDGES = (-0.06, 1.06)
_COLUMNS = 3
_UNUSED_HEIGHT = -0.12
_MOST_LABELS = 14
_MOST_DISTINCT = 4


class Parameter(NamedTuple):
    """A searched parameter and its value in every trial.

    Attributes:
        name: With spaces.
        choices: What a choice may be, in the order of the axis; empty for a range of numbers.
        ordered: Whether neighbours on the axis are alike: numbers, or choices among numbers.
        log: Whether the range is logarithmic.
        bounds: Of the range, or the first and last place of the choices.
        place: Per trial, the number, or the index of the choice; NaN where the trial does not
            use it. Shape (trials,).
    """

    name: str
    choices: tuple[str, ...]
    ordered: bool
    log: bool
    bounds: tuple[float, float]
    place: Values

    @property
    def varies(self) -> bool:
        """Whether trials differ in it."""
        return len(np.unique(self.place[np.isfinite(self.place)])) > 1

    @property
    def unit(self) -> Values:
        """The places between 0 and 1 on the parameter's axis, shape (trials,)."""
        place, (low, high) = self.place, self.bounds
        if self.log:
            place, low, high = np.log(place), math.log(low), math.log(high)
        return (place - low) / (high - low) if high > low else 0.5 + 0 * place

    def text(self, place: float) -> str:
        """A value as it is written."""
        return self.choices[round(place)] if self.choices else f"{place:.3g}"


class TrialTable(NamedTuple):
    """Trials that can be compared.

    Attributes:
        units: Their names.
        value: The figure of each, in its own unit, shape (trials,).
        parameters: With a place per trial.
    """

    units: tuple[str, ...]
    value: Values
    parameters: tuple[Parameter, ...]


class Importance(NamedTuple):
    """What a parameter explains.

    Attributes:
        name: The parameter.
        share: Of the explained differences between trials, between 0 and 1.
        low: The least share in parts of the trials.
        high: The largest.
    """

    name: str
    share: float
    low: float
    high: float


class Group(NamedTuple):
    """Trials with a like value of a parameter.

    Attributes:
        text: The value, or the range of values.
        trials: How many.
        median: Of their figures.
    """

    text: str
    trials: int
    median: float


def groups(parameter: Parameter, value: Values, aim: Aim) -> list[Group]:
    """The trials by their value of a parameter, the best median first.

    A range of numbers with more than four different values is cut into thirds of the trials
    (halves of fewer than nine trials); equal values stay together.
    """
    used = np.isfinite(parameter.place)
    order = np.argsort(parameter.place[used], kind="stable")
    place, value = parameter.place[used][order], value[used][order]
    distinct = np.unique(place)
    if parameter.choices or len(distinct) <= _MOST_DISTINCT:
        cuts = distinct[1:]
    else:
        parts = 3 if len(place) >= 9 else 2
        cuts = np.unique([place[len(place) * part // parts] for part in range(1, parts)])
    found = []
    for at in np.split(np.arange(len(place)), np.searchsorted(place, cuts)):
        if len(at):
            low, high = parameter.text(place[at[0]]), parameter.text(place[at[-1]])
            text = low if low == high else f"{low} to {high}"
            found.append(Group(text, len(at), float(np.median(value[at]))))
    return sorted(found, key=lambda group: -group.median if aim.highest else group.median)


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
    limits = sane_limits(shown.tolist(), aim)
    scale = Normalize(max(limits[0], shown.min()), min(limits[1], shown.max()))
    ground, near = shading(first.unit, second.unit, np.clip(shown, scale.vmin, scale.vmax))
    colours = _colours(scale(ground), aim)
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
        c=_colours(scale(shown), aim),
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
        places, labels = _unit_ticks(parameter)
        axis.set_ticks(places, labels)
    axes.set_xlim(*_EDGES)
    axes.set_ylim(*_EDGES)
    axes.tick_params(labelsize=11)
    axes.set_xlabel(first.name, fontsize=12)
    axes.set_ylabel(second.name, fontsize=12)
    _colour_bar(figure, axes, scale, shown, aim)
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
    limits = sane_limits(shown.tolist(), aim)
    scale = Normalize(max(limits[0], shown.min()), min(limits[1], shown.max()))
    heights = np.column_stack([_parallel_heights(each) for each in table.parameters])
    figure = new_figure(max(8.0, min(1.1 * len(names) + 2.0, 12.0)), 5.8)
    figure.suptitle(title, fontsize=13)
    axes = figure.subplots()
    places = np.arange(len(names))
    order = np.argsort(shown if aim.highest else -shown, kind="stable")
    colours = _colours(scale(shown), aim)
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
    _colour_bar(figure, axes, scale, shown, aim)
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
    places, texts = _unit_ticks(parameter)
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


def _unit_ticks(parameter: Parameter) -> tuple[list[float], list[str]]:
    """Ticks of an axis from 0 to 1."""
    low, high = parameter.bounds
    if parameter.choices:
        places: list[float] = [float(at) for at in range(len(parameter.choices))]
    elif parameter.log:
        places = [
            base * 10.0**power
            for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for base in ((1, 2, 5) if high / low < 1000 else (1,))
            if low * 0.999 <= base * 10.0**power <= high * 1.001
        ] or [low, high]
    else:
        places = [
            float(at)
            for at in MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
            if low - 1e-9 <= at <= high + 1e-9
        ]
    here = parameter._replace(place=np.asarray(places, dtype=np.float64))
    return here.unit.tolist(), [parameter.text(place) for place in places]


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
        places, labels = _unit_ticks(parameter)
        ratio = math.log(high / low)
        axes.xaxis.set_major_locator(LogLocator())
        axes.xaxis.set_minor_locator(NullLocator())
        thin = max(1, math.ceil(len(places) / 4))
        axes.set_xticks([low * math.exp(at * ratio) for at in places][::thin], labels[::thin])
        axes.set_xlim(low * math.exp(-0.05 * ratio), high * math.exp(0.05 * ratio))
        return
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlim(low - 0.06 * (high - low), high + 0.06 * (high - low))


def _colours(share: npt.ArrayLike, aim: Aim) -> Values:
    """Colours of values between 0 and 1; the best is the brightest."""
    level = np.clip(np.asarray(share, dtype=np.float64), 0, 1)
    colours: Values = np.asarray(_SCALE(_BRIGHTEST * (level if aim.highest else 1 - level)))
    return colours


def _colour_bar(figure: Figure, axes: Axes, scale: Normalize, shown: Values, aim: Aim) -> None:
    from matplotlib.colors import ListedColormap

    colours = ListedColormap(_colours(np.linspace(0, 1, 256), aim))
    low, high = bool(shown.min() < scale.vmin), bool(shown.max() > scale.vmax)
    extend = {(True, False): "min", (False, True): "max"}.get((low, high), "neither")
    bar = figure.colorbar(
        ScalarMappable(scale, colours), ax=axes, pad=0.02, shrink=0.9, extend=extend
    )
    bar.set_label(aim.label, fontsize=12)
    bar.ax.tick_params(labelsize=11)

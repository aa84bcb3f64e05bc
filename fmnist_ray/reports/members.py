"""An ensemble's figures: its members, how many of them it takes, and how far they agree."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from fmnist_ray.evaluation.ensembles import SizeCurve
from fmnist_ray.reports.captions import Caption
from fmnist_ray.reports.figures import COLOURS, new_figure

CAPTIONS = {
    "members.png": Caption(
        "Members and their averages",
        "A point per member; the line is the average of their probabilities. Its distance from "
        "the points is what the ensemble gains.",
    ),
    "ensemble_size.png": Caption(
        "Accuracy against the number of members",
        "Where the line grows flat, more members cost time and gain nothing. The band shows how "
        "much hangs on which members came first.",
    ),
    "disagreement.png": Caption(
        "Disagreement between members",
        "How often two members give different answers. Members that differ more gain more from "
        "being averaged.",
    ),
}

Values = npt.NDArray[np.float64]

# Black and grey are kept for what has no members of its own.
_GROUP_COLOURS, _LINE_COLOURS = COLOURS[:6], COLOURS[6:]
# More figures than these would touch each other.
_MOST_WRITTEN = 12
_MOST_NAMED = 24


class MemberGroup(NamedTuple):
    """One ensemble.

    Attributes:
        name: Such as "cnn bootstrap". The first of several words is the model, the rest the kind.
        accuracy: Of each member, between 0 and 1, shape (members,). Empty for an ensemble whose
            members are shown in other groups.
        ensemble: Accuracy of the averaged probabilities.
        vote: Accuracy of the majority vote.
    """

    name: str
    accuracy: Values
    ensemble: float
    vote: float


def draw_members(groups: Sequence[MemberGroup], title: str) -> Figure:
    """Draws the accuracy of every member, and of its ensemble as lines.

    Every group has a panel, beside those of the same model, on the same scale; every model has a
    row with a scale of its own, as models may lie far apart. A group without members is a pair of
    lines in the panels of its model or, if that has none, of the model with the best ensemble;
    among these, in the panel of the same kind, if there is one. The figures stand in the legend
    below each panel and, where members are few, at the points.

    Raises:
        ValueError: There are no groups.
    """
    if not groups:
        raise ValueError("there are no ensembles to draw")
    rows, lines = _rows(groups)
    columns = max(len(row) for row in rows.values())
    figure = new_figure(7.5 * max(columns, 1.2), 5.9 * len(rows))
    figure.suptitle(title, fontsize=14)
    panels = figure.subplots(len(rows), columns, squeeze=False, sharey="row")
    colours = _colours(groups)
    for row, (model, there) in zip(panels, rows.items(), strict=True):
        for axes in row[len(there) :]:
            axes.remove()
        kinds = {_kind(group.name) for group in there}
        for axes, group in zip(row, there, strict=False):
            _points(axes, group, colours[group.name])
            for line in lines[model]:
                if _kind(line.name) == _kind(group.name) or _kind(line.name) not in kinds:
                    _lines(axes, line, colours[line.name], f"{line.name}: ")
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), fontsize=11, frameon=False)
        _limit(row[0], [*there, *lines[model]])
        row[0].set_ylabel("Accuracy in percent", fontsize=12)
    return figure


def draw_sizes(curves: Mapping[str, SizeCurve], title: str) -> Figure:
    """Draws accuracy against the number of members, one panel per model.

    A line and a band from the 10 % to the 90 % quantile over the orders in which members joined,
    and the majority vote as a dashed line. The accuracy of the whole ensemble is in the legend.

    Args:
        curves: By the name of the group, see `MemberGroup.name`.
        title: Above the figure.

    Raises:
        ValueError: There are no curves.
    """
    if not curves:
        raise ValueError("there are no ensembles to draw")
    models = list(dict.fromkeys(_model(name) for name in curves))
    figure = new_figure(max(7.0 * len(models), 9), 6)
    figure.suptitle(title, fontsize=14)
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    for (name, curve), colour in zip(
        curves.items(), _cycle(_GROUP_COLOURS, len(curves)), strict=True
    ):
        axes = panels[models.index(_model(name))]
        look = {"color": colour, "marker": "o", "markersize": 4}
        axes.fill_between(
            curve.size,
            100 * curve.average_low,
            100 * curve.average_high,
            color=colour,
            alpha=0.18,
            linewidth=0,
        )
        members = len(curve.size)
        label = f"{name}, average of {members}: {_percent(curve.average_mean[-1])}"
        axes.plot(curve.size, 100 * curve.average_mean, label=label, **look)
        label = f"{name}, majority vote of {members}: {_percent(curve.vote_mean[-1])}"
        axes.plot(curve.size, 100 * curve.vote_mean, "--", label=label, **look | {"markersize": 0})
    for axes, model in zip(panels, models, strict=True):
        _dress(
            axes, max(len(curve.size) for name, curve in curves.items() if _model(name) == model)
        )
        axes.set_xlabel("Members (band: 10 % to 90 % of the orders)", fontsize=12)
        axes.legend(fontsize=11, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    panels[0].set_ylabel("Accuracy in percent", fontsize=12)
    return figure


def draw_disagreement(matrix: Values, names: Sequence[str], title: str) -> Figure:
    """Draws how often two members give different classes, as a heat map.

    Args:
        matrix: Shares between 0 and 1, shape (members, members), as from
            `ensembles.disagreement`. The diagonal, a member with itself, is left empty.
        names: Of the members.
        title: Above the figure.

    Raises:
        ValueError: There is not one name for each row and column, or none at all.
    """
    members = len(names)
    if not members or matrix.shape != (members, members):
        raise ValueError(f"{members} names for a matrix of shape {matrix.shape}")
    percent = np.where(np.eye(members, dtype=np.bool_), np.nan, 100 * matrix)
    # Members differ from each other by little more or less: colours from 0 on would look alike.
    others = percent[np.isfinite(percent)]
    low, high = (float(others.min()), float(others.max())) if len(others) else (0.0, 1.0)
    if low == high:
        low = 0.0
    high = max(high, low + 0.1)
    figure = new_figure(11, 9.5)
    figure.suptitle(title, fontsize=14)
    axes = figure.subplots()
    image = axes.imshow(percent, cmap="viridis", vmin=low, vmax=high)
    axes.set_facecolor("#E8E8E8")
    if members <= _MOST_WRITTEN:
        for row, column in np.argwhere(np.isfinite(percent)):
            value = percent[row, column]
            dark = value < low + 0.6 * (high - low)
            axes.text(
                column,
                row,
                f"{value:.1f}",
                ha="center",
                va="center",
                fontsize=11,
                color="white" if dark else "black",
            )
    places = range(0, members, math.ceil(members / _MOST_NAMED))
    shown = [names[place] for place in places]
    axes.set_xticks(places, shown, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, shown)
    axes.tick_params(labelsize=10, length=3 if len(shown) < members else 0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.85)
    bar.set_label("Images given different classes, in percent", fontsize=12)
    bar.ax.tick_params(labelsize=11)
    return figure


def _rows(
    groups: Sequence[MemberGroup],
) -> tuple[dict[str, list[MemberGroup]], dict[str, list[MemberGroup]]]:
    """The groups with a panel, and those drawn into panels as lines, both by model."""
    rows: dict[str, list[MemberGroup]] = {}
    for group in groups:
        if len(group.accuracy):
            rows.setdefault(_model(group.name), []).append(group)
    if not rows:
        # Nothing but ensembles: lines alone, in panels of their own.
        for group in groups:
            rows.setdefault(_model(group.name), []).append(group)
        return rows, {model: [] for model in rows}
    lines: dict[str, list[MemberGroup]] = {model: [] for model in rows}
    best = max(rows, key=lambda model: max(group.ensemble for group in rows[model]))
    for group in groups:
        if not len(group.accuracy):
            model = _model(group.name)
            lines[model if model in rows else best].append(group)
    return rows, lines


def _points(axes: Axes, group: MemberGroup, colour: str) -> None:
    percent = 100 * group.accuracy
    numbers = np.arange(1, len(percent) + 1)
    there = percent[np.isfinite(percent)]
    if len(there):
        label = f"members: mean {there.mean():.2f} %, {there.min():.2f} to {there.max():.2f} %"
        if len(there) == 1:
            label = f"member: {there[0]:.2f} %"
        axes.plot(numbers, percent, "o", markersize=7, color=colour, label=label, zorder=3)
    for number, value in zip(numbers, percent, strict=True):
        if np.isfinite(value) and len(percent) <= _MOST_WRITTEN:
            axes.annotate(
                f"{value:.2f}",
                (number, value),
                xytext=(0, -8),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=10,
                # Stays legible where a line runs through it.
                path_effects=[withStroke(linewidth=3, foreground="white")],
            )
    _lines(axes, group, colour, "")
    axes.set_title(group.name, fontsize=13)
    _dress(axes, len(percent))
    axes.set_xlabel("Member" if len(percent) else "", fontsize=12)


def _lines(axes: Axes, group: MemberGroup, colour: str, prefix: str) -> None:
    for value, style, name in (
        (group.ensemble, "-", "average of probabilities"),
        (group.vote, ":", "majority vote"),
    ):
        label = f"{prefix}{name} {_percent(value)}"
        axes.axhline(100 * value, color=colour, linestyle=style, linewidth=2, label=label)


def _limit(axes: Axes, groups: Iterable[MemberGroup]) -> None:
    values = [
        100 * value for each in groups for value in (*each.accuracy, each.ensemble, each.vote)
    ]
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    # The figures hang below the points, so there is more room below.
    axes.set_ylim(low - max(0.12 * (high - low), 0.3), high + max(0.06 * (high - low), 0.3))


def _dress(axes: Axes, members: int) -> None:
    axes.set_xlim(0.4, max(members, 1) + 0.6)
    if members <= _MOST_WRITTEN:
        axes.set_xticks(range(1, members + 1))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.tick_params(labelsize=11, labelleft=True)
    axes.grid(color="#E0E0E0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _model(name: str) -> str:
    # Names of one word say nothing of a model: they share a panel.
    first, *rest = name.split(maxsplit=1)
    return first if rest else ""


def _kind(name: str) -> str:
    return name.removeprefix(_model(name)).strip()


def _colours(groups: Sequence[MemberGroup]) -> dict[str, str]:
    members = [group.name for group in groups if len(group.accuracy)]
    lines = [group.name for group in groups if not len(group.accuracy)]
    return {
        **dict(zip(members, _cycle(_GROUP_COLOURS, len(members)), strict=True)),
        **dict(zip(lines, _cycle(_LINE_COLOURS, len(lines)), strict=True)),
    }


def _cycle(colours: tuple[str, ...], number: int) -> list[str]:
    return [colours[at % len(colours)] for at in range(number)]


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"

"""How a search went, in pictures: the best so far, and the learning curve of every trial."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from fmnist_ray.reports.captions import Caption
from fmnist_ray.reports.figures import COLOURS, new_figure
from fmnist_ray.reports.search_courses import (
    Aim,
    Rung,
    TrialCourse,
    best_so_far,
    sane_limits,
    time_unit,
)
from fmnist_ray.reports.search_looks import STATUS_COLOURS, STATUS_NAMES, dress

_END_MARKERS = {
    "complete": "o",
    "stopped": "x",
    "diverged": "v",
    "failed": "s",
    "paused": ">",
    "running": ">",
}


CAPTIONS: dict[str, Caption] = {
    "search_best.png": Caption(
        "The best so far",
        "The line climbs where a trial beat all before it; each dot is the end of a trial. A line "
        "that is level for long says that more trials of this kind would have brought little.",
    ),
    "search_curves.png": Caption(
        "Learning curves of all trials",
        "A cross is an early stop, a dot a trial that ran to its end. Look whether curves cross "
        "after a rung: then the early epochs are a poor guide, and stops may have cost good trials.",
    ),
    "search_timeline.png": Caption(
        "What ran when",
        "Each row is a place where trials run one after another; white gaps are time in which a "
        "place stood idle. Long bars at the end that run alone show how the search tails off.",
    ),
    "search_importance.png": Caption(
        "Which parameters mattered",
        "How much of the differences between trials each parameter explains by itself, after the "
        "same number of epochs: fANOVA (Hutter et al. 2014, ICML), or PED-ANOVA (Watanabe et al. "
        "2023, arXiv:2304.10255), which tells the best tenth from the rest, for more than 200 "
        "trials. The lines show how far it moves when a fifth of the trials is left out; where "
        "they overlap, the order is not certain.",
    ),
    "search_parallel.png": Caption(
        "All configurations",
        "Each line is a trial, coloured by the best figure that it reached, and drawn on top the "
        "better it is. Look where the bright lines meet. Trials that were stopped early had fewer "
        "epochs to become good in.",
    ),
    "search_slices.png": Caption(
        "One parameter at a time",
        "Every trial after the same number of epochs, against each parameter; a bar is the median "
        "of a choice. Look for a range or a choice whose trials lie higher than the others (lower, "
        "for a loss). A schedule or a length that starts slowly looks worse here than it ends.",
    ),
    "search_contour.png": Caption(
        "Two parameters together",
        "The dots are trials after the same number of epochs; the shading is the mean of those "
        "near by, and fades where there are none. If the best area touches an edge, the search "
        "space may be too small there.",
    ),
}
"""What a report says of each figure, by the name of its PNG file."""


def draw_best(courses: Sequence[TrialCourse], aim: Aim, total: float, title: str) -> Figure:
    """Draws the best so far against time and against epochs.

    Args:
        courses: With at least one finished epoch among them.
        aim: What is compared.
        total: The search's seconds so far.
        title: Above the figure.

    Raises:
        ValueError: No trial finished an epoch.
    """
    steps = best_so_far(courses, aim)
    if not steps:
        raise ValueError("there is no finished epoch to draw")
    all_ends = sorted(at for course in courses for at in course.at)
    divisor, unit = time_unit(total)
    figure = new_figure(10, 4.9)
    figure.suptitle(title, fontsize=13)
    panels = figure.subplots(1, 2, sharey=True)
    ends = [(course, found) for course in courses if (found := course.best(aim)) is not None]
    values = [aim.shown(value) for _, (_, value) in ends]
    limits = sane_limits([*values, *(aim.shown(step.value) for step in steps)], aim)
    last = (total / divisor, float(len(all_ends)))
    for axes, column, whole in zip(panels, (0, 1), last, strict=True):
        across = [(step.seconds / divisor, float(step.epochs))[column] for step in steps]
        heights = [aim.shown(step.value) for step in steps]
        axes.step(
            [*across, max(whole, across[-1])],
            [*heights, heights[-1]],
            where="post",
            color="#595959",
            linewidth=1.8,
            zorder=2,
        )
        for course, (_, value) in ends:
            at = course.at[-1]
            place = (at / divisor, float(np.searchsorted(all_ends, at, side="right")))[column]
            _end_dot(axes, place, aim.shown(value), course.status, limits, aim)
        axes.plot(
            across[-1], heights[-1], "*", markersize=16, color=COLOURS[1], markeredgecolor="white"
        )
        axes.set_xlim(0, max(whole, across[-1]) * 1.03)
        axes.set_ylim(*limits)
        dress(axes)
    panels[0].set_ylabel(aim.label, fontsize=12)
    panels[0].set_xlabel(f"Time that the search ran, in {unit}", fontsize=12)
    panels[1].set_xlabel("Epochs, all trials together", fontsize=12)
    panels[1].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    winner = steps[-1]
    handles = [
        Line2D([], [], color="#595959", linewidth=1.8, label="best so far"),
        Line2D(
            [],
            [],
            marker="*",
            linestyle="",
            markersize=14,
            color=COLOURS[1],
            label=f"{winner.unit}, epoch {winner.epoch}: {aim.text(winner.value)}",
        ),
        *_status_handles([course.status for course, _ in ends]),
        *_outside_handle(values, limits, aim),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=11, frameon=False)
    return figure


def draw_trial_curves(
    courses: Sequence[TrialCourse], aim: Aim, rungs: Sequence[Rung], title: str
) -> Figure:
    """Draws every trial's figure after each epoch, the best trial's on top.

    Args:
        courses: With at least one finished epoch among them.
        aim: What is compared.
        rungs: ASHA's; empty for another scheduler.
        title: Above the figure.

    Raises:
        ValueError: No trial finished an epoch.
    """
    steps = best_so_far(courses, aim)
    if not steps:
        raise ValueError("there is no finished epoch to draw")
    winner = steps[-1]
    shown = [course for course in courses if course.epoch]
    figure = new_figure(10, 5.8)
    figure.suptitle(title, fontsize=13)
    axes = figure.subplots()
    ends = [aim.shown(course.value[-1]) for course in shown]
    # The ends alone would cut the curve of the only trial, all values alone the early stops.
    low, high = zip(
        sane_limits([*ends, aim.shown(winner.value)], aim),
        sane_limits([aim.shown(value) for each in shown for value in each.value], aim),
        strict=True,
    )
    limits = (min(low), max(high))
    for course in shown:
        best = course.unit == winner.unit
        colour = COLOURS[1] if best else STATUS_COLOURS[course.status]
        heights = [aim.shown(value) for value in course.value]
        axes.plot(
            course.epoch,
            heights,
            color=colour,
            linewidth=2.8 if best else 1.3,
            alpha=1.0 if best else 0.75,
            zorder=4 if best else 2,
        )
        _end_dot(axes, course.epoch[-1], heights[-1], course.status, limits, aim, colour)
    last = max(course.epoch[-1] for course in shown)
    span = max(last - 1, 1)
    axes.set_xlim(1 - 0.04 * span, last + 0.04 * span)
    axes.set_ylim(*limits)
    dress(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("Epoch", fontsize=12)
    axes.set_ylabel(aim.label, fontsize=12)
    _mark_rungs(axes, [rung for rung in rungs if rung.reached], span)
    best_line = Line2D([], [], color=COLOURS[1], linewidth=2.8)
    best_line.set_label(f"best: {winner.unit}, {aim.text(winner.value)}")
    figure.legend(
        handles=[
            best_line,
            *_status_handles([each.status for each in shown]),
            *_outside_handle(ends, limits, aim),
        ],
        loc="outside lower center",
        ncols=4,
        fontsize=11,
        frameon=False,
    )
    return figure


def _status_handles(statuses: Sequence[str]) -> list[Line2D]:
    """Legend entries of the statuses that occur, with their numbers."""
    handles = []
    for status, name in STATUS_NAMES.items():
        count = sum(each == status for each in statuses)
        if count:
            handles.append(
                Line2D(
                    [],
                    [],
                    linestyle="",
                    marker=_END_MARKERS[status],
                    markersize=8,
                    color=STATUS_COLOURS[status],
                    markeredgewidth=2,
                    label=f"{count} {name}",
                )
            )
    return handles


def _end_dot(
    axes: Axes,
    across: float,
    height: float,
    status: str,
    limits: tuple[float, float],
    aim: Aim,
    colour: str | None = None,
) -> None:
    """Marks the end of a trial; one outside the limits by an open triangle at the edge."""
    colour = colour or STATUS_COLOURS[status]
    if limits[0] <= height <= limits[1]:
        marker, fill = _END_MARKERS[status], colour
    else:
        reach = 0.02 * (limits[1] - limits[0])
        height = limits[0] + reach if aim.highest else limits[1] - reach
        marker, fill = ("v" if aim.highest else "^"), "white"
    axes.plot(
        across,
        height,
        marker,
        color=colour,
        markerfacecolor=fill,
        markersize=6.5,
        markeredgewidth=1.8,
        zorder=5,
        clip_on=False,
    )


def _outside_handle(values: Sequence[float], limits: tuple[float, float], aim: Aim) -> list[Line2D]:
    """The legend's entry for ends beyond the axis, if there are any."""
    count = sum(not limits[0] <= value <= limits[1] for value in values)
    if not count:
        return []
    return [
        Line2D(
            [],
            [],
            linestyle="",
            marker="v" if aim.highest else "^",
            markerfacecolor="white",
            color="#595959",
            markeredgewidth=2,
            label=f"{count} {'below' if aim.highest else 'above'} the axis",
        )
    ]


def _mark_rungs(axes: Axes, rungs: Sequence[Rung], span: int) -> None:
    """Draws the rungs, with their counts above the panel, in two rows where they are close."""
    row_end = [-math.inf, -math.inf]
    for rung in rungs:
        axes.axvline(rung.epoch, color="#595959", linestyle=":", linewidth=1.4, zorder=1)
        row = 0 if rung.epoch - row_end[0] > 0.13 * span else 1
        if rung.epoch - row_end[row] <= 0.13 * span:
            continue  # a line without counts: they would touch the ones before
        row_end[row] = rung.epoch
        axes.annotate(
            f"{rung.kept} of {rung.reached}\nwent on",
            (rung.epoch, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4 + 30 * row),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=10.5,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )

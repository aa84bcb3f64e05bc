"""Which trial of a search ran when, and beside which others."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from fmnist_ray.reports.figures import new_figure
from fmnist_ray.reports.search_courses import TrialCourse, time_unit
from fmnist_ray.reports.search_looks import STATUS_COLOURS, STATUS_NAMES, dress

# A place is free a moment before the journal says so: an end is written after the work.
_SLACK_SECONDS = 0.1
_DARK = {"complete", "failed", "diverged"}


class Bar(NamedTuple):
    """A stretch of time in which a trial ran.

    Attributes:
        unit: The trial.
        status: How it ended.
        begin: In seconds on the search's clock.
        end: Likewise.
        slot: The row, 0 for the first.
    """

    unit: str
    status: str
    begin: float
    end: float
    slot: int


def bars(courses: Sequence[TrialCourse]) -> list[Bar]:
    """Puts every span of every trial into the lowest row that is free, earliest first.

    A trial that ran before goes on in its own row if that is free.
    """
    spans = sorted(
        (begin, end, course.unit, course.status)
        for course in courses
        for begin, end in course.spans
    )
    free_from: list[float] = []
    own: dict[str, int] = {}
    placed = []
    for begin, end, unit, status in spans:
        free = [at for at, time in enumerate(free_from) if time <= begin + _SLACK_SECONDS]
        slot = own[unit] if own.get(unit) in free else min(free, default=len(free_from))
        if slot == len(free_from):
            free_from.append(end)
        free_from[slot], own[unit] = end, slot
        placed.append(Bar(unit, status, begin, end, slot))
    return placed


def draw_timeline(
    courses: Sequence[TrialCourse], starts: Sequence[float], total: float, title: str
) -> Figure:
    """Draws the trials as bars against time, one row per place.

    Args:
        courses: With at least one span among them.
        starts: When each session began, in seconds on the search's clock; the first is 0.
        total: The search's seconds so far.
        title: Above the figure.

    Raises:
        ValueError: No trial ran.
    """
    placed = bars(courses)
    if not placed:
        raise ValueError("there are no trials to draw")
    divisor, unit = time_unit(total)
    rows = max(bar.slot for bar in placed) + 1
    width = 10.0
    row_height = min(0.5, 8.0 / rows)
    figure = new_figure(width, 2.3 + max(1.2, row_height * rows))
    figure.suptitle(title, fontsize=13)
    axes = figure.subplots()
    for bar in placed:
        axes.barh(
            bar.slot + 1,
            (bar.end - bar.begin) / divisor,
            left=bar.begin / divisor,
            height=0.82,
            color=STATUS_COLOURS[bar.status],
            edgecolor="white",
            linewidth=1.0,
        )
        number = _number(bar.unit)
        # About 0.1 inch per digit, of the panel's nine tenths of the figure.
        room = (bar.end - bar.begin) / max(total, 1e-9) * width * 0.9
        if room > 0.1 * len(number) + 0.04 and row_height > 0.18:
            axes.text(
                (bar.begin + bar.end) / 2 / divisor,
                bar.slot + 1,
                number,
                ha="center",
                va="center",
                fontsize=10,
                color="white" if bar.status in _DARK else "black",
            )
    for session, start in enumerate(starts):
        if session:
            axes.axvline(start / divisor, color="black", linestyle="--", linewidth=1.4)
            axes.annotate(
                "resumed",
                (start / divisor, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=10.5,
            )
    axes.set_xlim(0, max(total, max(bar.end for bar in placed)) / divisor)
    axes.set_ylim(rows + 0.6, 0.4)
    dress(axes)
    axes.grid(visible=False, axis="y")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_ylabel("Place", fontsize=12)
    axes.set_xlabel(f"Time that the search ran, in {unit}", fontsize=12)
    ran = {bar.unit: bar.status for bar in placed}
    handles = [
        Patch(color=STATUS_COLOURS[status], label=f"{count} {name}")
        for status, name in STATUS_NAMES.items()
        if (count := sum(each == status for each in ran.values()))
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), fontsize=11, frameon=False
    )
    return figure


def _number(unit: str) -> str:
    digits = unit.removeprefix("trial-")
    return str(int(digits)) if digits.isdigit() else digits

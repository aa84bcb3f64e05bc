"""What a person wants to read first of a search, in sentences, and its figures under flat names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fmnist_ray.reports.search_courses import Aim, BestStep, TrialCourse, best_so_far, savings
from fmnist_ray.reports.search_parameters import (
    Group,
    Importance,
    Parameter,
    TrialTable,
    groups,
)
from fmnist_ray.reports.wording import count, duration
from fmnist_ray.search.journal import UNFINISHED, TrialState
from fmnist_ray.search.progress import describe_configuration

_SCHEDULERS = {
    "asha": "ASHA",
    "asha-promotion": "ASHA by promotion",
    "median": "The median rule",
    "pbt": "PBT",
    "none": "No scheduler",
}
# What counts as nearly the best: a tenth of a point of accuracy, or this much of a loss.
_NEARLY_POINTS, _NEARLY_LOSS = 0.001, 0.01


@dataclass(frozen=True)
class SearchFindings:
    """What the analysis of a search found.

    Attributes:
        sentences: What to read first.
        metrics: Figures under flat names. `epochs_run` counts finished epochs, and not those in
            which a trial diverged; times are in seconds, shares between 0 and 1.
        left_out: Why a figure was not drawn, by its name.
    """

    sentences: tuple[str, ...]
    metrics: dict[str, float | int | str | None]
    left_out: dict[str, str]


@dataclass(frozen=True)
class Comparison:
    """Trials compared after the same number of epochs.

    Attributes:
        epoch: After which.
        table: The trials that reached it.
        importances: Of the parameters, the largest first; empty if there are too few trials.
        only: The parameter, where the trials differ in one alone.
    """

    epoch: int
    table: TrialTable
    importances: Sequence[Importance] = ()
    only: Parameter | None = None

    def words(self, trials: int) -> str:
        """Such as "after the same 1 epoch, 24 of 24 trials"."""
        return f"after the same {count(self.epoch, 'epoch')}, {len(self.table.units)} of {count(trials, 'trial')}"


def search_sentences(
    states: Sequence[TrialState],
    courses: Sequence[TrialCourse],
    aim: Aim,
    scheduler: str,
    searched: Sequence[str],
    total: float,
    comparison: Comparison,
) -> tuple[str, ...]:
    """The findings in plain words; see `SearchFindings`."""
    if not states:
        return ("No trial has begun yet.",)
    steps = best_so_far(courses, aim)
    if not steps:
        return (
            f"No epoch has been finished yet by any of {count(len(states), 'trial')}.",
            *_troubles(states),
        )
    winner = steps[-1]
    state = next(each for each in states if each.unit == winner.unit)
    what = describe_configuration(state.config, [key for key in searched if key in state.config])
    who = f"The only trial, {winner.unit}, reached"
    if len(states) > 1:
        who = f"Of {len(states)} trials, {winner.unit} is the best with"
    sentences = [
        f"{who} a {aim.name} of {aim.text(winner.value)} after epoch {winner.epoch}: "
        f"{what.replace('_', ' ')}."
    ]
    if len(states) > 1:
        sentences.append(_how_soon(courses, steps, aim, total))
        sentences.append(_saved(courses, scheduler))
    if comparison.importances:
        sentences.extend(_what_mattered(comparison, aim, len(states)))
    elif comparison.only is not None:
        found = groups(comparison.only, comparison.table.value, aim)
        sentences.append(
            f"Compared {comparison.words(len(states))}, "
            + _which_did_best(comparison.only.name, found, aim)
        )
    return (*sentences, *_troubles(states))


def search_metrics(
    courses: Sequence[TrialCourse],
    aim: Aim,
    total: float,
    sessions: int,
    comparison: Comparison,
) -> dict[str, float | int | str | None]:
    """The figures of the findings."""
    steps = best_so_far(courses, aim)
    saved = savings(courses)
    metrics: dict[str, float | int | str | None] = {
        "trials": len(courses),
        **{
            f"trials_{status}": sum(each.status == status for each in courses)
            for status in ("complete", "stopped", "diverged", "failed")
        },
        "trials_unfinished": sum(each.status in UNFINISHED for each in courses),
        "sessions": sessions,
        "search_seconds": round(total, 1),
        "best_unit": steps[-1].unit if steps else None,
        "best_epoch": steps[-1].epoch if steps else None,
        "best_value": steps[-1].value if steps else None,
        "epochs_run": saved.epochs_run,
        "epochs_if_all_ran_to_the_end": saved.epochs_to_the_end,
        "epochs_saved_share": round(saved.share, 4),
        "training_seconds": round(saved.seconds_run, 1),
        "training_seconds_saved": round(saved.seconds_saved, 1),
        "compared_after_epoch": comparison.epoch if len(comparison.table.units) else None,
        "compared_trials": len(comparison.table.units),
    }
    if steps:
        near = nearly_best(steps, aim)
        metrics |= {
            "seconds_to_nearly_best": round(near.seconds, 1),
            "epochs_to_nearly_best": near.epochs,
        }
    if comparison.importances:
        metrics["most_important"] = comparison.importances[0].name.replace(" ", "_")
    for each in comparison.importances:
        metrics[f"importance_{each.name.replace(' ', '_')}"] = round(each.share, 4)
    return metrics


def nearly_best(steps: Sequence[BestStep], aim: Aim) -> BestStep:
    """The first step within 0.1 points of the best accuracy, or 0.01 of the best loss."""
    reach = _NEARLY_POINTS if aim.percent else _NEARLY_LOSS
    # A tenth of a point is not exact in binary: what is just at it counts.
    return next(each for each in steps if abs(each.value - steps[-1].value) <= reach + 1e-9)


def _how_soon(
    courses: Sequence[TrialCourse], steps: Sequence[BestStep], aim: Aim, total: float
) -> str:
    near = nearly_best(steps, aim)
    epochs = sum(len(course.epoch) for course in courses)
    reach = f"{100 * _NEARLY_POINTS:g} points" if aim.percent else f"{_NEARLY_LOSS:g}"
    return (
        f"A figure within {reach} of it was there after {duration(near.seconds)} of {duration(total)} "
        f"and {near.epochs} of {count(epochs, 'epoch')} ({near.unit})."
    )


def _saved(courses: Sequence[TrialCourse], scheduler: str) -> str:
    name = _SCHEDULERS.get(scheduler, scheduler)
    saved = savings(courses)
    stopped = sum(course.status == "stopped" for course in courses)
    if not stopped:
        return f"{name} stopped no trial early: {count(saved.epochs_run, 'epoch')} were trained."
    return (
        f"{name} stopped {stopped} of {count(len(courses), 'trial')} early: "
        f"{count(saved.epochs_run, 'epoch')} were trained instead of {saved.epochs_to_the_end}, "
        f"which saved {100 * saved.share:.0f} % and about {duration(saved.seconds_saved)} of training "
        "time, all places together."
    )


def _what_mattered(comparison: Comparison, aim: Aim, trials: int) -> list[str]:
    first, *others = comparison.importances
    text = f"Compared {comparison.words(trials)}, {first.name} mattered most"
    if others:
        second = others[0]
        text += f" ({100 * first.share:.0f} %), before {second.name} ({100 * second.share:.0f} %)"
        if first.low < second.high:
            text += "; this order is not certain"
    parameter = next(each for each in comparison.table.parameters if each.name == first.name)
    found = groups(parameter, comparison.table.value, aim)
    return [f"{text}.", f"At that point {_which_did_best(first.name, found, aim)}"]


def _which_did_best(name: str, found: Sequence[Group], aim: Aim) -> str:
    def told(group: Group) -> str:
        return f"{group.text} (median {aim.text(group.median)} of {count(group.trials, 'trial')})"

    best, *others = found
    text = f"the best {name} was {told(best)}"
    if len(others) > 1:
        text += f", then {told(others[0])}"
    return f"{text}; the worst was {told(others[-1])}." if others else f"{text}."


def _troubles(states: Sequence[TrialState]) -> list[str]:
    sentences = []
    for status, words in (("failed", "failed"), ("diverged", "diverged")):
        there = [state for state in states if state.status == status]
        if there:
            reason = there[0].reason.rstrip(".")
            why = f": {reason}" if len(there) == 1 else f", the first with: {reason}"
            units = ", ".join(state.unit for state in there[:3]) + (", ..." * (len(there) > 3))
            sentences.append(
                f"{count(len(there), 'trial')} {words} ({units}){why if reason else ''}."
            )
    unfinished = sum(state.status in UNFINISHED for state in states)
    if unfinished:
        verb = "is" if unfinished == 1 else "are"
        sentences.append(f"{count(unfinished, 'trial')} {verb} not finished.")
    return sentences


def trial_rows(
    states: Sequence[TrialState], courses: Sequence[TrialCourse], aim: Aim, searched: Sequence[str]
) -> list[dict[str, Any]]:
    """The rows of `trials.csv`."""
    from datetime import UTC, datetime

    def when(time: float | None) -> str | None:
        return None if time is None else datetime.fromtimestamp(time, UTC).isoformat("T", "seconds")

    rows = []
    for state, course in zip(states, courses, strict=True):
        best = course.best(aim)
        rows.append(
            {
                "unit": state.unit,
                "status": state.status,
                "epochs_run": len(course.epoch),
                f"best_{aim.name.replace(' ', '_')}": best[1] if best else None,
                "best_epoch": best[0] if best else None,
                "train_seconds": round(sum(course.seconds), 1),
                "started": when(state.started),
                "ended": when(state.ended if state.status not in UNFINISHED else None),
                **{key: state.config.get(key) for key in searched},
                "reason": state.reason or None,
            }
        )
    return rows

"""Several records beside each other: figures, tests of every pair, settings that differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fmnist_ray.app.experiments import Experiments, View
from fmnist_ray.app.run_state import Curve
from fmnist_ray.errors import RequestError
from fmnist_ray.evaluation.comparison import problem_of
from fmnist_ray.evaluation.metrics import predicted_classes, wilson_interval
from fmnist_ray.evaluation.significance import compare_pairs, describe
from fmnist_ray.records import Predictions


@dataclass(frozen=True)
class Compared:
    """What the page of a comparison shows.

    Attributes:
        views: Of the records, in the order they were asked for.
        intervals: 95 % of the test accuracy, by name; only of those that keep predictions.
        sentences: What tests of the pairs say.
        notes: Which records could not be tested, and why.
        differing: Settings of several that differ: name, and a value for each, empty where it has
            none.
        curves: The course of each record's best unit.
    """

    views: Sequence[View]
    intervals: Mapping[str, tuple[float, float]]
    sentences: Sequence[str]
    notes: Sequence[str]
    differing: Sequence[tuple[str, Sequence[str]]]
    curves: Mapping[str, Curve]


def compare_records(experiments: Experiments, names: Sequence[str]) -> Compared:
    """Compares records by what they keep; nothing is scored anew.

    Raises:
        RequestError: One is not there, or its `run.json` is damaged.
    """
    views = [experiments.view(name) for name in names]
    kept, notes = _kept(experiments, names)
    right = {name: predicted_classes(each.probability) == each.label for name, each in kept.items()}
    pairs = compare_pairs(right) if len(right) > 1 else []
    return Compared(
        views=views,
        intervals={
            name: wilson_interval(int(each.sum()), len(each)) for name, each in right.items()
        },
        sentences=[describe(pair, len(pairs)) for pair in pairs],
        notes=notes,
        differing=_differing(views),
        curves={view.row.name: curve for view in views if (curve := _best_curve(view))},
    )


def _kept(
    experiments: Experiments, names: Sequence[str]
) -> tuple[dict[str, Predictions], list[str]]:
    """The predictions of the same test images, and notes on those that have none or of others."""
    found: dict[str, Predictions] = {}
    notes = []
    for name in names:
        record = experiments.open(name)
        try:
            predictions = record.test_predictions()
            problem = None if predictions is None else problem_of(predictions)
        except RequestError as error:
            notes.append(f"{name} is not tested: {error}")
            continue
        if predictions is None or problem is not None:
            why = problem or "it keeps no predictions of the test images"
            notes.append(f"{name} is not tested: {why}.")
            continue
        first = next(iter(found.values()), predictions)
        if not np.array_equal(predictions.label, first.label):
            notes.append(f"{name} is not tested: it was scored on other test images.")
            continue
        found[name] = predictions
    return found, notes


def _differing(views: Sequence[View]) -> list[tuple[str, list[str]]]:
    settings: list[dict[str, str]] = [dict(view.configuration) for view in views]
    names: dict[str, Any] = {name: None for each in settings for name in each}
    rows = [(name, [each.get(name, "") for each in settings]) for name in names]
    # What only one of them has, such as a search's space, is no difference between settings.
    shared = [name for name, values in rows if sum(value != "" for value in values) > 1]
    return [(name, values) for name, values in rows if name in shared and len(set(values)) > 1]


def _best_curve(view: View) -> Curve | None:
    units = [unit for unit in view.state.units if unit.name in view.state.curves]
    best = max(units, key=lambda unit: unit.accuracy or 0.0, default=None)
    return view.state.curves[best.name] if best is not None else None

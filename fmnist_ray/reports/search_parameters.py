"""The parameters of a search: their values in each trial, and the axes that they make."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

from fmnist_ray.reports.search_courses import Aim

Values = npt.NDArray[np.float64]

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


def unit_ticks(parameter: Parameter) -> tuple[list[float], list[str]]:
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

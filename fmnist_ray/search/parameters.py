"""The searched parameters of trials, as the plots want them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fmnist_ray.reports.search_courses import Aim, TrialCourse
from fmnist_ray.reports.search_parameters import Importance, Parameter, TrialTable
from fmnist_ray.search.journal import TrialState
from fmnist_ray.search.optuna_study import optuna_study, optuna_trial
from fmnist_ray.search.progress import is_used
from fmnist_ray.search.samplers import distributions_of
from fmnist_ray.search.space import Domain, SearchSpace

_UNUSED: Any = object()
_ENOUGH_TRIALS = 10
_MOST_FOR_FOREST = 200
_TREES, _FEWER_TREES, _PARTS = 64, 16, 10


def shown_name(key: str) -> str:
    """A key as it is written in figures."""
    return key.replace("_", " ")


def shown_choice(value: Any) -> str:
    """A choice as it is written in figures."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return shown_name(value) if isinstance(value, str) else f"{value:g}"


def common_epoch(courses: Sequence[TrialCourse]) -> tuple[int, int]:
    """The largest epoch after which enough trials can be compared.

    Trials that ran for different times must not be compared by their best figures: those that
    ran longer are better for that alone. And a late epoch that only the survivors of a scheduler
    reached hides what made the others fail. So the epoch is the last that three quarters of the
    trials with any epoch reached, and at least ten of them; if fewer ran, the first.

    Returns:
        The epoch, and how many trials reached it; (1, 0) if none did.
    """
    reached = [course.epoch for course in courses if course.epoch]
    enough = max(_ENOUGH_TRIALS, math.ceil(0.75 * len(reached)))
    counts = {
        epoch: sum(epoch in each for each in reached)
        for epoch in sorted({epoch for each in reached for epoch in each})
    }
    fitting = [epoch for epoch, count in counts.items() if count >= enough]
    epoch = max(fitting, default=min(counts, default=1))
    return epoch, counts.get(epoch, 0)


def comparable_trials(
    space: SearchSpace,
    states: Sequence[TrialState],
    courses: Sequence[TrialCourse],
    aim: Aim,
    epoch: int | None,
) -> TrialTable:
    """Trials with their parameters and their best figure.

    Args:
        space: What was searched.
        states: The trials.
        courses: Theirs, in the same order.
        aim: What is compared.
        epoch: Only trials that reached it, with their best figure up to it; None for all trials
            with a figure, and their best of all.
    """
    chosen = []
    for state, course in zip(states, courses, strict=True):
        best = course.best(aim, up_to=epoch)
        if best is not None and (epoch is None or epoch in course.epoch):
            chosen.append((state, best[1]))
    configs = [state.config for state, _ in chosen]
    return TrialTable(
        tuple(state.unit for state, _ in chosen),
        np.array([value for _, value in chosen], dtype=np.float64),
        tuple(_parameter(key, domain, configs) for key, domain in space.search.items()),
    )


def _parameter(key: str, domain: Domain, configs: Sequence[dict[str, Any]]) -> Parameter:
    values = [
        config[key] if key in config and is_used(key, config) else _UNUSED for config in configs
    ]
    if domain.kind != "choice":
        low, high = domain.ends()
        place = [math.nan if value is _UNUSED else float(value) for value in values]
        bounds = (float(low), float(high))
        return Parameter(
            shown_name(key), (), True, domain.kind == "loguniform", bounds, np.array(place)
        )
    ordered = all(_is_number(value) for value in domain.values)
    choices = sorted(set(domain.values)) if ordered else list(dict.fromkeys(domain.values))
    # None may be a choice; a value of an earlier space is none.
    place = [float(choices.index(value)) if value in choices else math.nan for value in values]
    texts = tuple(shown_choice(value) for value in choices)
    bounds = (0.0, float(len(choices) - 1))
    return Parameter(shown_name(key), texts, ordered, False, bounds, np.array(place))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def comparison_study(
    space: SearchSpace, states: Sequence[TrialState], table: TrialTable, aim: Aim
) -> Any:
    """The trials of a table as complete ones of an Optuna study, named and scaled as they are shown.

    A parameter that a trial does not use is not among those of its trial.
    """
    import optuna

    complete = optuna.trial.TrialState.COMPLETE
    by_unit = {state.unit: (number, state) for number, state in enumerate(states)}
    distributions = _shown_distributions(space)
    trials = []
    for row, (unit, value) in enumerate(zip(table.units, table.value, strict=True)):
        number, state = by_unit[unit]
        params = {}
        for key, parameter in zip(space.search, table.parameters, strict=True):
            if math.isfinite(parameter.place[row]):
                given = state.config[key]
                is_choice = space.search[key].kind == "choice"
                params[parameter.name] = (
                    given if not is_choice or parameter.ordered else shown_choice(given)
                )
        own = {name: distributions[name] for name in params}
        trials.append(optuna_trial(number, state, aim.shown(float(value)), params, own, complete))
    return optuna_study(trials, "max" if aim.highest else "min")


def curve_study(states: Sequence[TrialState], courses: Sequence[TrialCourse], aim: Aim) -> Any:
    """All trials with a figure as an Optuna study of their figures after each epoch."""
    import optuna

    trials = [
        optuna_trial(
            number,
            state,
            aim.shown(best[1]),
            {},
            {},
            optuna.trial.TrialState.COMPLETE,
            {e: aim.shown(v) for e, v in zip(course.epoch, course.value, strict=True)},
        )
        for number, (state, course) in enumerate(zip(states, courses, strict=True))
        if (best := course.best(aim)) is not None
    ]
    return optuna_study(trials, "max" if aim.highest else "min")


def _shown_distributions(space: SearchSpace) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution

    shown = {}
    for key, distribution in distributions_of(space).items():
        values = space.search[key].values
        if space.search[key].kind == "choice" and not all(_is_number(each) for each in values):
            distribution = CategoricalDistribution(
                tuple(dict.fromkeys(shown_choice(each) for each in values))
            )
        shown[shown_name(key)] = distribution
    return shown


def importance_method(trials: int) -> str:
    """How the importance of parameters is told from so many trials; see `importances`."""
    return "fANOVA" if trials <= _MOST_FOR_FOREST else "PED-ANOVA"


def importances(study: Any, names: Sequence[str], seed: int) -> list[Importance]:
    """What each parameter explains of the differences between trials, the largest first.

    Of up to 200 trials by functional analysis of variance over a random forest (fANOVA: Hutter,
    Hoos and Leyton-Brown 2014, "An efficient approach for assessing hyperparameter importance",
    ICML), which takes about two seconds per hundred trials here. Of more, by Optuna's default,
    PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255), which takes none. It asks what sets the
    best tenth apart: of two dozen trials two or three, from which nothing could be learned.

    Args:
        study: Complete trials.
        names: Parameters that all of them have, and in which they differ.
        seed: Of the forests and of the parts.
    """
    trials = study.trials  # a deep copy each time that it is asked for
    by_forest = importance_method(len(trials)) == "fANOVA"
    random = np.random.default_rng(seed)
    whole = _shares(trials, study.direction, names, seed, _TREES, by_forest)
    parts = []
    for _ in range(_PARTS):
        chosen = random.choice(len(trials), math.ceil(0.8 * len(trials)), replace=False)
        part = [trials[at] for at in sorted(chosen.tolist())]
        parts.append(_shares(part, study.direction, names, seed, _FEWER_TREES, by_forest))
    found = [
        Importance(
            name,
            whole[name],
            min([whole[name], *(part[name] for part in parts)]),
            max([whole[name], *(part[name] for part in parts)]),
        )
        for name in names
    ]
    return sorted(found, key=lambda each: -each.share)


def _shares(
    trials: Sequence[Any],
    direction: Any,
    names: Sequence[str],
    seed: int,
    trees: int,
    by_forest: bool,
) -> dict[str, float]:
    import optuna

    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    evaluator = (
        optuna.importance.FanovaImportanceEvaluator(n_trees=trees, seed=seed)
        if by_forest
        else optuna.importance.PedAnovaImportanceEvaluator()
    )
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator, params=list(names))
    return {name: float(shares.get(name, 0.0)) for name in names}

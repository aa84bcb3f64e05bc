"""Names the tasks of trials in Ray's tables, so that people find a trial there."""

from typing import Any

from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.search.callbacks import StatelessCallback
from fmnist_ray.search.schedulers import unit_name

_MOST_NAMES = 200
"""Trials with a name of their own: Ray's metrics in the driver keep some 100 kB of each for good."""


class TrialNames(StatelessCallback):
    """Calls each epoch's task `tune/NAME/trial-07`.

    Tune uses its actors again from trial to trial, and an actor is named once and for all: only
    its tasks can tell the trials apart. Tune itself would call them all `ImplicitFunc.train`. Trials
    beyond the first 200 of a session share one name.
    """

    def __init__(self, run: RunName) -> None:
        self._run = run
        self._named: set[str] = set()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        actor = trial.temporary_state.ray_actor
        # What Tune calls for an epoch. Set on this handle alone; the one of an earlier trial goes.
        vars(actor).pop("train", None)
        unit = unit_name(trial)
        if len(self._named) < _MOST_NAMES:
            self._named.add(unit)
        name = unit if unit in self._named else "later-trial"
        actor.train = actor.train.options(name=self._run.of(name))

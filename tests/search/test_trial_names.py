"""What the tasks of trials are called in Ray's tables."""

from types import SimpleNamespace
from typing import Any

import pytest

from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.search import trial_names as module
from fmnist_ray.search.trial_names import TrialNames


class _Method:
    """An actor's method: it knows the name that its tasks get."""

    def __init__(self, name: str = "ImplicitFunc.train") -> None:
        self.name = name

    def options(self, name: str) -> "_Method":
        return _Method(name)


class _Actor:
    """The handle of one, whose methods Ray keeps on the class."""

    train = _Method()


def _started(names: TrialNames, number: int, actor: _Actor) -> str:
    """The name of a trial's tasks once it has started on an actor."""
    state = SimpleNamespace(ray_actor=actor)
    trial: Any = SimpleNamespace(custom_trial_name=f"trial-{number}", temporary_state=state)
    names.on_trial_start(0, [], trial)
    return actor.train.name


def test_only_the_first_trials_have_names_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's metrics would keep the names of thousands for good."""
    monkeypatch.setattr(module, "_MOST_NAMES", 3)
    names, actor = TrialNames(RunName("tune", "many", "dnn")), _Actor()
    given = [_started(names, number, actor) for number in range(6)]
    own = [f"tune/many/trial-{number}" for number in range(3)]
    assert given == own + ["tune/many/later-trial"] * 3
    assert _started(names, 1, actor) == "tune/many/trial-1"  # it goes on after a pause
    assert _Actor().train.name == "ImplicitFunc.train"

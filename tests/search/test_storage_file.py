"""The Optuna file of a search holds what its trials did, whatever the space allowed."""

from pathlib import Path
from typing import Any

import optuna
import pytest

from fmnist_ray.errors import RequestError
from fmnist_ray.search.journal import TrialState
from fmnist_ray.search.space import SearchSpace, parse_space
from fmnist_ray.search.storage_file import write_optuna_storage
from fmnist_ray.training.config import FitConfig

SPACE = {
    "model": "dnn",
    "search": {
        "learning_rate": {"loguniform": [0.001, 0.1]},
        "activation": {"choice": ["relu", "tanh"]},
    },
}


def _state(status: str, *accuracies: float, number: int = 0, rate: float = 0.01) -> TrialState:
    rows = [
        {"epoch": epoch, "validation_accuracy": accuracy}
        for epoch, accuracy in enumerate(accuracies, 1)
    ]
    config = {"learning_rate": rate, "activation": "tanh", "epochs": 9}
    return TrialState(f"trial-{number:03}", config, 1e9, rows, [], [], status, ended=1e9 + 60)


def _written(path: Path, space: SearchSpace, states: list[TrialState]) -> optuna.Study:
    write_optuna_storage(path, "search", space, states, "validation_accuracy", "max")
    return optuna.load_study(study_name="search", storage=f"sqlite:///{path}")


def test_each_state_has_its_counterpart_and_each_epoch_its_value(tmp_path: Path) -> None:
    states = [
        _state("complete", 0.5, 0.8, 0.7, number=0),
        _state("stopped", 0.3, number=1),
        _state("failed", 0.9, number=2),
        _state("diverged", 0.4, 0.0, number=3),
        _state("failed", number=4),
    ]
    study = _written(tmp_path / "optuna.db", parse_space(SPACE, "s"), states)
    assert [trial.state.name for trial in study.trials] == [
        "COMPLETE",
        "PRUNED",
        "FAIL",
        "FAIL",
        "FAIL",
    ]
    first = study.trials[0]
    assert first.value == 0.8
    assert first.intermediate_values == {1: 0.5, 2: 0.8, 3: 0.7}
    assert first.params == {"learning_rate": 0.01, "activation": "tanh"}
    assert first.user_attrs == {"unit": "trial-000"}
    assert first.duration is not None
    assert first.duration.total_seconds() == 60
    assert study.best_trial.number == 0


def test_a_later_file_takes_the_place_of_the_earlier(tmp_path: Path) -> None:
    space = parse_space(SPACE, "s")
    _written(tmp_path / "optuna.db", space, [_state("complete", 0.5)])
    states = [_state("complete", 0.5), _state("complete", 0.6, number=1)]
    assert len(_written(tmp_path / "optuna.db", space, states).trials) == 2
    assert [each.name for each in tmp_path.iterdir()] == ["optuna.db"]


@pytest.mark.parametrize(
    "changed",
    [
        {"search": {"learning_rate": {"choice": ["1e-3", "1e-2"]}}},  # as YAML reads 1e-3
        {"search": {"batch_size": {"choice": [64, "128", 256.0]}}},
        {"search": {"early_stopping": {"choice": [None, 3]}}},
        {"search": {"epochs": {"quniform": [2, 11, 3]}}, "known_good": [{"epochs": 11}]},
        {"search": {"dropout": {"quniform": [0, 0.5, 0.1]}}, "known_good": [{"dropout": 0.3}]},
        {"search": {"epochs": {"randint": [5, 20]}}, "known_good": [{"epochs": 19}]},
    ],
    ids=lambda changed: str(*changed["search"].values()),
)
def test_whatever_a_space_gives_can_be_written(changed: dict[str, Any], tmp_path: Path) -> None:
    space = parse_space({"model": "dnn", **changed}, "s").with_epochs_up_to(10)
    points = [*space.known_good, *(space.random(0, index) for index in range(40))]
    states = []
    for number, point in enumerate(points):
        state = _state("complete", 0.5, number=number)
        state.config = FitConfig.checked(space.configuration(point), "s").model_dump()
        states.append(state)
    assert len(_written(tmp_path / "optuna.db", space, states).trials) == len(points)


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"known_good": [{"learning_rate": 0.5}]}, ["known_good 1", "0.5", "loguniform"]),
        ({"search": {"batch_size": {"uniform": [32, 256]}}}, ["batch_size", "valid integer"]),
        ({"search": {"dropout": {"quniform": [0.0, 0.3, 0.2]}}}, ["dropout", "steps of 0.2"]),
        ({"search": {"batch_size": {"quniform": [8, 64, 0.5]}}}, ["batch_size", "8.5"]),
    ],
)
def test_a_space_whose_values_cannot_be_kept_is_refused_at_the_start(
    changed: dict[str, Any], parts: list[str]
) -> None:
    content = {"model": "dnn", "search": {"learning_rate": {"loguniform": [0.001, 0.1]}}, **changed}
    with pytest.raises(RequestError) as error:
        parse_space(content, "my.yaml")
    for part in ["my.yaml", *parts]:
        assert part in str(error.value)

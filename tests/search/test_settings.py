import math
from typing import Any

import pytest

from fmnist_ray.errors import RequestError
from fmnist_ray.search.settings import SearchSettings

SPACE = {"fixed": {"model": "dnn"}, "search": {"flip": {"choice": [True, False]}}}
BASE: dict[str, Any] = {"space": SPACE, "space_source": "space.yaml"}


def test_what_is_left_out_takes_its_default() -> None:
    assert SearchSettings.checked({**BASE, "trials": None}) == SearchSettings(**BASE)
    assert SearchSettings.checked({**BASE, "trials": 7}).trials == 7


def test_settings_survive_the_record() -> None:
    settings = SearchSettings.checked({**BASE, "time_budget": 90.0, "gpus_per_trial": 0.25})
    assert SearchSettings.checked(settings.model_dump()) == settings


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"trials": 0}, ["--trials is 0", "greater than or equal to 1"]),
        ({"reduction_factor": 1}, ["--reduction-factor is 1", "greater than 1"]),
        ({"max_concurrent": 1.5}, ["--max-concurrent is 1.5", "integer"]),
        ({"cpus_per_trial": 0}, ["--cpus-per-trial is 0", "greater than 0"]),
        ({"gpus_per_trial": float("nan")}, ["--gpus-per-trial is nan"]),
        ({"seed": -1}, ["--seed is -1"]),
        ({"retrain_seeds": -1}, ["--retrain-seeds is -1"]),
        ({"workers_per_trial": -1}, ["--workers-per-trial is -1"]),
        ({"searcher": "bayes"}, ["--searcher is 'bayes'", "'random', 'grid' or 'optuna'"]),
        ({"nonsense": 1}, ["--nonsense"]),
    ],
)
def test_a_wrong_value_is_named_with_its_option(values: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(RequestError) as error:
        SearchSettings.checked({**BASE, **values})
    for part in parts:
        assert part in str(error.value)


def test_accuracy_is_to_be_high_and_loss_low() -> None:
    assert SearchSettings(**BASE).mode == "max"
    assert SearchSettings(**BASE, metric="validation_loss").mode == "min"


def test_a_resume_may_change_where_and_how_much() -> None:
    settings = SearchSettings(**BASE, trials=4)
    asked = {"trials": 9, "max_concurrent": 1, "cpus_per_trial": 2.0, "data": "elsewhere"}
    changed = settings.changed({**asked, "seed": 0, "searcher": None})
    assert changed == settings.model_copy(update=asked)


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ({"seed": 1}, "--seed cannot be changed on --resume: the search was begun with 0"),
        ({"workers_per_trial": 1}, "--workers-per-trial cannot be changed"),
        ({"train_size": 100}, "--train-size cannot be changed"),
        ({"storage": "elsewhere"}, "--storage cannot be changed"),
        ({"trials": 3}, "--trials 3 is fewer than the 4"),
        ({"max_concurrent": 0}, "--max-concurrent is 0"),
    ],
)
def test_a_resume_may_not_change_what_is_searched(asked: dict[str, Any], part: str) -> None:
    with pytest.raises(RequestError) as error:
        SearchSettings(**BASE, trials=4).changed(asked)
    assert part in str(error.value)


def _with_rungs(most: int, factor: float) -> SearchSettings:
    return SearchSettings.checked({**BASE, "max_epochs": most, "reduction_factor": factor})


@pytest.mark.parametrize(
    ("most", "factor", "rungs"),
    [(12, 3, [1, 3, 9]), (9, 3, [1, 3]), (4, 2, [1, 2]), (1, 3, []), (7, 1.5, [1, 2, 3, 4, 6])],
)
def test_rungs_are_powers_below_the_last_epoch(most: int, factor: float, rungs: list[int]) -> None:
    assert _with_rungs(most, factor).rungs == rungs


def test_rungs_are_those_at_which_tune_decides() -> None:
    from ray.tune.schedulers import ASHAScheduler

    for most, factor in ((12, 3), (9, 3), (50, 4), (27, 3), (10, 1.5)):
        asha = ASHAScheduler(
            time_attr="epoch",
            metric="m",
            mode="max",
            max_t=most,
            grace_period=1,
            reduction_factor=factor,
        )
        at = {math.ceil(milestone) for milestone, _ in asha._brackets[0]._rungs}
        assert _with_rungs(most, factor).rungs == sorted(each for each in at if each < most)


@pytest.mark.parametrize(
    ("scheduler", "rungs"),
    [("asha", [1, 3]), ("asha-promotion", [1, 3]), ("median", []), ("pbt", []), ("none", [])],
)
def test_only_asha_has_rungs(scheduler: str, rungs: list[int]) -> None:
    settings = SearchSettings.checked({**BASE, "max_epochs": 9, "scheduler": scheduler})
    assert settings.rungs == rungs
    assert settings.promotes == (scheduler == "asha-promotion")

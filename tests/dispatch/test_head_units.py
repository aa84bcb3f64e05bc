"""Which heads are tried, and which is chosen."""

import numpy as np

from fmnist_ray.dispatch.head_units import best_head, final_head, head_trials
from fmnist_ray.dispatch.unit_records import UnitsRun
from fmnist_ray.training.head import HeadConfig

TRAIN, VALIDATION = np.arange(90), np.arange(90, 100)


def test_more_trials_change_none_of_the_first() -> None:
    few, many = (head_trials(count, 20, 3, TRAIN, VALIDATION) for count in (2, 6))
    assert [unit.name for unit in many] == [f"trial-{number:02}" for number in range(1, 7)]
    assert [(unit.config, unit.seed) for unit in few] == [
        (unit.config, unit.seed) for unit in many[:2]
    ]
    assert many[0].config == HeadConfig(epochs=20)
    assert len({unit.config for unit in many}) == 6
    assert len({unit.seed for unit in many}) == 6


def test_epochs_are_at_most_those_asked_for() -> None:
    for epochs in (1, 7, 20):
        units = head_trials(30, epochs, 0, TRAIN, VALIDATION)
        assert {unit.config.epochs for unit in units} == {epochs, max(1, epochs // 2)}


def test_another_seed_draws_others() -> None:
    one, two = (head_trials(3, 20, seed, TRAIN, VALIDATION) for seed in (0, 1))
    assert one[1].config != two[1].config


def test_the_best_by_validation_accuracy_is_trained_on_all_images() -> None:
    units = head_trials(4, 20, 0, TRAIN, VALIDATION)
    scores = {"trial-01": 0.7, "trial-03": 0.8, "trial-04": 0.8}  # the second has failed
    metrics = {name: {"validation_accuracy": score} for name, score in scores.items()}
    best = best_head(units, UnitsRun(metrics, {"trial-02": "diverged"}))
    assert best is units[2]
    final = final_head(best, 100)
    assert (final.name, final.config, final.seed) == ("final", best.config, best.seed)
    assert len(final.train) == 100
    assert len(final.validation) == 0

import pytest

from fmnist_ray.errors import RequestError
from fmnist_ray.search.samplers import GridSampler, RandomSampler, TPESampler, build_sampler
from fmnist_ray.search.space import SearchSpace, parse_space

SPACE = parse_space(
    {
        "model": "dnn",
        "search": {
            "learning_rate": {"loguniform": [0.0001, 0.1]},
            "activation": {"choice": ["relu", "tanh"]},
            "batch_size": {"quniform": [32, 256, 32]},
            "early_stopping": {"randint": [2, 6]},
        },
        "known_good": [
            {"learning_rate": 0.001, "activation": "tanh", "batch_size": 64, "early_stopping": 3}
        ],
    },
    "space.yaml",
)
GRID = parse_space(
    {
        "model": "dnn",
        "search": {"activation": {"choice": ["relu", "tanh"]}, "flip": {"choice": [True, False]}},
        "known_good": [{"activation": "tanh", "flip": True}],
    },
    "grid.yaml",
)


@pytest.mark.parametrize("searcher", ["random", "optuna"])
def test_known_good_points_come_first(searcher: str) -> None:
    sampler = build_sampler(searcher, SPACE, 0, "max")
    assert sampler.propose(0) == SPACE.known_good[0]
    assert sampler.propose(1) != SPACE.known_good[0]


def test_random_points_do_not_depend_on_what_came_before() -> None:
    first = RandomSampler(SPACE, 4)
    points = [first.propose(index) for index in range(10)]
    assert RandomSampler(SPACE, 4).propose(7) == points[7]


def test_the_grid_is_tried_once_and_ends() -> None:
    sampler = GridSampler(GRID)
    points = [sampler.propose(index) for index in range(len(sampler))]
    assert points[0] == {"activation": "tanh", "flip": True}
    assert len(points) == 4
    assert all(point in points for point in GRID.grid())
    assert sampler.propose(4) is None


def _run(sampler: TPESampler, space: SearchSpace, first: int, last: int) -> list[dict]:
    points = []
    for index in range(first, last):
        point = sampler.propose(index)
        assert point is not None
        points.append(point)
        sampler.tell(f"trial-{index}", point, _figure(point))
    return points


def _figure(point: dict) -> float:
    """Best at tanh and a learning rate of 0.01."""
    import math

    return -abs(math.log10(point["learning_rate"]) + 2) - (point["activation"] == "relu")


def test_tpe_goes_where_it_is_good() -> None:
    points = _run(TPESampler(SPACE, 0, "max"), SPACE, 0, 60)
    early = [_figure(point) for point in points[1:11]]
    late = [_figure(point) for point in points[-10:]]
    assert sum(late) / 10 > sum(early) / 10 + 0.3


def test_tpe_goes_on_as_if_it_had_not_stopped() -> None:
    whole = TPESampler(SPACE, 3, "max")
    points = _run(whole, SPACE, 0, 20)
    resumed = TPESampler(SPACE, 3, "max")
    for index, point in enumerate(points):
        resumed.tell(f"trial-{index}", point, _figure(point))
    assert resumed.propose(20) == whole.propose(20)


def test_tpe_knows_of_a_trial_only_the_last_that_it_was_told() -> None:
    told_twice, told_once = TPESampler(SPACE, 3, "max"), TPESampler(SPACE, 3, "max")
    points = [SPACE.random(0, index) for index in range(12)]
    for index, point in enumerate(points):
        told_twice.tell(f"trial-{index}", point, -_figure(point))
    told_twice.propose(12)
    for index, point in enumerate(points):
        told_twice.tell(f"trial-{index}", point, _figure(point))
        told_once.tell(f"trial-{index}", point, _figure(point))
    assert told_twice.propose(13) == told_once.propose(13)


def test_failed_trials_teach_tpe_nothing_but_do_not_stop_it() -> None:
    sampler = TPESampler(SPACE, 0, "min")
    for index in range(15):
        point = sampler.propose(index)
        assert point is not None
        sampler.tell(f"trial-{index}", point, None)
    assert sampler.propose(15) is not None


def test_a_grid_of_ranges_is_refused() -> None:
    with pytest.raises(RequestError, match="no grid"):
        build_sampler("grid", SPACE, 0, "max")

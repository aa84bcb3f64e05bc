"""Numbers in words."""

import pytest

from fmnist_ray.reports.wording import count, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (363, "6 min 3 s"), (7500, "2 h 5 min")],
)
def test_durations_are_told_plainly(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_whole_seconds_are_told_without_decimals() -> None:
    assert duration(5.2, decimals=0) == "5 s"


def test_nouns_follow_their_numbers() -> None:
    assert [count(number, "trial") for number in (0, 1, 2)] == ["0 trials", "1 trial", "2 trials"]

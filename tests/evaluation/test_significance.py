"""Paired tests against figures worked out by hand and against SciPy's binomial test."""

import numpy as np
import pytest
from scipy.stats import binomtest, false_discovery_control

from fmnist_ray.evaluation.significance import (
    PairTest,
    compare_pairs,
    describe,
    exact_mcnemar,
    holm,
    paired_interval,
)


@pytest.mark.parametrize(
    ("first_only", "second_only", "p_value"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),  # 2 * 1/2
        (3, 0, 2 / 8),
        (5, 1, 2 * (1 + 6) / 64),
        (1, 5, 14 / 64),
        (4, 4, 1.0),  # the two tails share the middle: 2 * 163/256, capped
    ],
)
def test_mcnemar_by_hand(first_only: int, second_only: int, p_value: float) -> None:
    assert exact_mcnemar(first_only, second_only) == p_value


def test_mcnemar_agrees_with_the_binomial_test() -> None:
    random = np.random.default_rng(0)
    for first, second in random.integers(0, 900, (40, 2)).tolist():
        expected = binomtest(first, first + second, 0.5).pvalue
        assert exact_mcnemar(first, second) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_mcnemar_of_all_images_neither_overflows_nor_goes_below_zero() -> None:
    assert exact_mcnemar(10_000, 0) == 0
    assert exact_mcnemar(5_000, 5_000) == 1
    with pytest.raises(ValueError, match="negative"):
        exact_mcnemar(-1, 3)


def test_holm_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, and never below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_holm_is_never_milder_than_benjamini_hochberg_nor_harder_than_bonferroni() -> None:
    p_values = np.random.default_rng(1).uniform(0, 0.2, 30)
    corrected = np.array(holm(p_values.tolist()))
    assert (corrected >= false_discovery_control(p_values) - 1e-12).all()
    assert (corrected <= np.minimum(30 * p_values, 1) + 1e-12).all()
    assert (np.diff(corrected[np.argsort(p_values)]) >= 0).all()


def test_the_interval_by_hand() -> None:
    # (10 + 1) / 102 and (2 + 1) / 102; variance (14/102 - (8/102)^2) / 102; 1.959964 of its root
    low, high = paired_interval(10, 2, 100)
    assert (low + high) / 2 == pytest.approx(8 / 102)
    variance = (14 / 102 - (8 / 102) ** 2) / 102
    assert high - low == pytest.approx(2 * 1.959964 * variance**0.5, rel=1e-6)
    assert paired_interval(2, 10, 100) == pytest.approx((-high, -low))
    wide = paired_interval(10, 2, 100, confidence=0.99)
    assert wide[0] < low < high < wide[1]


def test_the_interval_stays_in_bounds_and_refuses_what_cannot_be() -> None:
    assert paired_interval(3, 0, 3)[1] == 1
    low, high = paired_interval(0, 0, 10_000)
    assert -low == high > 0
    for first, second, images in ((0, 0, 0), (2, 2, 3), (-1, 0, 5)):
        with pytest.raises(ValueError, match="impossible"):
            paired_interval(first, second, images)


def test_the_interval_holds_its_confidence() -> None:
    """Of 2,000 drawn samples, about 95 % of the intervals hold the true difference, 0.02."""
    random = np.random.default_rng(2)
    draws = random.multinomial(400, (0.07, 0.05, 0.88), 2_000)
    held = 0
    for first, second, _ in draws.tolist():
        low, high = paired_interval(first, second, 400)
        held += low <= 0.02 <= high
    assert 0.94 <= held / 2_000 <= 0.965


def flags(text: str) -> np.ndarray:
    return np.array([letter == "x" for letter in text])


def test_every_pair_is_tested_with_the_better_first() -> None:
    right = {"a": flags("xx......"), "b": flags("xxxxxxx."), "c": flags("..xxxx.x")}
    pairs = compare_pairs(right)
    assert [(pair.first, pair.second) for pair in pairs] == [("b", "c"), ("b", "a"), ("c", "a")]
    assert [(pair.first_only, pair.second_only) for pair in pairs] == [(3, 1), (5, 0), (5, 2)]
    assert [pair.difference for pair in pairs] == [25, 62.5, 37.5]
    assert pairs[1].p_value == 2 / 32
    assert pairs[1].p_value_corrected == pytest.approx(6 / 32)
    assert pairs[0].difference_low < 25 < pairs[0].difference_high
    assert compare_pairs({"a": flags("x.")}) == []


def test_only_a_difference_that_survives_the_correction_is_shown() -> None:
    base = np.zeros(100, bool)
    better, best = base.copy(), base.copy()
    better[:7] = best[:7] = best[40:46] = True
    pairs = {(pair.first, pair.second): pair for pair in compare_pairs({"0": base, "7": better})}
    assert pairs["7", "0"].shown  # 2/128 = 0.0156
    several = {str(at): base for at in range(4)} | {"7": better}
    assert not any(pair.shown for pair in compare_pairs(several))  # times 10


def test_arrays_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="not the same"):
        compare_pairs({"a": flags("x."), "b": flags("x")})
    with pytest.raises(ValueError, match="not the same"):
        compare_pairs({"a": flags(""), "b": flags("")})


def pair(first_only: int, second_only: int, p_value: float, shown: bool) -> PairTest:
    difference = (first_only - second_only) / 100
    bounds = (difference - 0.5, difference + 0.5)
    return PairTest(
        "A", "B", 10_000, first_only, second_only, difference, *bounds, p_value, p_value, shown
    )


@pytest.mark.parametrize(
    ("test", "pairs", "sentence"),
    [
        (
            pair(230, 100, 0.00021, True),
            3,
            "A is right on 1.30 points more of the 10,000 images than B (95 % interval 0.80 to "
            "1.80; p = 0.0002 after Holm's correction).",
        ),
        (
            pair(130, 120, 0.53, False),
            1,
            "No difference shown between A and B: A alone is right on 130 of the 10,000 images, B "
            "alone on 120 (p = 0.53).",
        ),
        (
            pair(0, 0, 1.0, False),
            3,
            "No difference shown between A and B: both are right on the same of the 10,000 images "
            "(p = 1 after Holm's correction).",
        ),
    ],
)
def test_sentences(test: PairTest, pairs: int, sentence: str) -> None:
    assert describe(test, pairs) == sentence


def test_a_tiny_p_value_is_told_as_below_what_is_worth_telling() -> None:
    assert "p < 0.0001" in describe(pair(900, 100, 1e-40, True))

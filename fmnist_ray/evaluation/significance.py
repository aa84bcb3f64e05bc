"""Whether one classifier is better than another on the same images, or only luckier.

Every function is pure. Two classifiers that answer the same images are compared by the images on
which exactly one of them is right; those on which both are right, or both wrong, say nothing
of which is better. The figures cover the drawing of the test images. They do not cover the seed:
another training of the same model differs, too, and by how much only several trainings tell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]

LEVEL = 0.05
"""A difference counts as shown if its corrected p-value is below this."""


@dataclass(frozen=True)
class PairTest:
    """Two classifiers on the same images.

    Attributes:
        first: Name of the one that is right more often, or of the one named first.
        second: The other's.
        images: Number of them.
        first_only: Images on which only the first is right.
        second_only: Images on which only the second is right.
        difference: Accuracy of the first minus that of the second, in percentage points.
        difference_low: Lower bound of its 95 % interval, for this pair alone.
        difference_high: Upper bound.
        p_value: Of McNemar's exact test, for this pair alone.
        p_value_corrected: The same after Holm's correction for all pairs tested together.
        shown: Whether that is below `LEVEL`.
    """

    first: str
    second: str
    images: int
    first_only: int
    second_only: int
    difference: float
    difference_low: float
    difference_high: float
    p_value: float
    p_value_corrected: float
    shown: bool


def exact_mcnemar(first_only: int, second_only: int) -> float:
    """Two-sided p-value of McNemar's test, from the binomial distribution.

    If neither classifier is better, each image on which one alone is right is as likely the
    first's as the second's (McNemar 1947, https://doi.org/10.1007/BF02295996; the exact form
    needs no minimum of images).

    Args:
        first_only: Images on which only the first is right.
        second_only: Images on which only the second is right.

    Raises:
        ValueError: A number is negative.
    """
    if min(first_only, second_only) < 0:
        raise ValueError(f"counts of images are negative: {first_only} and {second_only}")
    both = first_only + second_only
    # In whole numbers, so that nothing is rounded until the last division.
    term = tail = 1
    for number in range(min(first_only, second_only)):
        term = term * (both - number) // (number + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << both))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for being several, by Holm's step-down method.

    The chance of one or more false alarms among all of them stays below the level at which the
    corrected values are read, however the tests depend on each other (Holm 1979, "A simple
    sequentially rejective multiple test procedure", https://www.jstor.org/stable/4615733).

    Returns:
        One for each, in their order, at most 1.
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = highest
    return corrected


def paired_interval(
    first_only: int, second_only: int, images: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Confidence interval of the difference of two shares of the same images.

    Wald's interval after one image is added to each of the two counts that differ, which keeps
    its confidence in small samples and at shares near 0 (Bonett and Price 2012,
    https://doi.org/10.3102/1076998611411915; recommended by Fagerland, Lydersen and Laake 2014,
    https://doi.org/10.1002/sim.6148).

    Args:
        first_only: Images on which only the first is right.
        second_only: Images on which only the second is right.
        images: Number of them, at least 1.
        confidence: Between 0 and 1.

    Returns:
        Bounds of the first's share minus the second's, between -1 and 1.

    Raises:
        ValueError: The counts are negative or more than the images, or there are no images.
    """
    if images < 1 or min(first_only, second_only) < 0 or first_only + second_only > images:
        raise ValueError(f"{first_only} and {second_only} of {images} images is impossible")
    first, second = (first_only + 1) / (images + 2), (second_only + 1) / (images + 2)
    difference = first - second
    error = sqrt((first + second - difference**2) / (images + 2))
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * error
    return max(-1.0, difference - reach), min(1.0, difference + reach)


def compare_pairs(right: Mapping[str, Flags]) -> list[PairTest]:
    """Tests every pair of classifiers.

    Args:
        right: By the classifier's name, whether it is right on each image, shape (n,) and in the
            same order for all.

    Returns:
        A test for each pair, those of the best classifier first.

    Raises:
        ValueError: The arrays differ in length, or are empty.
    """
    lengths = {len(flags) for flags in right.values()}
    if len(lengths) > 1 or lengths == {0}:
        raise ValueError(f"the classifiers answered {sorted(lengths)} images, not the same ones")
    ranked = sorted(right, key=lambda name: -int(right[name].sum()))
    pairs = list(combinations(ranked, 2))
    counts = [
        (int((right[one] & ~right[other]).sum()), int((right[other] & ~right[one]).sum()))
        for one, other in pairs
    ]
    p_values = [exact_mcnemar(*each) for each in counts]
    tests = []
    for pair, (first, second), p_value, corrected in zip(
        pairs, counts, p_values, holm(p_values), strict=True
    ):
        images = len(right[pair[0]])
        low, high = paired_interval(first, second, images)
        tests.append(
            PairTest(
                first=pair[0],
                second=pair[1],
                images=images,
                first_only=first,
                second_only=second,
                difference=100 * (first - second) / images,
                difference_low=100 * low,
                difference_high=100 * high,
                p_value=p_value,
                p_value_corrected=corrected,
                shown=corrected < LEVEL,
            )
        )
    return tests


def describe(test: PairTest, pairs: int = 1) -> str:
    """A plain sentence of what a test shows.

    Args:
        test: Of a pair.
        pairs: How many were tested together.
    """
    p = f"p {_p_value(test.p_value_corrected)}" + (" after Holm's correction" if pairs > 1 else "")
    if test.shown:
        return (
            f"{test.first} is right on {test.difference:.2f} points more of the {test.images:,} "
            f"images than {test.second} (95 % interval {test.difference_low:.2f} to "
            f"{test.difference_high:.2f}; {p})."
        )
    if not test.first_only + test.second_only:
        alone = f"both are right on the same of the {test.images:,} images"
    else:
        alone = (
            f"{test.first} alone is right on {test.first_only:,} of the {test.images:,} images, "
            f"{test.second} alone on {test.second_only:,}"
        )
    return f"No difference shown between {test.first} and {test.second}: {alone} ({p})."


def _p_value(p_value: float) -> str:
    if p_value < 0.0001:
        return "< 0.0001"
    return f"= {p_value:.4f}" if p_value < 0.001 else f"= {p_value:.2g}"

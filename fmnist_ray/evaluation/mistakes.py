"""Which images to look at: a classifier's errors, the surest first.

Every function is pure; see `metrics` for `labels` and `probabilities`.
"""

import numpy as np

from fmnist_ray.evaluation.metrics import (
    ConfusedPair,
    Counts,
    Floats,
    Integers,
    predicted_classes,
)


def confident_mistakes(labels: Integers, probabilities: Floats, most: int) -> Counts:
    """Images that are given a wrong class, those with the highest probability of it first.

    Args:
        labels: Shape (n,).
        probabilities: Shape (n, k).
        most: How many at most.

    Returns:
        Their indices, int64; equally sure ones in the order of their indices.
    """
    wrong = np.flatnonzero(predicted_classes(probabilities) != labels)
    return _surest(wrong, probabilities)[:most]


def examples_of_pair(
    labels: Integers, probabilities: Floats, pair: ConfusedPair, most: int
) -> tuple[Counts, Counts]:
    """Images of a pair of classes that were taken for each other, the surest errors first.

    Returns:
        Indices of images of `pair.first` given `pair.second`, and the reverse; `most` of each at
        most.
    """
    given = predicted_classes(probabilities)
    there = np.flatnonzero((labels == pair.first) & (given == pair.second))
    back = np.flatnonzero((labels == pair.second) & (given == pair.first))
    return _surest(there, probabilities)[:most], _surest(back, probabilities)[:most]


def _surest(indices: Counts, probabilities: Floats) -> Counts:
    confidence = probabilities[indices].max(axis=1, initial=0)
    ordered: Counts = indices[np.argsort(-confidence, kind="stable")].astype(np.int64)
    return ordered

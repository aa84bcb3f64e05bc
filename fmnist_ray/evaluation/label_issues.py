"""Labels that are likely wrong, found by confident learning.

Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels",
https://arxiv.org/abs/1911.00068. The probabilities must come from models that did not see the
image: out-of-fold or out-of-bag.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fmnist_ray.evaluation.metrics import Counts, Floats, Integers


class LabelIssues(NamedTuple):
    """Images whose label is likely wrong, the likeliest first; every array has shape (m,).

    Attributes:
        position: Where they stand in the arrays given.
        label: Their label.
        suggested: The class that the models say instead.
        margin: Probability of the label less that of the suggestion, -1 to 0 but for ties.
    """

    position: Counts
    label: Counts
    suggested: Counts
    margin: npt.NDArray[np.float64]


def class_thresholds(labels: Integers, probabilities: Floats) -> npt.NDArray[np.float64]:
    """How sure the models are of a class, on average over the images labelled so (k,).

    A class without images has the threshold infinity: nothing is suggested to be of it.
    """
    classes = probabilities.shape[1]
    return np.array(
        [
            probabilities[labels == label, label].mean(dtype=np.float64)
            if (labels == label).any()
            else np.inf
            for label in range(classes)
        ]
    )


def find_label_issues(labels: Integers, probabilities: Floats) -> LabelIssues:
    """Finds the images off the diagonal of the confident joint.

    An image counts towards a class if its probability is at least that class's threshold; towards
    the most probable one of several. It is an issue if that class is not its label: the models
    are as sure of another class as they usually are where that class is right.

    Args:
        labels: Shape (n,), as given.
        probabilities: Shape (n, k), of models that did not see the image.

    Returns:
        The issues, ordered by the margin.
    """
    reached = probabilities >= class_thresholds(labels, probabilities)
    candidates = np.where(reached, probabilities, -1.0)
    suggested = candidates.argmax(axis=1)
    found = np.flatnonzero(reached.any(axis=1) & (suggested != labels))
    margin = (
        probabilities[found, labels[found]].astype(np.float64)
        - probabilities[found, suggested[found]]
    )
    order = np.argsort(margin, kind="stable")
    found = found[order]
    return LabelIssues(
        found.astype(np.int64),
        labels[found].astype(np.int64),
        suggested[found].astype(np.int64),
        margin[order],
    )

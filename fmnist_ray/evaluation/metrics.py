"""How good a classifier's probabilities are, against the true labels.

Every function is pure. `labels` are integers of shape (n,), each a class 0..k - 1;
`probabilities` are floats of shape (n, k), one row per image, rows sum to 1. The predicted
class is the most probable one, the first of several that tie.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.floating[Any]]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassScore:
    """How well one class is recognised.

    Attributes:
        label: The class.
        precision: Share of the images given this class that belong to it; 0 if none was.
        recall: Share of this class's images that were given it; 0 if there are none.
        f1: Harmonic mean of precision and recall; 0 if both are.
        support: Number of images of this class.
    """

    label: int
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class ConfusedPair:
    """Two classes that are taken for each other.

    Attributes:
        first: The class of the two whose images are more often taken for the other's.
        second: The other.
        first_as_second: Images of `first` that were given `second`.
        second_as_first: Images of `second` that were given `first`.
    """

    first: int
    second: int
    first_as_second: int
    second_as_first: int

    @property
    def errors(self) -> int:
        """Images of either class that were given the other."""
        return self.first_as_second + self.second_as_first


def predicted_classes(probabilities: Floats) -> Counts:
    """The most probable class of each image, int64 of shape (n,)."""
    predicted: Counts = np.argmax(probabilities, axis=1).astype(np.int64)
    return predicted


def accuracy(labels: Integers, probabilities: Floats) -> float:
    """Share of the images whose predicted class is the true one.

    Raises:
        ValueError: Shapes do not agree, or there are no images.
    """
    _check(labels, probabilities)
    return float(np.mean(predicted_classes(probabilities) == labels))


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Confidence interval of a share, by Wilson's score without continuity correction.

    Unlike the textbook interval, it stays within 0..1 and holds its confidence near the ends
    (Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953; recommended by Brown, Cai and
    DasGupta 2001, https://doi.org/10.1214/ss/1009213286).

    Args:
        correct: Number of successes, 0..total.
        total: Number of trials, at least 1.
        confidence: Between 0 and 1.

    Returns:
        The lower and the upper bound.

    Raises:
        ValueError: An argument is outside its range.
    """
    from scipy.stats import binomtest

    interval = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def negative_log_likelihood(labels: Integers, probabilities: Floats) -> float:
    """Mean of -log of the probability given to the true class, in nats (cross-entropy).

    A probability of 0 counts as the smallest that float32 holds, so that one image that a
    model was entirely wrong about costs 87 nats and not infinity.

    Raises:
        ValueError: Shapes do not agree, or there are no images.
    """
    _check(labels, probabilities)
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(true, np.finfo(np.float32).tiny)).mean())


def class_scores(labels: Integers, probabilities: Floats) -> tuple[ClassScore, ...]:
    """Precision, recall, F1 and support of every class, in the order of the classes.

    See https://scikit-learn.org/stable/modules/model_evaluation.html#precision-recall-and-f-measures.

    Raises:
        ValueError: Shapes do not agree, or there are no images.
    """
    from sklearn.metrics import precision_recall_fscore_support

    _check(labels, probabilities)
    classes = range(probabilities.shape[1])
    columns = precision_recall_fscore_support(
        labels, predicted_classes(probabilities), labels=list(classes), zero_division=0
    )
    return tuple(
        ClassScore(label, float(precision), float(recall), float(f1), int(support))
        for label, precision, recall, f1, support in zip(classes, *columns, strict=True)
    )


def macro_average(scores: tuple[ClassScore, ...]) -> dict[str, float]:
    """Plain means over the classes: `macro_precision`, `macro_recall` and `macro_f1`.

    `macro_f1` is the mean of the classes' F1, not the F1 of the means; the two differ (Opitz
    and Burst 2019, https://arxiv.org/abs/1911.03347).
    """
    return {
        f"macro_{name}": float(np.mean([getattr(score, name) for score in scores]))
        for name in ("precision", "recall", "f1")
    }


def confusion_counts(labels: Integers, probabilities: Floats) -> Counts:
    """Confusion matrix: row = true class, column = predicted class.

    Returns:
        int64, shape (k, k); entry (i, j) counts the images of class i that were given j.

    Raises:
        ValueError: Shapes do not agree, or there are no images.
    """
    from sklearn.metrics import confusion_matrix

    _check(labels, probabilities)
    classes = list(range(probabilities.shape[1]))
    counts = confusion_matrix(labels, predicted_classes(probabilities), labels=classes)
    return np.asarray(counts, dtype=np.int64)


def row_shares(counts: Counts) -> npt.NDArray[np.float64]:
    """Each row of a confusion matrix divided by its sum; the diagonal is the classes' recall.

    Args:
        counts: Shape (k, k), as from `confusion_counts`.

    Returns:
        float64, shape (k, k); a row without images stays 0.
    """
    images = counts.sum(axis=1, keepdims=True)
    shares: npt.NDArray[np.float64] = counts / np.maximum(images, 1)
    return shares


def most_confused_pairs(counts: Counts, most: int = 5) -> tuple[ConfusedPair, ...]:
    """The pairs of classes that are most often taken for each other, in either direction.

    Args:
        counts: Confusion matrix, shape (k, k), as from `confusion_counts`.
        most: How many pairs to return at most; pairs without an error are left out.

    Returns:
        Most errors first; pairs with equally many in the order of their classes.
    """
    pairs = []
    for one, other in zip(*np.triu_indices(len(counts), k=1), strict=True):
        there, back = int(counts[one, other]), int(counts[other, one])
        if there >= back:
            pairs.append(ConfusedPair(int(one), int(other), there, back))
        else:
            pairs.append(ConfusedPair(int(other), int(one), back, there))
    pairs = [pair for pair in pairs if pair.errors]
    return tuple(sorted(pairs, key=lambda pair: -pair.errors)[:most])


def accuracy_summary(labels: Integers, probabilities: Floats, split: str) -> dict[str, float | int]:
    """Accuracy and loss of one split as a record's `metrics.json` holds them, under flat names.

    Args:
        labels: Shape (n,).
        probabilities: Shape (n, k).
        split: What the names start with, such as `test`.

    Returns:
        `<split>_images`, `_accuracy`, `_accuracy_low` and `_accuracy_high` (Wilson, 95 %) and
        `_loss` (nats).

    Raises:
        ValueError: Shapes do not agree, or there are no images.
    """
    share = accuracy(labels, probabilities)
    low, high = wilson_interval(round(share * len(labels)), len(labels))
    return {
        f"{split}_images": len(labels),
        f"{split}_accuracy": share,
        f"{split}_accuracy_low": low,
        f"{split}_accuracy_high": high,
        f"{split}_loss": negative_log_likelihood(labels, probabilities),
    }


def summarise(labels: Integers, probabilities: Floats, split: str) -> dict[str, float | int]:
    """As `accuracy_summary`, with `<split>_macro_precision`, `_macro_recall` and `_macro_f1`.

    Raises:
        ValueError: Shapes do not agree, or there are no images.
    """
    means = macro_average(class_scores(labels, probabilities))
    return {
        **accuracy_summary(labels, probabilities, split),
        **{f"{split}_{name}": value for name, value in means.items()},
    }


def _check(labels: Integers, probabilities: Floats) -> None:
    if labels.ndim != 1 or probabilities.ndim != 2 or len(labels) != len(probabilities):
        raise ValueError(
            "labels of shape (n,) and probabilities of shape (n, k) are needed, not "
            f"{labels.shape} and {probabilities.shape}"
        )
    if len(labels) == 0:
        raise ValueError("there are no images to score")

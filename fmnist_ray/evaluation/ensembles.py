"""What several classifiers say together, from the probabilities that each of them gives.

Every function is pure. `probabilities` are floats of shape (members, n, k): one classifier per
member, one row per image, rows sum to 1. A member's vote is its most probable class, the first of
several that tie.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fmnist_ray.evaluation.metrics import Counts, Floats, Integers, predicted_classes

Probabilities = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]

# Far above what float32 rounds away, far below one vote of any ensemble that fits in memory.
_TIE_BREAK = 1e-4


class SizeCurve(NamedTuple):
    """How accurate ensembles of 1 to m members are; every array has shape (m,).

    Attributes:
        size: Number of members, 1..m.
        average_mean: Accuracy of the averaged probabilities, between 0 and 1: mean over the
            orders in which members joined.
        average_low: The same, 10 % quantile over the orders.
        average_high: The same, 90 % quantile.
        vote_mean: Accuracy of the majority vote: mean over the orders.
    """

    size: Values
    average_mean: Values
    average_low: Values
    average_high: Values
    vote_mean: Values


class OutOfBag(NamedTuple):
    """What members say of images that they were not trained on.

    Attributes:
        index: Of the m images that at least one member held out, ascending, shape (m,).
        probability: Mean over the members that held the image out, shape (m, k).
        members: How many those are, shape (m,).
    """

    # The name hides `tuple.index`, which nobody needs of these arrays.
    index: Counts  # type: ignore[assignment]
    probability: Probabilities
    members: Counts


def average(probabilities: Floats) -> Probabilities:
    """Mean probability over the members, shape (n, k).

    Raises:
        ValueError: The shape is not (members, n, k), or one of the three is 0.
    """
    _check(probabilities)
    mean: Probabilities = probabilities.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def majority_vote(probabilities: Floats) -> Probabilities:
    """Share of the members that vote for each class, shape (n, k).

    Where classes tie for most votes, the one with the highest mean probability among them is put
    ahead by 0.0001 before the row is scaled to sum to 1 again; so `argmax` finds it, and nothing
    else changes its place.

    Raises:
        ValueError: The shape is not (members, n, k), or one of the three is 0.
    """
    _check(probabilities)
    rows = np.arange(probabilities.shape[1])
    votes = np.zeros(probabilities.shape[1:])
    for member in probabilities:
        votes[rows, predicted_classes(member)] += 1
    total = probabilities.sum(axis=0, dtype=np.float64)
    winner = np.argmax(_vote_weight(len(probabilities)) * votes + total, axis=1)
    tied = np.count_nonzero(votes == votes.max(axis=1, keepdims=True), axis=1) > 1
    raised = votes / len(probabilities)
    raised[rows[tied], winner[tied]] += _TIE_BREAK
    shares: Probabilities = (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def disagreement(probabilities: Floats) -> Values:
    """Share of the images to which two members give different classes.

    Returns:
        Shape (members, members), symmetric, 0 on the diagonal.

    Raises:
        ValueError: The shape is not (members, n, k), or one of the three is 0.
    """
    _check(probabilities)
    classes = np.stack([predicted_classes(member) for member in probabilities])
    # Row by row: all pairs of 40 members at once would take 16 MB for every 10,000 images.
    return np.stack([np.mean(classes != row, axis=1) for row in classes])


def accuracy_by_size(
    labels: Integers, probabilities: Floats, orders: int = 50, seed: int = 0
) -> SizeCurve:
    """How accuracy grows as members join one after another, in several random orders.

    Args:
        labels: True classes, shape (n,).
        probabilities: Shape (members, n, k).
        orders: How many random orders, at least 1. They may repeat where members are few.
        seed: Of the orders.

    Returns:
        One entry per size from 1 to all members. Ties of a vote are decided as in
        `majority_vote`.

    Raises:
        ValueError: Shapes do not agree, one of them is 0, or `orders` is below 1.
    """
    _check(probabilities)
    members, images, _ = probabilities.shape
    if labels.shape != (images,):
        raise ValueError(f"labels of shape {labels.shape} for {images} images")
    if orders < 1:
        raise ValueError(f"at least 1 order is needed, not {orders}")
    generator = np.random.default_rng(seed)
    rows = np.arange(images)
    classes = [predicted_classes(member) for member in probabilities]
    averaged, voted = np.empty((2, orders, members))
    # Sums that grow member by member cost one pass for each, instead of one per ensemble size.
    total, votes = np.empty((2, *probabilities.shape[1:]))
    for order in range(orders):
        total[:], votes[:] = 0, 0
        for step, member in enumerate(generator.permutation(members)):
            total += probabilities[member]
            votes[rows, classes[member]] += _vote_weight(members)
            averaged[order, step] = np.mean(predicted_classes(total) == labels)
            voted[order, step] = np.mean(predicted_classes(votes + total) == labels)
    low, high = np.quantile(averaged, [0.1, 0.9], axis=0)
    return SizeCurve(
        np.arange(1.0, members + 1), averaged.mean(axis=0), low, high, voted.mean(axis=0)
    )


def out_of_bag(
    indices: Sequence[Integers], probabilities: Sequence[Floats], images: int
) -> OutOfBag:
    """Each image's mean probability over the members that were not trained on it.

    Members are those of a bootstrap ensemble, or the folds of a cross-validation, repeated or not.

    Args:
        indices: For each member, the n_i images that it held out, each once.
        probabilities: For each member, what it says of them, shape (n_i, k).
        images: Number of images that the indices count through.

    Returns:
        Only the images that at least one member held out.

    Raises:
        ValueError: There are no members, shapes do not agree, or a member's indices repeat or lie
            outside 0..images - 1.
    """
    if not indices or len(indices) != len(probabilities):
        raise ValueError(
            f"{len(indices)} arrays of indices and {len(probabilities)} of probabilities: as many "
            "of each are needed, and at least one"
        )
    total = np.zeros((images, probabilities[0].shape[-1] if probabilities[0].ndim else 0))
    members = np.zeros(images, dtype=np.int64)
    for index, rows in zip(indices, probabilities, strict=True):
        if index.ndim != 1 or rows.shape != (len(index), total.shape[1]):
            raise ValueError(
                f"{index.shape} indices, but probabilities of shape {rows.shape}; (n,) and "
                f"(n, {total.shape[1]}) are needed"
            )
        if len(index) and not 0 <= index.min() <= index.max() < images:
            raise ValueError(f"indices {index.min()}..{index.max()} for {images} images")
        if len(np.unique(index)) < len(index):
            raise ValueError("one member holds the same image out more than once")
        total[index] += rows
        members[index] += 1
    held_out = np.flatnonzero(members).astype(np.int64)
    mean = total[held_out] / members[held_out, None]
    return OutOfBag(held_out, mean.astype(np.float32), members[held_out])


def _vote_weight(members: int) -> int:
    # More than the probabilities of all members can add up to, so that they only decide ties.
    return 2 * members


def _check(probabilities: Floats) -> None:
    if probabilities.ndim != 3 or 0 in probabilities.shape:
        raise ValueError(
            "probabilities of shape (members, n, k), none of them 0, are needed, not "
            f"{probabilities.shape}"
        )

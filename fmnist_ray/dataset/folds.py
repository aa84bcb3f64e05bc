"""Folds for cross-validation: stratified, drawn by seed, no image on both sides of a fold."""

import numpy as np

from fmnist_ray.dataset.arrays import CLASS_NAMES, Split
from fmnist_ray.dataset.splits import Indices
from fmnist_ray.errors import RequestError


def stratified_folds(split: Split, used: Indices, folds: int, seed: int) -> list[Indices]:
    """Parts the images into folds that hold every class evenly.

    Copies of one image go to one fold, lest a model be judged on what it has learned.

    Args:
        split: The images.
        used: Indices of those to part, sorted.
        folds: Number of folds, at least 2.
        seed: Same seed, images and number: same folds.

    Returns:
        Sorted indices into `split` for each fold. Copies apart, the folds' sizes differ by one
        image at most, and so do the numbers of each class in them.

    Raises:
        RequestError: There are fewer than 2 folds, or more than a class has distinct images.
    """
    if folds < 2:
        raise RequestError(
            f"--folds is {folds}: every fold is judged by a model of the others, so ask for at "
            "least 2."
        )
    first = first_copies(split, used)
    distinct = np.flatnonzero(first == np.arange(len(used)))
    labels = split.labels[used]
    generator = np.random.default_rng(seed)
    fold_of = np.zeros(len(used), np.int64)
    dealt = 0
    for label in np.unique(labels):
        members = distinct[labels[distinct] == label]
        if len(members) < folds:
            raise RequestError(
                f"--folds is {folds}, but class {label} ({CLASS_NAMES[label]}) has only "
                f"{len(members)} distinct images. Ask for at most {len(members)} folds, or use "
                "more images."
            )
        # Dealt like cards, going on where the last class ended, so that sizes stay even.
        fold_of[generator.permutation(members)] = (dealt + np.arange(len(members))) % folds
        dealt += len(members)
    fold_of = fold_of[first]
    return [used[fold_of == fold] for fold in range(folds)]


def first_copies(split: Split, used: Indices) -> Indices:
    """Which images are copies of each other.

    Returns:
        For each position in `used`, that of the first image with the same pixels.
    """
    seen: dict[bytes, int] = {}
    return np.array(
        [seen.setdefault(split.images[at].tobytes(), place) for place, at in enumerate(used)],
        dtype=np.int64,
    )

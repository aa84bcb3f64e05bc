"""Which images belong to which split: stratified, drawn by seed, and kept on disk.

Apportionment is by largest remainder (Hamilton's method): every class gets its share rounded
down, and the places left over go to the largest remainders, the first class first among equals.
"""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fmnist_ray.dataset.staging import staged_file
from fmnist_ray.errors import RequestError

Indices = npt.NDArray[np.int64]


def stratified_split(
    labels: npt.NDArray[np.integer], validation_fraction: float, seed: int
) -> tuple[Indices, Indices]:
    """Splits off a validation set in which every class has the share it has in `labels`.

    Args:
        labels: Shape (n,).
        validation_fraction: Share of all images that go to validation, within (0, 1).
        seed: Same seed and labels: same split.

    Returns:
        Indices of the training and of the validation images, each sorted.

    Raises:
        RequestError: The fraction is outside (0, 1), or leaves one side without an image.
    """
    if not 0 < validation_fraction < 1:
        raise RequestError(
            f"validation fraction {validation_fraction} is impossible: choose one above 0 and "
            "below 1, for example 0.1."
        )
    size = round(len(labels) * validation_fraction)
    if size == 0 or size == len(labels):
        raise RequestError(
            f"validation fraction {validation_fraction} of {len(labels)} images leaves "
            f"{'no image for validation' if size == 0 else 'no image to train on'}. "
            "Choose another fraction, or use more images."
        )
    validation = _draw(labels, size, seed)
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[validation] = True
    return np.flatnonzero(~chosen), validation


def stratified_subset(labels: npt.NDArray[np.integer], size: int, seed: int) -> Indices:
    """Draws images without replacement, with the classes as even as they are in `labels`.

    Args:
        labels: Shape (n,).
        size: Images to draw, from the number of classes up to n.
        seed: Same seed, size and labels: same images.

    Returns:
        Sorted indices, shape (size,).

    Raises:
        RequestError: `size` is above n or below the number of classes.
    """
    if size > len(labels):
        raise RequestError(
            f"{size} images were asked for, but there are {len(labels)}. "
            f"Ask for at most {len(labels)}."
        )
    classes = len(np.unique(labels))
    if size < classes or size < 1:
        raise RequestError(
            f"{size} images are too few for {classes} classes. Ask for at least {max(classes, 1)}."
        )
    return _draw(labels, size, seed)


def split_fingerprint(**indices: npt.NDArray[np.integer]) -> dict[str, str]:
    """SHA-256 of each array of indices (as little-endian int64), by its name."""
    return {
        name: hashlib.sha256(np.ascontiguousarray(array, dtype="<i8").data).hexdigest()
        for name, array in indices.items()
    }


def save_indices(path: Path, **indices: npt.NDArray[np.integer]) -> None:
    """Writes arrays of indices by name to one `.npz` file, whole or not at all."""
    arrays = {name: np.asarray(array, dtype=np.int64) for name, array in indices.items()}
    with staged_file(path) as aside, aside.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_indices(path: Path) -> dict[str, Indices]:
    """Reads what `save_indices` wrote.

    Raises:
        RequestError: The file is missing, damaged, or holds something else.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("not an archive of arrays")
        with archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise RequestError(
            f"{path} holds no indices that can be read: {error}. Name a file that was written "
            "with the split."
        ) from error
    for name, array in arrays.items():
        if array.dtype != np.int64 or array.ndim != 1:
            raise RequestError(
                f"{path}: `{name}` is {array.dtype} of shape {array.shape}, but indices are "
                "int64 in one row. Name a file that was written with the split."
            )
    return arrays


def _draw(labels: npt.NDArray[np.integer], size: int, seed: int) -> Indices:
    generator = np.random.default_rng(seed)
    classes, counts = np.unique(labels, return_counts=True)
    drawn = [
        generator.permutation(np.flatnonzero(labels == label))[:places]
        for label, places in zip(classes, _apportion(counts, size), strict=True)
    ]
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def _apportion(counts: npt.NDArray[np.integer], size: int) -> list[int]:
    """How many of `size` places each class gets; whole numbers, so nothing is lost to rounding."""
    total = int(counts.sum())
    shares = [divmod(int(count) * size, total) for count in counts]
    places = [whole for whole, _ in shares]
    by_remainder = sorted(range(len(shares)), key=lambda index: (-shares[index][1], index))
    for index in by_remainder[: size - sum(places)]:
        places[index] += 1
    return places

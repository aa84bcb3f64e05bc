"""Writes a data set to a folder in any of the three layouts, whole or not at all."""

from pathlib import Path

import numpy as np

from fmnist_ray.dataset.arrays import CLASS_NAMES, Dataset, Split
from fmnist_ray.dataset.class_folders import write_class_folders
from fmnist_ray.dataset.csv_layout import write_csv_folder
from fmnist_ray.dataset.idx import write_idx_folder
from fmnist_ray.dataset.layouts import Layout
from fmnist_ray.dataset.progress import Progress, no_progress
from fmnist_ray.dataset.splits import Indices, save_indices, stratified_split
from fmnist_ray.dataset.staging import staged_folder
from fmnist_ray.errors import RequestError

SPLIT_FILE = "split.npz"
"""Beside the data: indices of `train` and `validation` in the training images they came from."""


def split_off_validation(
    dataset: Dataset, validation_fraction: float, seed: int
) -> tuple[Dataset, Indices, Indices]:
    """Gives a data set a validation split, stratified, out of its training images.

    Returns:
        The data set with three splits, and the indices of its training and of its validation
        images among the training images as they were.

    Raises:
        RequestError: There is a validation split already, or as `splits.stratified_split`.
    """
    if dataset.validation is not None:
        raise RequestError(
            f"{dataset.source} has a validation split of its own ({len(dataset.validation)} "
            "images). Leave out the validation fraction."
        )
    train, validation = stratified_split(dataset.train.labels, validation_fraction, seed)
    with_validation = Dataset(
        train=_take(dataset.train, train),
        test=dataset.test,
        source=dataset.source,
        validation=_take(dataset.train, validation),
    )
    return with_validation, train, validation


def export_dataset(
    dataset: Dataset,
    layout: Layout,
    folder: Path,
    *,
    validation_fraction: float | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Dataset:
    """Writes a data set; reading the folder gives the same arrays again.

    Class folders name each file by the image's index among the images it came from, so that with
    a validation split, too, every file can be traced.

    Args:
        dataset: What to write.
        layout: Class folders of PNGs, CSV files, or IDX files (`.gz`).
        folder: Must not be there, or be empty.
        validation_fraction: Share of the training images to split off, within (0, 1); the indices
            are written to `SPLIT_FILE`. None splits nothing off.
        seed: Of that split.
        progress: Told the images written so far; not for IDX, which takes a few seconds in all.

    Returns:
        What was written: `dataset`, with its validation split.

    Raises:
        RequestError: The folder holds something or cannot be written, or the split is impossible.
    """
    indices: dict[str, Indices] | None = None
    written = dataset
    if validation_fraction is not None:
        written, train, validation = split_off_validation(dataset, validation_fraction, seed)
        indices = {"train": train, "validation": validation}
    if layout is Layout.FOLDERS:
        _require_every_class(written)
    try:
        with staged_folder(folder) as aside:
            if layout is Layout.FOLDERS:
                numbers = indices and {**indices, "test": np.arange(len(dataset.test))}
                write_class_folders(written, aside, progress, numbers)
            elif layout is Layout.CSV:
                write_csv_folder(written, aside, progress)
            else:
                write_idx_folder(written, aside, compress=True)
            if indices is not None:
                save_indices(aside / SPLIT_FILE, **indices)
    except OSError as error:
        raise RequestError(
            f"{folder} cannot be written: {error.strerror or error}. Nothing was left there; "
            "name another folder, or make room."
        ) from error
    return written


def _require_every_class(dataset: Dataset) -> None:
    for name, split in dataset.splits().items():
        missing = sorted(set(range(len(CLASS_NAMES))) - set(split.labels.tolist()))
        if missing:
            raise RequestError(
                f"{name} has no image of class {', '.join(map(str, missing))}, and class folders "
                "need one of each. Use another layout, more images or a larger fraction."
            )


def _take(split: Split, indices: Indices) -> Split:
    return Split(split.images[indices], split.labels[indices])

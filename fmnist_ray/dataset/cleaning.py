"""What is wrong with a data set, and a copy without it.

An image should be there once. Where it is there several times, the test set has it before the
validation set, and that before the training set, so that nothing is trained on that is judged on.
The test set itself never loses an image for being a duplicate: published figures are over all of
its images, and figures over fewer could not be compared with them. It loses only what cannot be
scored, because a value is missing or a label is none.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fmnist_ray.dataset.arrays import CLASS_NAMES, Dataset, Split
from fmnist_ray.dataset.csv_layout import FILES, Reason, RowProblem, scan_csv
from fmnist_ray.dataset.idx import ReleaseCheck, find_idx, read_idx_folder
from fmnist_ray.dataset.layouts import Layout, detect_layout, read_folder
from fmnist_ray.dataset.progress import Progress, no_progress
from fmnist_ray.dataset.splits import Indices
from fmnist_ray.errors import RequestError

_Labels = dict[bytes, int]
# Label of each image's first copy. The key is the image itself, not a digest: equal means equal.


@dataclass(frozen=True)
class SplitProblems:
    """What is wrong with one split. Indices are int64, sorted, into the split.

    Attributes:
        duplicates: Images that are in the split already, with a lower index.
        shared: By name of a split that goes before this one (test, validation), the images that
            are also in that.
        conflicts: Those of both kinds whose label is not that of the image they repeat.
        bad_labels: Images whose label is not in 0..9.
    """

    duplicates: Indices
    shared: dict[str, Indices]
    conflicts: Indices
    bad_labels: Indices


@dataclass(frozen=True)
class Problems:
    """What is wrong with a data set.

    Attributes:
        splits: By name: `train`, `test`, perhaps `validation`.
        bad_rows: By name of the split, the rows of a CSV file that could not be read as images;
            they have no index.
    """

    splits: dict[str, SplitProblems]
    bad_rows: dict[str, list[RowProblem]] = field(default_factory=dict)


@dataclass(frozen=True)
class ProblemCounts:
    """How many problems of each kind there are; over all splits unless it says which.

    Attributes:
        train_duplicates: Training images that are in the training set already.
        validation_duplicates: The same of the validation set.
        test_duplicates: The same of the test set.
        shared_by_train_and_test: Training images that are also in the test set.
        shared_with_validation: Training images that are also in the validation set, and
            validation images that are also in the test set.
        conflicting_labels: Repeated images whose label is not that of the first.
        missing_values: Rows of CSV files with an empty cell.
        not_whole_numbers: Rows with a cell that holds something else.
        wrong_numbers_of_cells: Rows with more or fewer cells than columns.
        pixels_out_of_range: Rows with a pixel outside 0..255.
        labels_out_of_range: Rows or images whose label is none of the classes.
    """

    train_duplicates: int
    validation_duplicates: int
    test_duplicates: int
    shared_by_train_and_test: int
    shared_with_validation: int
    conflicting_labels: int
    missing_values: int
    not_whole_numbers: int
    wrong_numbers_of_cells: int
    pixels_out_of_range: int
    labels_out_of_range: int


def count_problems(problems: Problems) -> ProblemCounts:
    """Counts what `find_problems` found. A row counts once, for its first bad cell."""
    splits = problems.splits
    reasons = Counter(row.reason for rows in problems.bad_rows.values() for row in rows)
    duplicates = Counter({name: len(found.duplicates) for name, found in splits.items()})
    shared = Counter(
        {
            (name, other): len(indices)
            for name, found in splits.items()
            for other, indices in found.shared.items()
        }
    )
    return ProblemCounts(
        train_duplicates=duplicates["train"],
        validation_duplicates=duplicates["validation"],
        test_duplicates=duplicates["test"],
        shared_by_train_and_test=shared["train", "test"],
        shared_with_validation=shared["train", "validation"] + shared["validation", "test"],
        conflicting_labels=sum(len(found.conflicts) for found in splits.values()),
        missing_values=reasons[Reason.MISSING],
        not_whole_numbers=reasons[Reason.TEXT],
        wrong_numbers_of_cells=reasons[Reason.CELLS],
        pixels_out_of_range=reasons[Reason.PIXEL],
        labels_out_of_range=reasons[Reason.LABEL]
        + sum(len(found.bad_labels) for found in splits.values()),
    )


def find_problems(
    dataset: Dataset, bad_rows: dict[str, list[RowProblem]] | None = None
) -> Problems:
    """Finds images that are there more than once, byte for byte, and labels that are none.

    Args:
        dataset: What to look at; as `read_to_clean` gives it, or any other.
        bad_rows: What `read_to_clean` found before, to be part of the result.
    """
    found: dict[str, SplitProblems] = {}
    before: dict[str, _Labels] = {}
    splits = dataset.splits()
    for name in ("test", "validation", "train"):
        if name in splits:
            found[name], before[name] = _look_through(splits[name], before)
    return Problems({name: found[name] for name in splits}, bad_rows or {})


def drop_problems(dataset: Dataset, problems: Problems) -> Dataset:
    """A copy without the problems; what is kept stays in its order.

    Training and validation images lose duplicates (the first stays), images of a split that goes
    before, and bad labels. Test images lose bad labels alone.

    Raises:
        RequestError: Nothing of a split would be left.
    """
    kept: dict[str, Split] = {}
    for name, split in dataset.splits().items():
        wrong = problems.splits[name]
        keep = np.ones(len(split), dtype=bool)
        keep[wrong.bad_labels] = False
        if name != "test":
            keep[wrong.duplicates] = False
            for shared in wrong.shared.values():
                keep[shared] = False
        if not keep.any():
            raise RequestError(
                f"{dataset.source}: cleaning would leave no image in {name}. Check the source."
            )
        kept[name] = Split(split.images[keep], split.labels[keep])
    return Dataset(
        kept["train"], kept["test"], f"{dataset.source}, cleaned", kept.get("validation")
    )


def read_to_clean(
    folder: Path, progress: Progress = no_progress
) -> tuple[Dataset, dict[str, list[RowProblem]]]:
    """Reads a folder as `layouts.read_folder` does, but leaves in or out what can be cleaned.

    Labels out of range are left in and checksums not looked at (IDX); rows that are no images are
    left out and returned (CSV). Damaged files are refused as ever.

    Returns:
        The data set and the bad rows by name of the split (empty unless the layout is CSV).

    Raises:
        RequestError: As the readers, but for the above; or a CSV file has no good row.
    """
    layout = detect_layout(folder)
    if layout is Layout.IDX:
        return read_idx_folder(find_idx(folder) or folder, ReleaseCheck.NEVER), {}
    if layout is Layout.FOLDERS:
        return read_folder(folder, progress), {}
    splits: dict[str, Split] = {}
    bad_rows: dict[str, list[RowProblem]] = {}
    for name, file in FILES.items():
        if name == "validation" and not (folder / file).is_file():
            continue
        splits[name], bad_rows[name] = scan_csv(folder / file, progress)
        if not len(splits[name]):
            raise RequestError(f"{folder / file} has no row that is right. Check the file.")
    source = f"CSV files in {folder}"
    return Dataset(splits["train"], splits["test"], source, splits.get("validation")), bad_rows


def _look_through(split: Split, before: dict[str, _Labels]) -> tuple[SplitProblems, _Labels]:
    here: _Labels = {}
    duplicates, conflicts = [], []
    shared: dict[str, list[int]] = {name: [] for name in before}
    for index, (image, label) in enumerate(zip(split.images, split.labels.tolist(), strict=True)):
        key = image.tobytes()
        if key in here:
            duplicates.append(index)
        first_labels = [here.setdefault(key, label)]
        for name, labels in before.items():
            if key in labels:
                shared[name].append(index)
                first_labels.append(labels[key])
        if any(first != label for first in first_labels):
            conflicts.append(index)
    bad_labels = np.flatnonzero(split.labels >= len(CLASS_NAMES))
    problems = SplitProblems(
        _indices(duplicates),
        {name: _indices(indices) for name, indices in shared.items()},
        _indices(conflicts),
        _indices(bad_labels),
    )
    return problems, here


def _indices(found: list[int] | npt.NDArray[np.intp]) -> Indices:
    return np.asarray(found, dtype=np.int64)

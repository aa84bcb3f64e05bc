"""The three layouts in which a folder may hold a data set, and how they are told apart."""

from enum import StrEnum
from pathlib import Path

from fmnist_ray.dataset.arrays import Dataset
from fmnist_ray.dataset.class_folders import SPLITS, read_class_folders
from fmnist_ray.dataset.csv_layout import FILES, read_csv_folder
from fmnist_ray.dataset.idx import ReleaseCheck, find_idx, read_idx_folder
from fmnist_ray.dataset.progress import Progress, no_progress
from fmnist_ray.errors import RequestError


class Layout(StrEnum):
    """What a folder looks like."""

    IDX = "idx"
    CSV = "csv"
    FOLDERS = "folders"


def detect_layout(folder: Path) -> Layout:
    """Tells the layout by the names in the folder; IDX goes before CSV, CSV before folders.

    One file of a layout is enough: what then is missing is named when it is read.

    Raises:
        RequestError: There is no such folder, or it is in none of the layouts.
    """
    if not folder.is_dir():
        problem = "is a file, not a folder" if folder.exists() else "is not there"
        raise RequestError(f"{folder} {problem}. {_looked_for()}")
    if find_idx(folder) is not None:
        return Layout.IDX
    if any((folder / file).is_file() for file in FILES.values()):
        return Layout.CSV
    if any((folder / name).is_dir() for name in SPLITS):
        return Layout.FOLDERS
    empty = not any(folder.iterdir())
    raise RequestError(f"{folder} {'is empty' if empty else 'holds no data set'}. {_looked_for()}")


def read_folder(folder: Path, progress: Progress = no_progress) -> Dataset:
    """Reads a folder in whichever layout it is.

    IDX files with as many images as the release must be the release's, byte for byte: a file
    that only looks like it is damaged, or is another data set under the same name.

    Args:
        folder: The folder.
        progress: Told how much is read.

    Raises:
        RequestError: As `detect_layout` and the reader of the layout.
    """
    layout = detect_layout(folder)
    if layout is Layout.CSV:
        return read_csv_folder(folder, progress)
    if layout is Layout.FOLDERS:
        return read_class_folders(folder, progress)
    return read_idx_folder(find_idx(folder) or folder, ReleaseCheck.SAME_SHAPE)


def _looked_for() -> str:
    return (
        "Looked for the four IDX files (train-images-idx3-ubyte and so on, raw or .gz), for "
        f"{FILES['train']} and {FILES['test']}, and for class folders train/0..9 and test/0..9."
    )

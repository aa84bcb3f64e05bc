"""Reads data that may hold problems, together with what is wrong with them."""

from pathlib import Path
from typing import NamedTuple

from fmnist_ray.dataset.arrays import Dataset
from fmnist_ray.dataset.cleaning import Problems, find_problems, read_to_clean
from fmnist_ray.dataset.layouts import Layout, detect_layout
from fmnist_ray.dataset.progress import Progress, no_progress
from fmnist_ray.dataset.sources import SAMPLE, load_dataset, named_data


class Inspected(NamedTuple):
    """Data with their problems.

    Attributes:
        dataset: All rows that can be read; labels may lie outside the classes.
        problems: Duplicates, rows that cannot be read, and bad labels.
        layout: That of the folder; IDX for the release and the sample.
    """

    dataset: Dataset
    problems: Problems
    layout: Layout


def inspect_data(data: str | None, progress: Progress = no_progress) -> Inspected:
    """Reads data as `sources.load_dataset` does, but tells of problems instead of refusing them.

    Raises:
        RequestError: The data cannot be read at all.
    """
    data = named_data(data)
    if data is None or data == SAMPLE:
        dataset = load_dataset(data, progress=progress)
        return Inspected(dataset, find_problems(dataset), Layout.IDX)
    folder = Path(data).expanduser()
    dataset, bad_rows = read_to_clean(folder, progress)
    return Inspected(dataset, find_problems(dataset, bad_rows), detect_layout(folder))

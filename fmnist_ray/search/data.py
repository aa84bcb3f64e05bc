"""The images of a search: loaded, cut to size, split, and known again on a resume."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fmnist_ray.dataset.arrays import Dataset, fingerprint
from fmnist_ray.dataset.progress import Progress, no_progress
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.dataset.splits import split_fingerprint, stratified_split, stratified_subset
from fmnist_ray.errors import RequestError
from fmnist_ray.records import Record
from fmnist_ray.search.settings import SearchSettings


@dataclass(frozen=True)
class SearchData:
    """A data set with the parts that a search trains and validates on.

    Attributes:
        dataset: All images.
        train: Indices into its training images.
        validation: Likewise.
        facts: Source, sizes and SHA-256s, for the record.
    """

    dataset: Dataset
    train: np.ndarray
    validation: np.ndarray
    facts: dict[str, Any]

    @property
    def used(self) -> np.ndarray:
        """Indices of all images that the search may learn from."""
        return np.sort(np.concatenate([self.train, self.validation]))


def prepare_data(settings: SearchSettings, progress: Progress = no_progress) -> SearchData:
    """Loads the data and draws the split.

    Args:
        settings: Name the data, how many to use and the share to validate on.
        progress: Told how much of a longer read or a download is done.

    Raises:
        RequestError: The data cannot be had, or are too few for the request.
    """
    dataset = load_dataset(settings.data, progress=progress)
    labels = dataset.train.labels
    used = np.arange(len(labels))
    if settings.train_size is not None:
        used = stratified_subset(labels, settings.train_size, settings.seed)
    train, validation = stratified_split(labels[used], settings.validation_fraction, settings.seed)
    train, validation = used[train], used[validation]
    facts = {
        "source": dataset.source,
        "train_images": len(train),
        "validation_images": len(validation),
        "test_images": len(dataset.test),
        "sha256": {
            **fingerprint(dataset),
            **split_fingerprint(train_indices=train, validation_indices=validation),
        },
    }
    return SearchData(dataset, train, validation, facts)


def same_data(record: Record, data: SearchData) -> None:
    """Refuses to go on with other images than those the search began with.

    Raises:
        RequestError: A fingerprint differs.
    """
    before = record.run()["data"].get("sha256", {})
    for name, digest in data.facts["sha256"].items():
        if before.get(name) != digest:
            raise RequestError(
                f"The data are not those that {record.path} was begun with: {name} has SHA-256 "
                f"{digest[:12]}..., the record {str(before.get(name))[:12]}.... Name the same "
                "data with --data."
            )

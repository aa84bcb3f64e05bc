"""The release kept in the user's cache: raw files, since those are read in a tenth of a second."""

import os
from dataclasses import replace
from pathlib import Path

from fmnist_ray.dataset.arrays import Dataset
from fmnist_ray.dataset.idx import ReleaseCheck, read_idx_folder, write_idx_folder
from fmnist_ray.dataset.staging import staged_folder
from fmnist_ray.errors import RequestError


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/fmnist_ray/fashion-mnist`, by default below `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fmnist_ray" / "fashion-mnist"


def read_cache() -> Dataset:
    """Reads the release from the cache, its checksums verified.

    Raises:
        RequestError: It is not there, or not whole.
    """
    folder = cache_folder()
    if not folder.is_dir():
        raise RequestError(f"{folder} is not there yet.")
    return replace(read_idx_folder(folder, ReleaseCheck.ALWAYS), source=f"cache {folder}")


def write_cache(release: Dataset) -> Dataset:
    """Puts the release into the cache, in the place of an older copy.

    Returns:
        The same, with the cache as its source.

    Raises:
        RequestError: The cache cannot be written.
    """
    folder = cache_folder()
    try:
        with staged_folder(folder, replace=True) as aside:
            write_idx_folder(release, aside, compress=False)
    except OSError as error:
        raise RequestError(
            f"the cache {folder} cannot be written: {error.strerror or error}. Set "
            "XDG_CACHE_HOME to a folder that can be."
        ) from error
    return replace(release, source=f"cache {folder}")

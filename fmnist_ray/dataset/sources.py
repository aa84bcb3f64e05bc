"""Where the data comes from: a folder, the shipped sample, or the release, found or fetched."""

import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fmnist_ray.dataset.arrays import Dataset
from fmnist_ray.dataset.cache import cache_folder, read_cache, write_cache
from fmnist_ray.dataset.debian import PACKAGE, PACKAGE_FOLDER, download_from_debian
from fmnist_ray.dataset.idx import ReleaseCheck, read_idx_folder
from fmnist_ray.dataset.layouts import read_folder
from fmnist_ray.dataset.mirrors import download_from_mirrors
from fmnist_ray.dataset.progress import Progress, Report, no_progress
from fmnist_ray.dataset.sample import load_sample
from fmnist_ray.errors import RequestError

SAMPLE = "sample"
"""What names the shipped sample in the place of a folder."""
SYSTEM_FOLDER = Path("/") / PACKAGE_FOLDER
"""Where Debian's package, installed on the whole machine, puts the files."""

_Download = Callable[[Path, Progress], Path]


def load_dataset(
    data: str | None = None,
    *,
    report: Report | None = None,
    progress: Progress = no_progress,
) -> Dataset:
    """Loads a data set, fetching the release first when it is nowhere on this machine.

    Args:
        data: A folder in one of the three layouts (see `layouts`), `sample` for the sample that
            comes with the package, or None for `$FMNIST_DATA` and, without that, the release as
            `fetch_release` finds it.
        report: Takes sentences on what is going on; by default they go to this module's logger.
        progress: Told how much is done of a longer read (in images) or a download (in megabytes).

    Raises:
        RequestError: The folder is not there, in none of the layouts, or holds something wrong;
            or no source of the release works.
    """
    data = named_data(data)
    if data is None:
        return fetch_release(report=report, progress=progress)
    if data == SAMPLE:
        return load_sample()
    return read_folder(Path(data).expanduser(), progress)


def named_data(data: str | None) -> str | None:
    """What `data` stands for: itself, else `$FMNIST_DATA`, else None for the release."""
    return data or os.environ.get("FMNIST_DATA") or None


def fetch_release(*, report: Report | None = None, progress: Progress = no_progress) -> Dataset:
    """Loads Fashion-MNIST's release from the first source that has it, its checksums verified.

    The sources, in order: the user's cache, the folder of Debian's installed package, the public
    mirrors, Debian's package archive. What comes from the last two is put into the cache.

    Args:
        report: As in `load_dataset`.
        progress: Told the megabytes of a download.

    Raises:
        RequestError: None has it; the message names each with its reason.
    """
    tell = report or logging.getLogger(__name__).info
    reasons: list[str] = []

    def failed(name: str, error: RequestError) -> None:
        reasons.append(f"- {name}: {error}")

    try:
        return read_cache()
    except RequestError as error:
        failed("cache", error)
        if cache_folder().is_dir():
            tell(f"The cached copy cannot be used and will be replaced: {error}")
    try:
        return _read_system()
    except RequestError as error:
        failed("system folder", error)
    downloads: list[tuple[str, _Download]] = [
        ("public mirrors", download_from_mirrors),
        (f"Debian's package {PACKAGE}", download_from_debian),
    ]
    for name, download in downloads:
        tell(f"Fetching Fashion-MNIST (31 MB) from {name} ...")
        try:
            fetched = _fetch(name, download, progress)
        except RequestError as error:
            failed(name, error)
            tell(f"Not from {name}: {error}")
            continue
        try:
            return write_cache(fetched)
        except RequestError as error:
            tell(f"Fetched, but not kept for the next time: {error}")
            return fetched
    raise RequestError(
        "Fashion-MNIST could not be had from any source:\n"
        + "\n".join(reasons)
        + "\nConnect to the network and try again, or put the four IDX files into a folder and "
        "name it with `--data DIR`. `--data sample` needs neither."
    )


def _read_system() -> Dataset:
    if not SYSTEM_FOLDER.is_dir():
        raise RequestError(f"{SYSTEM_FOLDER} is not there.")
    dataset = read_idx_folder(SYSTEM_FOLDER, ReleaseCheck.ALWAYS)
    return replace(dataset, source=f"system folder {SYSTEM_FOLDER}")


def _fetch(name: str, download: _Download, progress: Progress) -> Dataset:
    with tempfile.TemporaryDirectory(prefix="fmnist_ray.") as folder:
        downloaded = read_idx_folder(download(Path(folder), progress), ReleaseCheck.ALWAYS)
    return replace(downloaded, source=f"{name}, not kept")

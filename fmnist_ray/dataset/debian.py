"""Fetches the release from Debian's package of it, without root and without installing it."""

import os
import shutil
import subprocess
from pathlib import Path

from fmnist_ray.dataset.progress import Progress, watched_download
from fmnist_ray.errors import RequestError

PACKAGE = "dataset-fashion-mnist"
PACKAGE_BYTES = 30_900_652
PACKAGE_FOLDER = "usr/share/datasets/fashion-mnist"
"""Where the package puts the files, below the root of the system."""

_SECONDS = 600


def download_from_debian(folder: Path, progress: Progress) -> Path:
    """Downloads the package with apt, its signature checked, and unpacks it.

    Apt works in `folder` with lists and a cache of its own, so that the system's stay as they are.

    Args:
        folder: An empty folder to work in.
        progress: Told the megabytes of the package that have come so far.

    Returns:
        The folder below it that holds the four files.

    Raises:
        RequestError: The tools are missing, or the package cannot be had.
    """
    missing = [tool for tool in ("apt-get", "dpkg") if shutil.which(tool) is None]
    if missing:
        raise RequestError(f"{' and '.join(missing)} not found; is this Debian or Ubuntu?")
    for needed in ("lists/partial", "cache/archives/partial"):
        (folder / needed).mkdir(parents=True)
    apt = [
        "apt-get",
        "-o", f"Dir::State::Lists={folder / 'lists'}",
        "-o", f"Dir::Cache={folder / 'cache'}",
        "-o", "Acquire::Retries=1",
        "-o", "Acquire::http::Timeout=15",
        "-o", "Acquire::https::Timeout=15",
        "-o", "Acquire::Languages=none",
        # As root apt would hand over to another user, who has no rights in this folder.
        "-o", "APT::Sandbox::User=root",
    ]  # fmt: skip
    # One unreachable archive among several makes `update` fail; what counts is the download.
    update = _run([*apt, "update"], folder)
    with watched_download(folder, "*.deb", PACKAGE_BYTES, progress):
        download = _run([*apt, "download", PACKAGE], folder)
    packages = list(folder.glob(f"{PACKAGE}_*.deb"))
    if download.returncode or not packages:
        raise RequestError(_reason(update, download))
    unpack = _run(["dpkg", "-x", str(packages[0]), str(folder / "unpacked")], folder)
    if unpack.returncode:
        raise RequestError(_reason(unpack))
    return folder / "unpacked" / PACKAGE_FOLDER


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise RequestError(f"{command[0]} was not done after {_SECONDS} s.") from error


def _reason(*runs: subprocess.CompletedProcess[str]) -> str:
    lines = [line for run in runs for line in run.stderr.splitlines() if line[:2] in ("E:", "W:")]
    return "; ".join(line[2:].strip() for line in lines[-2:]) or "no reason was given."

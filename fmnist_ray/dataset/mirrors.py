"""Fetches the release from its public mirrors with torchvision, which knows where they are."""

import subprocess
import sys
from pathlib import Path

from fmnist_ray.dataset.progress import Progress, watched_download
from fmnist_ray.errors import RequestError

DOWNLOAD_BYTES = 30_878_645
"""The four compressed files as the mirrors hold them."""

# Torchvision downloads without a time limit and draws bars of its own on standard error. In a
# process of its own the first can be set, and the second caught, without touching the caller.
_PROGRAM = """
import socket, sys
socket.setdefaulttimeout(float(sys.argv[2]))
from torchvision.datasets import FashionMNIST
FashionMNIST(sys.argv[1], download=True)
"""
_SILENCE_SECONDS = 15
_TOTAL_SECONDS = 1800


def download_from_mirrors(folder: Path, progress: Progress) -> Path:
    """Downloads and unpacks the four files.

    Args:
        folder: An empty folder to work in.
        progress: Told the megabytes that have come so far.

    Returns:
        The folder below it that holds the four files.

    Raises:
        RequestError: No mirror answered, or the download stopped or was damaged.
    """
    command = [sys.executable, "-c", _PROGRAM, str(folder), str(_SILENCE_SECONDS)]
    try:
        with watched_download(folder, "*.gz", DOWNLOAD_BYTES, progress):
            subprocess.run(
                command,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_TOTAL_SECONDS,
            )
    except subprocess.TimeoutExpired as error:
        raise RequestError(f"not done after {_TOTAL_SECONDS} s.") from error
    except subprocess.CalledProcessError as error:
        raise RequestError(_last_line(error.stderr)) from error
    return folder / "FashionMNIST" / "raw"


def _last_line(output: bytes) -> str:
    lines = [line.strip() for line in output.decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "no reason was given.")

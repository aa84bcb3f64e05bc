"""Files and folders that appear whole or not at all: written aside, then renamed."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fmnist_ray.errors import RequestError


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """A path to write to in the folder of `path`; on success it replaces `path`.

    The folder is made when it is not there. After an error nothing is left behind and an older
    `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A folder of its own and not a temporary file: writers choose the format by the suffix.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as aside:
        written = Path(aside) / path.name
        yield written
        written.replace(path)


@contextmanager
def staged_folder(folder: Path, replace: bool = False) -> Iterator[Path]:
    """An empty folder beside `folder` to fill; on success it becomes `folder`.

    After an error nothing is left behind, and what was at `folder` is as it was.

    Args:
        folder: Where the content shall appear; its parents are made.
        replace: Whether a folder that is already there may be replaced. Without it, only an
            empty one is.

    Raises:
        RequestError: `folder` is there, holds something, and `replace` is not set; or it is a
            file.
    """
    require_free(folder, replace)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        content = aside / "new"
        content.mkdir()
        yield content
        require_free(folder, replace)  # something may have come up meanwhile
        if folder.exists():
            folder.rename(aside / "old")
        content.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def require_free(folder: Path, replace: bool = False) -> None:
    """Refuses a target that would be overwritten.

    Raises:
        RequestError: As `staged_folder`.
    """
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"{folder} is a file, but a folder is to be written. Name another.")
    if folder.is_dir() and not replace and any(folder.iterdir()):
        raise RequestError(
            f"{folder} is not empty, and nothing is overwritten. Name another folder, "
            "or empty this one."
        )

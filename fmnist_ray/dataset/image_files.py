"""Finds a person's image files and opens them with care: anything may be in them."""

import io
import os
import stat
import struct
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fmnist_ray.errors import RequestError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
"""Of the files that are taken from a folder; a file that is named may have any other."""
MAX_FILE_BYTES = 64 * 2**20
MAX_PIXELS = 80_000_000
"""Of an image when unpacked: phones take up to 50 million; a few bytes can claim billions."""

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
# What Pillow raises for broken content: SyntaxError for PNG's, the others where a length lies.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error)
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class PhotographError(Exception):
    """A file cannot be labelled; the message is the reason, without the file's name."""


def find_images(places: Iterable[str | Path]) -> list[Path]:
    """The files named, and the image files below the folders named, each once.

    Those of a folder come sorted by path. Hidden files and folders are left out, links to folders
    are not followed, and a folder that cannot be listed stands in the result itself, so that its
    reading is refused by name.

    Raises:
        RequestError: A path does not exist.
    """
    found: dict[Path, None] = {}
    for place in map(Path, places):
        if place.is_dir():
            found.update(dict.fromkeys(sorted(_below(place))))
        elif os.path.lexists(place):
            found[place] = None
        else:
            raise RequestError(
                f"{place} does not exist. Name image files, or folders that hold some."
            )
    return list(found)


def _below(folder: Path) -> Iterator[Path]:
    unlisted: list[OSError] = []
    for where, folders, names in os.walk(folder, onerror=unlisted.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(where, name)
    yield from (Path(error.filename) for error in unlisted)


@contextmanager
def opened_image(source: Path | bytes) -> Iterator["Image.Image"]:
    """An image, its header read; whatever is wrong with it, now or when it is unpacked.

    Args:
        source: An image file, or the content of one.

    Raises:
        PhotographError: The file cannot be read, is no image, damaged, or too large.
    """
    from PIL import Image, UnidentifiedImageError

    content = _sized(source if isinstance(source, bytes) else _read_bytes(source))
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images; here there is one limit, checked below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # Opening reads the header alone, so that nothing large is unpacked.
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
        with image:
            pixels = image.width * image.height
            if pixels > MAX_PIXELS:
                raise PhotographError(_too_many(f"{pixels:,}"))
            yield image
    except UnidentifiedImageError:
        raise PhotographError("it is no PNG, JPEG, WebP, BMP or GIF image") from None
    except Image.DecompressionBombError:
        raise PhotographError(_too_many("far too many")) from None
    except _BROKEN as error:
        raise PhotographError(f"it is a damaged image ({error})") from None


def _too_many(pixels: str) -> str:
    return f"it has {pixels} pixels; at most {MAX_PIXELS:,} are read: make it smaller first"


def _read_bytes(path: Path) -> bytes:
    try:
        # Opened without waiting: a named pipe would keep the reader for ever.
        with os.fdopen(os.open(path, _FLAGS), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise PhotographError("it is no ordinary file")
            return stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PhotographError(f"it cannot be read ({error.strerror or error})") from None


def _sized(content: bytes) -> bytes:
    if not content:
        raise PhotographError("it is empty")
    if len(content) > MAX_FILE_BYTES:
        raise PhotographError(
            f"it is larger than {MAX_FILE_BYTES // 2**20} MiB: make it smaller first"
        )
    return content

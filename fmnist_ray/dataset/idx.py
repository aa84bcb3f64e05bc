"""IDX files, the form in which Fashion-MNIST is released: raw or compressed with gzip.

The format: two zero bytes, the type of the values (8 is uint8), the number of dimensions, the
length of each as a big-endian 32-bit number, then the values, last dimension fastest.
"""

import gzip
import hashlib
import io
import math
import struct
import zlib
from enum import Enum
from pathlib import Path

import numpy as np

from fmnist_ray.dataset.arrays import Bytes, Dataset, Split, validate, validate_shapes
from fmnist_ray.dataset.release import (
    RELEASE,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
)
from fmnist_ray.dataset.staging import staged_file
from fmnist_ray.errors import RequestError

STEMS: dict[str, tuple[str, str]] = {
    "train": (TRAIN_IMAGES, TRAIN_LABELS),
    "test": (TEST_IMAGES, TEST_LABELS),
    "validation": ("validation-images-idx3-ubyte", "validation-labels-idx1-ubyte"),
}
"""File names of each split: images, labels. `validation` is this project's own and optional."""

_SUBFOLDERS = ("", "raw", "FashionMNIST/raw")  # the last is torchvision's
_GZIP_MAGIC = b"\x1f\x8b"
_UINT8 = 8
# Five million images. A gzip file may hold a thousand times its own size.
MAX_BYTES = 4 * 2**30
_GET_AGAIN = "Get the file again (`python -m fmnist_ray.data fetch` gets all four)."


class ReleaseCheck(Enum):
    """How strictly the four standard files are held against the release."""

    ALWAYS = "always"
    """For what was fetched or installed as the release: every file must be the release's."""
    SAME_SHAPE = "same shape"
    """For a person's own folder: a file of the release's very shape must be the release's (else
    it is damaged, altered, or another data set under the same name); other shapes are own data."""
    NEVER = "never"
    """For cleaning: what is wrong is to be found, not refused."""


def find_idx(folder: Path) -> Path | None:
    """The folder, at or below `folder`, in which at least one standard file lies."""
    for subfolder in _SUBFOLDERS:
        candidate = folder / subfolder
        if any(_find(candidate, stem) for split in ("train", "test") for stem in STEMS[split]):
            return candidate
    return None


def read_idx_folder(folder: Path, check: ReleaseCheck) -> Dataset:
    """Reads the four files, and the two of a validation split where they are there.

    Args:
        folder: Holds the files themselves.
        check: Which files must be the release's, byte for byte.

    Raises:
        RequestError: A file is missing, damaged, of another form, or not the release's.
    """
    missing = [
        stem for name in ("train", "test") for stem in STEMS[name] if _find(folder, stem) is None
    ]
    if missing:
        raise RequestError(
            f"{folder} lacks {', '.join(missing)} (with or without .gz). Put the missing "
            "files there."
        )
    splits = {}
    for name, stems in STEMS.items():
        paths = [_find(folder, stem) for stem in stems]
        if name == "validation" and not any(paths):
            continue
        arrays = []
        for stem, path in zip(stems, paths, strict=True):
            if path is None:
                raise RequestError(
                    f"{folder} lacks {stem}, though the other file of its pair is there. "
                    "Add it, or remove the other."
                )
            arrays.append(_read_checked(path, stem, check))
        split = Split(arrays[0], arrays[1])
        where = f"{paths[0]} and {stems[1]}"
        if check is ReleaseCheck.NEVER:
            validate_shapes(split, where)
        else:
            validate(split, where)
        splits[name] = split
    return Dataset(
        splits["train"], splits["test"], f"IDX files in {folder}", splits.get("validation")
    )


def write_idx_folder(dataset: Dataset, folder: Path, compress: bool) -> None:
    """Writes the files of every split into a folder that is there.

    Args:
        dataset: What to write.
        folder: Files of the same name in it are replaced.
        compress: Whether to write `.gz` (a third of the space, slower to read).
    """
    suffix = ".gz" if compress else ""
    for name, split in dataset.splits().items():
        for stem, array in zip(STEMS[name], (split.images, split.labels), strict=True):
            write_idx(folder / f"{stem}{suffix}", array)


def read_idx(path: Path) -> Bytes:
    """Reads one file; whether it is compressed is told by its content, not its name.

    Returns:
        uint8, of the shape in the file's header, C-contiguous.

    Raises:
        RequestError: The file cannot be read, is damaged, or is not IDX of uint8.
    """
    return _parse(_content(path), path)


def write_idx(path: Path, array: Bytes) -> None:
    """Writes one file, whole or not at all; the same array gives the same bytes.

    Args:
        path: Compressed with gzip if it ends in `.gz`.
        array: uint8, any shape.
    """
    header = struct.pack(f">HBB{array.ndim}I", 0, _UINT8, array.ndim, *array.shape)
    values = np.ascontiguousarray(array)
    with staged_file(path) as aside, aside.open("wb") as raw:
        if path.suffix != ".gz":
            raw.write(header)
            raw.write(values.data)
            return
        # Neither name nor time in the header, so that the bytes depend on the content alone.
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as file:
            file.write(header)
            file.write(values.data)


def _find(folder: Path, stem: str) -> Path | None:
    for name in (stem, f"{stem}.gz"):
        if (folder / name).is_file():
            return folder / name
    return None


def _read_checked(path: Path, stem: str, check: ReleaseCheck) -> Bytes:
    content = _content(path)
    array = _parse(content, path)
    expected = RELEASE.get(stem)
    if expected is None or check is ReleaseCheck.NEVER:
        return array
    if check is ReleaseCheck.SAME_SHAPE and array.shape != expected.shape:
        return array
    found = hashlib.sha256(content.data).hexdigest()
    if found != expected.sha256:
        raise RequestError(
            f"{path} is not the file of Fashion-MNIST's release: the SHA-256 of its decompressed "
            f"content is {found}, expected {expected.sha256}. {_GET_AGAIN} Data of your own with "
            "as many images is read from the CSV or the folder-per-class layout."
        )
    return array


def _content(path: Path) -> Bytes:
    try:
        content: Bytes = np.fromfile(path, dtype=np.uint8)
        if content[:2].tobytes() != _GZIP_MAGIC:
            return content
        with gzip.GzipFile(fileobj=io.BytesIO(content.data)) as stream:
            decompressed = bytearray(stream.read(MAX_BYTES + 1))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RequestError(
            f"{path}: the gzip file is cut short or damaged ({error}). {_GET_AGAIN}"
        ) from error
    except OSError as error:
        raise RequestError(
            f"{path} cannot be read: {error.strerror or error}. Check the file and its rights."
        ) from error
    if len(decompressed) > MAX_BYTES:
        raise RequestError(
            f"{path} holds more than {MAX_BYTES:,} bytes when decompressed, which no data set for "
            "this package does. Check where the file comes from."
        )
    return np.frombuffer(decompressed, dtype=np.uint8)


def _parse(content: Bytes, path: Path) -> Bytes:
    magic = content[:4].tobytes()
    dimensions = magic[3] if len(magic) == 4 else 0
    if magic[:3] != bytes((0, 0, _UINT8)) or not 1 <= dimensions <= 4:
        raise RequestError(
            f"{path} is not an IDX file of bytes: it starts with {magic.hex(' ') or 'nothing'}, "
            f"expected 00 00 08 03 (images) or 00 00 08 01 (labels). {_GET_AGAIN}"
        )
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise RequestError(f"{path} ends within its header, it is cut short. {_GET_AGAIN}")
    shape = struct.unpack(f">{dimensions}I", content[4:start].tobytes())
    expected, found = math.prod(shape), len(content) - start
    if expected != found:
        raise RequestError(
            f"{path}: its header promises {' x '.join(map(str, shape))} = {expected} values, but "
            f"{found} follow. The file is cut short or damaged. {_GET_AGAIN}"
        )
    return content[start:].reshape(shape)

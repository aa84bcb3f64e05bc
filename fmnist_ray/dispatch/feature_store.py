"""Features of images under a frozen backbone, as they are kept on disk.

They are below the user's cache folder under a key of everything that they depend on, so that every
later head finds them. Blocks are written whole, and a run that was cut off goes on with those that
are missing. When all are there, they become one file, which is mapped into memory and never read
as a whole.
"""

import hashlib
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fmnist_ray.dataset.arrays import Bytes
from fmnist_ray.dataset.cache import cache_folder
from fmnist_ray.dataset.staging import staged_file
from fmnist_ray.errors import WorkError
from fmnist_ray.machine import cpu_has_bf16
from fmnist_ray.models.vgg import TransferConfig
from fmnist_ray.records import read_json, write_json, write_whole
from fmnist_ray.training.config import Precision, PrecisionChoice

_VERSION = 1
_BLOCK_IMAGES = 2500
_BLOCK_BYTES = 64 * 2**20
_FILE, _FACTS = "features.npy", "features.json"


def weights_folder(backbone: str, sha256: str) -> Path:
    """Where the features are that weights of that SHA-256 gave.

    If it is there, these weights have been read and found right before.
    """
    return cache_folder().parent / "features" / f"{backbone}-{sha256[:32]}"


@dataclass(frozen=True)
class FeatureSet:
    """The features of one array of images, on disk or yet to be made.

    Attributes:
        split: What they are called, such as `train`.
        config: Backbone and input size.
        weights_sha256: Of the backbone's weights.
        images_sha256: Of the images.
        images: Number of them.
        precision: That they are computed in; kept as float16 if it is bf16, which loses nothing
            since that has fewer digits, else as float32.
    """

    split: str
    config: TransferConfig
    weights_sha256: str
    images_sha256: str
    images: int
    precision: Precision

    @classmethod
    def of(
        cls, split: str, config: TransferConfig, sha256: str, images: Bytes, precision: Precision
    ) -> "FeatureSet":
        """Those of images (n, 28, 28) under weights of that SHA-256."""
        digest = hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
        return cls(split, config, sha256, digest, len(images), precision)

    @property
    def key(self) -> dict[str, Any]:
        """Everything that the features depend on."""
        return {
            "version": _VERSION,
            "backbone": self.config.backbone,
            "input_size": self.config.input_size,
            "weights_sha256": self.weights_sha256,
            "images_sha256": self.images_sha256,
            "images": self.images,
            "precision": self.precision,
        }

    @property
    def folder(self) -> Path:
        """Where they are kept; may be deleted at any time."""
        digest = hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()
        return weights_folder(self.config.backbone, self.weights_sha256) / digest[:32]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type that they are kept as."""
        return np.dtype(np.float16 if self.precision == "bf16" else np.float32)

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """First and last image (not included) of each block."""
        row = self.config.features * self.dtype.itemsize
        size = max(1, min(_BLOCK_IMAGES, _BLOCK_BYTES // row))
        return [(at, min(at + size, self.images)) for at in range(0, self.images, size)]

    def missing(self) -> list[int]:
        """Numbers of the blocks that are not on disk; none of a set that is complete."""
        if self._mapped(self.folder / _FILE, self.images) is not None:
            return []
        return [
            number
            for number, (first, last) in enumerate(self.blocks)
            if self._mapped(self._block(number), last - first) is None
        ]

    def is_complete(self) -> bool:
        """Whether they can be opened."""
        return self._mapped(self.folder / _FILE, self.images) is not None

    def open(self) -> np.ndarray:
        """The features, (images, features), mapped from disk.

        Raises:
            WorkError: They are not there any more.
        """
        found = self._mapped(self.folder / _FILE, self.images)
        if found is None:
            raise WorkError(
                f"The features in {self.folder} are gone. Start again: they are made anew."
            )
        return found

    def seconds(self) -> float:
        """What making them took in all, whichever run did it."""
        path = self.folder / _FACTS
        return float(read_json(path).get("seconds", 0.0)) if path.is_file() else 0.0

    def keep(self, number: int, block: np.ndarray) -> None:
        """Writes a block."""
        buffer = io.BytesIO()
        np.save(buffer, block, allow_pickle=False)
        write_whole(self._block(number), buffer.getvalue())

    def add_seconds(self, seconds: float) -> None:
        """Notes time that was spent on them, and what they are."""
        write_json(self.folder / _FACTS, {**self.key, "seconds": self.seconds() + seconds})

    def join(self) -> None:
        """Makes one file of the blocks, a block at a time.

        Raises:
            WorkError: The disk is full.
        """
        try:
            if self.is_complete():
                return
            with staged_file(self.folder / _FILE) as aside, aside.open("wb") as stream:
                header = {"descr": self.dtype.str, "fortran_order": False}
                shape = (self.images, self.config.features)
                np.lib.format.write_array_header_1_0(stream, {**header, "shape": shape})
                for number in range(len(self.blocks)):
                    stream.write(np.load(self._block(number), allow_pickle=False).data)
        except OSError as error:
            if self.is_complete():  # another process on the same features was first
                return
            raise WorkError(
                f"{self.folder} cannot be written: {error.strerror or error}. Make room; what is "
                "there is kept."
            ) from error
        finally:
            if self.is_complete():
                shutil.rmtree(self.folder / "blocks", ignore_errors=True)

    def _block(self, number: int) -> Path:
        return self.folder / "blocks" / f"{number:04}.npy"

    def _mapped(self, path: Path, rows: int) -> np.ndarray | None:
        """The array of a file, or None if it is missing, cut short or something else."""
        try:
            found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        right = found.dtype == self.dtype and found.shape == (rows, self.config.features)
        return found if right else None


@dataclass(frozen=True)
class FeatureSource:
    """Features that are complete, as a task reads them.

    Attributes:
        path: Their file. Whole, since the cache folder may be another for a cluster's processes.
        shared: Their reference in Ray's object store, where tasks may run on other machines than
            the one that holds the file; else empty, and it is mapped into memory.
    """

    path: Path
    shared: list[Any]

    @classmethod
    def of(cls, features: FeatureSet, here: bool) -> "FeatureSource":
        """As the tasks of a cluster read them.

        Args:
            features: Complete.
            here: Whether the cluster is this machine, and stays that.

        Raises:
            WorkError: They are not there any more.
        """
        import ray

        found = features.open()
        path = (features.folder / _FILE).absolute()
        return cls(path, [] if here else [ray.put(np.asarray(found))])

    def open(self) -> np.ndarray:
        """The features, (images, features)."""
        import ray

        found: np.ndarray
        if self.shared:
            found = ray.get(self.shared[0])
            return found
        found = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return found


def features_precision(choice: PrecisionChoice, gpus: float) -> Precision:
    """The precision of features: `auto` is bf16 on GPUs and on CPUs with bf16 arithmetic.

    As `training.precision.resolve_precision`, but without torch, and decided by the driver, since
    it is part of the key.
    """
    if choice != "auto":
        return choice
    if gpus:
        return "bf16"
    return "bf16" if cpu_has_bf16() else "fp32"

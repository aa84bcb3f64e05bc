"""The data set as arrays in memory, the form that every reader returns."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmnist_ray.errors import RequestError

Bytes = npt.NDArray[np.uint8]

CLASS_NAMES: tuple[str, ...] = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
IMAGE_SIZE = 28
"""Height and width of an image, in pixels."""


@dataclass(frozen=True)
class Split:
    """Images and their labels, in one order.

    Attributes:
        images: uint8, shape (n, 28, 28), C-contiguous; 0 is the background, 255 the brightest.
        labels: uint8, shape (n,), each an index into `CLASS_NAMES`.
    """

    images: Bytes
    labels: Bytes

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """What one source holds.

    Attributes:
        train: The training images.
        test: The test images.
        source: Where it came from, in plain words.
        validation: The validation images, where the source keeps them apart; else None.
    """

    train: Split
    test: Split
    source: str
    validation: Split | None = None

    def splits(self) -> dict[str, Split]:
        """The splits by name: `train`, `test` and, where there is one, `validation`."""
        named = {"train": self.train, "test": self.test}
        if self.validation is not None:
            named["validation"] = self.validation
        return named


def fingerprint(dataset: Dataset) -> dict[str, str]:
    """SHA-256 of the bytes of each array, in hexadecimal.

    Returns:
        `train_images`, `train_labels`, `test_images` and `test_labels`; `validation_images` and
        `validation_labels` too where the data set has a validation split.
    """
    return {
        f"{name}_{kind}": hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
        for name, split in dataset.splits().items()
        for kind, array in (("images", split.images), ("labels", split.labels))
    }


def validate(split: Split, where: str) -> None:
    """Checks that a split has the shapes, the types and the labels that the rest relies on.

    Args:
        split: What was read.
        where: The file or folder it came from, for the message.

    Raises:
        RequestError: Images are not uint8 of 28 x 28, labels are not uint8 in 0..9, there are
            none, or there is not one label for each image.
    """
    validate_shapes(split, where)
    outside = np.flatnonzero(split.labels >= len(CLASS_NAMES))
    if len(outside):
        raise RequestError(
            f"{where}: the label of image {outside[0]} (counted from 0) is "
            f"{split.labels[outside[0]]}; labels are 0..{len(CLASS_NAMES) - 1}. "
            f"{len(outside)} of {len(split)} labels are outside. Correct the labels, or drop "
            "these images with `python -m fmnist_ray.data clean --drop --to DIR`."
        )


def validate_shapes(split: Split, where: str) -> None:
    """The part of `validate` that also holds for data that has yet to be cleaned.

    Raises:
        RequestError: As `validate`, but labels may have any value.
    """
    images, labels = split.images, split.labels
    if images.ndim != 3 or images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        size = " x ".join(str(side) for side in images.shape[1:]) or "single values"
        raise RequestError(
            f"{where}: images are {size}, but {IMAGE_SIZE} x {IMAGE_SIZE} is needed. "
            "Resize them first."
        )
    for kind, array in (("images", images), ("labels", labels)):
        if array.dtype != np.uint8:
            raise RequestError(
                f"{where}: {kind} are of type {array.dtype}, but uint8 is needed (0..255). "
                "Convert them first."
            )
    if labels.shape != (len(images),):
        raise RequestError(
            f"{where}: {len(images)} images but labels of shape {labels.shape}; "
            "one label for each image is needed."
        )
    if len(images) == 0:
        raise RequestError(f"{where}: holds no images. Name a source that holds some.")

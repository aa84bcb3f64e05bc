"""From pixels as they are stored to what a model takes: scaled, shaped, encoded."""

import numpy as np
import numpy.typing as npt

from fmnist_ray.dataset.arrays import CLASS_NAMES, Bytes
from fmnist_ray.errors import RequestError

Floats = npt.NDArray[np.float32]

TRAIN_MEAN = 0.28604
"""Mean of the training pixels of Fashion-MNIST's release, as a share of 255."""
TRAIN_STD = 0.35302
"""Standard deviation of the same."""
BACKGROUND = (0.0 - TRAIN_MEAN) / TRAIN_STD
"""What `normalise` makes of the background, pixel 0."""


def normalise(images: Bytes) -> Floats:
    """Scales pixels to mean 0 and deviation 1 over the training images.

    Args:
        images: uint8, any shape.

    Returns:
        float32 of the same shape, `(pixel / 255 - TRAIN_MEAN) / TRAIN_STD`.
    """
    # There are only 256 values: look them up.
    return _normalised_values()[images]


def to_nchw(images: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Adds the channel where PyTorch expects it: (n, 28, 28) to (n, 1, 28, 28), without a copy."""
    return images[:, np.newaxis, :, :]


def to_nhwc(images: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Adds the channel where Keras expects it: (n, 28, 28) to (n, 28, 28, 1), without a copy."""
    return images[:, :, :, np.newaxis]


def flatten(images: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """One row of pixels per image: (n, 28, 28) to (n, 784)."""
    return images.reshape(len(images), -1)


def one_hot(labels: npt.NDArray[np.integer], classes: int = len(CLASS_NAMES)) -> Floats:
    """Encodes each label as a row of zeros with a one in the label's column.

    Args:
        labels: Shape (n,), values in 0..classes - 1.
        classes: Number of columns.

    Returns:
        float32, shape (n, classes).

    Raises:
        RequestError: A label is outside.
    """
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        raise RequestError(
            f"label {labels[outside[0]]} at position {outside[0]} is outside 0..{classes - 1}. "
            "Correct the labels, or name more classes."
        )
    encoded = np.zeros((len(labels), classes), dtype=np.float32)
    encoded[np.arange(len(labels)), labels] = 1
    return encoded


def _normalised_values() -> Floats:
    values = np.arange(256, dtype=np.float64) / 255
    return ((values - TRAIN_MEAN) / TRAIN_STD).astype(np.float32)

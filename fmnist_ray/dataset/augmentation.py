"""Random changes to a batch of training images, drawn afresh for every image.

What happens to each image is drawn in NumPy, so that every framework and device sees the same
changes; torch applies them where its tensors are, others to arrays. It runs within every training
step, so it is written for whole batches: flips and shifts together are one gather, erasing is one
mask.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fmnist_ray.errors import RequestError

if TYPE_CHECKING:
    import torch

ERASED_AREA = (0.02, 0.20)
"""Least and greatest share of the image that random erasing covers."""
ERASED_ASPECT = (0.3, 3.3)
"""Least and greatest ratio of the erased rectangle's height to its width."""


@dataclass(frozen=True)
class Augmentation:
    """What is changed, and by how much at most.

    Attributes:
        rotation_degrees: Each image turns by an angle from -this to +this, about its centre.
        shift_pixels: Each image moves by whole pixels from -this to +this, in width and height.
        flip: Whether each image is mirrored left to right with probability 1/2.
        erase_probability: Probability that a rectangle of an image is erased (Zhong et al.,
            "Random Erasing Data Augmentation", AAAI 2020, arXiv:1708.04896).

    Raises:
        RequestError: An amount is negative, or the probability is above 1.
    """

    rotation_degrees: float = 0.0
    shift_pixels: int = 0
    flip: bool = False
    erase_probability: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.rotation_degrees <= 180:
            raise RequestError(
                f"rotation_degrees is {self.rotation_degrees}; choose a value from 0 to 180."
            )
        if self.shift_pixels != int(self.shift_pixels) or self.shift_pixels < 0:
            raise RequestError(
                f"shift_pixels is {self.shift_pixels}; choose a whole number of pixels, 0 or more."
            )
        if not 0 <= self.erase_probability <= 1:
            raise RequestError(
                f"erase_probability is {self.erase_probability}; choose a value from 0 to 1."
            )

    @property
    def any(self) -> bool:
        """Whether anything is changed at all."""
        return bool(
            self.rotation_degrees or self.shift_pixels or self.flip or self.erase_probability
        )


@dataclass(frozen=True)
class _Changes:
    """What happens to each image of a batch; None for what happens to none.

    Attributes:
        angles: Radians, float32 (n,).
        mirrored: Whether an image is mirrored, (n,).
        shifts: Pixels down and right, from 0 to twice the most, within an image padded by the
            most, (n, 2).
        erased: Top, left, height and width of the rectangle, its height 0 to erase none, (n, 4).
    """

    angles: npt.NDArray[np.float32] | None
    mirrored: npt.NDArray[np.bool_] | None
    shifts: npt.NDArray[np.int64] | None
    erased: npt.NDArray[np.int64] | None


def augment(
    images: "torch.Tensor",
    augmentation: Augmentation,
    generator: np.random.Generator,
    fill: float = 0.0,
) -> "torch.Tensor":
    """Changes each image of a batch at random: rotation, then flip and shift, then erasing.

    Args:
        images: Shape (n, channels, height, width), any type, on any device; left as it is.
        augmentation: What to change.
        generator: Draws the changes.
        fill: Value of the background, which comes in at the edges and is what erasing leaves:
            0 for pixels as they are, `(0 - mean) / deviation` for normalised ones.

    Returns:
        A new tensor of the same shape, type and device.
    """
    import torch
    from torch.nn import functional

    count, channels, height, width = images.shape
    changes = _draw(augmentation, count, height, width, generator)
    changed = images
    if changes.angles is not None:
        changed = _rotate(changed, torch.from_numpy(changes.angles), fill)
    if changes.mirrored is not None or changes.shifts is not None:
        most = augmentation.shift_pixels
        padded = functional.pad(changed, (most, most, most, most), value=fill)
        positions = torch.from_numpy(_positions(changes, most, channels, height, width))
        # One index_select over flat positions is three times as fast here as indexing with a
        # tensor per axis.
        flat = padded.reshape(-1).index_select(0, positions.to(images.device))
        changed = flat.reshape(images.shape)
    if changes.erased is not None:
        mask = torch.from_numpy(_mask(changes.erased, height, width))[:, None]
        changed = changed.masked_fill(mask.to(images.device), fill)
    return images.clone() if changed is images else changed


def augment_array(
    images: npt.NDArray[Any],
    augmentation: Augmentation,
    generator: np.random.Generator,
    fill: float = 0.0,
) -> npt.NDArray[Any]:
    """As `augment`, for an array (n, height, width)."""
    count, height, width = images.shape
    changes = _draw(augmentation, count, height, width, generator)
    changed = images
    if changes.angles is not None:
        changed = _rotate_array(changed, changes.angles, fill)
    if changes.mirrored is not None or changes.shifts is not None:
        most = augmentation.shift_pixels
        padded = np.pad(changed, ((0, 0), (most, most), (most, most)), constant_values=fill)
        changed = padded.reshape(-1)[_positions(changes, most, 1, height, width)]
        changed = changed.reshape(images.shape)
    if changes.erased is not None:
        changed = np.where(_mask(changes.erased, height, width), images.dtype.type(fill), changed)
    return images.copy() if changed is images else changed


def _draw(
    augmentation: Augmentation, count: int, height: int, width: int, generator: np.random.Generator
) -> _Changes:
    angles = mirrored = shifts = erased = None
    if augmentation.rotation_degrees:
        most = math.radians(augmentation.rotation_degrees)
        angles = generator.uniform(-most, most, count).astype(np.float32)
    if augmentation.flip:
        mirrored = generator.random(count) < 0.5
    if augmentation.shift_pixels:
        shifts = generator.integers(2 * int(augmentation.shift_pixels) + 1, size=(count, 2))
    if augmentation.erase_probability:
        chance, area, aspect, top, left = generator.random((5, count))
        area = (ERASED_AREA[0] + area * (ERASED_AREA[1] - ERASED_AREA[0])) * height * width
        # The logarithm of the ratio is uniform, so that tall and wide are equally likely.
        low, high = (math.log(limit) for limit in ERASED_ASPECT)
        ratio = np.exp(low + aspect * (high - low))
        tall = np.clip(np.round(np.sqrt(area * ratio)), 1, height)
        wide = np.clip(np.round(np.sqrt(area / ratio)), 1, width)
        top, left = np.floor(top * (height - tall + 1)), np.floor(left * (width - wide + 1))
        tall = np.where(chance < augmentation.erase_probability, tall, 0)
        erased = np.stack([top, left, tall, wide], 1).astype(np.int64)
    return _Changes(angles, mirrored, shifts, erased)


def _positions(
    changes: _Changes, most: int, channels: int, height: int, width: int
) -> npt.NDArray[np.int64]:
    """Where each pixel comes from in the flat batch, padded by `most` pixels on every side."""
    drawn = changes.mirrored if changes.mirrored is not None else changes.shifts
    assert drawn is not None
    count = len(drawn)
    columns = np.broadcast_to(np.arange(width), (count, width))
    rows = np.broadcast_to(np.arange(height), (count, height))
    if changes.mirrored is not None:
        columns = np.where(changes.mirrored[:, None], columns[:, ::-1], columns)
    if changes.shifts is not None:
        rows, columns = rows + changes.shifts[:, :1], columns + changes.shifts[:, 1:]
    planes = np.arange(count * channels).reshape(count, channels, 1, 1)
    starts = (planes * (height + 2 * most) + rows[:, None, :, None]) * (width + 2 * most)
    positions: npt.NDArray[np.int64] = (starts + columns[:, None, None, :]).reshape(-1)
    return positions


def _mask(erased: npt.NDArray[np.int64], height: int, width: int) -> npt.NDArray[np.bool_]:
    """Which pixels are erased, (n, height, width)."""
    top, left, tall, wide = (each[:, None] for each in erased.T)
    rows, columns = np.arange(height), np.arange(width)
    in_rows = (rows >= top) & (rows < top + tall)
    in_columns = (columns >= left) & (columns < left + wide)
    mask: npt.NDArray[np.bool_] = in_rows[:, :, None] & in_columns[:, None, :]
    return mask


def _rotate(images: "torch.Tensor", angle: "torch.Tensor", fill: float) -> "torch.Tensor":
    import torch
    from torch.nn import functional

    count, channels, height, width = images.shape
    cosine, sine, zero = torch.cos(angle), torch.sin(angle), torch.zeros(count)
    # affine_grid's coordinates run from -1 to 1 on both axes, whatever the sides are.
    turns = torch.stack(
        [cosine, -sine * height / width, zero, sine * width / height, cosine, zero], dim=1
    ).reshape(count, 2, 3)
    grid = functional.affine_grid(
        turns.to(images.device), [count, channels, height, width], align_corners=False
    )
    # grid_sample brings in zeros from outside: make the background zero for it. It also wants
    # float32, whatever the type of the images.
    turned = functional.grid_sample(images.float() - fill, grid, align_corners=False) + fill
    if images.is_floating_point():
        return turned.to(images.dtype)
    return turned.round_().to(images.dtype)


def _rotate_array(
    images: npt.NDArray[Any], angles: npt.NDArray[np.float32], fill: float
) -> npt.NDArray[Any]:
    """As `_rotate`: each pixel is the mean of the four that its origin lies between."""
    count, height, width = images.shape
    down = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
    right = np.arange(width, dtype=np.float32) - (width - 1) / 2
    cosine, sine = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    # One pixel of background around takes whatever lies outside.
    row = np.clip(sine * right + cosine * down + (height + 1) / 2, 0, height + 1 - 1e-3)
    column = np.clip(cosine * right - sine * down + (width + 1) / 2, 0, width + 1 - 1e-3)
    padded = np.pad(images.astype(np.float32), ((0, 0), (1, 1), (1, 1)), constant_values=fill)
    top, left = row.astype(np.int64), column.astype(np.int64)
    below, beside = row - top, column - left
    start = (np.arange(count)[:, None, None] * (height + 2) + top) * (width + 2) + left
    flat = padded.reshape(-1)
    turned = (flat[start] * (1 - beside) + flat[start + 1] * beside) * (1 - below)
    start += width + 2
    turned += (flat[start] * (1 - beside) + flat[start + 1] * beside) * below
    if not np.issubdtype(images.dtype, np.floating):
        turned = np.round(turned)
    result: npt.NDArray[Any] = turned.astype(images.dtype)
    return result

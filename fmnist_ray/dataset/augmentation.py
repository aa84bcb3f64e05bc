"""Random changes to a batch of training images, drawn afresh for every image.

It runs within every training step, so it is written for whole batches: flips and shifts together
are one gather, rotation is one `grid_sample`, erasing is one mask.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

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


def augment(
    images: "torch.Tensor",
    augmentation: Augmentation,
    generator: "torch.Generator",
    fill: float = 0.0,
) -> "torch.Tensor":
    """Changes each image of a batch at random: rotation, then flip and shift, then erasing.

    Args:
        images: Shape (n, channels, height, width), any type, on any device; left as it is.
        augmentation: What to change.
        generator: A generator of the CPU, so that every device sees the same changes.
        fill: Value of the background, which comes in at the edges and is what erasing leaves:
            0 for pixels as they are, `(0 - mean) / deviation` for normalised ones.

    Returns:
        A new tensor of the same shape, type and device.
    """
    changed = images
    if augmentation.rotation_degrees:
        changed = _rotate(changed, augmentation.rotation_degrees, generator, fill)
    if augmentation.flip or augmentation.shift_pixels:
        changed = _flip_and_shift(
            changed, augmentation.flip, int(augmentation.shift_pixels), generator, fill
        )
    if augmentation.erase_probability:
        changed = _erase(changed, augmentation.erase_probability, generator, fill)
    return images.clone() if changed is images else changed


def _rotate(
    images: "torch.Tensor", degrees: float, generator: "torch.Generator", fill: float
) -> "torch.Tensor":
    import torch
    from torch.nn import functional

    count, channels, height, width = images.shape
    angle = (torch.rand(count, generator=generator) * 2 - 1) * math.radians(degrees)
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


def _flip_and_shift(
    images: "torch.Tensor", flip: bool, shift: int, generator: "torch.Generator", fill: float
) -> "torch.Tensor":
    import torch
    from torch.nn import functional

    count, channels, height, width = images.shape
    columns = torch.arange(width).expand(count, width)
    rows = torch.arange(height).expand(count, height)
    if flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    if shift:
        columns = columns + torch.randint(2 * shift + 1, (count, 1), generator=generator)
        rows = rows + torch.randint(2 * shift + 1, (count, 1), generator=generator)
    padded = functional.pad(images, (shift, shift, shift, shift), value=fill)
    padded_height, padded_width = height + 2 * shift, width + 2 * shift
    planes = torch.arange(count * channels).reshape(count, channels, 1, 1)
    # Position of every wanted pixel in the flat padded batch. One index_select over it is three
    # times as fast here as indexing with a tensor per axis.
    starts = (planes * padded_height + rows.reshape(count, 1, height, 1)) * padded_width
    positions = (starts + columns.reshape(count, 1, 1, width)).reshape(-1).to(images.device)
    return padded.reshape(-1).index_select(0, positions).reshape(images.shape)


def _erase(
    images: "torch.Tensor", probability: float, generator: "torch.Generator", fill: float
) -> "torch.Tensor":
    import torch

    count, _, height, width = images.shape
    chance, area, aspect, top, left = torch.rand(5, count, 1, generator=generator)
    area = (ERASED_AREA[0] + area * (ERASED_AREA[1] - ERASED_AREA[0])) * height * width
    # The logarithm of the ratio is uniform, so that tall and wide are equally likely.
    low, high = (math.log(limit) for limit in ERASED_ASPECT)
    ratio = torch.exp(low + aspect * (high - low))
    tall = (area * ratio).sqrt().round().clamp(1, height)
    wide = (area / ratio).sqrt().round().clamp(1, width)
    top = (top * (height - tall + 1)).floor()
    left = (left * (width - wide + 1)).floor()
    rows, columns = torch.arange(height), torch.arange(width)
    in_rows = (rows >= top) & (rows < top + tall) & (chance < probability)
    in_columns = (columns >= left) & (columns < left + wide)
    erased = (in_rows[:, :, None] & in_columns[:, None, :])[:, None].to(images.device)
    return images.masked_fill(erased, fill)

"""Turns a person's own photographs into images as Fashion-MNIST has them.

Fashion-MNIST was made from a shop's pictures (Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747,
section 2): edges whose colour is close to the corners' are cut off, the longest edge is brought to
28 pixels, the result is sharpened with a Gaussian of radius and deviation 1, its shorter edge is
extended to 28 with the item in the middle, and its shades of grey are negated. The same is done
here, with what pictures need that do not come from a studio:

- The ground is not taken from the corners but from the whole border, as a plane of colour that
  fits most of it, so that uneven light and an item that touches the border do no harm.
- Each pixel becomes its distance from the ground, as a share of the largest possible. On a white
  ground this is the negative, on a black one the picture itself, and on others the item is
  bright on black likewise: light on dark and dark on light need no telling apart.
- Differences as small as the border's own (noise, texture) count as ground.
- An item that hardly differs from its ground is made brighter.
- Pixels are averaged where the authors skipped rows and columns, which keeps less noise.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fmnist_ray.dataset.arrays import IMAGE_SIZE, Bytes
from fmnist_ray.dataset.image_files import PhotographError, opened_image

if TYPE_CHECKING:
    from PIL import Image

# Large pictures are reduced to this edge first: eight times the final one keeps an item that
# fills an eighth of the frame, and makes the cost the same for all sizes.
_WORKING_SIZE = 8 * IMAGE_SIZE
_CLOSE = 0.05  # to the ground: the authors' share of the largest distance
_BORDER_PIXELS = 600  # that the ground is fitted to, evenly taken
_NOISE_DEVIATIONS = 3.0
_LARGEST_NOISE = 0.25
_DARK = 32  # of 255; in all 70,000 images two corners and a quarter of the border are below 17
# Nine in ten of Fashion-MNIST's items are brighter than this in their brightest tenth ...
_LOW_CONTRAST = 100 / 255
_USUAL_CONTRAST = 200 / 255  # ... and half of them than this.
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow has it

Floats = npt.NDArray[np.float32]


def read_photograph(source: Path | bytes) -> Bytes:
    """Reads an image file and brings it into Fashion-MNIST's form.

    Args:
        source: The file, or the content of one.

    Returns:
        uint8, (28, 28): the item bright on black. A file that has this form already, 28 x 28,
        grey and with a dark border, is taken pixel for pixel.

    Raises:
        PhotographError: The file cannot be read, is no image, is too large, or shows no item.
    """
    with opened_image(source) as image:
        exact = _already_small(image)
        if exact is not None:
            return exact
        return from_colours(_colours(image))


def read_thumbnail(path: Path, size: int = 160) -> Bytes:
    """A file as a person sees it, small: uint8, (height, width, 3), upright.

    Raises:
        PhotographError: As `read_photograph`.
    """
    with opened_image(path) as image:
        return np.rint(_colours(image, size) * 255).astype(np.uint8)


def from_colours(colours: Floats) -> Bytes:
    """The steps after reading: from a picture's colours to 28 x 28 shades of grey.

    Args:
        colours: float32, (height, width, 3), 0 to 1.

    Returns:
        uint8, (28, 28).

    Raises:
        PhotographError: Nothing stands out from the ground.
    """
    distance = _distance_from_ground(colours)
    top, bottom, left, right = _item_box(distance)
    small = _resized(distance[top:bottom, left:right])
    item = small[small > _CLOSE]
    brightest = float(np.quantile(item, 0.9)) if item.size else 0.0
    if 0 < brightest < _LOW_CONTRAST:
        small = small * (_USUAL_CONTRAST / brightest)
    pixels = np.rint(np.clip(_sharpened(small), 0, 1) * 255).astype(np.uint8)
    result = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    height, width = pixels.shape
    row, column = (IMAGE_SIZE - height) // 2, (IMAGE_SIZE - width) // 2
    result[row : row + height, column : column + width] = pixels
    return result


def _already_small(image: "Image.Image") -> Bytes | None:
    """The pixels, if the image has the data set's own form."""
    if image.size != (IMAGE_SIZE, IMAGE_SIZE):
        return None
    if image.mode == "L" and "transparency" not in image.info:
        grey: Bytes = np.asarray(image)
    elif image.mode in ("P", "L", "LA", "RGB", "RGBA"):
        pixels: Bytes = np.asarray(image.convert("RGBA"))
        grey = pixels[:, :, 0]
        if (pixels[:, :, 1:3] != grey[:, :, None]).any() or (pixels[:, :, 3] != 255).any():
            return None
    else:
        return None
    corners = np.sort(grey[[0, 0, -1, -1], [0, -1, 0, -1]])
    border = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    dark = corners[1] <= _DARK and 4 * np.count_nonzero(border <= _DARK) >= len(border)
    return np.ascontiguousarray(grey) if dark else None


def _colours(image: "Image.Image", size: int = _WORKING_SIZE) -> Floats:
    """The picture upright, opaque, its longest edge at most `size`: (height, width, 3), 0 to 1."""
    from PIL import Image, ImageOps

    if image.mode.startswith("I;16") or image.mode == "I":
        # 16 bits, of which Pillow would keep the lowest 8.
        image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    clear = "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info
    kept = ("RGBA",) if clear else ("RGB", "L", "CMYK", "YCbCr")
    if image.mode not in kept:  # a conversion to the same mode would be a copy
        image = image.convert("RGBA" if clear else "RGB")
    # JPEG is unpacked at a fraction of its size if that is enough.
    image.thumbnail((size, size), Image.Resampling.BOX, reducing_gap=1.0)
    image = ImageOps.exif_transpose(image)
    layers: Floats = np.asarray(image if clear else image.convert("RGB"), np.float32)
    layers /= np.float32(255)
    if not clear:
        return layers
    opaque = layers[:, :, 3:]
    laid: Floats = layers[:, :, :3] * opaque + _backing(layers) * (1 - opaque)
    return laid


def _backing(layers: Floats) -> float:
    """What a transparent picture is laid on: white, as in a shop, or black if it is white itself."""
    opaque = layers[:, :, 3]
    if not opaque.any():
        return 1.0
    mean = float(((layers[:, :, :3] @ _GREY) * opaque).sum() / opaque.sum())
    return 0.0 if mean > 0.9 else 1.0


def _distance_from_ground(colours: Floats) -> Floats:
    """How far each pixel is from the ground's colour, as a share of the largest distance.

    Returns:
        float32, (height, width), 0 to 1; what is within the ground's own noise is 0.
    """
    height, width = colours.shape[:2]
    ring = np.ones((height, width), bool)
    thick = max(1, min(height, width) // 50)
    ring[thick:-thick, thick:-thick] = False
    rows, columns = np.nonzero(ring)
    step = 1 + len(rows) // _BORDER_PIXELS
    rows, columns = rows[::step], columns[::step]
    border = colours[rows, columns]
    ground, inside = _fit_plane(rows / height, columns / width, border, (height, width))
    farthest = np.maximum(ground, 1 - ground)
    distance: Floats = (np.abs(colours - ground) / farthest) @ _GREY
    away = distance[rows[inside], columns[inside]]
    noise = min(_NOISE_DEVIATIONS * _spread(away), _LARGEST_NOISE)
    return ((distance - noise) / (1 - noise)).clip(0, 1)


def _fit_plane(
    rows: npt.NDArray[np.float64],
    columns: npt.NDArray[np.float64],
    colours: Floats,
    shape: tuple[int, int],
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """A plane of colour through most of the border's pixels, by least squares.

    Pixels far from the rest, those of an item that touches the border, are left out: far from
    the median at first, then far from the plane.

    Args:
        rows: Of the border's pixels, 0 to 1.
        columns: Likewise.
        colours: Theirs, (n, 3).
        shape: Height and width of the picture.

    Returns:
        The plane over the picture, (height, width, 3), 0 to 1, and which of the border's pixels
        it goes through, (n,).
    """
    design = np.stack([np.ones_like(rows), rows - 0.5, columns - 0.5], axis=1)
    expected = np.median(colours, axis=0)[None, :]
    for _ in range(3):
        away = np.abs(colours - expected).max(axis=1)
        inside = away <= max(2 * _spread(away), _CLOSE)
        solution = np.linalg.lstsq(design[inside], colours[inside], rcond=None)[0]
        expected = design @ solution
    level, down, across = solution.astype(np.float32)
    row, column = (np.arange(side, dtype=np.float32) / side - 0.5 for side in shape)
    plane: Floats = level + row[:, None, None] * down + column[None, :, None] * across
    return plane.clip(0, 1), inside


def _spread(distances: npt.NDArray[np.floating]) -> float:
    """The deviation of noise whose absolute values these are, by their median."""
    return 1.4826 * float(np.median(distances))


def _item_box(distance: Floats) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what is not close to the ground; the ends are not in it."""
    from PIL import Image, ImageFilter

    # Far by themselves and on the average of 3 x 3, and two pixels at least in a row, so that specks
    # do not count.
    far = distance > _CLOSE
    if max(distance.shape) > 2 * IMAGE_SIZE:
        grey = Image.fromarray(np.rint(distance * 255).astype(np.uint8))
        far &= np.asarray(grey.filter(ImageFilter.BoxBlur(1))) > _CLOSE * 255
    least = 1 + max(distance.shape) // 112
    rows = np.flatnonzero(far.sum(axis=1) >= least)
    columns = np.flatnonzero(far.sum(axis=0) >= least)
    if not len(rows) or not len(columns):
        raise PhotographError("nothing in it stands out from its background")
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _resized(distance: Floats) -> Floats:
    """With its longest edge brought to 28 pixels."""
    from PIL import Image

    height, width = distance.shape
    scale = IMAGE_SIZE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(np.ascontiguousarray(distance)).resize(size, way))


def _sharpened(image: Floats) -> Floats:
    """Each pixel moved away from the mean of its 8 neighbours, weighted by a Gaussian.

    The kernel is ImageMagick's `-sharpen 1x1`, which the authors used: the negative Gaussian of
    deviation 1 on 3 x 3 pixels, its middle twice the sum of all, scaled to keep flat areas.
    """
    near, diagonal = np.exp(-0.5), np.exp(-1.0)
    around = 4 * near + 4 * diagonal
    middle = 2 * (1 + around)
    padded = np.pad(image, 1, mode="edge")
    height, width = image.shape

    def shifted(row: int, column: int) -> Floats:
        return padded[1 + row : 1 + row + height, 1 + column : 1 + column + width]

    beside = shifted(0, 1) + shifted(0, -1) + shifted(1, 0) + shifted(-1, 0)
    across = shifted(1, 1) + shifted(1, -1) + shifted(-1, 1) + shifted(-1, -1)
    result = (middle * image - near * beside - diagonal * across) / (middle - around)
    return np.asarray(result, np.float32)

"""What a data set looks like in numbers: classes, pixels, correlations, near-duplicates.

Nothing here draws; `reports.exploration` does. Sums run over blocks of images, so that memory stays
far below that of the images as floats.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmnist_ray.dataset.arrays import CLASS_NAMES, Bytes, Split
from fmnist_ray.dataset.progress import Progress, no_progress

Doubles = npt.NDArray[np.float64]

_BLOCK = 1_000  # of them against 60,000 others: 240 MB of distances


@dataclass(frozen=True)
class ClassBalance:
    """How many images each class has.

    Attributes:
        counts: Of each class, int64 (10,).
        shares: Of all images, (10,).
        statistic: Chi-square over equal counts, 9 degrees of freedom.
        p_value: Chance of one as large if all classes were equally likely.
    """

    counts: npt.NDArray[np.int64]
    shares: Doubles
    statistic: float
    p_value: float


@dataclass(frozen=True)
class PixelStatistics:
    """Of pixels as they are stored, 0 to 255.

    Attributes:
        images: Number of images.
        mean: Of all pixels.
        deviation: Of all pixels.
        background: Share of pixels that are 0.
        saturated: Share that are 255.
        histogram: Number of pixels of each value, int64 (256,).
    """

    images: int
    mean: float
    deviation: float
    background: float
    saturated: float
    histogram: npt.NDArray[np.int64]

    def quantile(self, share: float) -> int:
        """The lowest value that at least this share of the pixels does not exceed."""
        below = np.cumsum(self.histogram)
        return int(np.searchsorted(below, share * below[-1]))


def class_balance(labels: Bytes) -> ClassBalance:
    """Counts and a test of whether the classes are equally frequent (Pearson 1900)."""
    from scipy.stats import chi2

    counts = np.bincount(labels, minlength=len(CLASS_NAMES)).astype(np.int64)
    expected = counts.sum() / len(counts)
    statistic = float(((counts - expected) ** 2 / expected).sum()) if expected else 0.0
    p_value = float(chi2.sf(statistic, len(counts) - 1))
    return ClassBalance(counts, counts / max(counts.sum(), 1), statistic, p_value)


def pixel_statistics(images: Bytes) -> PixelStatistics:
    """Figures of all pixels, from their histogram."""
    histogram = np.zeros(256, np.int64)
    for block in _blocks(images):
        histogram += np.bincount(block.reshape(-1), minlength=256)
    values, pixels = np.arange(256), max(int(histogram.sum()), 1)
    mean = float(histogram @ values / pixels)
    deviation = float(np.sqrt(histogram @ (values - mean) ** 2 / pixels))
    background, saturated = histogram[0] / pixels, histogram[255] / pixels
    return PixelStatistics(
        len(images), mean, deviation, float(background), float(saturated), histogram
    )


def mean_and_deviation_images(images: Bytes) -> tuple[Doubles, Doubles]:
    """Mean and standard deviation of each pixel over the images, (28, 28) each."""
    total, squares = np.zeros(images.shape[1:]), np.zeros(images.shape[1:])
    for block in _blocks(images):
        values = block.astype(np.float64)
        total += values.sum(0)
        squares += np.square(values).sum(0)
    count = max(len(images), 1)
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0))


def correlations(split: Split) -> Doubles:
    """Pearson correlation of `label, pixel1 .. pixel784`, (785, 785).

    A column that never changes correlates with nothing: NaN, and 1 with itself, as in pandas but
    for the diagonal.
    """
    columns = 1 + split.images[0].size
    total, products = np.zeros(columns), np.zeros((columns, columns))
    # Whole numbers below 2**53: sums and products are exact in float64, in whatever order.
    for start in range(0, len(split), _BLOCK):
        rows = slice(start, start + _BLOCK)
        values = np.empty((len(split.labels[rows]), columns))
        values[:, 0] = split.labels[rows]
        values[:, 1:] = split.images[rows].reshape(len(values), -1)
        total += values.sum(0)
        products += values.T @ values
    count = len(split)
    covariance = products * count - np.outer(total, total)
    spread = np.sqrt(np.diag(covariance))
    with np.errstate(divide="ignore", invalid="ignore"):
        result = covariance / np.outer(spread, spread)
    np.fill_diagonal(result, 1.0)
    clipped: Doubles = np.clip(result, -1.0, 1.0)
    return clipped


@dataclass(frozen=True)
class NearDuplicate:
    """Two images that are nearly the same.

    Attributes:
        first: Index of one, in the split searched.
        second: Index of the other.
        distance: Root mean square difference of their pixels, 0 to 255.
    """

    first: int
    second: int
    distance: float


def near_duplicates(
    images: Bytes, others: Bytes | None, within: float, progress: Progress = no_progress
) -> list[NearDuplicate]:
    """Pairs whose root mean square difference is above 0 and at most `within`.

    Every pair is compared: squared distances come from matrix products of float32, and those near
    the limit are computed again from the pixels.

    Args:
        images: uint8 (n, 28, 28).
        others: Compared with these, or None for pairs within `images`.
        within: The greatest difference, in steps of 255.
        progress: Called with the images done and all.

    Returns:
        The closest first.
    """
    flat = images.reshape(len(images), -1)
    against = flat if others is None else others.reshape(len(others), -1)
    pixels = flat.shape[1]
    lengths = np.square(against, dtype=np.float32).sum(1)
    right = against.astype(np.float32).T
    found = []
    for start in range(0, len(flat), _BLOCK):
        left = flat[start : start + _BLOCK].astype(np.float32)
        first = start if others is None else 0
        squares = left @ right[:, first:]
        squares *= -2
        squares += np.square(left).sum(1)[:, None]
        squares += lengths[first:]
        # A margin for rounding: float32 has 24 bits, a squared length up to 26.
        rows, columns = np.nonzero(squares <= within**2 * pixels + 64)
        for row, column in zip((rows + start).tolist(), (columns + first).tolist(), strict=True):
            if others is None and column <= row:
                continue
            difference = flat[row].astype(np.float64) - against[column]
            distance = float(np.sqrt(np.square(difference).mean()))
            if 0 < distance <= within:
                found.append(NearDuplicate(row, column, distance))
        progress(min(start + _BLOCK, len(flat)), len(flat))
    return sorted(found, key=lambda pair: (pair.distance, pair.first, pair.second))


def _blocks(images: Bytes) -> Iterator[Bytes]:
    for start in range(0, len(images), _BLOCK):
        yield images[start : start + _BLOCK]

"""Data sets for the tests of this folder."""

import numpy as np
import pytest

from fmnist_ray.dataset.arrays import CLASS_NAMES, Dataset, Split
from fmnist_ray.dataset.sources import fetch_release


def _random_split(size: int, seed: int) -> Split:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (size, 28, 28), dtype=np.uint8)
    labels = generator.permutation(np.arange(size) % len(CLASS_NAMES)).astype(np.uint8)
    return Split(images, labels)


@pytest.fixture
def small() -> Dataset:
    """60 training and 30 test images of noise, the classes even, in no order of labels."""
    return Dataset(_random_split(60, 1), _random_split(30, 2), "made up")


@pytest.fixture(scope="session")
def release() -> Dataset:
    """The whole of Fashion-MNIST, from the cache or fetched into it."""
    return fetch_release()

"""Comparison of data sets, array by array."""

import numpy as np

from fmnist_ray.dataset.arrays import Dataset


def assert_same_arrays(found: Dataset, expected: Dataset) -> None:
    """Fails unless both have the same splits with the same images and labels in one order."""
    assert found.splits().keys() == expected.splits().keys()
    for name, split in expected.splits().items():
        np.testing.assert_array_equal(found.splits()[name].images, split.images)
        np.testing.assert_array_equal(found.splits()[name].labels, split.labels)
        assert found.splits()[name].images.dtype == np.uint8
        assert found.splits()[name].images.flags.c_contiguous

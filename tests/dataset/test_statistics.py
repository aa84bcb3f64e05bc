import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare

from fmnist_ray.dataset.arrays import Split
from fmnist_ray.dataset.statistics import (
    class_balance,
    correlations,
    mean_and_deviation_images,
    near_duplicates,
    pixel_statistics,
)


@pytest.fixture(scope="module")
def split():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (2_300, 28, 28), dtype=np.uint8)
    images[:, 0, 0] = 5  # never changes
    return Split(images, generator.integers(0, 10, 2_300, dtype=np.uint8))


def test_equal_classes_are_balanced_and_others_are_not():
    even = class_balance(np.repeat(np.arange(10, dtype=np.uint8), 600))
    assert even.counts.tolist() == [600] * 10
    assert even.statistic == 0
    assert even.p_value == 1
    odd = class_balance(np.repeat(np.arange(10, dtype=np.uint8), [700, 500] + [600] * 8))
    assert odd.statistic == pytest.approx(2 * 100**2 / 600)
    assert odd.p_value == pytest.approx(chisquare(odd.counts).pvalue)
    assert odd.shares.sum() == pytest.approx(1)


def test_pixel_statistics_are_those_of_all_pixels(split):
    found = pixel_statistics(split.images)
    assert found.images == 2_300
    assert found.mean == pytest.approx(split.images.mean())
    assert found.deviation == pytest.approx(split.images.std())
    assert found.background == pytest.approx((split.images == 0).mean())
    assert found.saturated == pytest.approx((split.images == 255).mean())
    assert found.quantile(0.5) == np.quantile(split.images, 0.5, method="inverted_cdf")


def test_mean_and_deviation_images(split):
    mean, deviation = mean_and_deviation_images(split.images)
    np.testing.assert_allclose(mean, split.images.mean(0))
    np.testing.assert_allclose(deviation, split.images.std(0), atol=1e-6)


def test_correlations_are_those_of_pandas(split):
    table = np.column_stack([split.labels, split.images.reshape(len(split), -1)])
    expected = pd.DataFrame(table.astype(float)).corr().to_numpy().copy()
    np.fill_diagonal(expected, 1)
    found = correlations(split)
    assert found.shape == (785, 785)
    assert np.isnan(found[1, 2])
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_near_duplicates_are_found_and_equal_ones_are_not(split):
    images = split.images[:2_100].copy()
    images[2_050] = images[3]
    images[2_050, 4, 4] ^= 1
    images[77] = images[78]
    ((pair),) = near_duplicates(images, None, within=1.0)
    assert (pair.first, pair.second) == (3, 2_050)
    assert pair.distance == pytest.approx(1 / 28)
    across = near_duplicates(images[:10], images, within=1.0)
    assert [(p.first, p.second) for p in across] == [(3, 2_050)]

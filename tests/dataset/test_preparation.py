import numpy as np
import pytest

from fmnist_ray.dataset.preparation import (
    BACKGROUND,
    TRAIN_MEAN,
    TRAIN_STD,
    flatten,
    normalise,
    one_hot,
    to_nchw,
    to_nhwc,
)
from fmnist_ray.errors import RequestError


def test_normalise_scales_every_pixel_value(small):
    found = normalise(small.train.images)
    expected = (small.train.images / 255 - TRAIN_MEAN) / TRAIN_STD
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert normalise(np.zeros(1, np.uint8))[0] == pytest.approx(BACKGROUND)


@pytest.mark.full_data
def test_the_training_images_have_mean_0_and_deviation_1(release):
    values = normalise(release.train.images)
    assert values.mean(dtype=np.float64) == pytest.approx(0, abs=1e-4)
    assert values.std(dtype=np.float64) == pytest.approx(1, abs=1e-4)


def test_shapes(small):
    images = small.test.images
    for shaped, shape in [
        (to_nchw(images), (30, 1, 28, 28)),
        (to_nhwc(images), (30, 28, 28, 1)),
        (flatten(images), (30, 784)),
    ]:
        assert shaped.shape == shape
        assert np.shares_memory(shaped, images)
    np.testing.assert_array_equal(to_nhwc(images)[:, :, :, 0], to_nchw(images)[:, 0])


def test_one_hot_marks_the_label(small):
    encoded = one_hot(small.train.labels)
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded.sum(axis=1), 1)
    np.testing.assert_array_equal(encoded.argmax(axis=1), small.train.labels)
    assert one_hot(np.array([1, 0]), classes=2).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("label", [-1, 10])
def test_one_hot_refuses_what_is_no_label(label):
    with pytest.raises(RequestError, match=f"label {label} at position 1 is outside 0..9"):
        one_hot(np.array([0, label]))

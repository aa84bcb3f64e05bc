import hashlib
from dataclasses import replace

import numpy as np
import pytest

from fmnist_ray.dataset.arrays import Split, fingerprint, validate
from fmnist_ray.errors import RequestError


def test_fingerprint_is_of_the_bytes_of_each_array(small):
    found = fingerprint(small)
    assert list(found) == ["train_images", "train_labels", "test_images", "test_labels"]
    assert found["test_labels"] == hashlib.sha256(small.test.labels.tobytes()).hexdigest()
    strided = Split(np.asfortranarray(small.train.images), small.train.labels)
    assert fingerprint(replace(small, train=strided)) == found


def test_fingerprint_tells_apart_one_pixel_and_names_a_validation_split(small):
    images = small.train.images.copy()
    images[7, 3, 3] ^= 1
    changed = replace(small, train=Split(images, small.train.labels), validation=small.test)
    before, after = fingerprint(small), fingerprint(changed)
    assert before["train_images"] != after["train_images"]
    assert before["train_labels"] == after["train_labels"]
    assert after["validation_images"] == before["test_images"]


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 32, 32), np.uint8), np.zeros(2, np.uint8), "32 x 32, but 28 x 28"),
        (np.zeros((2, 28, 28), np.float32), np.zeros(2, np.uint8), "images are of type float32"),
        (np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.int64), "labels are of type int64"),
        (np.zeros((2, 28, 28), np.uint8), np.zeros(3, np.uint8), "2 images but labels of shape"),
        (np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.uint8), "holds no images"),
        (
            np.zeros((3, 28, 28), np.uint8),
            np.array([1, 9, 10], np.uint8),
            r"label of image 2 \(counted from 0\) is 10; labels are 0..9. 1 of 3",
        ),
    ],
)
def test_validate_names_the_place_and_what_is_wrong(images, labels, message):
    with pytest.raises(RequestError, match=f"^here: .*{message}"):
        validate(Split(images, labels), "here")

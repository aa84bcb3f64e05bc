import numpy as np
import pytest
import torch

from fmnist_ray.dataset.augmentation import Augmentation
from fmnist_ray.dataset.loaders import data_loader, tensorflow_dataset
from fmnist_ray.dataset.preparation import normalise
from fmnist_ray.errors import RequestError


def test_batches_are_prepared_and_cover_the_split_in_order(small):
    loader = data_loader(small.train, batch_size=25)
    batches = list(loader)
    assert [len(labels) for _, labels in batches] == [25, 25, 10]
    assert len(loader) == 3
    images = torch.cat([images for images, _ in batches])
    labels = torch.cat([labels for _, labels in batches])
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    np.testing.assert_array_equal(images.numpy()[:, 0], normalise(small.train.images))
    np.testing.assert_array_equal(labels.numpy(), small.train.labels)


def test_indices_choose_and_order_the_images(small):
    indices = np.array([7, 3, 50])
    ((images, labels),) = data_loader(small.train, indices)
    np.testing.assert_array_equal(images.numpy()[:, 0], normalise(small.train.images[indices]))
    np.testing.assert_array_equal(labels.numpy(), small.train.labels[indices])


def test_shuffling_covers_everything_anew_each_pass_and_by_seed(small):
    def order(loader):
        return torch.cat([images for images, _ in loader])[:, 0, 0, :8]

    loader = data_loader(small.train, shuffle=True, seed=1, batch_size=7)
    first, second = order(loader), order(loader)
    again = data_loader(small.train, shuffle=True, seed=1, batch_size=7)
    assert torch.equal(first, order(again))
    assert torch.equal(second, order(again))
    assert not torch.equal(first, second)
    assert not torch.equal(first, order(data_loader(small.train, shuffle=True, seed=2)))
    plain = order(data_loader(small.train))
    for passed in (first, second):
        assert not torch.equal(passed, plain)
        assert sorted(passed[:, 0].tolist()) == sorted(plain[:, 0].tolist())


def test_augmentation_is_applied_afresh_and_by_seed(small):
    def images(loader):
        return torch.cat([images for images, _ in loader])

    def loader(seed):
        return data_loader(
            small.train, seed=seed, augmentation=Augmentation(flip=True, shift_pixels=2)
        )

    one = loader(0)
    first, second = images(one), images(one)
    assert torch.equal(first, images(loader(0)))
    assert not torch.equal(first, second)
    assert not torch.equal(first, images(loader(1)))
    # Filled with the background, not with the mean.
    assert first.min() == pytest.approx(normalise(np.zeros(1, np.uint8))[0])


def test_impossible_requests_are_refused(small):
    with pytest.raises(RequestError, match="batch size 0"):
        data_loader(small.train, batch_size=0)
    for outside in ([0, 60], [-1, 5]):
        with pytest.raises(RequestError, match="for 60 images"):
            data_loader(small.train, np.array(outside))


def test_tensorflow_gets_the_same_batches(small):
    indices = np.arange(5, 55)
    found = list(tensorflow_dataset(small.train, indices, batch_size=20).as_numpy_iterator())
    expected = list(data_loader(small.train, indices, batch_size=20))
    assert [len(labels) for _, labels in found] == [20, 20, 10]
    for (images, labels), (tensors, classes) in zip(found, expected, strict=True):
        assert images.shape[1:] == (28, 28, 1)
        np.testing.assert_array_equal(images[..., 0], tensors[:, 0].numpy())
        np.testing.assert_array_equal(labels, classes.numpy())


def test_tensorflow_shuffles_and_augments_anew_each_pass_and_by_seed(small):
    def batches(seed):
        return tensorflow_dataset(
            small.train, shuffle=True, seed=seed, augmentation=Augmentation(flip=True)
        )

    def pixels(dataset):
        return np.concatenate([images for images, _ in dataset.as_numpy_iterator()])

    one, same = batches(1), batches(1)
    first, second = pixels(one), pixels(one)
    assert np.array_equal(first, pixels(same))
    assert np.array_equal(second, pixels(same))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, pixels(batches(2)))
    assert first.sum() == pytest.approx(second.sum(), rel=1e-4)
    with pytest.raises(RequestError, match="batch size 0"):
        tensorflow_dataset(small.train, batch_size=0)

import numpy as np
import pytest

from fmnist_ray.dataset.arrays import Split
from fmnist_ray.dataset.folds import stratified_folds
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.errors import RequestError


@pytest.fixture(scope="module")
def sample() -> Split:
    return load_dataset("sample").train


@pytest.mark.parametrize("folds", [2, 3, 5, 7])
def test_every_image_is_in_one_fold_and_classes_are_even(sample: Split, folds: int) -> None:
    used = np.arange(5, 1_907)
    parts = stratified_folds(sample, used, folds, seed=3)
    assert len(parts) == folds
    assert np.array_equal(np.sort(np.concatenate(parts)), used)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    counts = np.array([np.bincount(sample.labels[part], minlength=10) for part in parts])
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert all((np.diff(part) > 0).all() for part in parts)


def test_the_seed_draws_the_folds(sample: Split) -> None:
    used = np.arange(2_000)
    one, again, other = (stratified_folds(sample, used, 4, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_copies_of_an_image_stay_together(sample: Split) -> None:
    images = np.concatenate([sample.images[:500], sample.images[100:160], sample.images[100:110]])
    labels = np.concatenate([sample.labels[:500], sample.labels[100:160], sample.labels[100:110]])
    labels[505] = (labels[505] + 1) % 10  # a copy with another label is a copy all the same
    split = Split(images, labels)
    parts = stratified_folds(split, np.arange(len(split)), 5, seed=0)
    fold_of = np.zeros(len(split), int)
    for fold, part in enumerate(parts):
        fold_of[part] = fold
    assert sorted(np.concatenate(parts)) == list(range(570))
    assert np.array_equal(fold_of[500:560], fold_of[100:160])
    assert np.array_equal(fold_of[560:], fold_of[100:110])
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) < 40


def test_impossible_numbers_are_refused(sample: Split) -> None:
    with pytest.raises(RequestError, match=r"--folds is 1: .* at least 2"):
        stratified_folds(sample, np.arange(100), 1, 0)
    few = np.flatnonzero(sample.labels == 6)[:3]
    used = np.sort(np.concatenate([np.flatnonzero(sample.labels != 6), few]))
    with pytest.raises(RequestError, match=r"--folds is 4, but class 6 \(Shirt\) has only 3"):
        stratified_folds(sample, used, 4, 0)
    assert len(stratified_folds(sample, used, 3, 0)) == 3

import numpy as np
import pytest

from fmnist_ray.dataset.splits import (
    load_indices,
    save_indices,
    split_fingerprint,
    stratified_split,
    stratified_subset,
)
from fmnist_ray.errors import RequestError

EVEN = np.tile(np.arange(10, dtype=np.uint8), 100)
UNEVEN = np.repeat(np.arange(4, dtype=np.uint8), [500, 300, 150, 50])


@pytest.mark.parametrize("labels", [EVEN, UNEVEN])
@pytest.mark.parametrize("fraction", [0.1, 0.25, 1 / 3])
def test_a_split_is_a_partition_with_the_same_shares(labels, fraction):
    train, validation = stratified_split(labels, fraction, seed=3)
    assert train.dtype == validation.dtype == np.int64
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()
    np.testing.assert_array_equal(
        np.sort(np.concatenate([train, validation])), np.arange(len(labels))
    )
    assert len(validation) == round(len(labels) * fraction)
    exact = np.bincount(labels) * len(validation) / len(labels)
    assert (np.abs(np.bincount(labels[validation]) - exact) < 1).all()


def test_the_seed_decides():
    first, again, other = (stratified_split(EVEN, 0.2, seed)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 1.5, float("nan")])
def test_an_impossible_fraction_is_refused(fraction):
    with pytest.raises(RequestError, match=f"validation fraction {fraction} is impossible"):
        stratified_split(EVEN, fraction, seed=0)


def test_a_split_that_leaves_one_side_empty_is_refused():
    with pytest.raises(RequestError, match="no image for validation"):
        stratified_split(EVEN[:10], 0.01, seed=0)
    with pytest.raises(RequestError, match="no image to train on"):
        stratified_split(EVEN[:10], 0.99, seed=0)


def test_a_subset_has_the_shares_of_the_labels_to_the_largest_remainder():
    # Shares of 13 places: 6.5, 3.9, 1.95, 0.65. Whole 6, 3, 1, 0; the three places left go to
    # the remainders .95, .9 and .65.
    chosen = stratified_subset(UNEVEN, 13, seed=0)
    assert np.bincount(UNEVEN[chosen]).tolist() == [6, 4, 2, 1]
    assert chosen.dtype == np.int64
    assert (np.diff(chosen) > 0).all()
    # Equal remainders: the first classes get the places.
    assert np.bincount(EVEN[stratified_subset(EVEN, 13, seed=0)]).tolist() == [2] * 3 + [1] * 7
    np.testing.assert_array_equal(stratified_subset(EVEN, 1000, seed=5), np.arange(1000))


@pytest.mark.parametrize(
    ("size", "message"),
    [(1001, "1001 images were asked for, but there are 1000"), (9, "9 images are too few for 10")],
)
def test_an_impossible_size_is_refused(size, message):
    with pytest.raises(RequestError, match=message):
        stratified_subset(EVEN, size, seed=0)


def test_indices_come_back_from_disk_and_have_a_fingerprint(tmp_path):
    train, validation = stratified_split(EVEN, 0.2, seed=0)
    save_indices(tmp_path / "split.npz", train=train, validation=validation)
    found = load_indices(tmp_path / "split.npz")
    assert list(found) == ["train", "validation"]
    np.testing.assert_array_equal(found["train"], train)
    assert split_fingerprint(**found) == split_fingerprint(train=train, validation=validation)
    assert split_fingerprint(a=train)["a"] != split_fingerprint(a=validation)["a"]
    assert split_fingerprint(a=train.astype(np.int32)) == split_fingerprint(a=train)


def test_a_file_that_holds_no_indices_is_refused(tmp_path):
    (tmp_path / "text.npz").write_text("text")
    np.savez(tmp_path / "floats.npz", train=np.zeros(3))
    np.savez(tmp_path / "objects.npz", train=np.array([{}], dtype=object))
    np.save(tmp_path / "single.npy", np.arange(3))
    for name in ("missing.npz", "text.npz", "floats.npz", "objects.npz", "single.npy"):
        with pytest.raises(RequestError, match=name):
            load_indices(tmp_path / name)

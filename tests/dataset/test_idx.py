import gzip
import hashlib
import struct
from dataclasses import replace

import numpy as np
import pytest

from fmnist_ray.dataset import idx
from fmnist_ray.dataset.arrays import Split
from fmnist_ray.dataset.idx import (
    ReleaseCheck,
    find_idx,
    read_idx,
    read_idx_folder,
    write_idx,
    write_idx_folder,
)
from fmnist_ray.dataset.release import RELEASE, TEST_LABELS, TRAIN_IMAGES
from fmnist_ray.errors import RequestError
from tests.dataset.comparing import assert_same_arrays


@pytest.mark.parametrize("compress", [True, False])
def test_reading_gives_what_was_written(small, tmp_path, compress):
    with_validation = replace(small, validation=small.test)
    write_idx_folder(with_validation, tmp_path, compress)
    found = read_idx_folder(tmp_path, ReleaseCheck.SAME_SHAPE)
    assert_same_arrays(found, with_validation)
    assert str(tmp_path) in found.source


def test_the_bytes_are_the_format_and_depend_on_the_content_alone(tmp_path):
    array = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    write_idx(tmp_path / "raw", array)
    write_idx(tmp_path / "one.gz", array)
    write_idx(tmp_path / "two.gz", array)
    expected = bytes((0, 0, 8, 3)) + struct.pack(">III", 1, 2, 3) + bytes(range(6))
    assert (tmp_path / "raw").read_bytes() == expected
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()
    assert gzip.decompress((tmp_path / "one.gz").read_bytes()) == expected


def test_compression_is_told_by_content_not_name(tmp_path):
    array = np.arange(5, dtype=np.uint8)
    write_idx(tmp_path / "a.gz", array)
    (tmp_path / "a.gz").rename(tmp_path / "a")
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), array)


@pytest.mark.parametrize("subfolder", ["", "raw", "FashionMNIST/raw"])
def test_torchvisions_subfolder_is_found(small, tmp_path, subfolder):
    (tmp_path / subfolder).mkdir(parents=True, exist_ok=True)
    assert find_idx(tmp_path) is None
    write_idx_folder(small, tmp_path / subfolder, compress=False)
    assert find_idx(tmp_path) == tmp_path / subfolder


def _truncated_gzip(path):
    path.write_bytes(path.read_bytes()[:-200])


def _damaged_gzip(path):
    content = bytearray(path.read_bytes())
    content[40:60] = bytes(20)
    path.write_bytes(content)


def _wrong_magic(path):
    path.write_bytes(b"\x89PNG" + bytes(100))


def _floats(path):
    path.write_bytes(bytes((0, 0, 13, 3)) + bytes(100))


def _empty(path):
    path.write_bytes(b"")


def _header_only(path):
    path.write_bytes(bytes((0, 0, 8, 3, 0, 0)))


def _missing_values(path):
    path.write_bytes(gzip.decompress(path.read_bytes())[:-1])


def _folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncated_gzip, "cut short or damaged"),
        (_damaged_gzip, "cut short or damaged"),
        (_wrong_magic, "starts with 89 50 4e 47, expected 00 00 08 03"),
        (_floats, "starts with 00 00 0d 03"),
        (_empty, "starts with nothing"),
        (_header_only, "ends within its header"),
        (_missing_values, "promises 60 x 28 x 28 = 47040 values, but 47039 follow"),
        (_folder, "lacks train-images-idx3-ubyte"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(small, tmp_path, damage, message):
    write_idx_folder(small, tmp_path, compress=True)
    damage(tmp_path / f"{TRAIN_IMAGES}.gz")
    with pytest.raises(RequestError, match=message) as error:
        read_idx_folder(tmp_path, ReleaseCheck.SAME_SHAPE)
    assert str(tmp_path) in str(error.value)
    assert TRAIN_IMAGES in str(error.value)


def test_a_gzip_file_that_grows_beyond_measure_is_refused(small, tmp_path, monkeypatch):
    write_idx_folder(small, tmp_path, compress=True)
    monkeypatch.setattr(idx, "MAX_BYTES", 60 * 28 * 28)  # its header is too much
    with pytest.raises(RequestError, match=r"more than 47,040 bytes when decompressed"):
        read_idx_folder(tmp_path, ReleaseCheck.SAME_SHAPE)


def test_files_that_do_not_belong_together_are_refused(small, tmp_path):
    write_idx_folder(small, tmp_path, compress=False)
    write_idx(tmp_path / TEST_LABELS, small.train.labels)
    with pytest.raises(RequestError, match="30 images but labels of shape"):
        read_idx_folder(tmp_path, ReleaseCheck.SAME_SHAPE)


def test_other_image_sizes_and_labels_out_of_range_are_refused(small, tmp_path):
    write_idx_folder(small, tmp_path, compress=False)
    write_idx(tmp_path / TRAIN_IMAGES, np.zeros((60, 32, 32), np.uint8))
    with pytest.raises(RequestError, match="32 x 32, but 28 x 28"):
        read_idx_folder(tmp_path, ReleaseCheck.SAME_SHAPE)
    write_idx_folder(small, tmp_path, compress=False)
    write_idx(tmp_path / TEST_LABELS, np.full(30, 11, np.uint8))
    with pytest.raises(RequestError, match=f"{TEST_LABELS}: the label of image 0 .* is 11"):
        read_idx_folder(tmp_path, ReleaseCheck.SAME_SHAPE)
    assert read_idx_folder(tmp_path, ReleaseCheck.NEVER).test.labels[0] == 11


def test_half_a_validation_pair_is_refused(small, tmp_path):
    write_idx_folder(replace(small, validation=small.test), tmp_path, compress=False)
    (tmp_path / "validation-labels-idx1-ubyte").unlink()
    with pytest.raises(RequestError, match="lacks validation-labels-idx1-ubyte"):
        read_idx_folder(tmp_path, ReleaseCheck.SAME_SHAPE)


def test_a_file_of_the_releases_shape_must_be_the_releases(small, tmp_path):
    labels = (np.arange(10_000) % 10).astype(np.uint8)
    altered = replace(small, test=Split(np.zeros((10_000, 28, 28), np.uint8), labels))
    write_idx_folder(altered, tmp_path, compress=False)
    write_idx(tmp_path / "t10k-images-idx3-ubyte", np.zeros((3, 28, 28), np.uint8))
    found = hashlib.sha256((tmp_path / TEST_LABELS).read_bytes()).hexdigest()
    with pytest.raises(RequestError) as error:
        read_idx_folder(tmp_path, ReleaseCheck.SAME_SHAPE)
    for part in (str(tmp_path / TEST_LABELS), found, RELEASE[TEST_LABELS].sha256, "CSV"):
        assert part in str(error.value)


def test_what_must_be_the_release_is_refused_whatever_its_shape(small, tmp_path):
    write_idx_folder(small, tmp_path, compress=True)
    with pytest.raises(RequestError, match="not the file of Fashion-MNIST's release"):
        read_idx_folder(tmp_path, ReleaseCheck.ALWAYS)

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fmnist_ray.dataset.class_folders import read_class_folders, read_image, write_class_folders
from fmnist_ray.errors import RequestError
from tests.dataset.comparing import assert_same_arrays


@pytest.fixture
def folder(small, tmp_path):
    write_class_folders(small, tmp_path)
    return tmp_path


def test_reading_gives_what_was_written_in_its_order(small, tmp_path):
    with_validation = replace(small, validation=small.test)
    steps = []
    write_class_folders(with_validation, tmp_path)
    found = read_class_folders(tmp_path, lambda done, total: steps.append((done, total)))
    assert_same_arrays(found, with_validation)
    assert steps == [(100, 120), (120, 120)]


def test_files_are_named_by_index(small, folder):
    path = folder / "train" / str(small.train.labels[42]) / "42.png"
    np.testing.assert_array_equal(np.asarray(Image.open(path)), small.train.images[42])


def test_other_names_come_class_by_class(small, folder):
    own = folder / "test" / "3"
    for number, path in enumerate(sorted(own.iterdir())):
        path.rename(own / f"boot-{9 - number}.png")
    test = read_class_folders(folder).test
    assert test.labels.tolist() == sorted(small.test.labels.tolist())
    np.testing.assert_array_equal(
        test.images[test.labels == 3], small.test.images[small.test.labels == 3][::-1]
    )


def test_leftovers_of_file_managers_do_not_count(small, folder):
    (folder / "train" / "0" / ".DS_Store").write_bytes(b"x")
    (folder / "train" / "0" / "Thumbs.db").write_bytes(b"x")
    (folder / "train" / ".cache").mkdir()
    assert_same_arrays(read_class_folders(folder), small)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "1", "LA"])
def test_shades_of_grey_are_read_from_any_kind_of_file(tmp_path, mode):
    grey = np.where(np.arange(784).reshape(28, 28) % 3 == 0, 255, 0).astype(np.uint8)
    Image.fromarray(grey).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), grey)


def _colour(path):
    Image.new("RGB", (28, 28), (200, 10, 10)).save(path)


def _transparent(path):
    Image.new("RGBA", (28, 28), (9, 9, 9, 100)).save(path)


def _deep(path):
    Image.new("I;16", (28, 28)).save(path)


def _large(path):
    Image.new("L", (32, 30)).save(path)


def _text(path):
    path.write_text("no image")


def _cut(path):
    path.write_bytes(path.read_bytes()[:-300])


def _empty_file(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_colour, r"not a grey image of 8 bits \(its mode is RGB\)"),
        (_transparent, r"not a grey image of 8 bits \(its mode is RGBA\)"),
        (_deep, r"not a grey image of 8 bits \(its mode is I;16\)"),
        (_large, "is 32 x 30 pixels, but 28 x 28"),
        (_text, "cannot be read as an image"),
        (_cut, "cannot be read as an image"),
        (_empty_file, "cannot be read as an image"),
    ],
)
def test_a_bad_image_is_named(small, folder, spoil, message):
    path = folder / "train" / str(small.train.labels[17]) / "17.png"
    spoil(path)
    with pytest.raises(RequestError, match=message) as error:
        read_class_folders(folder)
    assert str(path) in str(error.value)


def test_missing_empty_and_unknown_classes_are_named(folder):
    def message():
        with pytest.raises(RequestError) as error:
            read_class_folders(folder)
        return str(error.value)

    (folder / "train" / "10").mkdir()
    assert f"{folder / 'train' / '10'} is none of the classes 0..9" in message()
    (folder / "train" / "10").rmdir()
    (folder / "train" / "5" / "notes.txt").write_text("")
    assert "notes.txt is no image file" in message()
    for path in (folder / "train" / "5").iterdir():
        path.unlink()
    assert f"{folder / 'train' / '5'} holds no images" in message()
    (folder / "train" / "5").rmdir()
    assert f"{folder / 'train'} lacks the class folder 5" in message()
    shutil.rmtree(folder / "test")
    (folder / "train" / "5").mkdir()
    shutil.copy(next((folder / "train" / "4").iterdir()), folder / "train" / "5")
    assert f"{folder / 'test'} is missing" in message()

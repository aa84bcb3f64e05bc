import numpy as np
import pytest

from fmnist_ray.dataset.arrays import fingerprint
from fmnist_ray.dataset.export import SPLIT_FILE, export_dataset, split_off_validation
from fmnist_ray.dataset.layouts import Layout, read_folder
from fmnist_ray.dataset.release import release_fingerprint
from fmnist_ray.dataset.splits import load_indices
from fmnist_ray.errors import RequestError
from tests.dataset.comparing import assert_same_arrays


@pytest.mark.parametrize("layout", list(Layout))
def test_a_validation_split_gets_folders_or_files_of_its_own(small, tmp_path, layout):
    folder = tmp_path / "out"
    written = export_dataset(small, layout, folder, validation_fraction=0.25, seed=4)
    assert_same_arrays(read_folder(folder), written)
    indices = load_indices(folder / SPLIT_FILE)
    assert written.validation is not None
    assert len(written.validation) == len(indices["validation"]) == 15
    np.testing.assert_array_equal(written.train.images, small.train.images[indices["train"]])
    np.testing.assert_array_equal(
        written.validation.images, small.train.images[indices["validation"]]
    )
    same, _, validation = split_off_validation(small, 0.25, seed=4)
    assert_same_arrays(same, written)
    np.testing.assert_array_equal(validation, indices["validation"])


def test_files_of_both_sides_of_a_split_keep_the_numbers_of_the_whole(small, tmp_path):
    export_dataset(small, Layout.FOLDERS, tmp_path / "out", validation_fraction=0.25)
    names = [
        path.name
        for side in ("train", "validation")
        for path in (tmp_path / "out" / side).rglob("*.png")
    ]
    assert sorted(names) == [f"{number:02}.png" for number in range(60)]


def test_progress_reaches_the_end(small, tmp_path):
    for layout in (Layout.FOLDERS, Layout.CSV):
        steps: dict[int, int] = {}
        export_dataset(small, layout, tmp_path / layout, progress=steps.__setitem__)
        assert list(steps.items())[-1] == (90, 90)


@pytest.mark.parametrize("layout", list(Layout))
def test_a_folder_that_holds_something_is_left_alone(small, tmp_path, layout):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match="is not empty"):
        export_dataset(small, layout, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_export_that_fails_half_way_leaves_nothing(small, tmp_path):
    def fail(done, total):
        raise KeyboardInterrupt

    for layout in (Layout.FOLDERS, Layout.CSV):
        with pytest.raises(KeyboardInterrupt):
            export_dataset(small, layout, tmp_path / "out", progress=fail)
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="out cannot be written"):
        export_dataset(small, Layout.CSV, tmp_path / "file" / "out")


def test_impossible_requests_are_refused_before_anything_is_written(small, tmp_path):
    target = tmp_path / "out"
    with pytest.raises(RequestError, match=r"validation fraction 1\.5"):
        export_dataset(small, Layout.CSV, target, validation_fraction=1.5)
    with pytest.raises(RequestError, match=r"validation has no image of class 5, 6, 7, 8, 9,"):
        export_dataset(small, Layout.FOLDERS, target, validation_fraction=5 / 60)
    halves, _, _ = split_off_validation(small, 0.5, seed=0)
    with pytest.raises(RequestError, match="has a validation split of its own"):
        export_dataset(halves, Layout.CSV, target, validation_fraction=0.5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.full_data
def test_the_release_comes_back_from_csv_byte_for_byte(release, tmp_path):
    export_dataset(release, Layout.CSV, tmp_path / "out")
    assert fingerprint(read_folder(tmp_path / "out")) == release_fingerprint()

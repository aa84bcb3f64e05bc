import pytest

from fmnist_ray.dataset.export import export_dataset
from fmnist_ray.dataset.layouts import Layout, detect_layout, read_folder
from fmnist_ray.errors import RequestError
from tests.dataset.comparing import assert_same_arrays

LOOKED_FOR = ("train-images-idx3-ubyte", "fashion-mnist_train.csv", "train/0..9")


def test_every_layout_is_told_and_holds_the_same_arrays_after_a_round(small, tmp_path):
    current = small
    for step, layout in enumerate([Layout.IDX, Layout.CSV, Layout.FOLDERS, Layout.IDX]):
        folder = tmp_path / str(step)
        export_dataset(current, layout, folder)
        assert detect_layout(folder) is layout
        current = read_folder(folder)
        assert_same_arrays(current, small)


def test_idx_goes_before_csv(small, tmp_path):
    for layout in (Layout.CSV, Layout.IDX):
        export_dataset(small, layout, tmp_path / layout)
    for path in (tmp_path / "csv").iterdir():
        path.rename(tmp_path / "idx" / path.name)
    assert detect_layout(tmp_path / "idx") is Layout.IDX


def test_a_folder_that_holds_nothing_known_is_named_with_what_was_looked_for(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for folder, problem in [
        (tmp_path / "nowhere", "is not there"),
        (tmp_path / "file", "is a file, not a folder"),
        (tmp_path / "empty", "is empty"),
        (tmp_path, "holds no data set"),
    ]:
        with pytest.raises(RequestError) as error:
            read_folder(folder)
        for part in (f"{folder} {problem}", *LOOKED_FOR):
            assert part in str(error.value)

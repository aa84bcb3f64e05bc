import pytest

from fmnist_ray.dataset.staging import staged_file, staged_folder
from fmnist_ray.errors import RequestError


def _write_half(staged):
    with staged as aside:
        (aside / "half" if aside.is_dir() else aside).write_text("half")
        raise ZeroDivisionError


def test_a_file_replaces_the_old_one_only_when_it_is_whole(tmp_path):
    path = tmp_path / "made" / "file.txt"
    with staged_file(path) as aside:
        aside.write_text("first")
        assert not path.exists()
    with pytest.raises(ZeroDivisionError):
        _write_half(staged_file(path))
    assert path.read_text() == "first"
    with staged_file(path) as aside:
        aside.write_text("third")
    assert path.read_text() == "third"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "a" / "b"
    with pytest.raises(ZeroDivisionError):
        _write_half(staged_folder(folder))
    assert list((tmp_path / "a").iterdir()) == []
    with staged_folder(folder) as aside:
        (aside / "whole").write_text("")
        assert not folder.exists()
    assert [entry.name for entry in folder.iterdir()] == ["whole"]
    assert [entry.name for entry in folder.parent.iterdir()] == ["b"]


def test_a_folder_with_content_is_refused_unless_it_may_be_replaced(tmp_path):
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "old").write_text("")
    with pytest.raises(RequestError, match="full is not empty"), staged_folder(folder):
        pytest.fail("the work started")
    with pytest.raises(RequestError, match="is a file"), staged_folder(folder / "old"):
        pytest.fail("the work started")
    with staged_folder(folder, replace=True) as aside:
        (aside / "new").write_text("")
    assert [entry.name for entry in folder.iterdir()] == ["new"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["full"]

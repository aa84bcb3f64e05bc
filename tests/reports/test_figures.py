"""How figures are made and saved."""

from pathlib import Path

import pytest
from PIL import Image

from fmnist_ray.reports.figures import COLOURS, new_figure, write_png


def test_a_figure_is_saved_as_png_in_a_folder_that_is_made(tmp_path: Path) -> None:
    write_png(tmp_path / "figures" / "empty.png", new_figure(4, 2))
    with Image.open(tmp_path / "figures" / "empty.png") as image:
        assert image.format == "PNG"
        assert image.size == (600, 300)
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["empty.png"]


def test_a_figure_that_cannot_be_drawn_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    figure = new_figure(4, 2)
    figure.suptitle(r"$\nonsense$")
    with pytest.raises(ValueError, match="nonsense"):
        write_png(path, figure)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_global_list_of_figures_grows() -> None:
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    new_figure(4, 2)
    assert pyplot.get_fignums() == before


def test_colours_differ() -> None:
    assert len(set(COLOURS)) == len(COLOURS)

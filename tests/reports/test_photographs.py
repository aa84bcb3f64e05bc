"""The figure of what a model says of photographs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fmnist_ray.dataset.arrays import CLASS_NAMES
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.reports.figures import write_png
from fmnist_ray.reports.photographs import (
    CAPTIONS,
    PREDICTIONS_FIGURE,
    SHOWN,
    Labelled,
    draw_predictions,
    labelled,
)

IMAGES = load_dataset("sample").test.images
PROBABILITY = np.array([0.02, 0, 0.1, 0, 0.6, 0, 0.28, 0, 0, 0], np.float32)


def row(number: int) -> Labelled:
    large = np.asarray(Image.fromarray(IMAGES[number]).resize((120, 160)).convert("RGB"))
    return labelled(f"$photo_{number}$.jpg", large, IMAGES[number], PROBABILITY, CLASS_NAMES)


def test_the_most_probable_classes_come_first() -> None:
    each = row(0)
    assert each.classes == ("Coat", "Shirt", "Pullover", "T-shirt/top")
    assert each.probabilities == pytest.approx((0.6, 0.28, 0.1, 0.02))


def test_long_names_keep_their_end() -> None:
    each = labelled("a" * 80 + "-7.jpg", IMAGES[0], IMAGES[0], PROBABILITY, CLASS_NAMES)
    assert len(each.name) == 36
    assert each.name.startswith("...")
    assert each.name.endswith("-7.jpg")


@pytest.mark.parametrize("count", [1, 2, 5, SHOWN])
def test_every_photograph_is_drawn_with_its_name_and_classes(count: int, tmp_path: Path) -> None:
    figure = draw_predictions([row(number) for number in range(count)])
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert titles == [f"$photo_{number}$.jpg" for number in _by_rows(count)]
    bars = [axes for axes in figure.axes if axes.get_yticklabels() and axes.patches]
    assert len(bars) == count
    assert bars[0].get_yticklabels()[0].get_text() == "Coat"
    write_png(tmp_path / PREDICTIONS_FIGURE, figure)
    with Image.open(tmp_path / PREDICTIONS_FIGURE) as image:
        assert image.width > 900


def test_texts_of_the_figure_do_not_overlap() -> None:
    figure = draw_predictions([row(number) for number in range(6)])
    figure.draw_without_rendering()
    texts = [text for axes in figure.axes for text in axes.texts]
    texts += [axes._left_title for axes in figure.axes]
    texts += [text for axes in figure.axes if axes.patches for text in axes.get_yticklabels()]
    boxes = [text.get_window_extent() for text in texts if text.get_text() and text.get_visible()]
    pictures = [axes.get_window_extent() for axes in figure.axes if axes.images]
    assert len(boxes) == 6 * 9
    for at, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in (*boxes[at + 1 :], *pictures))


def test_the_figure_has_a_caption() -> None:
    assert set(CAPTIONS) == {PREDICTIONS_FIGURE}


def _by_rows(count: int) -> list[int]:
    """Numbers as axes come, row by row, of a figure that is filled column by column."""
    rows = -(-count // min(2, count))
    return [number for row in range(rows) for number in (row, row + rows) if number < count]

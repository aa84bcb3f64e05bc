"""The confusion matrix as a figure."""

import numpy as np
import pytest

from fmnist_ray.reports.confusion import confusion_data, draw_confusion

NAMES = ("Coat", "Bag", "Dress")
COUNTS = np.array([[1500, 300, 0], [1, 9, 0], [0, 0, 0]])


def test_data_holds_counts_and_percent_of_the_true_class() -> None:
    data = confusion_data(COUNTS, NAMES)
    assert data.class_names == NAMES
    assert data.counts.tolist() == COUNTS.tolist()
    assert data.percent[1].tolist() == [10, 90, 0]
    assert data.percent[2].tolist() == [0, 0, 0]


def test_a_name_is_needed_for_every_class() -> None:
    with pytest.raises(ValueError, match="2 names"):
        confusion_data(COUNTS, NAMES[:2])


def test_the_figure_names_classes_and_axes_and_writes_counts_beside_percent() -> None:
    figure = draw_confusion(confusion_data(COUNTS, NAMES), "cnn: 83 % right")
    counts, percent = figure.axes
    for axes in (counts, percent):
        assert [label.get_text() for label in axes.get_xticklabels()] == list(NAMES)
        assert [label.get_text() for label in axes.get_yticklabels()] == list(NAMES)
        assert axes.get_xlabel() == "Predicted class"
        assert axes.get_ylabel() == "True class"
    # Row by row; cells without an image stay empty.
    assert [text.get_text() for text in counts.texts] == (
        ["1,500", "300", "", "1", "9", "", "", "", ""]
    )
    assert [text.get_text() for text in percent.texts] == (
        ["83.3", "16.7", "", "10.0", "90.0", "", "", "", ""]
    )


def test_text_stands_out_from_dark_and_from_light_cells() -> None:
    counts = draw_confusion(confusion_data(COUNTS, NAMES), "").axes[0]
    colours = [text.get_color() for text in counts.texts]
    assert colours[0] == "white"
    assert colours[3] == "black"


def test_a_matrix_without_images_is_drawn() -> None:
    figure = draw_confusion(confusion_data(np.zeros((3, 3), dtype=np.int64), NAMES), "")
    assert {text.get_text() for axes in figure.axes for text in axes.texts} == {""}

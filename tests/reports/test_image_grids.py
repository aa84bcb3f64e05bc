"""What is said of images, and that it is drawn."""

import numpy as np
import pytest

from fmnist_ray.dataset.arrays import CLASS_NAMES
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.evaluation.label_issues import LabelIssues
from fmnist_ray.evaluation.metrics import ConfusedPair
from fmnist_ray.reports.image_grids import (
    RIGHT,
    WRONG,
    draw_tile_rows,
    draw_tiles,
    issue_tiles,
    mistake_tiles,
    pair_rows,
    prediction_tiles,
    random_tiles,
)

TEST = load_dataset("sample").test


def answers(wrong: dict[int, int]) -> np.ndarray:
    """Probabilities that are right but for some images, given a class of their own."""
    given = TEST.labels.astype(np.int64).copy()
    for index, label in wrong.items():
        given[index] = label
    probability = np.full((len(TEST), 10), 0.02, np.float32)
    probability[np.arange(len(TEST)), given] = 0.82
    return probability


def test_a_right_answer_says_its_class_and_a_wrong_one_both() -> None:
    wrong = (int(TEST.labels[1]) + 1) % 10
    tiles = prediction_tiles(
        TEST.images, TEST.labels, answers({1: wrong}), np.array([0, 1]), CLASS_NAMES
    )
    assert [tile.right for tile in tiles] == [True, False]
    assert tiles[0].text == f"✓ {CLASS_NAMES[TEST.labels[0]]}\n82 %"
    assert tiles[1].text == f"✗ {CLASS_NAMES[wrong]}, 82 %\nis {CLASS_NAMES[TEST.labels[1]]}"
    assert (tiles[1].image == TEST.images[1]).all()


def test_random_images_are_the_same_each_time_and_are_right_or_wrong() -> None:
    probability = answers({})
    first = random_tiles(TEST.images, TEST.labels, probability, CLASS_NAMES)
    again = random_tiles(TEST.images, TEST.labels, probability, CLASS_NAMES)
    assert len(first) == 40
    assert all(tile.right for tile in first)
    assert [tile.text for tile in first] == [tile.text for tile in again]


def test_mistakes_are_only_mistakes() -> None:
    wrong = {index: (int(TEST.labels[index]) + 1) % 10 for index in (3, 5)}
    tiles = mistake_tiles(TEST.images, TEST.labels, answers(wrong), CLASS_NAMES)
    assert len(tiles) == 2
    assert not any(tile.right for tile in tiles)


def test_a_pair_has_a_row_with_its_counts() -> None:
    shirts = np.flatnonzero(TEST.labels == 6)[:2]
    coats = np.flatnonzero(TEST.labels == 4)[:1]
    probability = answers({**dict.fromkeys(shirts.tolist(), 4), int(coats[0]): 6})
    rows = pair_rows(TEST.images, TEST.labels, probability, [ConfusedPair(6, 4, 2, 1)], CLASS_NAMES)
    (title, tiles), *others = rows.items()
    assert not others
    assert title == "Shirt and Coat: 2 of Shirt taken for Coat, 1 the other way"
    assert [tile.text.splitlines()[1] for tile in tiles] == ["is Shirt", "is Shirt", "is Coat"]


def test_issues_show_the_image_that_the_position_stands_for() -> None:
    issues = LabelIssues(np.array([1]), np.array([2]), np.array([9]), np.array([-0.5]))
    (tile,) = issue_tiles(TEST.images, issues, np.array([4, 17]), CLASS_NAMES)
    assert (tile.image == TEST.images[17]).all()
    assert tile.text == "labelled Pullover\nlike Ankle boot"


def test_tiles_are_drawn_in_their_colours_and_the_rest_stays_empty() -> None:
    wrong = {0: (int(TEST.labels[0]) + 1) % 10}
    tiles = prediction_tiles(TEST.images, TEST.labels, answers(wrong), np.arange(9), CLASS_NAMES)
    figure = draw_tiles(tiles, "title")
    drawn = [axes for axes in figure.axes if axes.images]
    assert len(drawn) == 9
    assert len(figure.axes) == 16
    assert drawn[0].title.get_color() == WRONG
    assert {axes.title.get_color() for axes in drawn[1:]} == {RIGHT}


def test_rows_may_differ_in_length() -> None:
    tiles = prediction_tiles(TEST.images, TEST.labels, answers({}), np.arange(5), CLASS_NAMES)
    figure = draw_tile_rows({"one": tiles, "other": tiles[:2]}, "title")
    assert sum(bool(axes.images) for axes in figure.axes) == 7


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="no images"):
        draw_tiles([], "title")
    with pytest.raises(ValueError, match="no images"):
        draw_tile_rows({}, "title")

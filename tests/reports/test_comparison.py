"""What the figures of a comparison are drawn from, and that they can be drawn."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from fmnist_ray.evaluation.comparison import Row, published_row, ranked
from fmnist_ray.evaluation.published import PUBLISHED
from fmnist_ray.evaluation.significance import compare_pairs
from fmnist_ray.reports.comparison import (
    CAPTIONS,
    accuracy_dots,
    cost_dots,
    draw_accuracies,
    draw_cost,
    shortened,
)
from fmnist_ray.reports.comparison_table import comparison_table
from fmnist_ray.reports.figures import write_png
from fmnist_ray.reports.pairs import MOST_IN_MATRIX, draw_pairs, pair_matrix


def row(name: str, accuracy: float, seconds: float | None = 10.0) -> Row:
    return Row(
        name=name,
        source="record",
        what="train: cnn",
        test_images=10_000,
        test_accuracy=accuracy,
        test_accuracy_low=accuracy - 0.01,
        test_accuracy_high=accuracy + 0.01,
        fit_seconds=seconds,
    )


ROWS = ranked([row("low", 0.8), *map(published_row, PUBLISHED), row("high", 0.96, 200.0)])


def test_dots_are_percent_in_the_rows_order_with_the_ends_of_ranges() -> None:
    dots = accuracy_dots(ROWS)
    assert (dots.names[0], dots.names[-1]) == ("high", "low")
    assert (dots.accuracy[0], dots.low[0], dots.high[0]) == pytest.approx((96, 95, 97))
    assert list(np.flatnonzero(~dots.published)) == [0, len(ROWS) - 1]
    at = dots.names.index("random forest")
    assert (dots.low[at], dots.accuracy[at], dots.high[at]) == pytest.approx((87.3, 87.9, 88.5))
    at = dots.names.index("SVM")
    assert dots.low[at] == dots.high[at] == pytest.approx(89.7)
    assert dots.details[at] == "published"
    with pytest.raises(ValueError, match="no rows"):
        accuracy_dots([])


def test_the_matrix_is_row_minus_column() -> None:
    right = {name: np.arange(100) < count for name, count in (("c", 50), ("a", 90), ("b", 48))}
    matrix = pair_matrix(compare_pairs(right))
    assert matrix.names == ("a", "c", "b")
    off = np.nan_to_num(matrix.difference)
    assert off.tolist() == [[0, 40, 42], [-40, 0, 2], [-42, -2, 0]]
    assert np.isnan(np.diag(matrix.difference)).all()
    assert matrix.shown.tolist() == [
        [False, True, True],
        [True, False, False],
        [True, False, False],
    ]
    with pytest.raises(ValueError, match="no pairs"):
        pair_matrix([])


def test_costs_leave_out_what_is_unknown_and_what_is_published() -> None:
    costs = cost_dots([*ROWS, row("untimed", 0.9, None)])
    assert costs.names == ("high", "low")
    assert costs.seconds.tolist() == [200, 10]
    assert cost_dots([row("untimed", 0.9, None)]).names == ()


@pytest.mark.parametrize("models", [1, 2, MOST_IN_MATRIX])
def test_figures_are_drawn_of_few_and_of_many(tmp_path: Path, models: int) -> None:
    rows = [row(f"a-record-with-a-rather-long-name-{at}", 0.9 - at / 100) for at in range(models)]
    right = {each.name: np.arange(1000) < 1000 * each.test_accuracy for each in rows}
    drawn = {
        "comparison.png": draw_accuracies(accuracy_dots(rows), 10_000),
        "accuracy_against_cost.png": draw_cost(cost_dots(rows)),
    }
    if models > 1:
        drawn["pairwise.png"] = draw_pairs(pair_matrix(compare_pairs(right)))
    assert set(drawn) <= set(CAPTIONS)
    for name, figure in drawn.items():
        write_png(tmp_path / name, figure)
        with Image.open(tmp_path / name) as image:
            assert np.asarray(image.convert("L")).std() > 5, f"{name} is blank"


@pytest.mark.parametrize("width", [80, 100])
def test_the_table_keeps_its_figures_whole(width: int) -> None:
    full = Row(
        name="a-record-with-a-rather-long-name [x]",
        source="record",
        what="ensemble: 10 cnn",
        trained_on="each on 60,000 images",
        test_images=10_000,
        test_accuracy=0.9312,
        test_accuracy_low=0.9261,
        test_accuracy_high=0.936,
        test_loss=0.196,
        test_calibration_error=0.007,
        parameters=1_219_300,
        fit_seconds=1773.0,
        run_seconds=1863.0,
        images_per_second=4329.0,
    )
    console = Console(width=width)
    with console.capture() as captured:
        console.print(comparison_table([full, *map(published_row, PUBLISHED)], width))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= width
    shown = ["93.12", "92.61 to 93.60", "0.196", "0.007", "1,773", "1,863"]
    for figure in [*shown, *(["1,219,300", "4,329"] if width > 80 else [])]:
        assert any(figure in line for line in lines), figure
    assert "[x]" in captured.get()


def test_long_names_lose_their_middle() -> None:
    assert shortened("short") == "short"
    assert shortened("a" * 30 + "b" * 30, 11) == "aaaaa…bbbbb"
    assert len(shortened("x" * 99, 38)) == 38

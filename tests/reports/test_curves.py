"""Learning curves: what is read from a history, and what of it is drawn."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from fmnist_ray.errors import RequestError
from fmnist_ray.records import Record
from fmnist_ray.reports.curves import UnitCurve, best_curve, draw_curves, loss_limits, read_curves
from fmnist_ray.reports.figures import COLOURS


def row(unit: str, epoch: int, **figures: Any) -> dict[str, Any]:
    return {
        "unit": unit,
        "epoch": epoch,
        "train_loss": 1 / epoch,
        "train_accuracy": 1 - 0.5 / epoch,
        "validation_loss": 1.2 / epoch,
        "validation_accuracy": 0.9 - 0.5 / epoch,
        **figures,
    }


def curve(unit: str, accuracy: float, losses: tuple[float, ...] = (0.5,)) -> UnitCurve:
    points = len(losses)
    return UnitCurve(
        unit,
        np.arange(1.0, points + 1),
        np.array(losses),
        np.full(points, 0.5),
        np.array(losses),
        np.full(points, accuracy),
    )


def history(folder: Path, rows: list[dict[str, Any]]) -> Path:
    Record(folder).write_history(rows)
    return folder / "history.csv"


def drawn(axes: Axes) -> dict[str, list[float]]:
    return {str(line.get_label()): list(line.get_ydata()) for line in axes.lines}


def test_a_history_is_read_by_unit_in_order_of_epochs(tmp_path: Path) -> None:
    rows = [row("b", 1), row("a", 2), row("b", 2), row("a", 1)]
    curves = read_curves(history(tmp_path, rows))
    assert [each.unit for each in curves] == ["b", "a"]
    assert curves[1].epoch.tolist() == [1, 2]
    assert curves[1].train_loss.tolist() == [1, 0.5]
    assert curves[1].validation_accuracy == pytest.approx([0.4, 0.65])


def test_figures_that_a_history_lacks_are_nan(tmp_path: Path) -> None:
    rows = [row("a", 1, validation_loss=None, validation_accuracy=None)]
    (only,) = read_curves(history(tmp_path, rows))
    assert np.isnan(only.validation_loss).all()
    assert np.isfinite(only.train_loss).all()


def test_a_history_without_rows_gives_no_curves(tmp_path: Path) -> None:
    assert read_curves(history(tmp_path, [])) == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("unit,epoch\na,1\n", "line 2: there is no column train_loss"),
        ("unit,epoch,train_loss,train_accuracy,validation_loss,validation_accuracy\na,one,,,,\n",
         "line 2: epoch is 'one'"),
        ("unit,epoch,train_loss,train_accuracy,validation_loss,validation_accuracy\na,,1,1,1,1\n",
         "line 2: there is no epoch"),
        (b"\xff\xfe", "cannot be read"),
    ],
)  # fmt: skip
def test_a_damaged_history_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "history.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RequestError, match=message):
        read_curves(path)


def test_a_missing_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="does not exist"):
        read_curves(tmp_path / "history.csv")


def test_the_best_unit_is_best_at_its_highest_validation_accuracy() -> None:
    curves = [curve("a", 0.8), curve("b", 0.9), curve("c", math.nan)]
    assert best_curve(curves).unit == "b"


def test_without_validation_the_training_accuracy_decides() -> None:
    curves = [curve("a", math.nan), curve("b", math.nan)._replace(train_accuracy=np.array([0.7]))]
    assert best_curve(curves).unit == "b"


def test_the_loss_axis_is_cut_only_where_a_fit_diverged() -> None:
    sane, wild = curve("a", 0.9, (1.0, 0.3)), curve("b", 0.1, (2.0, 50.0))
    assert loss_limits([sane]) is None
    assert loss_limits([sane, wild]) == (0.3, 2.0)
    assert loss_limits([sane, curve("c", 0.1, (math.inf, math.nan))]) == (0.3, 1.0)
    assert loss_limits([wild._replace(train_loss=wild.train_loss[1:] + 9)]) == (2.0, 2.0)


def test_one_unit_is_drawn_with_training_beside_validation() -> None:
    figure = draw_curves([curve("fit", 0.75, (1.0, 0.5))], "cnn")
    accuracy, loss = figure.axes
    assert drawn(accuracy) == {"train": [50, 50], "validation": [75, 75]}
    assert drawn(loss) == {"train": [1.0, 0.5], "validation": [1.0, 0.5]}
    assert (accuracy.get_ylabel(), accuracy.get_xlabel()) == ("Accuracy in percent", "Epoch")
    assert (loss.get_ylabel(), loss.get_xlabel()) == ("Loss in nats", "Epoch")


def test_figures_that_are_missing_are_not_drawn() -> None:
    figure = draw_curves([curve("fit", math.nan, (1.0, math.nan, 0.4))], "cnn")
    assert set(drawn(figure.axes[0])) == {"train"}
    assert drawn(figure.axes[1])["train"] == [1.0, 0.4]


def test_several_units_have_a_line_and_a_colour_each() -> None:
    curves = [curve(f"fold-{at}", 0.8) for at in range(5)]
    figure = draw_curves(curves, "folds")
    names = [each.unit for each in curves]
    for axes in figure.axes:
        assert [line.get_label() for line in axes.lines] == names
        assert len({line.get_color() for line in axes.lines}) == 5
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names


def test_of_more_units_than_colours_the_best_stands_out() -> None:
    curves = [curve(f"trial-{at}", 0.8 + at / 1000) for at in range(len(COLOURS) + 1)]
    figure = draw_curves(curves, "search")
    assert len(figure.axes[0].lines) == len(curves)
    assert len({line.get_color() for line in figure.axes[0].lines}) == 2
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(texts) == [f"best: {curves[-1].unit}", f"the other {len(COLOURS)} units"]


def test_a_diverged_unit_does_not_press_the_others_flat() -> None:
    figure = draw_curves([curve("a", 0.9, (1.0, 0.3)), curve("b", 0.1, (2.0, 500.0))], "")
    loss = figure.axes[2]
    assert loss.get_ylim()[1] < 3
    assert "cut off" in loss.get_ylabel()


def test_epochs_are_whole_numbers_even_if_there_is_one(tmp_path: Path) -> None:
    axes = draw_curves([curve("fit", 0.9)], "").axes[0]
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]
    assert axes.lines[0].get_marker() == "o"


def test_no_curves_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="no curves"):
        draw_curves([], "")

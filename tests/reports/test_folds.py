"""The curves of a cross-validation: what is averaged, and what is drawn."""

import math

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from fmnist_ray.reports.curves import UnitCurve
from fmnist_ray.reports.folds import draw_folds, fold_mean

BAND = "mean ± deviation"
MEAN = "mean over the folds"


def fold(unit: str, accuracies: list[float], loss: float = 0.5) -> UnitCurve:
    points = len(accuracies)
    return UnitCurve(
        unit,
        np.arange(1.0, points + 1),
        np.full(points, loss),
        np.full(points, 0.99),
        np.full(points, 2 * loss),
        np.array(accuracies),
    )


def drawn(axes: Axes) -> dict[str, list[float]]:
    return {str(line.get_label()): list(line.get_ydata()) for line in axes.lines}


def band_of(axes: Axes) -> np.ndarray:
    """Corners of the band, shape (n, 2)."""
    (band,) = (each for each in axes.collections if isinstance(each, PolyCollection))
    return np.concatenate([path.vertices for path in band.get_paths()])


def test_the_mean_is_over_the_folds_that_have_the_epoch() -> None:
    curves = [fold("a", [0.5, 0.7, 0.9]), fold("b", [0.7, 0.8]), fold("c", [0.6])]
    mean = fold_mean(curves, "validation_accuracy")
    assert mean.epoch.tolist() == [1, 2, 3]
    assert mean.mean == pytest.approx([0.6, 0.75, 0.9])
    assert mean.deviation[:2] == pytest.approx([0.1, math.sqrt(2) * 0.05])
    assert math.isnan(mean.deviation[2])
    assert mean.folds.tolist() == [3, 2, 1]


def test_epochs_that_a_fold_lacks_or_has_no_figure_for_do_not_count() -> None:
    late = fold("b", [0.8, 0.9])._replace(epoch=np.array([2.0, 4.0]))
    mean = fold_mean([fold("a", [0.5, 0.6, math.nan]), late], "validation_accuracy")
    assert mean.epoch.tolist() == [1, 2, 4]
    assert mean.mean == pytest.approx([0.5, 0.7, 0.9])
    assert mean.folds.tolist() == [1, 2, 1]


def test_without_figures_there_is_no_mean() -> None:
    mean = fold_mean([fold("a", [math.nan])], "validation_accuracy")
    assert [len(column) for column in mean] == [0, 0, 0, 0]


def test_three_panels_show_each_fold_and_the_mean() -> None:
    figure = draw_folds([fold("fold-1", [0.5, 0.7], 0.2), fold("fold-2", [0.7, 0.9], 0.4)], "cnn")
    accuracy, train_loss, validation_loss = figure.axes
    lines = drawn(accuracy)
    assert list(lines) == ["fold-1", "fold-2", MEAN]
    assert lines["fold-1"] == pytest.approx([50, 70])
    assert lines[MEAN] == pytest.approx([60, 80])
    assert drawn(train_loss)[MEAN] == pytest.approx([0.3, 0.3])
    assert drawn(validation_loss)[MEAN] == pytest.approx([0.6, 0.6])
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "Accuracy in percent",
        "Loss in nats",
        "Loss in nats",
    ]
    assert {axes.get_xlabel() for axes in figure.axes} == {"Epoch"}
    # The gap between the losses shows only on one scale.
    assert train_loss.get_ylim() == validation_loss.get_ylim()


def test_the_mean_is_the_thickest_line_and_black() -> None:
    lines = draw_folds([fold("a", [0.5, 0.7]), fold("b", [0.7, 0.9])], "").axes[0].lines
    thickest = max(lines, key=lambda line: line.get_linewidth())
    assert thickest.get_label() == MEAN
    assert [line.get_color() for line in lines].count("black") == 1


def test_the_band_is_one_deviation_wide_and_ends_where_one_fold_is_left() -> None:
    axes = draw_folds([fold("a", [0.5, 0.7, 0.8, 0.9]), fold("b", [0.7, 0.8])], "").axes[0]
    corners = band_of(axes)
    assert corners[:, 0].max() == 2
    first = corners[corners[:, 0] == 1, 1]
    assert (first.min(), first.max()) == pytest.approx((60 - 14.142, 60 + 14.142), abs=0.001)
    assert drawn(axes)[MEAN][-1] == pytest.approx(90)


def test_ten_folds_have_a_colour_and_a_name_each() -> None:
    curves = [fold(f"fold-{at}", [0.8, 0.9 - at / 100]) for at in range(10)]
    figure = draw_folds(curves, "")
    lines = figure.axes[0].lines
    assert len({line.get_color() for line in lines}) == 11
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == [curve.unit for curve in curves] + [MEAN, BAND]


def test_eleven_folds_are_grey_and_share_a_name() -> None:
    figure = draw_folds([fold(f"fold-{at}", [0.8, 0.9]) for at in range(11)], "")
    lines = figure.axes[0].lines
    assert len(lines) == 12
    assert len({line.get_color() for line in lines}) == 2
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["the 11 folds", MEAN, BAND]


def test_a_diverged_fold_does_not_press_the_losses_flat() -> None:
    curves = [fold("a", [0.9, 0.9], 0.2), fold("b", [0.8, 0.9], 0.3), fold("c", [0.1, 0.1], 400.0)]
    accuracy, *losses = draw_folds(curves, "").axes
    for loss in losses:
        assert loss.get_ylim()[1] < 1
        assert "cut off" in loss.get_ylabel()
        # Its mean is out of sight; a band around that would shade the whole panel.
        assert not loss.collections
    # 63.3 + 47.3 percent would be more than all.
    assert band_of(accuracy)[:, 1].max() == 100


def test_a_loss_without_a_number_leaves_the_other_folds_their_mean() -> None:
    wild = fold("c", [0.1, 0.1], math.inf)
    axes = draw_folds([fold("a", [0.9, 0.9], 0.2), fold("b", [0.9, 0.9], 0.4), wild], "").axes[1]
    assert drawn(axes)[MEAN] == pytest.approx([0.3, 0.3])


def test_one_fold_has_no_mean_beside_it() -> None:
    figure = draw_folds([fold("fold-1", [0.5, 0.7])], "")
    assert list(drawn(figure.axes[0])) == ["fold-1"]
    assert not figure.axes[0].collections


def test_one_epoch_is_drawn_as_points() -> None:
    axes = draw_folds([fold("a", [0.5]), fold("b", [0.7])], "").axes[0]
    assert {line.get_marker() for line in axes.lines} == {"o"}
    assert not axes.collections


def test_no_folds_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="no folds"):
        draw_folds([], "")

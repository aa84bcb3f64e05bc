"""An ensemble's figures: which panel shows what, and that every figure can be read."""

import math

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from fmnist_ray.evaluation.ensembles import SizeCurve
from fmnist_ray.reports.members import MemberGroup, draw_disagreement, draw_members, draw_sizes


def group(name: str, ensemble: float, members: int = 3) -> MemberGroup:
    return MemberGroup(
        name, ensemble - 0.01 * np.arange(1, members + 1), ensemble, ensemble - 0.002
    )


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def legend_of(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def written(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def size_curve(members: int, top: float) -> SizeCurve:
    average = top - 0.02 / np.arange(1, members + 1)
    return SizeCurve(
        np.arange(1.0, members + 1), average, average - 0.01, average + 0.01, average - 0.005
    )


def test_members_are_points_and_the_ensemble_is_a_line_and_a_dotted_line() -> None:
    (axes,) = draw_members([group("cnn seeds", 0.94)], "cnn").axes
    points, average, vote = axes.lines
    assert list(points.get_xdata()) == [1, 2, 3]
    assert list(points.get_ydata()) == pytest.approx([93, 92, 91])
    assert (points.get_linestyle(), points.get_marker()) == ("None", "o")
    assert (average.get_linestyle(), vote.get_linestyle()) == ("-", ":")
    assert list(average.get_ydata()) == pytest.approx([94, 94])
    assert list(vote.get_ydata()) == pytest.approx([93.8, 93.8])
    assert len({line.get_color() for line in axes.lines}) == 1
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Member", "Accuracy in percent")


def test_figures_are_written_down() -> None:
    (axes,) = draw_members([group("cnn seeds", 0.94)], "cnn").axes
    assert written(axes) == ["93.00", "92.00", "91.00"]
    assert legend_of(axes) == [
        "members: mean 92.00 %, 91.00 to 93.00 %",
        "average of probabilities 94.00 %",
        "majority vote 93.80 %",
    ]


def test_forty_members_have_no_figures_at_the_points_but_in_the_legend() -> None:
    (axes,) = draw_members([group("cnn seeds", 0.94, members=40)], "cnn").axes
    assert written(axes) == []
    assert legend_of(axes)[0] == "members: mean 73.50 %, 54.00 to 93.00 %"
    ticks = [tick for tick in axes.get_xticks() if 0 < tick <= 40]
    assert 4 <= len(ticks) <= 20
    assert all(tick == round(tick) for tick in ticks)


def test_groups_of_one_model_share_a_row_and_its_scale_only() -> None:
    names = ["dnn bootstrap", "cnn bootstrap", "dnn seeds", "cnn seeds"]
    groups = [group(name, top) for name, top in zip(names, (0.89, 0.93, 0.90, 0.94), strict=True)]
    figure = draw_members(groups, "")
    assert titles(figure) == ["dnn bootstrap", "dnn seeds", "cnn bootstrap", "cnn seeds"]
    limits = [axes.get_ylim() for axes in figure.axes]
    assert limits[0] == limits[1] != limits[2] == limits[3]
    assert limits[0][0] < 86
    assert 90 < limits[0][1] < 91
    assert len({axes.lines[0].get_color() for axes in figure.axes}) == 4


def test_a_group_without_members_is_a_pair_of_lines_with_the_best_model() -> None:
    groups = [
        group("dnn seeds", 0.90),
        group("cnn seeds", 0.94),
        group("cnn bootstrap", 0.93),
        group("all", 0.95, members=0),
    ]
    figure = draw_members(groups, "")
    assert titles(figure) == ["dnn seeds", "cnn seeds", "cnn bootstrap"]
    dnn, *cnn = figure.axes
    assert len(dnn.lines) == 3
    for axes in cnn:
        assert legend_of(axes)[3:] == [
            "all: average of probabilities 95.00 %",
            "all: majority vote 94.80 %",
        ]
        assert axes.lines[3].get_color() not in {line.get_color() for line in axes.lines[:3]}
        assert axes.get_ylim()[1] > 95


def test_a_group_without_members_stays_with_its_own_model() -> None:
    figure = draw_members(
        [group("dnn seeds", 0.90), group("cnn seeds", 0.94), group("dnn both", 0.91, members=0)], ""
    )
    assert [len(axes.lines) for axes in figure.axes] == [5, 3]


def test_a_group_without_members_is_drawn_beside_members_of_its_kind() -> None:
    groups = [group("cnn bootstrap", 0.93), group("cnn seeds", 0.94)]
    kinds = ("bootstrap", "seeds", "twice")
    others = [group(f"all {kind}", 0.95, members=0) for kind in kinds]
    for axes, kind in zip(draw_members([*groups, *others], "").axes, kinds, strict=False):
        names = {text.split(":")[0] for text in legend_of(axes)[3:]}
        assert names == {f"all {kind}", "all twice"}


def test_nothing_but_a_group_without_members_can_be_drawn() -> None:
    (axes,) = draw_members([group("all", 0.95, members=0)], "").axes
    assert legend_of(axes) == ["average of probabilities 95.00 %", "majority vote 94.80 %"]
    assert axes.get_xlabel() == ""
    assert len(axes.get_xticks()) == 0


def test_one_member_can_be_drawn() -> None:
    (axes,) = draw_members([MemberGroup("cnn seeds", np.array([0.9]), 0.9, 0.9)], "").axes
    assert legend_of(axes)[0] == "member: 90.00 %"
    assert list(axes.get_xticks()) == [1]
    low, high = axes.get_ylim()
    assert low < 90 < high


def test_a_member_without_a_figure_keeps_its_number() -> None:
    accuracy = np.array([0.9, math.nan, 0.92])
    (axes,) = draw_members([MemberGroup("cnn seeds", accuracy, 0.93, 0.93)], "").axes
    assert written(axes) == ["90.00", "92.00"]
    assert list(axes.get_xticks()) == [1, 2, 3]
    assert legend_of(axes)[0] == "members: mean 91.00 %, 90.00 to 92.00 %"


def test_sizes_have_a_panel_per_model_with_lines_and_bands() -> None:
    curves = {
        "dnn bootstrap": size_curve(10, 0.90),
        "cnn bootstrap": size_curve(10, 0.94),
        "cnn seeds": size_curve(5, 0.95),
    }
    dnn, cnn = draw_sizes(curves, "").axes
    assert legend_of(dnn) == [
        "dnn bootstrap, average of 10: 89.80 %",
        "dnn bootstrap, majority vote of 10: 89.30 %",
    ]
    average, vote = dnn.lines
    assert list(average.get_xdata()) == list(range(1, 11))
    assert list(average.get_ydata()) == pytest.approx(
        list(100 * curves["dnn bootstrap"].average_mean)
    )
    assert (average.get_linestyle(), vote.get_linestyle()) == ("-", "--")
    assert average.get_color() == vote.get_color()
    assert len(cnn.lines) == 4
    assert len([each for each in cnn.collections if isinstance(each, PolyCollection)]) == 2
    assert list(cnn.get_xticks()) == list(range(1, 11))
    (band,) = dnn.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((87, 90.8))


def test_names_of_one_word_share_a_panel_of_sizes() -> None:
    figure = draw_sizes({"bootstrap": size_curve(3, 0.93), "seeds": size_curve(3, 0.94)}, "")
    assert len(figure.axes) == 1


def test_disagreement_is_written_in_the_cells_but_for_the_diagonal() -> None:
    matrix = np.array([[0, 0.05, 0.1], [0.05, 0, 0.08], [0.1, 0.08, 0]])
    axes, bar = draw_disagreement(matrix, ["a", "b", "c"], "").axes
    assert written(axes) == ["5.0", "10.0", "5.0", "8.0", "10.0", "8.0"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    assert bar.get_ylabel() == "Images given different classes, in percent"
    # Dark cells are those of the lowest figures.
    assert [text.get_color() for text in axes.texts[:2]] == ["white", "black"]
    assert axes.images[0].get_clim() == pytest.approx((5, 10))


@pytest.mark.parametrize(("members", "texts", "names"), [(12, 132, 12), (13, 0, 13), (40, 0, 20)])
def test_of_many_members_figures_are_left_out_and_names_thinned(
    members: int, texts: int, names: int
) -> None:
    generator = np.random.default_rng(0)
    matrix = generator.random((members, members))
    labels = [f"member {at}" for at in range(members)]
    axes = draw_disagreement(matrix, labels, "").axes[0]
    assert len(axes.texts) == texts
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert len(shown) == names
    assert [labels[int(place)] for place in axes.get_xticks()] == shown


@pytest.mark.parametrize("matrix", [np.zeros((1, 1)), np.zeros((2, 2)), np.full((2, 2), 0.07)])
def test_members_that_differ_alike_or_not_at_all_can_be_drawn(matrix: np.ndarray) -> None:
    axes = draw_disagreement(matrix, ["a", "b"][: len(matrix)], "").axes[0]
    low, high = axes.images[0].get_clim()
    assert low == 0 < high


def test_what_is_not_there_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="no ensembles"):
        draw_members([], "")
    with pytest.raises(ValueError, match="no ensembles"):
        draw_sizes({}, "")
    with pytest.raises(ValueError, match="0 names"):
        draw_disagreement(np.zeros((0, 0)), [], "")
    with pytest.raises(ValueError, match="3 names"):
        draw_disagreement(np.zeros((2, 2)), ["a", "b", "c"], "")

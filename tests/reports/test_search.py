"""A search's figures: hand-computed numbers, and what stands in which panel."""

import math
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from fmnist_ray.reports.search import CAPTIONS, draw_best, draw_trial_curves
from fmnist_ray.reports.search_courses import (
    Aim,
    BestStep,
    Rung,
    Savings,
    TrialCourse,
    best_so_far,
    rung_counts,
    sane_limits,
    savings,
    time_unit,
)
from fmnist_ray.reports.search_parallel import draw_contour, draw_parallel, shading
from fmnist_ray.reports.search_parameters import (
    Group,
    Importance,
    Parameter,
    TrialTable,
    groups,
    unit_ticks,
)
from fmnist_ray.reports.search_slices import draw_importance, draw_slices
from fmnist_ray.reports.search_timeline import Bar, bars, draw_timeline

ACCURACY = Aim("validation accuracy", True, True)
LOSS = Aim("validation loss", False, False)

LONG = TrialCourse(
    "trial-000", "complete", 3, (1, 2, 3), (0.5, 0.7, 0.6), (10, 20, 30), (10, 10, 10), ((0, 30),)
)
SHORT = TrialCourse("trial-001", "stopped", 3, (1,), (0.4,), (15,), (15,), ((0, 15),))
BEST = TrialCourse("trial-002", "stopped", 4, (1, 2), (0.6, 0.8), (25, 40), (8, 12), ((15, 40),))
COURSES = (LONG, SHORT, BEST)


def legend_of(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_the_best_so_far_goes_by_time_over_all_trials() -> None:
    assert best_so_far(COURSES, ACCURACY) == [
        BestStep(10, 1, 0.5, "trial-000", 1),
        BestStep(20, 3, 0.7, "trial-000", 2),
        BestStep(40, 6, 0.8, "trial-002", 2),
    ]
    assert best_so_far(COURSES, LOSS) == [
        BestStep(10, 1, 0.5, "trial-000", 1),
        BestStep(15, 2, 0.4, "trial-001", 1),
    ]
    assert best_so_far([], ACCURACY) == []


def test_an_equal_figure_does_not_take_the_place_of_an_earlier_one() -> None:
    later = LONG._replace(unit="trial-009", at=(12, 22, 32))
    assert {step.unit for step in best_so_far([later, LONG], ACCURACY)} == {"trial-000"}


def test_a_trials_best_can_be_asked_for_up_to_an_epoch() -> None:
    assert LONG.best(ACCURACY) == (2, 0.7)
    assert LONG.best(ACCURACY, up_to=1) == (1, 0.5)
    assert LONG.best(LOSS) == (1, 0.5)
    assert TrialCourse("trial-003", "failed", 3, (), (), (), ()).best(ACCURACY) is None


def test_under_pbt_an_epoch_may_come_again() -> None:
    again = LONG._replace(epoch=(1, 2, 1), value=(0.5, 0.7, 0.9))
    assert again.best(ACCURACY, up_to=1) == (1, 0.9)


def test_only_the_scheduler_saves() -> None:
    # 6 run; the stopped ones had 2 and 2 before them, at 15 and 10 seconds each.
    assert savings(COURSES) == Savings(6, 10, 0.4, 65.0, 50.0)
    others = [SHORT._replace(status=status) for status in ("failed", "diverged", "running")]
    assert savings(others) == Savings(3, 3, 0.0, 45.0, 0)
    assert savings([]).share == 0


def test_rungs_count_those_that_came_and_those_that_went_on() -> None:
    assert rung_counts(COURSES, [1, 2, 3]) == [Rung(1, 3, 2), Rung(2, 2, 1), Rung(3, 1, 1)]


def test_bars_take_the_lowest_row_that_is_free() -> None:
    third = SHORT._replace(unit="trial-003", status="failed", spans=((30.0, 50.0),))
    assert bars([*COURSES, third]) == [
        Bar("trial-001", "stopped", 0, 15, 0),
        Bar("trial-000", "complete", 0, 30, 1),
        Bar("trial-002", "stopped", 15, 40, 0),
        Bar("trial-003", "failed", 30, 50, 1),
    ]


def test_a_trial_goes_on_in_its_own_row_after_a_resume() -> None:
    first = LONG._replace(spans=((0, 10), (10, 20)))
    second = SHORT._replace(spans=((0.5, 10), (10, 12)))
    placed = {(bar.unit, bar.begin): bar.slot for bar in bars([second, first])}
    assert placed == {
        ("trial-000", 0): 0,
        ("trial-001", 0.5): 1,
        ("trial-000", 10): 0,
        ("trial-001", 10): 1,
    }


@pytest.mark.parametrize(
    ("seconds", "unit"), [(0, "seconds"), (179, "seconds"), (180, "minutes"), (20_000, "hours")]
)
def test_times_are_shown_in_a_unit_that_fits(seconds: float, unit: str) -> None:
    assert time_unit(seconds)[1] == unit


def test_a_trial_that_learnt_nothing_does_not_squeeze_the_axis() -> None:
    low, high = sane_limits([88, 89, 90, 91, 92, 10], ACCURACY)
    assert 87 < low < 88
    assert 92 < high < 93
    low, high = sane_limits([0.3, 0.31, 0.32, 0.33, 0.34, 9], LOSS)
    assert high < 0.4
    assert low < 0.3
    low, high = sane_limits([90], ACCURACY)
    assert low < 90 < high


def test_the_best_is_named_and_every_end_is_a_dot() -> None:
    figure = draw_best(COURSES, ACCURACY, 40, "")
    assert legend_of(figure) == [
        "best so far",
        "trial-002, epoch 2: 80.00 %",
        "1 ran to the end",
        "2 stopped early",
    ]
    for axes, across in zip(figure.axes, ([30, 15, 40], [5, 2, 6]), strict=True):
        line, *dots, star = axes.lines
        assert list(line.get_ydata()) == pytest.approx([50, 70, 80, 80])
        assert [dot.get_xdata()[0] for dot in dots] == across
        assert [dot.get_ydata()[0] for dot in dots] == pytest.approx([70, 40, 80])
        assert star.get_ydata()[0] == pytest.approx(80)
    time, epochs = figure.axes
    assert time.get_xlabel() == "Time that the search ran, in seconds"
    assert epochs.get_xlabel() == "Epochs, all trials together"
    assert time.get_ylabel() == "Validation accuracy in percent"


def test_what_lies_below_the_axis_is_told_of() -> None:
    many = [LONG._replace(unit=f"trial-{at:03}", value=(0.8, 0.85, 0.86)) for at in range(8)]
    figure = draw_best([*many, SHORT._replace(value=(0.1,))], ACCURACY, 40, "")
    assert legend_of(figure)[-1] == "1 below the axis"


def test_curves_have_rungs_with_counts() -> None:
    figure = draw_trial_curves(COURSES, ACCURACY, [Rung(1, 3, 2), Rung(3, 1, 1)], "t")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["2 of 3\nwent on", "1 of 1\nwent on"]
    assert legend_of(figure)[0] == "best: trial-002, 80.00 %"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Epoch", "Validation accuracy in percent")
    low, high = axes.get_ylim()
    assert low < 40 < 80 < high


def test_counts_of_close_rungs_do_not_touch() -> None:
    long = LONG._replace(epoch=tuple(range(1, 41)), value=(0.5,) * 40, at=tuple(range(40)))
    rungs = [Rung(epoch, 9, 9) for epoch in (1, 2, 3, 4, 5, 40)]
    figure = draw_trial_curves([long], ACCURACY, rungs, "")
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 3
    for at, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:at])


def test_the_timeline_numbers_bars_and_marks_a_resume() -> None:
    figure = draw_timeline(COURSES, [0, 20], 40, "")
    (axes,) = figure.axes
    assert sorted(text.get_text() for text in axes.texts) == ["0", "1", "2", "resumed"]
    assert legend_of(figure) == ["1 ran to the end", "2 stopped early"]
    (mark,) = axes.lines
    assert list(mark.get_xdata()) == [20, 20]


def number(name: str, *places: float, log: bool = False) -> Parameter:
    bounds = (float(np.nanmin(places)), float(np.nanmax(places)))
    return Parameter(name, (), True, log, bounds, np.array(places, dtype=np.float64))


def choice(name: str, choices: tuple[str, ...], *places: float) -> Parameter:
    return Parameter(name, choices, False, False, (0.0, len(choices) - 1.0), np.array(places))


RATE = number("learning rate", 0.001, 0.01, 0.1, 0.01, 0.001, 0.1, log=True)
OPTIMIZER = choice("optimizer", ("adam", "sgd"), 0.0, 1.0, 0.0, 1.0, 0.0, 1.0)
MOMENTUM = number("momentum", math.nan, 0.8, math.nan, 0.9, math.nan, 0.85)
TABLE = TrialTable(
    tuple(f"trial-{at:03}" for at in range(6)),
    np.array([0.7, 0.6, 0.8, 0.5, 0.9, 0.4]),
    (RATE, OPTIMIZER, MOMENTUM),
)


def test_a_logarithmic_parameter_has_its_middle_in_the_middle() -> None:
    assert list(RATE.unit) == pytest.approx([0, 0.5, 1, 0.5, 0, 1])
    places, labels = unit_ticks(RATE)
    assert labels[0] == "0.001"
    assert labels[-1] == "0.1"
    assert places[labels.index("0.01")] == pytest.approx(0.5)


def test_a_parameter_that_does_not_vary_has_a_place_all_the_same() -> None:
    same = number("dropout", 0.1, 0.1)
    assert not same.varies
    assert list(same.unit) == [0.5, 0.5]


def test_trials_are_grouped_by_choice_the_best_median_first() -> None:
    assert groups(OPTIMIZER, TABLE.value, ACCURACY) == [
        Group("adam", 3, pytest.approx(0.8)),
        Group("sgd", 3, pytest.approx(0.5)),
    ]
    assert [group.text for group in groups(OPTIMIZER, TABLE.value, LOSS)] == ["sgd", "adam"]


def test_numbers_are_cut_into_thirds_and_equal_ones_stay_together() -> None:
    place = number("dropout", *[0.0, 0.1, 0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    value = np.array([0.5, 0.6, 0.6, 0.6, 0.9, 0.8, 0.7, 0.1, 0.2])
    found = {group.text: group.trials for group in groups(place, value, ACCURACY)}
    assert found == {"0": 1, "0.1 to 0.3": 5, "0.4 to 0.6": 3}
    few = groups(MOMENTUM, TABLE.value, ACCURACY)
    assert [(group.text, group.trials) for group in few] == [("0.8", 1), ("0.9", 1), ("0.85", 1)]


def test_importances_are_written_at_their_bars() -> None:
    figure = draw_importance([Importance("dropout", 0.6, 0.4, 0.8), Importance("x", 0, 0, 0)], "")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["60 %", "0 %"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dropout", "x"]
    assert list(axes.lines[0].get_xdata()) == [40, 80]


def test_slices_have_a_panel_per_parameter_and_medians_of_choices() -> None:
    rate, optimizer, momentum = draw_slices(TABLE, ACCURACY, "").axes
    assert rate.get_xscale() == "log"
    assert optimizer.get_xscale() == momentum.get_xscale() == "linear"
    assert [axes.get_xlabel() for axes in (rate, optimizer, momentum)] == [
        "learning rate",
        "optimizer",
        "momentum",
    ]
    medians = [line.get_ydata()[0] for line in optimizer.lines[3:]]
    assert medians == pytest.approx([80, 50])
    dots = optimizer.lines[0]
    assert len(set(dots.get_xdata())) == 6  # none hides another
    star = rate.lines[2]
    assert (star.get_xdata()[0], star.get_ydata()[0]) == pytest.approx((0.001, 90))


def test_a_trial_that_does_not_use_a_parameter_runs_below_its_axis() -> None:
    axes, bar = draw_parallel(TABLE, ACCURACY, "").axes
    heights = [line.get_ydata() for line in axes.lines[:6]]
    # Drawn worst first: 5, 3, 1, 0, 2, 4; those of sgd use momentum.
    assert [row[2] < 0 for row in heights] == [False, False, False, True, True, True]
    assert [bool(0 <= row[0] <= 1) for row in heights] == [True] * 6
    assert axes.lines[5].get_linewidth() > axes.lines[4].get_linewidth()
    assert "not used" in {text.get_text() for text in axes.texts}
    assert bar.get_ylabel() == "Validation accuracy in percent"


def test_choices_of_two_stay_within_their_axis() -> None:
    axes = draw_parallel(TABLE, ACCURACY, "").axes[0]
    places = np.array([line.get_ydata()[1] for line in axes.lines[:6]])
    assert places.min() >= 0
    assert places.max() <= 1


def test_the_shading_is_the_mean_of_near_trials_and_fades_far_away() -> None:
    mean, near = shading(np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.array([2.0, 4.0]), side=57)
    assert mean[0, 0] == pytest.approx(2, abs=1e-3)
    assert mean[-1, -1] == pytest.approx(4, abs=1e-3)
    assert mean[28, 28] == pytest.approx(3)
    assert near[28, 28] < 0.01
    assert near[3, 3] == pytest.approx(1, abs=0.01)


def test_two_parameters_can_be_drawn_together() -> None:
    axes, bar = draw_contour(TABLE, RATE, OPTIMIZER, ACCURACY, "").axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning rate", "optimizer")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["adam", "sgd"]
    dots = axes.collections[0].get_offsets()
    assert np.asarray(dots) == pytest.approx(np.column_stack([RATE.unit, OPTIMIZER.place]))
    assert bar.get_ylabel() == "Validation accuracy in percent"


def test_of_a_loss_the_lowest_is_the_brightest() -> None:
    colours = {}
    for aim in (ACCURACY, LOSS):
        dots = draw_contour(TABLE, RATE, OPTIMIZER, aim, "").axes[0].collections[0]
        colours[aim.name] = dots.get_facecolors()
    best, worst = 4, 5
    assert colours["validation accuracy"][best].sum() > colours["validation accuracy"][worst].sum()
    assert colours["validation loss"][best].sum() < colours["validation loss"][worst].sum()


def test_what_is_not_there_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="no finished epoch"):
        draw_best([], ACCURACY, 1, "")
    with pytest.raises(ValueError, match="no finished epoch"):
        draw_trial_curves([], ACCURACY, [], "")
    with pytest.raises(ValueError, match="no trials"):
        draw_timeline([], [], 1, "")


def test_captions_are_one_to_three_sentences() -> None:
    for name, caption in CAPTIONS.items():
        assert name.startswith("search_")
        assert name.endswith(".png")
        assert 1 <= len(re.findall(r"(?<!al)\.(?: |$)", caption.text)) <= 3

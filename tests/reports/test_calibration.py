"""The reliability diagram."""

import numpy as np
import pytest

from fmnist_ray.evaluation.calibration import reliability
from fmnist_ray.reports.calibration import (
    ReliabilityPanel,
    draw_reliability,
    reliability_title,
)
from fmnist_ray.reports.scored import reliability_panels

LABELS = np.array([0, 0, 1, 1])
PROBABILITIES = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])


def test_the_title_holds_the_error_in_points() -> None:
    # Three of four right at 90 %: 15 points off.
    assert reliability_title("As it is", reliability(LABELS, PROBABILITIES)) == (
        "As it is: ECE 15.00 points"
    )


def test_there_is_a_second_panel_only_with_a_temperature() -> None:
    assert len(reliability_panels(LABELS, PROBABILITIES, None)) == 1
    before, after = reliability_panels(LABELS, PROBABILITIES, 2.0)
    assert after.title.startswith("With temperature 2.00")
    # Odds of 9 become odds of 3 at twice the temperature: 75 %, which is what is right.
    assert after.reliability.error == pytest.approx(0, abs=1e-9)
    assert before.reliability.error == pytest.approx(0.15)


def test_bars_stand_for_accuracy_and_points_for_confidence() -> None:
    panel = ReliabilityPanel("one", reliability(LABELS, PROBABILITIES))
    figure = draw_reliability([panel], "title")
    above, below = figure.axes
    assert [bar.get_height() for bar in above.patches] == pytest.approx([75.0])
    points = next(line for line in above.lines if line.get_marker() == "o")
    assert list(points.get_ydata()) == pytest.approx([90.0])
    assert sum(bar.get_height() for bar in below.patches) == pytest.approx(100)
    assert "percent" in above.get_ylabel()
    assert "percent" in below.get_xlabel()


def test_no_panels_are_refused() -> None:
    with pytest.raises(ValueError, match="no diagrams"):
        draw_reliability([], "title")

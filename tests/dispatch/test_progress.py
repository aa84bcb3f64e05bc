import io

import numpy as np
import pytest
from rich.console import Console

from fmnist_ray.dispatch.progress import UnitsProgress, clock
from fmnist_ray.dispatch.units import FitUnit
from fmnist_ray.training.config import FitConfig


def _units() -> list[FitUnit]:
    return [
        FitUnit(name, FitConfig(model=name[:3], epochs=4), 0, np.arange(3))
        for name in ("cnn-1", "cnn-2", "dnn-1", "dnn-2")
    ]


def _row(epoch: int, seconds: float) -> dict:
    return {"epoch": epoch, "seconds": seconds, "train_accuracy": 0.5}


def test_the_time_left_reckons_each_model_by_its_own_epochs() -> None:
    progress = UnitsProgress(Console(quiet=True), "members", _units(), slots=2)
    assert progress.seconds_left() is None
    progress.epoch("cnn-1", _row(1, 10.0))
    assert progress.seconds_left() == pytest.approx((7 * 10 + 8 * 10) / 2)
    progress.epoch("dnn-1", _row(1, 1.0))
    assert progress.seconds_left() == pytest.approx((7 * 10 + 7 * 1) / 2)
    progress.ended("cnn-2", "failed")
    assert progress.seconds_left() == pytest.approx((3 * 10 + 7 * 1) / 2)
    progress.ended("cnn-1", "complete")
    progress.ended("dnn-2", "complete")
    # One unit is left, and one slot is all that it can use.
    assert progress.seconds_left() == pytest.approx(3 * 1)


def test_without_a_terminal_ends_are_plain_lines() -> None:
    out = io.StringIO()
    with UnitsProgress(Console(file=out, width=200), "members", _units(), 2) as progress:
        progress.epoch("cnn-1", _row(1, 1.0))
        progress.ended("cnn-1", "test accuracy 0.9000")
    assert out.getvalue() == "cnn-1: test accuracy 0.9000\n"


def test_clocks() -> None:
    assert [clock(each) for each in (0, 59.9, 61, 3661)] == ["0:00", "0:59", "1:01", "1:01:01"]

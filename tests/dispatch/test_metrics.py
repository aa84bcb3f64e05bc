"""What a run tells Ray's metrics; what their endpoint shows of it is in tests/cluster."""

from typing import Any

import pytest

from fmnist_ray.dispatch import metrics as module
from fmnist_ray.dispatch.metrics import RunMetrics
from fmnist_ray.dispatch.run_name import RunName


def test_only_the_first_units_have_series_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would keep the series of thousands for good."""
    told: list[tuple[str, dict[str, str]]] = []

    class Listener:
        def __init__(self, name: str, text: str, tags: Any) -> None:
            self.name = name

        def set(self, value: float, tags: dict[str, str]) -> None:
            told.append((self.name, tags))

    monkeypatch.setattr("ray.util.metrics.Gauge", Listener)
    monkeypatch.setattr(module, "_MOST_UNITS", 3)
    with RunMetrics(RunName("tune", "many", "dnn")) as metrics:
        for epoch in (1, 2):
            for unit in range(10):
                row = {"epoch": epoch, "validation_accuracy": 0.1 * unit + 0.01 * epoch}
                metrics.epoch(f"trial-{unit}", row)
        metrics.units(running=10)
        assert metrics._best == pytest.approx(0.92)
    assert {tags["unit"] for _, tags in told if "unit" in tags} == {"trial-0", "trial-1", "trial-2"}
    epochs = [tags["unit"] for name, tags in told if name == "fmnist_epoch"]
    assert min(epochs.count(f"trial-{unit}") for unit in range(3)) >= 2
    assert {name for name, tags in told if "unit" not in tags} == {"fmnist_best", "fmnist_units"}

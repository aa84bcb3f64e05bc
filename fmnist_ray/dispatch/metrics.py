"""What a run tells Ray's metrics, for Prometheus to collect and Grafana to draw.

The driver tells them all: it sees every epoch anyhow, and so each series has one writer, wherever
a unit runs and whatever process runs it next. Ray exports a gauge once after it was set, and drops
it from a node's endpoint two reports (20 s) later. So the figures of units that are under way are
set again every second, and those of an ended unit go by themselves.
"""

import math
import threading
from collections.abc import Mapping
from typing import Any

from fmnist_ray.dispatch.run_name import RunName

# Below the shortest interval at which Ray exports, which is a second; its default is ten.
_REFRESH_SECONDS = 1.0

_MOST_UNITS = 300
"""Units with series of their own. Ray keeps 20 kB of each for good, ended or not, and nobody reads
the curves of thousands; the totals of a run are told however many there are."""

_Tags = tuple[tuple[str, str], ...]
_RUN_TAGS = ("run", "model", "verb")
_UNIT_TAGS = ("run", "unit", "model", "verb")

# By series: what it tells, and its tags. In Prometheus all begin with `ray_`.
SERIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "fmnist_validation_accuracy": ("Share of the held-out images that are right", _UNIT_TAGS),
    "fmnist_training_loss": ("Mean loss of the last epoch's training images", _UNIT_TAGS),
    "fmnist_images_per_second": ("Training images a second in the last epoch", _UNIT_TAGS),
    "fmnist_epoch": ("Epochs that a unit has finished", _UNIT_TAGS),
    "fmnist_rung": ("Epochs of the highest rung that a trial has reached", _UNIT_TAGS),
    "fmnist_rung_trials": ("Trials that reached a rung", (*_RUN_TAGS, "rung")),
    "fmnist_units": ("Units by state", (*_RUN_TAGS, "state")),
    "fmnist_best": ("Best figure of any epoch so far", (*_RUN_TAGS, "metric")),
}

_OF_ROWS = {
    "epoch": "fmnist_epoch",
    "validation_accuracy": "fmnist_validation_accuracy",
    "train_loss": "fmnist_training_loss",
    "images_per_second": "fmnist_images_per_second",
}


class RunMetrics:
    """The figures of one run, kept up until it is closed. Ray must be connected all that time.

    Args:
        run: Whose they are; None tells nothing.
        metric: The figure that `fmnist_best` is the best of.
        mode: `max` or `min`.
    """

    def __init__(
        self, run: RunName | None, metric: str = "validation_accuracy", mode: str = "max"
    ) -> None:
        self._run, self._metric = run, metric
        self._better = max if mode == "max" else min
        self._best: float | None = None
        self._values: dict[tuple[str, _Tags], float] = {}
        self._told: set[str] = set()
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._gauges: dict[str, Any] = {}
        if run is None:
            return
        from ray.util.metrics import Gauge

        self._gauges = {name: Gauge(name, text, tags) for name, (text, tags) in SERIES.items()}
        self._thread = threading.Thread(target=self._refresh, name="run metrics", daemon=True)
        self._thread.start()

    def __enter__(self) -> "RunMetrics":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets the figures go, which the endpoint shows for another two reports."""
        self._closed.set()
        if self._run is not None:
            self._thread.join()

    def epoch(
        self, unit: str, row: Mapping[str, Any], model: str | None = None, rung: int | None = None
    ) -> None:
        """A unit finished an epoch; of the first 300 units each has series of its own.

        Args:
            unit: Its name.
            row: The epoch's row of the history.
            model: The unit's; None for the run's.
            rung: Epochs of the highest rung that it has reached; None where there are no rungs.
        """
        self.candidate(row)
        if unit not in self._told and len(self._told) >= _MOST_UNITS:
            return
        self._told.add(unit)
        for key, name in _OF_ROWS.items():
            self._set(name, row.get(key), unit=unit, model=model)
        self._set("fmnist_rung", rung, unit=unit, model=model)

    def candidate(self, row: Mapping[str, Any]) -> None:
        """An epoch, of whichever unit, that may be the best so far."""
        value = row.get(self._metric)
        if value is not None and "diverged" not in row and math.isfinite(value):
            self._best = value if self._best is None else self._better(self._best, value)
            self._set("fmnist_best", self._best, metric=self._metric)

    def ended(self, unit: str) -> None:
        """A unit is over: its last figures are exported once more, and then no longer."""
        with self._lock:
            over = [key for key in self._values if ("unit", unit) in key[1]]
            for key in over:
                self._tell(*key, self._values.pop(key))

    def units(self, **states: int) -> None:
        """How many units there are in each state, such as `running=2`."""
        for state, count in states.items():
            self._set("fmnist_units", count, state=state)

    def rungs(self, rungs: list[tuple[int, int]]) -> None:
        """How many trials have reached each rung, given as (epoch, trials)."""
        for epoch, count in rungs:
            self._set("fmnist_rung_trials", count, rung=str(epoch))

    def _set(self, name: str, value: float | None, **tags: str | None) -> None:
        if self._run is None or value is None or not math.isfinite(value):
            return
        known = {"run": self._run.name, "verb": self._run.verb, "model": self._run.model}
        key = tuple(sorted({**known, **{k: v for k, v in tags.items() if v is not None}}.items()))
        with self._lock:
            self._values[name, key] = float(value)
            self._tell(name, key, float(value))

    def _tell(self, name: str, tags: _Tags, value: float) -> None:
        self._gauges[name].set(value, dict(tags))

    def _refresh(self) -> None:
        while not self._closed.wait(_REFRESH_SECONDS):
            with self._lock:
                for (name, tags), value in self._values.items():
                    self._tell(name, tags, value)

"""What Ray's metrics endpoint says of a search."""

import re
import time
import urllib.request

import pytest

from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.search.journal import TrialState
from fmnist_ray.search.metrics import SearchMetrics


def _trial(number: int, status: str, *losses: float) -> TrialState:
    rows = [{"epoch": epoch, "validation_loss": loss} for epoch, loss in enumerate(losses, 1)]
    unit = f"trial-{number:03}"
    times = [0.0] * len(rows)
    return TrialState(
        unit, {"model": "dnn", "epochs": 9}, 0.0, rows=rows, times=times, status=status
    )


def _endpoint(run: str) -> dict[tuple[str, ...], float]:
    """The values of a run's series, by name and those tags that tell them apart."""
    import ray

    port = ray.nodes()[0]["MetricsExportPort"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = {}
    for line in lines:
        tags = dict(re.findall(r'(\w+)="([^"]*)"', line))
        if line.startswith("ray_fmnist_") and tags["run"] == run:
            assert tags["verb"] == "tune"
            name = line.partition("{")[0].removeprefix("ray_fmnist_")
            known = [tags[tag] for tag in ("unit", "state", "rung", "metric") if tag in tags]
            found[name, *known] = float(line.rpartition(" ")[2])
    return found


@pytest.mark.ray
def test_a_resumed_search_tells_what_was_before_and_what_is_now(ray_cluster: None) -> None:
    before = {
        "trial-000": _trial(0, "complete", 0.9, 0.4),
        "trial-001": _trial(1, "running", 0.8),
    }
    metrics = SearchMetrics(RunName("tune", "resumed", "mixed"), 6, "validation_loss", "min")
    try:
        metrics.begin(before, [(1, 2), (3, 0)])
        diverged = _trial(2, "running", 1e9)
        diverged.rows[0] |= {"diverged": "nan", "train_loss": float("nan")}
        metrics.started(diverged)
        metrics.epoch(diverged, [(1, 3), (3, 0)])
        metrics.epoch(_trial(1, "running", 0.8, 0.7, 0.5), [(1, 3), (3, 1)])
        ends = time.monotonic() + 60
        while len(found := _endpoint("resumed")) < 14 and time.monotonic() < ends:
            time.sleep(0.5)
    finally:
        metrics.close()
    assert found == {
        ("best", "validation_loss"): 0.4,
        ("epoch", "trial-001"): 3,
        ("epoch", "trial-002"): 1,
        ("rung", "trial-001"): 3,
        ("rung", "trial-002"): 1,
        ("rung_trials", "1"): 3,
        ("rung_trials", "3"): 1,
        ("units", "waiting"): 3,
        ("units", "running"): 2,
        ("units", "paused"): 0,
        ("units", "complete"): 1,
        ("units", "stopped"): 0,
        ("units", "diverged"): 0,
        ("units", "failed"): 0,
    }


def test_a_search_without_a_name_tells_nothing() -> None:
    metrics = SearchMetrics(None, 1, "validation_accuracy", "max")
    trial = _trial(0, "running", 0.5)
    metrics.begin({}, [])
    metrics.started(trial)
    metrics.epoch(trial, [(1, 1)])
    metrics.ended(trial)
    metrics.close()  # and needed no Ray

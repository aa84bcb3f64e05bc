"""Trials get the processes of those that ended before them."""

import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.search.scripted_sweep import sweep_over

pytestmark = pytest.mark.ray


def _ends_at_once(
    config: Any, data: Any, seed: int, resources: Any, on_epoch: Any, state: Any
) -> None:
    """One epoch that ends for all who train now in the same moment, every half second."""
    import numpy as np

    from fmnist_ray.training.checkpoint import Checkpoint
    from fmnist_ray.training.contract import EpochEnd

    time.sleep(0.5 - time.time() % 0.5)
    row = {"epoch": 1, "validation_accuracy": 0.5, "seconds": 0.1}
    saved = Checkpoint(config.model_dump(), seed, [row], {"w": np.ones(1)}, {})
    on_epoch(EpochEnd(row, lambda: saved))


def test_trials_that_end_at_once_leave_all_their_processes_to_the_next(
    ray_cluster: None, tmp_path: Path
) -> None:
    rates = [round(0.01 * number, 2) for number in range(1, 17)]
    states = sweep_over(tmp_path, _ends_at_once, rates, max_epochs=1, slots=4)
    assert {state.status for state in states.values()} == {"complete"}
    logs = [(tmp_path / "units" / unit / "log.txt").read_text() for unit in states]
    actors = [re.findall("Ray's actor ([0-9a-f]+)", log) for log in logs]
    assert all(len(found) == 1 for found in actors)
    assert len({found[0] for found in actors}) == 4

"""Whole sweeps under Ray Tune: killed with SIGKILL, resumed, and compared with undisturbed ones."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fmnist_ray.search.journal import TrialState, read_events, trial_states

pytestmark = pytest.mark.ray
SCRIPT = Path(__file__).with_name("scripted_search.py")


def _start(folder: Path, slots: int, scheduler: str, address: str) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), str(folder), str(slots), scheduler, address]
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def _events(folder: Path) -> int:
    path = folder / "journal.jsonl"
    return path.read_bytes().count(b'"event":"result"') if path.exists() else 0


def _run(
    folder: Path, slots: int, scheduler: str, kill_after: list[int], address: str
) -> dict[str, TrialState]:
    """Runs to the end, killing the driver whenever so many more epochs are in the journal.

    Where Ray is its own (`local`), that dies with it; a cluster at an address lives on.
    """
    for epochs in [*kill_after, None]:
        before = _events(folder)
        process = _start(folder, slots, scheduler, address)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if epochs is not None and _events(folder) >= before + epochs:
                os.kill(process.pid, signal.SIGKILL)
                break
            time.sleep(0.01)
        code = process.wait(timeout=10)
        log = (folder.parent / f"{folder.name}.log").read_text()
        assert code in (0, -signal.SIGKILL), log[-3000:]
        assert epochs is not None or code == 0, log[-3000:]
    return trial_states(list(read_events(folder / "journal.jsonl")))


def _told(states: dict[str, TrialState]) -> dict[str, list[tuple[int, float, str]]]:
    return {
        unit: [
            (row["epoch"], row["validation_accuracy"], decision)
            for row, decision in zip(state.rows, state.decisions, strict=True)
        ]
        for unit, state in states.items()
    }


@pytest.fixture
def cluster(ray_cluster: None) -> str:
    """The address of one that outlives the drivers."""
    import ray

    return ray.get_runtime_context().gcs_address


def test_a_killed_search_decides_as_an_undisturbed_one(tmp_path: Path, cluster: str) -> None:
    """On one slot reports come in one order, so every decision must be the same."""
    whole = _run(tmp_path / "whole", 1, "asha", [], cluster)
    killed = _run(tmp_path / "killed", 1, "asha", [2, 7, 13], "local")
    assert _told(killed) == _told(whole)
    assert {unit: state.status for unit, state in killed.items()} == {
        unit: state.status for unit, state in whole.items()
    }
    assert Counter(state.status for state in whole.values())["stopped"] >= 5


def test_trials_that_pause_at_rungs_go_on_after_a_kill(tmp_path: Path, cluster: str) -> None:
    """Paused, promoted and told alike, whatever was killed; the trainer sees no epoch twice."""
    whole = _run(tmp_path / "whole", 1, "asha-promotion", [], cluster)
    killed = _run(tmp_path / "killed", 1, "asha-promotion", [4, 11], cluster)
    assert _told(killed) == _told(whole)
    reached = [len(state.rows) for state in whole.values()]
    assert (len(reached), sum(n >= 3 for n in reached), max(reached)) == (14, 4, 9)
    assert Counter(state.status for state in whole.values()) == {"stopped": 13, "complete": 1}
    again = Counter((tmp_path / "killed" / "trained.txt").read_text().splitlines())
    assert sum(again.values()) <= sum(reached) + 2


def test_no_epoch_is_lost_doubled_or_trained_again_on_two_slots(
    tmp_path: Path, cluster: str
) -> None:
    random = np.random.default_rng(int(os.environ.get("SWEEP_SEED", "0")))
    moments = random.integers(1, 15, 3).tolist()
    states = _run(tmp_path / "killed", 2, "asha", moments, cluster)
    assert len(states) == 14
    assert {state.status for state in states.values()} == {"complete", "stopped"}
    for state in states.values():
        epochs = [row["epoch"] for row in state.rows]
        assert epochs == list(range(1, len(epochs) + 1))
    trained = Counter((tmp_path / "killed" / "trained.txt").read_text().splitlines())
    # Two trials run when the driver is killed. Each may have an epoch cut off between training
    # and checkpoint, which is trained again; everything else is trained once.
    again = sum(count - 1 for count in trained.values())
    assert again <= 2 * 3
    assert len(trained) >= sum(len(state.rows) for state in states.values())

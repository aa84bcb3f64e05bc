"""A disk that fills up ends a search with its name, damages nothing, and a resume goes on."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fmnist_ray.errors import DiskError
from fmnist_ray.search.journal import Journal, read_events
from tests.search.scripted_sweep import sweep_over


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `mount` here")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)


def _large(marks: Path) -> Any:
    """A fit with checkpoints of 200 kB, which writes down the epochs that it trains."""
    path = str(marks)

    def fit(config: Any, data: Any, seed: int, resources: Any, on_epoch: Any, state: Any) -> None:
        from pathlib import Path

        import numpy as np

        from fmnist_ray.training.checkpoint import Checkpoint
        from fmnist_ray.training.contract import EpochEnd

        history = list(state.history) if state is not None else []
        while len(history) < 2:
            epoch = len(history) + 1
            history.append({"epoch": epoch, "validation_accuracy": 0.5, "seconds": 0.1})
            with Path(path).open("a") as stream:
                stream.write(f"{config.learning_rate} {epoch}\n")
            weights = {"w": np.zeros(50_000, np.float32)}
            saved = Checkpoint(config.model_dump(), seed, list(history), weights, {})
            on_epoch(EpochEnd(history[-1], lambda saved=saved: saved))

    return fit


@pytest.mark.ray
def test_a_search_on_a_full_disk_says_so_and_goes_on_when_there_is_room(
    ray_cluster: None, small_disk: Path, tmp_path: Path
) -> None:
    rates = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    run, marks = small_disk / "run", tmp_path / "epochs"
    with pytest.raises(DiskError, match="cannot be written: No space left on device"):
        sweep_over(run, _large(marks), rates)
    before = list(read_events(run / "journal.jsonl"))
    assert not [event for event in before if event.get("status") == "failed"]
    assert [event for event in before if event["event"] == "result"]

    _enlarge(small_disk)
    states = sweep_over(run, _large(marks), rates)
    assert {state.status for state in states.values()} == {"complete"}
    after = list(read_events(run / "journal.jsonl"))
    assert after[: len(before)] == before
    trained = marks.read_text().splitlines()
    assert set(trained) == {f"{rate} {epoch}" for rate in rates for epoch in (1, 2)}
    # At most what the two running trials could not save was trained again.
    assert len(trained) <= 2 * len(rates) + 2


def _fill(journal: Journal) -> None:
    for number in range(100_000):
        journal.append("trial", unit=f"trial-{number}", config={"filler": "x" * 3000})


def test_a_journal_holds_whole_events_however_full_the_disk_was(small_disk: Path) -> None:
    journal = Journal(small_disk / "journal.jsonl")
    with pytest.raises(DiskError):
        _fill(journal)
    written = len(journal.events)
    assert written > 100

    _enlarge(small_disk)
    journal.append("session_end", seconds=1.0)
    assert list(read_events(journal.path)) == journal.events
    assert len(journal.events) == written + 1

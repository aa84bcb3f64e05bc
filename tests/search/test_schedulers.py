"""Schedulers brought back from a journal decide as those that were never stopped."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmnist_ray.search.journal import Journal
from fmnist_ray.search.schedulers import build_scheduler, rungs
from fmnist_ray.search.settings import SearchSettings
from fmnist_ray.search.space import parse_space

SPACE = {"model": "dnn", "search": {"learning_rate": {"uniform": [0.001, 0.1]}}}


@dataclass
class StubTrial:
    """What Tune shows of a trial; a new identity in every session, as Tune does it."""

    custom_trial_name: str
    trial_id: str
    config: dict[str, Any] = field(default_factory=dict)


def _settings(scheduler: str) -> SearchSettings:
    return SearchSettings(
        space=SPACE, space_source="space.yaml", scheduler=scheduler, max_epochs=9, trials=30
    )


def _interleaved(seed: int, trials: int = 30, beside: int = 4) -> list[tuple[int, int, float]]:
    """Reports (trial, epoch, accuracy) as some slots would send them, if none were stopped."""
    random = np.random.default_rng(seed)
    quality = random.uniform(0.3, 0.9, trials)
    reports, running, begun = [], {}, 0
    while begun < trials or running:
        while begun < trials and len(running) < beside:
            running[begun], begun = 0, begun + 1
        trial = int(random.choice(list(running)))
        running[trial] += 1
        epoch = running[trial]
        reports.append((trial, epoch, float(quality[trial] + 0.01 * epoch)))
        if epoch == 9:
            del running[trial]
    return reports


def _decide(
    path: Path, scheduler: str, reports: list[tuple[int, int, float]], cuts: set[int]
) -> tuple[list[tuple[int, int, str]], list[tuple[int, int]]]:
    """Sends reports until trials are stopped; at each cut all is rebuilt from the journal."""
    space = parse_space(SPACE, "space.yaml")
    decisions: list[tuple[int, int, str]] = []
    stopped: set[int] = set()
    session, added = 0, set()

    def build() -> Any:
        return build_scheduler(_settings(scheduler), space, Journal(path))

    current = build()
    for at, (number, epoch, accuracy) in enumerate(reports):
        if number in stopped:
            continue
        if at in cuts:
            session, added, current = session + 1, set(), build()
        unit = f"trial-{number:03}"
        trial = StubTrial(unit, f"{session}-{number}", {"learning_rate": 0.01})
        if number not in added:
            added.add(number)
            if epoch == 1:
                current._journal.append("trial", unit=unit, config=trial.config)
            current.on_trial_add(None, trial)
        result = {"epoch": epoch, "validation_accuracy": accuracy}
        decision = current.on_trial_result(None, trial, result)
        decisions.append((number, epoch, decision))
        if decision == "STOP":
            stopped.add(number)
    return decisions, rungs(current)


@pytest.mark.parametrize("scheduler", ["asha", "median"])
@pytest.mark.parametrize("seed", range(5))
def test_a_search_cut_anywhere_decides_as_a_whole_one(
    scheduler: str, seed: int, tmp_path: Path
) -> None:
    reports = _interleaved(seed)
    cuts = set(np.random.default_rng(seed).choice(len(reports), 25, replace=False).tolist())
    whole = _decide(tmp_path / "whole.jsonl", scheduler, reports, set())
    cut = _decide(tmp_path / "cut.jsonl", scheduler, reports, cuts)
    assert cut == whole
    assert any(decision == "STOP" for _, _, decision in whole[0])
    if scheduler == "asha":
        assert [epoch for epoch, _ in whole[1]] == [1, 3, 9][: len(whole[1])]


def test_without_the_journal_the_rungs_would_be_lost(tmp_path: Path) -> None:
    """The test above can fail: a scheduler that starts anew decides otherwise."""
    reports = _interleaved(0)
    whole, _ = _decide(tmp_path / "whole.jsonl", "asha", reports, set())
    path = tmp_path / "forgets.jsonl"
    half = len(reports) // 3
    first, _ = _decide(path, "asha", reports[:half], set())
    path.unlink()
    stopped = {number for number, _, decision in first if decision == "STOP"}
    rest, _ = _decide(path, "asha", [r for r in reports[half:] if r[0] not in stopped], set())
    assert first + rest != whole


def test_an_epoch_told_again_is_not_decided_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    scheduler = build_scheduler(_settings("asha"), parse_space(SPACE, "s"), journal)
    trial = StubTrial("trial-000", "a", {"learning_rate": 0.01})
    scheduler.on_trial_add(None, trial)
    for epoch in (1, 2, 1, 2, 3):
        scheduler.on_trial_result(None, trial, {"epoch": epoch, "validation_accuracy": 0.5})
    assert [e["row"]["epoch"] for e in journal.events if e["event"] == "result"] == [1, 2, 3]
    assert rungs(scheduler)[:2] == [(1, 1), (3, 1)]

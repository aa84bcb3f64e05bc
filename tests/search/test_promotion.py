"""ASHA by promotion: as the paper has it, and the same after any interruption."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.simulation import Epoch, play
from fmnist_ray.search.journal import Journal
from fmnist_ray.search.promotion import PromotionASHA
from fmnist_ray.search.schedulers import UnitName, build_scheduler
from fmnist_ray.search.settings import SearchSettings
from fmnist_ray.search.space import parse_space

SPACE = {
    "model": "dnn",
    "search": {"learning_rate": {"uniform": [0.001, 0.1]}, "epochs": {"choice": [4, 9]}},
}


def _settings(trials: int = 40, **others: Any) -> SearchSettings:
    chosen = {"scheduler": "asha-promotion", "max_epochs": 9, "trials": trials, **others}
    return SearchSettings(space=SPACE, space_source="space.yaml", **chosen)


def _script(config: dict[str, Any], epoch: int) -> tuple[float, float]:
    """Curves that cross, and epochs of different lengths."""
    rate = config["learning_rate"]
    wobble = float(np.random.default_rng([int(1e9 * rate), epoch]).normal(0, 0.02))
    return 0.5 + 4 * rate * (1 - 1 / (epoch + 1)) + wobble, 1 + 30 * rate


class PaperASHA:
    """Algorithm 2 of the paper, word by word: sorts a rung whenever a job is asked for."""

    def __init__(self, rungs: list[int], factor: float) -> None:
        self.rungs, self.factor = rungs, factor
        self.told: dict[int, dict[str, float]] = {rung: {} for rung in rungs}
        self.promoted: dict[int, set[str]] = {rung: set() for rung in rungs}
        self.over: set[str] = set()

    def get_job(self) -> str | None:
        for rung in reversed(self.rungs):
            told = self.told[rung]
            best = sorted(told, key=lambda unit: -told[unit])[: int(len(told) / self.factor)]
            waiting = [u for u in best if u not in self.promoted[rung] and u not in self.over]
            if waiting:
                return waiting[0]
        return None


@pytest.mark.parametrize("factor", [2.0, 3.0, 4.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_same_trials_go_on_as_by_the_papers_algorithm(seed: int, factor: float) -> None:
    random = np.random.default_rng(seed)
    rungs = [1, 3, 9]
    ours, paper = PromotionASHA("accuracy", "max", rungs, factor), PaperASHA(rungs, factor)
    running: dict[str, int] = {}
    begun = paused = 0
    for _ in range(600):
        if len(running) < 3:
            unit = ours.promotion()
            assert unit == paper.get_job()
            if unit is None:
                begun += 1
                unit = f"t{begun}"
                running[unit] = 0
            else:
                reached = max(rung for rung in rungs if unit in paper.told[rung])
                paper.promoted[reached].add(unit)
                running[unit] = reached
            ours.begun(unit)
            continue
        unit = str(random.choice(list(running)))
        running[unit] += 1
        epoch, last = running[unit], 4 if int(unit[1:]) % 3 == 0 else 12
        accuracy = float(random.choice([0.1, 0.2, 0.3])) + random.normal(0, 0.1)
        result: dict[str, Any] = {"epoch": epoch, "accuracy": accuracy}
        if random.random() < 0.02:
            result |= {"diverged": "loss is nan", "accuracy": 0.0}
        decision = ours.on_trial_result(None, UnitName(unit, last), result)
        over = epoch == last or "diverged" in result
        if over:
            paper.over.add(unit)
        if epoch in rungs:
            paper.told[epoch][unit] = result["accuracy"]
        if epoch in rungs and not over:
            if paper.get_job() == unit:
                paper.promoted[epoch].add(unit)
                assert decision == "CONTINUE"
            else:
                assert decision == "PAUSE"
                paused += 1
                del running[unit]
        else:
            assert decision == "CONTINUE"
        if over:
            del running[unit]
    assert paused > 50
    assert all(paper.promoted[rung] for rung in rungs)
    assert ours.rungs == [(rung, len(paper.told[rung])) for rung in rungs]


def _decisions(path: Path) -> list[tuple[str, int, str]]:
    events = Journal(path).events
    return [(e["unit"], e["row"]["epoch"], e["decision"]) for e in events if e["event"] == "result"]


@pytest.mark.parametrize("searcher", ["random", "optuna"])
@pytest.mark.parametrize("seed", range(3))
def test_a_search_cut_anywhere_decides_as_a_whole_one(
    tmp_path: Path, seed: int, searcher: str
) -> None:
    """On one slot, where reports come in one order."""
    settings = _settings(25, seed=seed, searcher=searcher)
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    epochs = list(play(settings, 1, _script, whole))
    random = np.random.default_rng(seed)
    while True:
        session = play(settings, 1, _script, cut)
        played = [epoch for epoch, _ in zip(session, range(random.integers(1, 9)), strict=False)]
        if not played:
            break
        session.close()  # as SIGKILL: what was decided is in the journal, and nothing else
    assert _decisions(cut) == _decisions(whole)
    assert sum(decision == "PAUSE" for *_, decision in _decisions(whole)) >= 20
    assert len(epochs) == len(_decisions(cut))


def test_few_trials_get_to_the_top_and_one_does(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    epochs = list(play(_settings(27), 2, _script, path))
    reached = [sum(each.epoch == rung for each in epochs) for rung in (1, 3, 9)]
    assert reached[0] == 27
    assert reached[1] <= 9
    assert 1 <= reached[2] <= 3
    statuses = [state.status for state in Journal(path).states.values()]
    assert set(statuses) == {"paused", "complete"}


def test_trials_are_never_many_enough_for_a_rung_and_yet_one_gets_there(tmp_path: Path) -> None:
    epochs = list(play(_settings(2, reduction_factor=3), 2, _script, tmp_path / "journal.jsonl"))
    assert sum(each.epoch > 1 for each in epochs) > 0
    assert len({each.unit for each in epochs if each.epoch > 1}) == 1


def test_a_trial_that_goes_on_is_told_to_the_sampler_anew(tmp_path: Path) -> None:
    """TPE sees each trial once, with the best figure that it has reached by then."""
    path = tmp_path / "journal.jsonl"
    settings = _settings(20, searcher="optuna")
    assert len(list(play(settings, 2, _script, path))) > 20
    assert list(play(settings, 2, _script, path)) == []


def test_a_resume_goes_on_with_who_may_even_if_another_went_on_before(tmp_path: Path) -> None:
    """Nothing runs, nothing new is to begin, and from the highest rung one has gone on already."""
    journal = Journal(tmp_path / "journal.jsonl")
    config = {"learning_rate": 0.01, "epochs": 9}
    for number, accuracy in enumerate([0.5, 0.6, 0.7, 0.65, 0.4, 0.3]):
        unit = f"trial-{number:03}"
        journal.append("trial", unit=unit, config=config)
        row = {"epoch": 1, "validation_accuracy": accuracy}
        journal.append("result", unit=unit, row=row, decision="PAUSE")
    journal.append("trial", unit="trial-002", config=config)
    journal.append("end", unit="trial-002", status="failed")
    settings = _settings(6)
    space = parse_space(SPACE, "space.yaml")
    scheduler = build_scheduler(settings, space, journal)
    assert scheduler.inner.last_promotion() is None
    assert scheduler.promotion(last=True) == scheduler.promotion(last=False) == "trial-003"


def test_more_trials_on_a_resume_are_ranked_with_the_earlier_ones(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first: list[Epoch] = list(play(_settings(12), 1, _script, path))
    journal = Journal(path)
    for state in list(journal.states.values()):
        if state.status == "paused":
            journal.append("end", unit=state.unit, status="stopped")
    second = list(play(_settings(24), 1, _script, path))
    units = {each.unit for each in second}
    assert units == {f"trial-{number:03}" for number in range(12, 24)}
    # One in three of all 24, less those of the first half that went on before.
    went_on = {each.unit for each in [*first, *second] if each.epoch == 2}
    assert len(went_on) <= 8

"""What a person sees while a search runs."""

import io
from typing import Any

import pytest
from rich.console import Console

from fmnist_ray.search import progress as progress_module
from fmnist_ray.search.journal import TrialState
from fmnist_ray.search.progress import SearchProgress, describe_configuration
from fmnist_ray.search.standing import best_trial


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    return clock


def _state(number: int, status: str, *accuracies: float, **config: Any) -> TrialState:
    rows = [
        {"epoch": epoch, "validation_accuracy": value} for epoch, value in enumerate(accuracies, 1)
    ]
    config = {"epochs": 4, "optimizer": "adam", "learning_rate": 0.00123, **config}
    return TrialState(f"trial-{number:03}", config, 0.0, rows, [], [0.0] * len(rows), status)


def _progress(console: Console | None) -> SearchProgress:
    searched = ["optimizer", "learning_rate"]
    return SearchProgress(console, 4, 2, "validation_accuracy", "max", searched)


def _plain() -> Console:
    return Console(file=io.StringIO(), width=300, force_terminal=False)


def _text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_lines_tell_each_ended_trial_the_best_the_states_and_the_time_left(clock: Clock) -> None:
    console = _plain()
    with _progress(console) as progress:
        progress.begin({}, [])
        clock.now += 60
        progress.epoch(_state(1, "running", 0.7, 0.8), [])
        progress.ended(_state(0, "complete", 0.5, 0.9, 0.6, 0.7))
    last = _text(console).splitlines()[-1]
    assert "[1:00] trial-000 complete after epoch 4: 0.9000;" in last
    assert "best 0.9000 (trial-000)" in last
    assert "1 of 4 trials ended, 1 running" in last
    # One trial and half of another took a minute, so two and a half take 100 seconds.
    assert last.endswith("time left about 1:40")


def test_epochs_are_told_at_most_every_half_minute(clock: Clock) -> None:
    console = _plain()
    with _progress(console) as progress:
        progress.begin({}, [])
        for _ in range(100):
            clock.now += 1
            progress.epoch(_state(0, "running", 0.7), [])
    assert 3 <= len(_text(console).splitlines()) <= 4


def test_a_failed_trial_tells_its_reason(clock: Clock) -> None:
    console = _plain()
    with _progress(console) as progress:
        progress.begin({}, [])
        failed = _state(0, "failed")
        failed.reason = "the disk is on fire"
        progress.ended(failed)
    assert "trial-000 failed after epoch 0: no result (the disk is on fire)" in _text(console)


def test_a_resumed_search_reckons_the_time_left_from_its_own_work(clock: Clock) -> None:
    console = _plain()
    before = {f"trial-{n:03}": _state(n, "complete", 0.5, 0.5, 0.5, 0.5) for n in range(2)}
    with _progress(console) as progress:
        progress.begin(before, [])
        clock.now += 30
        progress.epoch(_state(2, "running"), [])
        assert "time left unknown" in _text(console)
        clock.now += 30
        progress.ended(_state(2, "stopped", 0.4, 0.4, 0.4, 0.4))
    assert _text(console).splitlines()[-1].endswith("time left about 1:00")


def test_a_terminal_shows_states_rungs_best_and_running_trials(clock: Clock) -> None:
    console = Console(file=io.StringIO(), width=160, record=True, force_terminal=True)
    with _progress(console) as progress:
        progress.begin({}, [(1, 0)])
        clock.now += 3700
        progress.ended(_state(0, "stopped", 0.5))
        progress.epoch(_state(1, "running", 0.7, 0.8), [(1, 2), (3, 1)])
    text = console.export_text()
    assert "1/4 trials ended   complete 0   stopped 1   failed 0   running 1   waiting 2" in text
    assert "elapsed 1:01:40" in text
    assert "epoch 1: 2   epoch 3: 1" in text
    best = next(line for line in text.splitlines() if line.startswith("best"))
    assert best.split()[1:4] == ["trial-001", "2", "0.8000"]
    assert "adam, learning rate 0.00123" in best
    assert any("trial-001" in x and "2/4" in x for x in text.splitlines() if "running  " in x)
    assert "trial-001 running" not in text, "lines are for output that is no terminal"


def test_nothing_is_shown_without_a_console() -> None:
    with _progress(None) as progress:
        progress.begin({}, [])
        progress.ended(_state(0, "complete", 0.5))


def test_a_diverged_trial_is_never_the_best() -> None:
    diverged = _state(0, "diverged", 0.9)
    diverged.rows[0]["diverged"] = "the training loss became nan"
    states = {"trial-000": diverged}
    assert best_trial(states, "validation_accuracy", "max") is None
    states["trial-001"] = _state(1, "complete", 0.2, 0.3)
    best = best_trial(states, "validation_accuracy", "max")
    assert best is not None
    assert (best[0].unit, best[1]["epoch"]) == ("trial-001", 2)


def test_of_losses_the_lowest_is_best() -> None:
    states = {
        unit: TrialState(unit, {}, 0.0, [{"epoch": 1, "validation_loss": loss}], [], [0.0])
        for unit, loss in (("trial-000", 0.5), ("trial-001", 0.4))
    }
    best = best_trial(states, "validation_loss", "min")
    assert best is not None
    assert best[0].unit == "trial-001"


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"optimizer": "adam", "momentum": 0.9}, "adam"),
        ({"optimizer": "sgd", "momentum": 0.9}, "sgd, momentum 0.9"),
        ({"flip": True, "batch_size": 64}, "flip, batch size 64"),
        ({"flip": False, "learning_rate": 0.0021049}, "no flip, learning rate 0.0021"),
        ({"early_stopping": None}, "early stopping None"),
    ],
)
def test_a_configuration_is_told_in_one_line(config: dict[str, Any], text: str) -> None:
    assert describe_configuration(config, list(config)) == text

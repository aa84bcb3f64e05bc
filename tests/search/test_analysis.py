"""The analysis of a search from its record: the clock, fair comparison, and every odd state."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmnist_ray.errors import RequestError
from fmnist_ray.records import Record
from fmnist_ray.reports.search import CAPTIONS
from fmnist_ray.reports.search_courses import Aim, TrialCourse
from fmnist_ray.search.analysis import STEMS, draw_search
from fmnist_ray.search.courses import SearchClock, Session, sessions, trial_courses
from fmnist_ray.search.findings import SearchFindings
from fmnist_ray.search.journal import Event, read_events, trial_states
from fmnist_ray.search.parameters import (
    common_epoch,
    comparable_trials,
    comparison_study,
    importance_method,
    importances,
)
from fmnist_ray.search.space import parse_space

# `fmnist tune --data sample --trials 10 --max-epochs 4`, out of time and then resumed.
REAL = Path(__file__).parent / "data" / "resumed_search"
ACCURACY = Aim("validation accuracy", True, True)
SPACE = {
    "model": "dnn",
    "search": {
        "learning_rate": {"loguniform": [0.001, 0.1]},
        "optimizer": {"choice": ["adam", "sgd"]},
        "momentum": {"uniform": [0.8, 0.95]},
        "batch_size": {"choice": [128, 64]},
    },
}


class Events:
    """Writes a journal's events by hand."""

    def __init__(self) -> None:
        self.all: list[Event] = []

    def add(self, time: float, event: str, **fields: Any) -> "Events":
        self.all.append({"event": event, "time": time, **fields})
        return self

    def trial(self, time: float, number: int, epochs: int = 3, **config: Any) -> "Events":
        values = {
            "learning_rate": 0.001 * (number + 1),
            "optimizer": ("adam", "sgd")[number % 2],
            "momentum": 0.9,
            "batch_size": (64, 128)[number % 3 == 0],
            "epochs": epochs,
            **config,
        }
        return self.add(time, "trial", unit=f"trial-{number:03}", config=values)

    def result(
        self,
        time: float,
        number: int,
        epoch: int,
        accuracy: float,
        seconds: float,
        decision: str = "CONTINUE",
        **row: Any,
    ) -> "Events":
        row = {
            "epoch": epoch,
            "validation_accuracy": accuracy,
            "validation_loss": 1 - accuracy,
            "seconds": seconds,
            **row,
        }
        return self.add(time, "result", unit=f"trial-{number:03}", row=row, decision=decision)

    def end(self, time: float, number: int, status: str, reason: str = "") -> "Events":
        return self.add(time, "end", unit=f"trial-{number:03}", status=status, reason=reason)


def courses_of(events: Events, by_turns: bool = False) -> list[TrialCourse]:
    states = list(trial_states(events.all).values())
    return trial_courses(events.all, states, "validation_accuracy", by_turns)


def written(path: Path, events: list[Event], **config: Any) -> Record:
    path.mkdir(exist_ok=True)
    (path / "journal.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events))
    settings = {"space": SPACE, "space_source": "s", "max_epochs": 3, **config}
    (path / "run.json").write_text(json.dumps({"verb": "tune", "config": settings}))
    return Record(path)


def many(trials: int, *, epochs: int = 2, **config: Any) -> Events:
    """Trials one after another, every second one stopped after its first epoch."""
    events = Events().add(0, "session", number=0)
    for number in range(trials):
        events.trial(10 * number, number, **config)
        events.result(10 * number + 5, number, 1, 0.5 + 0.02 * (number * 7 % trials), 5)
        if number % 2:
            events.end(10 * number + 5, number, "stopped")
        else:
            events.result(10 * number + 9, number, epochs, 0.7 + 0.01 * number, 4)
            events.end(10 * number + 9, number, "complete")
    return events.add(10.0 * trials, "session_end", seconds=10.0 * trials)


INTERRUPTED = (
    Events()
    .add(100, "session", number=0)
    .trial(101, 0)
    .trial(102, 1)
    .result(110, 0, 1, 0.5, 8)
    .result(112, 1, 1, 0.4, 9)
    .end(112, 1, "stopped")
    .result(118, 0, 3, 0.6, 8)  # killed here, before its end was written
    .end(1000, 0, "complete")
    .add(1000, "session", number=1)
    .trial(1001, 2)
    .result(1010, 2, 1, 0.8, 7)
)


def test_a_killed_session_ends_with_its_last_epoch() -> None:
    assert sessions(INTERRUPTED.all) == [Session(100, 118), Session(1000, 1010)]
    clock = SearchClock(INTERRUPTED.all)
    assert (clock.starts, clock.total) == ([0, 18], 28)
    assert [clock.at(time) for time in (90, 110, 118, 500, 1000, 1005, 2000)] == [
        0,
        10,
        18,
        18,
        18,
        23,
        28,
    ]


def test_a_session_that_ended_ends_there() -> None:
    events = Events().add(5, "session", number=0).trial(6, 0).add(9, "session_end", seconds=4)
    assert sessions(events.all) == [Session(5, 9)]
    assert sessions([]) == []


def test_courses_lie_on_the_joined_clock() -> None:
    first, second, third = courses_of(INTERRUPTED)
    assert first.at == (10, 18)
    assert first.spans == ((1, 18),)
    assert (first.status, first.ended) == ("complete", 18)
    assert (second.spans, second.ended, second.planned) == (((2, 12),), 12, 3)
    assert (third.spans, third.ended, third.status) == (((19, 28),), None, "running")
    assert third.seconds == (7,)


def test_a_trial_that_goes_on_after_a_resume_has_two_spans() -> None:
    events = Events().add(0, "session", number=0).trial(1, 0).result(5, 0, 1, 0.5, 4)
    events.add(8, "session_end", seconds=8).add(100, "session", number=1).trial(102, 0)
    (course,) = courses_of(events.result(106, 0, 2, 0.6, 3).end(106, 0, "stopped"))
    assert course.spans == ((1, 8), (10, 14))
    assert course.at == (5, 14)


def test_a_trial_that_pauses_at_a_rung_runs_until_then_and_again_when_it_goes_on() -> None:
    events = Events().add(0, "session", number=0).trial(1, 0).trial(2, 1)
    events.result(5, 0, 1, 0.5, 4, "PAUSE").result(6, 1, 1, 0.6, 4, "PAUSE")
    first, second = courses_of(events)
    assert (first.spans, first.status, first.ended) == (((1, 5),), "paused", None)
    events.trial(10, 1).result(14, 1, 2, 0.7, 3).end(15, 1, "complete").end(16, 0, "stopped")
    first, second = courses_of(events)
    assert second.spans == ((2, 6), (10, 15))
    assert (second.status, second.ended) == ("complete", 15)
    # It was over when it paused, though nobody knew.
    assert (first.spans, first.status, first.ended) == (((1, 5),), "stopped", 5)


def test_under_pbt_a_trial_runs_by_turns() -> None:
    events = Events().add(0, "session", number=0).trial(0, 0)
    events.result(14, 0, 1, 0.5, 4).result(18, 0, 2, 0.5, 4)
    events.trial(30, 0, learning_rate=0.002).result(36, 0, 3, 0.6, 4)
    (course,) = courses_of(events, by_turns=True)
    assert course.spans == ((10, 18), (32, 36))


def test_an_epoch_in_which_a_trial_diverged_has_no_figure() -> None:
    events = Events().add(0, "session", number=0).trial(0, 0).result(4, 0, 1, 0.5, 4)
    events.result(6, 0, 2, 0.0, 0, diverged="no number").end(6, 0, "diverged", "no number")
    (course,) = courses_of(events)
    assert (course.epoch, course.value, course.status) == ((1,), (0.5,), "diverged")


def test_trials_are_compared_after_an_epoch_that_three_quarters_reached() -> None:
    def reached(*counts: int) -> list[TrialCourse]:
        blank = TrialCourse("trial-000", "stopped", 9, (), (), (), ())
        return [blank._replace(epoch=tuple(range(1, count + 1))) for count in counts]

    assert common_epoch(reached(*[1] * 5, *[3] * 15)) == (3, 15)
    assert common_epoch(reached(*[1] * 6, *[3] * 15)) == (1, 21)
    assert common_epoch(reached(*[3] * 9)) == (1, 9)
    assert common_epoch(reached(0, 0)) == (1, 0)
    assert common_epoch([]) == (1, 0)


def test_the_parameter_that_makes_the_difference_is_found_among_few_and_many_trials() -> None:
    for trials in (20, 210):
        events = Events().add(0, "session", number=0)
        for number in range(trials):
            batch = (64, 128)[number * number % 3 % 2]
            accuracy = 0.5 + 0.3 * (number % 2) + 0.0001 * (number * 7 % 11)
            events.trial(number, number, learning_rate=0.001 + 0.0004 * number, batch_size=batch)
            events.result(number + 0.9, number, 1, accuracy, 0.9)
        states, space = list(trial_states(events.all).values()), parse_space(SPACE, "s")
        table = comparable_trials(space, states, courses_of(events), ACCURACY, 1)
        study = comparison_study(space, states, table, ACCURACY)
        first, *others = importances(study, ["learning rate", "optimizer", "batch size"], 0)
        assert first.name == "optimizer"
        assert first.low > max(each.share for each in others)
        assert first.low <= first.share <= first.high
    assert (importance_method(200), importance_method(201)) == ("fANOVA", "PED-ANOVA")


def test_what_an_optimizer_ignores_is_not_used() -> None:
    events = many(6)
    states = list(trial_states(events.all).values())
    table = comparable_trials(parse_space(SPACE, "s"), states, courses_of(events), ACCURACY, 1)
    names = [parameter.name for parameter in table.parameters]
    assert names == ["learning rate", "optimizer", "momentum", "batch size"]
    rate, optimizer, momentum, batch = table.parameters
    assert rate.log
    assert optimizer.place.tolist() == [0, 1, 0, 1, 0, 1]
    assert np.isnan(momentum.place).tolist() == [True, False] * 3
    assert batch.choices == ("64", "128")
    assert batch.place.tolist() == [1, 0, 0, 1, 0, 0]
    # After the first epoch, though half of the trials went on and became better.
    assert table.value.tolist() == pytest.approx([0.5, 0.52, 0.54, 0.56, 0.58, 0.6])


def test_the_findings_are_those_of_the_events(tmp_path: Path) -> None:
    events = many(12).end(121, 3, "failed", "RuntimeError: out of memory.")
    findings = draw_search(written(tmp_path / "r", events.all))
    metrics = findings.metrics
    # The even ones finish 2 epochs, the others 1 of 3; trial-003 failed and is none of the saved.
    assert metrics["epochs_run"] == 18
    assert metrics["epochs_if_all_ran_to_the_end"] == 18 + 5 * 2
    assert metrics["epochs_saved_share"] == pytest.approx(10 / 28, abs=1e-4)
    assert metrics["training_seconds_saved"] == 5 * 2 * 5
    assert metrics["best_unit"] == "trial-010"
    assert metrics["best_value"] == pytest.approx(0.8)
    assert (metrics["compared_after_epoch"], metrics["compared_trials"]) == (1, 12)
    assert metrics["trials_failed"] == 1
    shares = [value for key, value in metrics.items() if key.startswith("importance_")]
    assert sum(float(share or 0) for share in shares) == pytest.approx(1, abs=1e-3)
    text = " ".join(findings.sentences)
    for part in (
        "Of 12 trials, trial-010 is the best with a validation accuracy of 80.00 % after epoch 2",
        "ASHA stopped 5 of 12 trials early: 18 epochs were trained instead of 28",
        "after the same 1 epoch, 12 of 12 trials",
        "1 trial failed (trial-003): RuntimeError: out of memory.",
    ):
        assert part in text
    assert findings.left_out == {}


def files(record: Record) -> set[str]:
    return {each.name for each in (record.path / "figures").glob("*")}


def test_a_real_search_that_was_resumed_has_every_figure(tmp_path: Path) -> None:
    shutil.copytree(REAL, tmp_path / "real")
    record = Record(tmp_path / "real")
    findings = draw_search(record)
    assert findings.left_out == {}
    interactive = {
        f"search_{name}.plotly.json"
        for name in ("curves", "importance", "parallel", "slices", "contour")
    }
    assert files(record) == set(CAPTIONS) | interactive
    for name in interactive:
        figure = json.loads((record.path / "figures" / name).read_text())
        assert figure["data"]
        assert figure["layout"]["title"]["text"]
        text = json.dumps(figure)
        assert "learning_rate" not in text
        assert "one_cycle" not in text
    kept = json.loads((REAL / "run.json").read_text())["config"]
    rows = list(csv.DictReader((record.path / "trials.csv").open()))
    assert len(rows) == kept["trials"] == findings.metrics["trials"]
    events = list(read_events(REAL / "journal.jsonl"))
    best = max(e["row"]["validation_accuracy"] for e in events if e["event"] == "result")
    assert findings.metrics["best_value"] == best
    assert max(float(row["best_validation_accuracy"]) for row in rows) == pytest.approx(best)
    assert sum(int(row["epochs_run"]) for row in rows) == findings.metrics["epochs_run"]
    assert set(kept["space"]["search"]) <= set(rows[0])
    assert findings.metrics["sessions"] == 2
    whole = events[-1]["time"] - events[0]["time"]
    assert 0 < float(findings.metrics["search_seconds"] or 0) < whole - 5  # the pause is left out
    assert 4 <= len(findings.sentences) <= 6
    assert draw_search(record) == findings  # the same again: seeded


def test_at_any_moment_of_a_search_it_can_be_drawn(tmp_path: Path) -> None:
    events = list(read_events(REAL / "journal.jsonl"))
    config = json.loads((REAL / "run.json").read_text())["config"]
    for count in (0, 1, 3, 4, 9, 15, 22, 40):
        record = written(tmp_path / "r", events[:count], **config)
        with (record.path / "journal.jsonl").open("a") as stream:
            stream.write('{"event":"resu')
        findings = draw_search(record)
        assert findings.sentences
        drawn = {name for name in files(record) if name.endswith(".png")}
        assert drawn == {f"{stem}.png" for stem in STEMS} - {f"{s}.png" for s in findings.left_out}
        assert findings.metrics["trials"] == len(trial_states(events[:count]))


def test_a_figure_that_can_no_longer_be_drawn_goes(tmp_path: Path) -> None:
    record = written(tmp_path / "r", many(12).all)
    draw_search(record)
    assert "search_slices.plotly.json" in files(record)
    (record.path / "figures" / "mine.png").write_bytes(b"")
    findings = draw_search(written(tmp_path / "r", many(2).all))
    assert "at least 6 are needed" in findings.left_out["search_slices"]
    assert not any("slices" in name for name in files(record))
    assert "mine.png" in files(record)


ONE_RATE = {"model": "dnn", "search": {"learning_rate": {"loguniform": [0.001, 0.1]}}}
CONSTANT = {
    "model": "dnn",
    "search": {"batch_size": {"choice": [64]}, "flip": {"choice": [True]}},
}


@pytest.mark.parametrize(
    ("config", "events", "left_out"),
    [
        ({}, many(1), {"search_parallel", "search_importance", "search_slices", "search_contour"}),
        ({"space": ONE_RATE}, many(8), {"search_parallel", "search_importance", "search_contour"}),
        (
            {"space": CONSTANT},
            many(8, batch_size=64, flip=True),
            {"search_parallel", "search_importance", "search_slices", "search_contour"},
        ),
        (
            {"scheduler": "pbt"},
            many(8),
            {"search_importance", "search_slices", "search_contour"},
        ),
        ({"scheduler": "median", "metric": "validation_loss"}, many(8), set()),
        ({"scheduler": "none", "searcher": "optuna"}, many(8), set()),
    ],
    ids=["one trial", "one parameter", "constants", "pbt", "median", "no scheduler"],
)
def test_what_cannot_be_drawn_is_left_out_with_a_reason(
    config: dict[str, Any], events: Events, left_out: set[str], tmp_path: Path
) -> None:
    findings = draw_search(written(tmp_path / "r", events.all, **config))
    assert set(findings.left_out) == left_out
    assert all(reason.endswith(".") for reason in findings.left_out.values())


def test_the_only_parameter_still_gets_its_sentence(tmp_path: Path) -> None:
    findings = draw_search(written(tmp_path / "r", many(8).all, space=ONE_RATE))
    assert any("the best learning rate was" in each for each in findings.sentences)


def test_trials_that_all_reach_the_same_figure_are_not_compared(tmp_path: Path) -> None:
    events = Events().add(0, "session", number=0)
    for number in range(8):
        events.trial(number, number).result(number + 0.9, number, 1, 0.1, 0.9)
    findings = draw_search(written(tmp_path / "r", events.all))
    assert findings.left_out["search_importance"] == "All trials have the same figure."


def test_settings_of_another_version_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    record = written(tmp_path / "r", many(8).all, a_later_option=3)
    run = record.run()
    del run["config"]["space_source"], run["config"]["max_epochs"]
    (record.path / "run.json").write_text(json.dumps(run))
    assert draw_search(record).metrics["trials"] == 8


@pytest.mark.parametrize(
    ("run", "part"),
    [
        ({"verb": "train", "config": {}}, "not of a search"),
        ({"verb": "tune"}, "not of a search"),
        ({"verb": "tune", "config": {"trials": 3}}, "no search space"),
        ({"verb": "tune", "config": {"space": SPACE, "trials": "x"}}, "--trials"),
    ],
)
def test_another_record_is_refused(run: dict[str, Any], part: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(RequestError, match=part):
        draw_search(Record(tmp_path))


def test_neither_ray_nor_torch_is_imported(tmp_path: Path) -> None:
    record = written(tmp_path / "r", many(8).all)
    code = (
        "import sys; from pathlib import Path; from fmnist_ray.records import Record;"
        "from fmnist_ray.search.analysis import draw_search;"
        f"draw_search(Record(Path({str(record.path)!r})));"
        "print({'ray', 'torch', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert done.stderr == ""


def test_findings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        SearchFindings((), {}, {}).sentences = ("x",)  # type: ignore[misc]

"""The main job as a person runs it: bad requests, a whole search, interruptions, worker groups."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

from fmnist_ray import tune as tune_verb
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.errors import RequestError, WorkError
from fmnist_ray.models.storage import load_model, load_weights
from fmnist_ray.models.torch_models import build_model
from fmnist_ray.records import HISTORY_COLUMNS, Record, read_json
from fmnist_ray.search.journal import Journal, read_events, trial_states
from fmnist_ray.search.progress import SearchProgress
from fmnist_ray.search.settings import SearchSettings
from fmnist_ray.search.space import parse_space
from fmnist_ray.search.sweep import Sweep, run_sweep
from fmnist_ray.search.trial import trial_seed
from fmnist_ray.training.checkpoint import Checkpoint
from fmnist_ray.training.checkpoint_store import CheckpointStore
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.optimizers import Optimizer
from fmnist_ray.training.predict import predict
from fmnist_ray.training.ray_train import Resources
from fmnist_ray.tune import parse_duration, tune

ROOT = Path(__file__).parent.parent
DNN = str(ROOT / "search_spaces" / "dnn.yaml")


def _refused(*options: str, results: Path) -> str:
    """The one message of a request that must be refused, with nothing left behind."""
    found = CliRunner().invoke(tune_verb.app, ["--results", str(results), *options])
    assert found.exit_code == 2, found.output
    assert not results.exists() or not any(results.iterdir()), "a record was begun"
    return " ".join(found.stderr.split())


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--trials", "0"], ["--trials", "0", "greater than or equal to 1"]),
        (["--max-epochs", "0"], ["--max-epochs"]),
        (["--searcher", "bayes"], ["--searcher", "bayes", "optuna"]),
        (["--scheduler", "hyperband"], ["--scheduler", "hyperband", "median"]),
        (["--metric", "test_accuracy"], ["--metric", "validation_loss"]),
        (["--precision", "fp8"], ["--precision", "fp8", "bf16"]),
        (["--framework", "jax"], ["framework", "jax"]),
        (
            ["--framework", "torch", "--space", "search_spaces/frameworks.yaml"],
            ["--framework torch", "frameworks.yaml searches `framework`"],
        ),
        (["--time-budget", "soon"], ["--time-budget", "soon", "1h30m"]),
        (["--gpus-per-trial", "lots"], ["--gpus-per-trial", "lots", "auto"]),
        (["--max-concurrent", "0"], ["--max-concurrent"]),
        (["--max-concurrent", "1.5"], ["--max-concurrent", "1.5"]),
        (["--train-size", "5"], ["--train-size", "5"]),
        (["--data", "sample", "--train-size", "2001"], ["2001", "2000"]),
        (["--data", "/nowhere/at/all"], ["/nowhere/at/all"]),
        (["--space", "missing.yaml"], ["missing.yaml", "does not exist"]),
        (["--space", DNN, "--searcher", "grid"], ["learning_rate", "no grid"]),
        (["--resume", "/nowhere/at/all"], ["/nowhere/at/all"]),
        (["--resume", str(ROOT / "tests")], ["no record", "run.json"]),
        (["--storage", "/proc/nowhere"], ["--storage", "/proc/nowhere"]),
    ],
)
def test_a_wrong_option_is_named_with_its_remedy(
    options: list[str], parts: list[str], tmp_path: Path
) -> None:
    message = _refused(*options, results=tmp_path / "results")
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("model: cnn\nsearch: {learning_rat: {choice: [1]}}", "learning_rat"),
        ("model: cnn\nsearch: {optimizer: {choice: [adagrad]}}", "adagrad"),
        ("model: cnn\nsearch: {optimizer: {choice: []}}", "empty choice"),
        ("model: cnn\nsearch: {learning_rate: {uniform: [0.1, 0.01]}}", "0.1 to 0.01"),
        ("model: lenet\nsearch: {flip: {choice: [true]}}", "lenet"),
        (
            "search: {model: {choice: [cnn, resnet]}, framework: {choice: [torch, tensorflow]}}",
            "resnet trains in torch only",
        ),
        ("model: [", "not YAML"),
    ],
)
def test_a_wrong_space_is_refused(text: str, part: str, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(text)
    message = _refused("--space", str(tmp_path / "space.yaml"), results=tmp_path / "results")
    assert part in message
    assert "space.yaml" in message


def test_the_default_space_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = _refused("--searcher", "grid", results=tmp_path / "results")
    assert "learning_rate" in message
    assert "no grid" in message


@pytest.mark.ray
@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--cpus-per-trial", "64"], ["64 CPU", "2 CPU"]),
        (["--gpus-per-trial", "1"], ["1 GPU", "0 GPU"]),
        (["--workers-per-trial", "8"], ["8 workers", "2 CPU"]),
        (["--gpus-per-trial", "1.5"], ["1.5 GPUs", "whole"]),
        (["--name", "../outside"], ["../outside", "letters"]),
    ],
)
def test_what_can_never_run_is_refused_before_a_record_is_begun(
    options: list[str], parts: list[str], ray_cluster: None, tmp_path: Path
) -> None:
    message = _refused("--data", "sample", *options, results=tmp_path / "results")
    for part in parts:
        assert part in message


@pytest.mark.ray
def test_results_that_cannot_be_written_are_refused(ray_cluster: None, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for results in (str(tmp_path / "file" / "below"), "/proc/results"):
        with pytest.raises(RequestError, match="--results"):
            tune(data="sample", results=results, quiet=True)


def test_mlflow_that_is_not_installed_is_named(tmp_path: Path) -> None:
    from importlib.util import find_spec

    if find_spec("mlflow") is not None:
        pytest.skip("MLflow is installed")
    message = _refused("--mlflow", "http://127.0.0.1:5000", results=tmp_path / "results")
    assert "pip install" in message


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("45s", 45), ("30m", 1800), ("1h30m", 5400), ("0.5h", 1800)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def _command(*options: str) -> list[str]:
    return [sys.executable, "-m", "fmnist_ray.tune", *options]


def _processes_with(mark: str) -> list[str]:
    """Names of the processes that carry a mark in their environment."""
    found = []
    for each in psutil.process_iter(["name"]):
        try:
            if each.environ().get("FMNIST_RAY_TEST") == mark:
                found.append(each.info["name"])
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A search of three trials on the sample, from the command line."""
    results = tmp_path_factory.mktemp("search") / "results"
    mark = str(results)
    found = subprocess.run(
        _command(
            *("--data", "sample", "--space", DNN, "--trials", "3", "--max-epochs", "2"),
            *("--retrain-seeds", "2", "--results", str(results), "--name", "small", "--json"),
        ),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "FMNIST_RAY_TEST": mark},
    )
    assert found.returncode == 0, found.stderr
    assert "Traceback" not in found.stderr
    deadline = time.monotonic() + 20  # Ray's processes take a moment to end
    while time.monotonic() < deadline and _processes_with(mark):
        time.sleep(0.5)
    assert not _processes_with(mark), "processes were left running"
    return results / "small", json.loads(found.stdout.splitlines()[-1])


@pytest.mark.ray
def test_the_framework_may_be_searched(tmp_path: Path) -> None:
    found = subprocess.run(
        _command(
            *("--data", "sample", "--space", "search_spaces/frameworks.yaml", "--trials", "4"),
            *("--max-epochs", "1", "--train-size", "500", "--retrain-seeds", "1", "--json"),
            *("--results", str(tmp_path), "--name", "both"),
        ),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    trials = [
        read_json(path) for path in sorted((tmp_path / "both/units").glob("trial*/*ics.json"))
    ]
    configs = [read_json(path) for path in sorted((tmp_path / "both/units").glob("trial*/con*"))]
    assert {each["framework"] for each in configs} == {"torch", "tensorflow"}
    # Trials share processes: one framework must not stop the other there.
    assert [each["status"] for each in trials] == ["complete"] * 4
    module, _ = load_model(tmp_path / "both")
    test = load_dataset("sample").test
    right = float((predict(module, test.images).argmax(1) == test.labels).mean())
    accuracy = json.loads(found.stdout.splitlines()[-1])["test_accuracy"]
    assert right == pytest.approx(accuracy, abs=0.003)


@pytest.mark.ray
def test_a_search_leaves_a_whole_record(searched: tuple[Path, dict[str, Any]]) -> None:
    record, summary = searched
    run, metrics = read_json(record / "run.json"), read_json(record / "metrics.json")
    assert (run["status"], run["verb"], run["seed"]) == ("complete", "tune", 0)
    assert {"train_images", "train_indices"} <= run["data"]["sha256"].keys()
    assert run["versions"]["ray"]
    assert run["started"] <= run["ended"]
    assert metrics == {key: value for key, value in summary.items() if key != "record"}
    assert metrics["trials"] == 3
    assert metrics["epochs"] == 6 - metrics["trials_stopped"]
    with (record / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == HISTORY_COLUMNS
    assert len(rows) == metrics["epochs"] + 2 * 2
    for unit in ("trial-000", "trial-001", "trial-002", "retrain-0", "retrain-1"):
        files = {each.name for each in (record / "units" / unit).iterdir()}
        predictions = f"{'test_' if unit.startswith('retrain') else ''}predictions.npz"
        wanted = {"config.json", "metrics.json", "model.safetensors", predictions}
        assert wanted <= files
        assert "checkpoint.safetensors" not in files
    assert list((record / "tensorboard" / "trial-001").glob("events*"))


@pytest.mark.ray
def test_its_report_says_once_why_figures_are_not_drawn(
    searched: tuple[Path, dict[str, Any]],
) -> None:
    page = (searched[0] / "report.html").read_text()
    assert "Not drawn: Which parameters mattered, One parameter at a time, " in page
    assert page.count("at least 6 are needed") == 1


@pytest.mark.ray
def test_the_records_model_has_the_accuracy_it_says(
    searched: tuple[Path, dict[str, Any]],
) -> None:
    record, metrics = searched
    module, config = load_model(record)
    test = load_dataset("sample").test
    probability = predict(module, test.images)
    right = float((probability.argmax(1) == test.labels).mean())
    assert right == metrics["test_accuracy"] == metrics["test_accuracy_by_seed"][0]
    assert config.model == "dnn"
    with np.load(record / "predictions.npz", allow_pickle=False) as kept:
        assert np.array_equal(kept["label"], test.labels)
        np.testing.assert_allclose(kept["probability"], probability, atol=1e-5)


@pytest.mark.ray
def test_optuna_opens_the_storage_file(searched: tuple[Path, dict[str, Any]]) -> None:
    import optuna

    record, metrics = searched
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{record / 'optuna.db'}")
    assert len(study.trials) == 3
    assert study.trials[0].user_attrs["unit"] == "trial-000"
    values = [trial.value for trial in study.trials if trial.value is not None]
    assert max(values) == metrics["best_validation_accuracy"]


@pytest.mark.ray
def test_resuming_a_complete_search_trains_nothing_and_more_trials_only_those(
    searched: tuple[Path, dict[str, Any]], ray_cluster: None
) -> None:
    record, before = searched
    events = list(read_events(record / "journal.jsonl"))
    again = tune(resume=str(record), quiet=True)
    assert again["test_accuracy_by_seed"] == before["test_accuracy_by_seed"]
    assert list(read_events(record / "journal.jsonl")) == events
    more = tune(resume=str(record), trials=4, quiet=True)
    fresh = list(read_events(record / "journal.jsonl"))[len(events) :]
    assert {event["unit"] for event in fresh if "unit" in event} == {"trial-003"}
    assert more["trials"] == 4


@pytest.mark.ray
@pytest.mark.parametrize(
    ("changed", "part"),
    [({"seed": 5}, "--seed"), ({"max_epochs": 9}, "--max-epochs"), ({"trials": 1}, "--trials 1")],
)
def test_a_resume_cannot_make_it_another_search(
    changed: dict[str, Any], part: str, searched: tuple[Path, dict[str, Any]]
) -> None:
    with pytest.raises(RequestError, match=part):
        tune(resume=str(searched[0]), quiet=True, **changed)
    with pytest.raises(RequestError, match="--space"):
        tune(resume=str(searched[0]), space=DNN, quiet=True)


@pytest.mark.ray
def test_trials_killed_before_their_end_was_noted_train_nothing_more(
    ray_cluster: None, tmp_path: Path
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(
        "model: dnn\nfixed: {epochs: 30, early_stopping: 1, schedule: constant}\n"
        "search: {learning_rate: {loguniform: [0.01, 0.05]}}\n"
    )
    options: dict[str, Any] = {"results": str(tmp_path), "name": "cut", "quiet": True}
    before = tune(
        space=str(space),
        data="sample",
        trials=4,
        max_epochs=30,
        retrain_seeds=0,
        tensorboard=False,
        **options,
    )
    journal = tmp_path / "cut" / "journal.jsonl"
    events = list(read_events(journal))
    states = trial_states(events)
    assert any(s.status == "stopped" for s in states.values()), "ASHA stopped none"
    early = [s for s in states.values() if s.status == "complete" and s.outcome is None]
    assert early, "none stopped early by itself"
    kept = [event for event in events if event["event"] != "end"]
    journal.write_text("".join(json.dumps(event) + "\n" for event in kept))
    # As a kill leaves it: the checkpoints are there, which the end of the search dropped.
    store = CheckpointStore(str(tmp_path / "cut" / "units"))
    for state in early:
        config = FitConfig.checked(state.config, state.unit)
        weights = dict(load_weights(tmp_path / "cut" / "units" / state.unit))
        seed = trial_seed(0, state.unit)
        rows = [{k: v for k, v in row.items() if k != "unit"} for row in state.rows]
        stepper = Optimizer(config.optimizer, build_model(config.architecture, 0).parameters())
        optimizer = {name: value.numpy() for name, value in stepper.tensors().items()}
        saved = Checkpoint(config.model_dump(), seed, rows, weights, optimizer, weights)
        store.save(state.unit, saved)
    after = tune(resume=str(tmp_path / "cut"), quiet=True)
    again = trial_states(list(read_events(journal)))
    assert {u: s.status for u, s in again.items()} == {u: s.status for u, s in states.items()}
    assert {u: s.rows for u, s in again.items()} == {u: s.rows for u, s in states.items()}
    assert after["epochs"] == before["epochs"]


def test_a_record_of_another_verb_is_not_resumed(tmp_path: Path) -> None:
    Record.create(tmp_path, "other", "train", "cnn").start("train", {}, 0, {})
    with pytest.raises(RequestError, match="record of `train`, not of a search"):
        tune(resume=str(tmp_path / "other"), quiet=True)


def test_a_name_that_is_taken_is_refused(ray_cluster: None, tmp_path: Path) -> None:
    Record.create(tmp_path, "mine", "train", "cnn").start("train", {}, 0, {})
    with pytest.raises(RequestError, match="mine exists already"):
        tune(data="sample", results=str(tmp_path), name="mine", quiet=True)
    assert read_json(tmp_path / "mine" / "run.json")["verb"] == "train"


@pytest.mark.ray
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_search_says_how_to_go_on_and_that_works(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    options = ["--data", "sample", "--trials", "3", "--max-epochs", "6", "--retrain-seeds", "1"]
    process = subprocess.Popen(
        _command(*options, "--results", str(tmp_path), "--name", "cut"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    journal = tmp_path / "cut" / "journal.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if journal.exists() and journal.read_bytes().count(b'"result"') >= 3:
            break
        time.sleep(0.05)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: the driver and all it started
    else:
        process.send_signal(number)  # as `kill` does: the driver alone
    _, messages = process.communicate(timeout=60)
    assert process.returncode == code, messages
    assert "Traceback" not in messages
    assert read_json(tmp_path / "cut" / "run.json")["status"] == "interrupted"
    (line,) = [line for line in messages.splitlines() if "--resume" in line]
    if number == signal.SIGTERM:
        return  # resuming is the same whatever ended it
    words = line.split()
    assert words[:2] == ["python", "-m"]
    resumed = subprocess.run(
        [sys.executable, *words[1:], "--json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr
    states = trial_states(list(read_events(journal)))
    assert len(states) == 3
    for state in states.values():
        assert state.status in ("complete", "stopped")
        assert [row["epoch"] for row in state.rows] == list(range(1, len(state.rows) + 1))


@pytest.mark.ray
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_worker_groups_end_and_free_what_they_took(
    workers: int, ray_cluster: None, tmp_path: Path
) -> None:
    import ray

    # Two that learn, then two that do not: whatever the order of reports, one will be stopped.
    space = tmp_path / "space.yaml"
    space.write_text(
        "model: dnn\nsearch: {learning_rate: {choice: [0.004, 0.003, 0.00001, 0.000001]}}"
    )
    before = ray.available_resources()
    metrics = tune(
        space=str(space),
        searcher="grid",
        data="sample",
        train_size=300,
        max_epochs=3,
        workers_per_trial=workers,
        retrain_seeds=1,
        results=str(tmp_path / "results"),
        quiet=True,
    )
    assert metrics["trials_complete"] + metrics["trials_stopped"] == 4
    assert metrics["trials_stopped"] >= 1, "no trial was stopped: nothing was tested"
    assert metrics["slots"] == 2 // workers
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        now = ray.available_resources()
        if all(now.get(name) == before[name] for name in ("CPU", "memory")):
            return
        time.sleep(0.5)
    pytest.fail(f"still taken: {before} before, {now} now")


@pytest.mark.ray
@pytest.mark.parametrize(
    "options",
    [
        {"scheduler": "median", "searcher": "optuna"},
        {"scheduler": "none", "metric": "validation_loss"},
        {"scheduler": "pbt", "max_epochs": 4},
        {"space": "grid", "searcher": "grid"},
    ],
    ids=lambda options: "-".join(str(value) for value in options.values()),
)
def test_other_searchers_and_schedulers(
    options: dict[str, Any], ray_cluster: None, tmp_path: Path
) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        "model: dnn\nsearch: {activation: {choice: [relu, tanh]}, batch_size: {choice: [50, 100]}}"
    )
    options = {"space": DNN, "max_epochs": 2, "trials": 4, **options}
    if options["space"] == "grid":
        options |= {"space": str(grid), "trials": None}
    metrics = tune(
        data="sample",
        train_size=300,
        retrain_seeds=0,
        results=str(tmp_path / "results"),
        tensorboard=False,
        quiet=True,
        **options,
    )
    assert metrics["trials"] == 4
    assert metrics["trials_failed"] == 0
    if options.get("scheduler") != "median":
        ended = metrics["trials_complete"] + metrics["trials_stopped"]
        assert ended == 4
    if options.get("searcher") == "grid":
        more = tune(resume=metrics["record"], trials=100, quiet=True)
        assert more["trials"] == 4  # a grid has no more points than it has


def _taking_over() -> Any:
    """A fit whose level grows by its learning rate and goes on from the state it is given."""

    def fit(config: Any, data: Any, seed: int, resources: Any, on_epoch: Any, given: Any) -> None:
        import numpy as np

        from fmnist_ray.training.checkpoint import Checkpoint
        from fmnist_ray.training.contract import EpochEnd

        rows = list(given.history) if given is not None else []
        level = float(given.weights["level"]) if given is not None else 0.0
        for epoch in range(len(rows) + 1, config.epochs + 1):
            level += config.learning_rate
            rows.append({"epoch": epoch, "validation_accuracy": level, "seconds": 0.1})
            weights = {"level": np.array(level)}
            state = Checkpoint(config.model_dump(), seed, list(rows), weights, {})
            on_epoch(EpochEnd(rows[-1], lambda state=state: state))

    return fit


@pytest.mark.ray
def test_pbt_trains_more_trials_than_slots_and_the_weak_take_over_from_the_strong(
    ray_cluster: None, tmp_path: Path
) -> None:
    content = {
        "model": "dnn",
        "search": {"learning_rate": {"choice": [0.0001, 0.0002, 0.01, 0.02]}},
    }
    settings = SearchSettings(
        **{"space": content, "space_source": "s", "trials": 4, "max_epochs": 10},
        **{"searcher": "grid", "scheduler": "pbt", "tensorboard": False},
    )
    quiet = SearchProgress(None, 4, 2, settings.metric, "max", [])
    states = run_sweep(
        Sweep(
            record=Record(tmp_path),
            journal=Journal(tmp_path / "journal.jsonl"),
            settings=settings,
            space=parse_space(content, "s").with_epochs_up_to(10),
            resources=Resources(),
            slots=2,
            progress=quiet,
            fit=_taking_over(),
        ),
        {},
    )
    assert [state.rows[-1]["epoch"] for state in states.values()] == [10] * 4
    assert {state.status for state in states.values()} == {"complete"}
    rates = content["search"]["learning_rate"]["choice"]
    assert all(state.config["learning_rate"] in rates for state in states.values())
    # Alone, the first would have come to 0.001.
    assert states["trial-000"].rows[-1]["validation_accuracy"] > 0.01


@pytest.mark.ray
@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--workers-per-trial", "1"], ["--workers-per-trial is 1", "pbt"]),
        (["--max-concurrent", "1"], ["--max-concurrent is 1", "--cpus-per-trial"]),
        (["--space", "flips.yaml"], ["flips.yaml", "learning_rate", "asha"]),
    ],
)
def test_what_pbt_cannot_do_is_refused(
    options: list[str],
    parts: list[str],
    ray_cluster: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flips.yaml").write_text("model: dnn\nsearch: {flip: {choice: [true, false]}}")
    common = ["--data", "sample", "--scheduler", "pbt", "--space", DNN]
    message = _refused(*common, *options, results=tmp_path / "results")
    for part in parts:
        assert part in message


@pytest.mark.ray
def test_a_trial_that_trains_on_after_its_model_was_written_gets_its_new_model(
    ray_cluster: None, tmp_path: Path
) -> None:
    """So it is with failed trials tried again, and with those that a time budget cut off."""
    options: dict[str, Any] = {"retrain_seeds": 0, "quiet": True}
    metrics = tune(
        **{"space": DNN, "data": "sample", "trials": 1, "max_epochs": 2, "name": "one"},
        **{"train_size": 300, "results": str(tmp_path), "tensorboard": False},
        **options,
    )
    record = Path(metrics["record"])
    model = record / "units" / "trial-000" / "model.safetensors"
    whole = model.read_bytes()
    model.write_bytes(b"the weights of its first epoch")
    journal = record / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[: next(n for n, x in enumerate(lines) if b"result" in x)]))
    tune(resume=str(record), **options)
    assert model.read_bytes() == whole


@pytest.mark.ray
def test_a_kill_while_retraining_leaves_only_the_missing_to_be_trained(tmp_path: Path) -> None:
    options = ["--data", "sample", "--space", DNN, "--trials", "1", "--max-epochs", "20"]
    options += ["--retrain-seeds", "12", "--name", "cut", "--results", str(tmp_path), "--quiet"]
    process = subprocess.Popen(_command(*options), cwd=ROOT, start_new_session=True)
    units = tmp_path / "cut" / "units"
    deadline = time.monotonic() + 120
    try:
        while not (units / "retrain-0" / "metrics.json").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None, "the search ended before it could be killed"
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
    done = {path: path.stat().st_mtime_ns for path in units.glob("*/metrics.json")}
    assert len(done) < 13, "all was done before the kill: nothing was tested"
    found = CliRunner().invoke(
        tune_verb.app, ["--resume", str(tmp_path / "cut"), "--json"], catch_exceptions=False
    )
    assert found.exit_code == 0, found.stderr
    assert len(json.loads(found.stdout.splitlines()[-1])["test_accuracy_by_seed"]) == 12
    assert {path: path.stat().st_mtime_ns for path in done} == done
    with (tmp_path / "cut" / "history.csv").open() as stream:
        rows = Counter((row["unit"], row["epoch"]) for row in csv.DictReader(stream))
    assert set(rows.values()) == {1}
    assert sum(unit.startswith("retrain") for unit, _ in rows) == 12 * 12


@pytest.mark.ray
def test_a_time_budget_ends_the_trials_and_the_best_is_retrained(
    ray_cluster: None, tmp_path: Path
) -> None:
    metrics = tune(
        data="sample",
        trials=200,
        max_epochs=3,
        time_budget="30s",
        retrain_seeds=1,
        results=str(tmp_path),
        tensorboard=False,
        quiet=True,
    )
    assert 1 <= metrics["trials"] < 200
    states = ("complete", "stopped", "diverged", "failed", "unfinished")
    assert sum(metrics[f"trials_{state}"] for state in states) == metrics["trials"]
    assert "test_accuracy" in metrics


@pytest.mark.ray
def test_a_time_budget_too_short_for_an_epoch_says_so_and_can_be_raised(
    ray_cluster: None, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"trials": 1, "max_epochs": 1, "retrain_seeds": 0, "quiet": True}
    options |= {"data": "sample", "space": DNN, "tensorboard": False}
    with pytest.raises(WorkError, match=r"--time-budget, 0\.01 seconds"):
        tune(time_budget="0.01s", results=str(tmp_path), name="short", **options)
    assert read_json(tmp_path / "short" / "run.json")["status"] == "failed"
    metrics = tune(resume=str(tmp_path / "short"), time_budget="10m", quiet=True)
    assert metrics["trials_complete"] == 1


@pytest.mark.ray
@pytest.mark.full_data
def test_two_trials_of_one_epoch_on_the_full_data(ray_cluster: None, tmp_path: Path) -> None:
    metrics = tune(
        trials=2, max_epochs=1, retrain_seeds=1, results=str(tmp_path), name="full", quiet=True
    )
    data = read_json(tmp_path / "full" / "run.json")["data"]
    assert (data["train_images"], data["validation_images"]) == (54_000, 6_000)
    assert data["test_images"] == 10_000
    assert metrics["test_accuracy"] > 0.8

"""The verbs on real clusters of several hosts: what they share, what they lose, what joins them."""

import csv
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fmnist_ray.cross_validate import cross_validate
from fmnist_ray.ensemble import ensemble
from fmnist_ray.records import read_json
from fmnist_ray.tune import tune

pytestmark = pytest.mark.ray

_PATIENCE = 240.0
SPACE = "search_spaces/dnn.yaml"
SEED = ("--data", "sample", "--seed", "3")
SHORT = ("--set", "epochs=3", "--max-concurrent", "3")
# Long enough for something to happen meanwhile.
EPOCHS = 30
LONG_FOLDS = ("--model", "cnn", "--set", f"epochs={EPOCHS}", "--folds", "6", "--name", "long")
LONG_SPACE = f"""
model: cnn
fixed: {{epochs: {EPOCHS}}}
search:
  learning_rate: {{loguniform: [0.0005, 0.01]}}
"""
EACH_ONCE = list(range(1, EPOCHS + 1))


def _alone(folder: Path) -> dict[str, Any]:
    """The same on this machine alone."""
    return {"data": "sample", "seed": 3, "results": str(folder / "alone"), "quiet": True}


def _figures(metrics: dict[str, Any]) -> dict[str, Any]:
    """Those that are the same for the same seed, wherever the fits ran."""
    return {key: value for key, value in metrics.items() if "accuracy" in key or "loss" in key}


def _history(record: Path) -> list[dict[str, str]]:
    path = record / "history.csv"
    if not path.is_file():
        return []
    with path.open() as stream:
        return list(csv.DictReader(stream))


def _epochs(record: Path) -> dict[str, list[int]]:
    """The epochs that the history has of each unit, in their order."""
    found: dict[str, list[int]] = defaultdict(list)
    for row in _history(record):
        found[row["unit"]].append(int(row["epoch"]))
    return dict(found)


def _ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Exit code and messages of a verb that ends by itself."""
    out, err = process.communicate(timeout=_PATIENCE)
    assert "Traceback" not in out + err, err
    return process.returncode, err


def _wait_for(happened: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    ends = time.monotonic() + _PATIENCE
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.2)


def _works(hosts: Any, number: int) -> bool:
    """Whether a unit is at work on a host: it carries VERB/NAME/UNIT."""
    return any("/" in name for name in hosts.units(number))


def _saved(record: Path) -> list[Path]:
    return list(record.glob("units/*/checkpoint.safetensors"))


def _run(hosts: Any, verb: str, *arguments: str) -> dict[str, Any]:
    """Runs a verb on three hosts, of which more than one has to be used; returns its metrics."""
    results = hosts.folder / "results"
    process = hosts.driver(verb, *arguments, *SEED, "--results", str(results), "--name", verb)
    used = set()
    while process.poll() is None:
        used |= {number for number in range(3) if _works(hosts, number)}
        time.sleep(0.2)
    code, err = _ended(process)
    assert code == 0, err
    assert len(used) > 1, err
    return read_json(results / verb / "metrics.json")


def _start_search(
    hosts: Any, trials: int, epochs: int = EPOCHS, on: int = 0
) -> "subprocess.Popen[str]":
    """Starts a search of so many trials that all take so many epochs."""
    (hosts.folder / "space.yaml").write_text(LONG_SPACE)
    length = ("--trials", str(trials), "--max-epochs", str(epochs), "--scheduler", "none")
    places = ("--space", str(hosts.folder / "space.yaml"), "--name", "long")
    results = ("--results", str(hosts.folder / "results"))
    arguments = (*length, *places, *results, "--retrain-seeds", "0", *SEED)
    process: subprocess.Popen[str] = hosts.driver("tune", *arguments, on=on)
    return process


def _swap(hosts: Any, process: "subprocess.Popen[str]", lost: int, joins: int) -> str:
    """In a run of six units one host is killed and another joins; waits for the end.

    Returns:
        The messages.
    """
    record = hosts.folder / "results" / "long"
    _wait_for(lambda: _works(hosts, lost), process)
    hosts.start(joins)  # it takes its time to come: as long as a unit
    _wait_for(
        lambda: len(_saved(record)) >= 2 and _works(hosts, lost) and _history(record), process
    )
    before = _history(record)
    hosts.kill(lost)
    _wait_for(lambda: _works(hosts, joins), process)
    code, err = _ended(process)
    assert code == 0, err
    assert sorted(_epochs(record).values()) == [EACH_ONCE] * 6
    assert not _saved(record)
    # Trained anew, an epoch would have taken other seconds.
    after = _history(record)
    assert before
    assert all(row in after for row in before)
    return err


def test_folds_on_three_hosts_of_which_one_is_killed_and_another_joins(
    make_hosts: Any, ray_cluster: None, tmp_path: Path
) -> None:
    hosts = make_hosts(3)
    found = _run(hosts, "cross_validate", "--model", "cnn", "--folds", "3", *SHORT)
    expected = cross_validate(model="cnn", folds=3, set_=["epochs=3"], **_alone(tmp_path))
    assert _figures(found) == _figures(expected)

    results = ("--results", str(tmp_path / "results"))
    err = _swap(hosts, hosts.driver("cross_validate", *LONG_FOLDS, *SEED, *results), 1, 3)
    assert f"node {hosts.host(1)} is gone: room for" in err
    assert f"node {hosts.host(3)} joined: room for" in err
    assert "is tried again" in err


@pytest.mark.slow
def test_members_and_a_search_on_three_hosts_of_which_one_is_killed_and_another_joins(
    make_hosts: Any, ray_cluster: None, tmp_path: Path
) -> None:
    hosts = make_hosts(3)
    found = _run(hosts, "ensemble", "--models", "cnn", "--members", "3", *SHORT)
    expected = ensemble(models="cnn", members=3, set_=["epochs=3"], **_alone(tmp_path))
    assert _figures(found) == _figures(expected)

    search = ("--space", SPACE, "--trials", "4", "--max-epochs", "3", "--scheduler", "none")
    found = _run(hosts, "tune", *search, "--retrain-seeds", "1")
    search_alone = {"space": SPACE, "trials": 4, "max_epochs": 3, "scheduler": "none"}
    expected = tune(retrain_seeds=1, **search_alone, **_alone(tmp_path))
    assert _figures(found) == _figures(expected)

    _swap(hosts, _start_search(hosts, 6), 2, 3)
    metrics = read_json(tmp_path / "results" / "long" / "metrics.json")
    assert (metrics["trials"], metrics["trials_complete"], metrics["slots"]) == (6, 6, 3)


def test_hosts_that_cannot_do_the_work_are_named(make_hosts: Any, tmp_path: Path) -> None:
    hosts = make_hosts(1, shared=False)
    options = (*SEED, "--results", str(tmp_path / "results"))
    search = _start_search(hosts, 4, epochs=8)
    _wait_for(lambda: _saved(tmp_path / "results" / "long"), search)
    hosts.start(1, package=False)
    code, err = _ended(search)
    assert code == 0, err
    named = f"Node {hosts.host(1)} lacks fmnist_ray. Install it there"
    assert f"a node that joined is not used. {named}" in err
    assert read_json(tmp_path / "results" / "long" / "metrics.json")["trials_complete"] == 4

    code, err = _ended(hosts.driver("baselines", *options))
    assert code == 2
    assert named in err

    hosts.kill(1)
    hosts.wait_for(1)  # else the lost one may be counted in place of the new one
    hosts.start(2)
    hosts.wait_for(2)
    doctor = hosts.driver("doctor", "--data", "sample", "--results", str(tmp_path))
    out, _ = doctor.communicate(timeout=_PATIENCE)
    assert doctor.returncode == 1
    assert f"{hosts.host(2)}: 1 CPU, 0 GPU, 4.0 GiB, ray 2.60" in out
    assert f"Node {hosts.host(2)} does not share" in out
    verbs = ("cross_validate", "tune")
    for each in [hosts.driver(verb, *options, "--name", f"refused-{verb}") for verb in verbs]:
        code, err = _ended(each)
        assert code == 2
        assert f"Node {hosts.host(2)} does not share" in err
        assert "--results DIR" in err
        assert "--storage s3://" in err
    assert not list((tmp_path / "results").glob("refused*"))

    # Nothing is written on the nodes here, and what they read is in the object store.
    arguments = ("--models", "logistic_regression", "--train-size", "300")
    baselines = hosts.driver("baselines", *arguments, *options)
    used = set()
    while baselines.poll() is None:
        used |= {n for n in (0, 2) if any("logistic" in each for each in hosts.units(n))}
        time.sleep(0.1)
    code, err = _ended(baselines)
    assert code == 0, err
    assert used == {0, 2}


@pytest.mark.slow
def test_a_lost_head_ends_the_verb_and_the_run_goes_on_elsewhere(
    make_hosts: Any, ray_cluster: None, tmp_path: Path
) -> None:
    hosts = make_hosts(2)
    record = tmp_path / "results" / "long"
    search = _start_search(hosts, 4, on=1)
    _wait_for(lambda: len(_saved(record)) >= 2, search)
    hosts.kill(0)
    code, err = _ended(search)
    assert code == 1
    assert f"the head of the cluster, {hosts.address}, does not answer any more" in err
    assert f"python -m fmnist_ray.tune --resume {record}" in err
    assert read_json(record / "run.json")["status"] == "interrupted"
    metrics = tune(resume=str(record), quiet=True)
    assert metrics["trials_complete"] == 4
    assert sorted(_epochs(record).values()) == [EACH_ONCE] * 4

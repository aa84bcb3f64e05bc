"""What the doctor finds, in a healthy place and in sick ones."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.doctor import (
    Checkup,
    app,
    check_cluster,
    check_data,
    check_machine,
    check_packages,
    check_results,
    doctor,
)
from fmnist_ray.machine import usable_cpus, usable_memory

GIB = 2**30


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def cgroup(folder: Path, **limits: str) -> Path:
    for name, text in limits.items():
        path = folder / name.replace("__", "/").replace("_", ".", 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return folder


def test_a_healthy_place_passes(tmp_path: Path) -> None:
    result = run("--data", "sample", "--results", tmp_path / "new", "--json")
    found = json.loads(result.stdout.splitlines()[-1])
    assert (result.exit_code, found["problems"]) == (0, [])
    assert found["ray"].startswith("2.60.")
    assert found["cpus"] >= 1
    assert found["memory_gib"] > 0
    assert found["precision"] in ("bf16", "fp32")
    assert (found["data"], found["train_images"], found["test_images"]) == ("sample", 2000, 500)
    assert found["data_is_the_release"] is False
    assert not (tmp_path / "new").exists()


def test_what_stops_the_verbs_is_told_together_and_exits_with_1(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("--data", tmp_path / "nowhere", "--results", tmp_path / "file" / "results")
    assert result.exit_code == 1
    assert "nowhere is not there" in result.stdout
    assert "Records cannot be written" in result.stdout
    assert "Traceback" not in result.stderr


def test_from_python_the_findings_are_returned(tmp_path: Path) -> None:
    found = doctor(data="sample", results=str(tmp_path), quiet=True)
    assert found["problems"] == []
    assert found["results_free_gib"] > 0


def test_missing_data_is_a_warning_that_says_how_to_get_it_and_fetches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("fmnist_ray.dataset.sources.SYSTEM_FOLDER", tmp_path / "system")
    checkup = Checkup()
    check_data(checkup, None)
    assert checkup.problems == []
    assert "fmnist_ray.data fetch" in checkup.warnings[0]
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_cache_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "fmnist_ray" / "fashion-mnist").mkdir(parents=True)
    checkup = Checkup()
    check_data(checkup, None)
    assert checkup.problems == []
    assert "lacks train-images" in checkup.warnings[0]


def test_data_named_in_the_environment_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMNIST_DATA", str(tmp_path / "nowhere"))
    checkup = Checkup()
    check_data(checkup, None)
    assert "nowhere" in checkup.problems[0]


@pytest.mark.full_data
def test_the_release_is_recognised() -> None:
    load_dataset()
    checkup = Checkup()
    check_data(checkup, None)
    assert checkup.facts["data_is_the_release"] is True
    assert checkup.facts["train_images"] == 60_000


def test_a_wrong_version_and_a_missing_package_are_problems(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Another version cannot be installed here, so the wish is changed and not what is there.
    monkeypatch.setattr(
        "fmnist_ray.doctor.requires",
        lambda name: ["ray[tune]==1.0.*", "no-such-package>=2", 'mlflow<1; extra == "mlflow"'],
    )
    checkup = Checkup()
    check_packages(checkup)
    ray, missing = checkup.problems
    assert ray.startswith("ray 2.60.")
    assert "==1.0.* is needed" in ray
    assert missing.startswith("no-such-package is not installed")


def test_a_package_that_cannot_be_imported_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    (tmp_path / "torchvision.py").write_text('raise RuntimeError("operator does not exist")')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    checkup = Checkup()
    check_packages(checkup)
    assert len(checkup.problems) == 1
    assert "torchvision" in checkup.problems[0]
    assert "operator does not exist" in checkup.problems[0]


@pytest.mark.parametrize("address", ["not-a-port:x", "127.0.0.1:99999", "ray://127.0.0.1:{free}"])
def test_an_address_where_nothing_answers_is_a_problem_at_once(address: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = address.replace("{free}", str(probe.getsockname()[1]))
    checkup = Checkup()
    check_cluster(checkup, address)
    assert len(checkup.problems) == 1
    assert address in checkup.problems[0]
    assert "--address local" in checkup.problems[0]


def test_the_address_in_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:99999")
    checkup = Checkup()
    check_cluster(checkup, None)
    assert checkup.facts["address"] == "127.0.0.1:99999"
    assert checkup.problems


def test_starting_ray_here_needs_nothing() -> None:
    checkup = Checkup()
    check_cluster(checkup, None)
    assert (checkup.facts, checkup.problems) == ({"address": "local"}, [])


def test_results_that_are_a_file_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "results").touch()
    checkup = Checkup()
    check_results(checkup, tmp_path / "results")
    assert "--results DIR" in checkup.problems[0]


def test_a_containers_cpu_limit_counts(tmp_path: Path) -> None:
    here = len(os.sched_getaffinity(0))
    version2 = cgroup(tmp_path / "2", cpu_max="50000 100000")
    version1 = tmp_path / "1"
    (version1 / "cpu").mkdir(parents=True)
    (version1 / "cpu" / "cpu.cfs_quota_us").write_text("25000\n")
    (version1 / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cpus(version2) == 0.5
    assert usable_cpus(version1) == 0.25
    assert usable_cpus(cgroup(tmp_path / "none", cpu_max="max 100000")) == here
    assert usable_cpus(cgroup(tmp_path / "more", cpu_max="99900000 100000")) == here
    assert usable_cpus(tmp_path / "nowhere") == here


def test_a_containers_memory_limit_counts(tmp_path: Path) -> None:
    machine = usable_memory(tmp_path / "nowhere")
    assert machine is not None
    assert usable_memory(cgroup(tmp_path / "2", memory_max=str(GIB))) == GIB
    assert usable_memory(cgroup(tmp_path / "none", memory_max="max")) == machine
    # Version 1 writes a huge number where there is no limit.
    (tmp_path / "1" / "memory").mkdir(parents=True)
    (tmp_path / "1" / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712")
    assert usable_memory(tmp_path / "1") == machine


def test_a_small_machine_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fmnist_ray.doctor.usable_memory", lambda: GIB)
    checkup = Checkup()
    check_machine(checkup)
    assert any("1.0 GiB of memory" in warning for warning in checkup.warnings)

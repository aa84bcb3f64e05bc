import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from fmnist_ray.dispatch.tasks import Outcome
from fmnist_ray.dispatch.units import FitUnit, SharedData, UnitResult, run_units
from fmnist_ray.training.checkpoint_store import CheckpointStore
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.contract import FitData
from fmnist_ray.training.fit import fit
from fmnist_ray.training.ray_train import Resources

pytestmark = pytest.mark.ray
CONFIG = FitConfig(model="dnn", epochs=3, dropout=0.1)


def _units(data: FitData, config: FitConfig = CONFIG, count: int = 3) -> list[FitUnit]:
    return [FitUnit(f"member-{n}", config, n, data.train, data.validation) for n in range(count)]


def _shared(data: FitData) -> SharedData:
    return SharedData(data.images, data.labels, data.images[:50])


def _value(outcome: Outcome) -> UnitResult:
    assert isinstance(outcome.value, UnitResult)
    return outcome.value


def test_units_give_what_plain_fits_give(
    small_data: FitData, ray_cluster: None, tmp_path: Path
) -> None:
    units, seen = _units(small_data), []
    results = {
        unit.name: result
        for unit, result in run_units(
            units,
            _shared(small_data),
            2,
            Resources(),
            str(tmp_path),
            on_epoch=lambda name, row: seen.append((name, row["epoch"])),
        )
    }
    assert sorted(seen) == [(f"member-{n}", epoch) for n in range(3) for epoch in (1, 2, 3)]
    for unit in units:
        result = _value(results[unit.name])
        plain = fit(CONFIG, small_data, unit.seed)
        for name, value in plain.weights.items():
            assert np.array_equal(result.weights[name], value)
        assert result.test_probability.shape == (50, 10)


def test_tasks_carry_their_units_names(
    small_data: FitData, ray_cluster: None, tmp_path: Path
) -> None:
    import ray
    from ray.util.state import list_tasks

    units = [FitUnit("named-unit", CONFIG, 0, small_data.train)]
    list(run_units(units, _shared(small_data), 2, Resources(), str(tmp_path)))
    address = ray.get_runtime_context().gcs_address
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if list_tasks(address=address, filters=[("name", "=", "named-unit")]):
            return
        time.sleep(0.5)
    pytest.fail("the task's name is not in Ray's task list")


def test_a_unit_that_fails_is_reported_and_the_others_go_on(
    small_data: FitData, ray_cluster: None, tmp_path: Path
) -> None:
    units = _units(small_data)
    diverging = CONFIG.model_copy(
        update={"optimizer": "sgd", "learning_rate": 100.0, "schedule": "constant"}
    )
    units.insert(1, FitUnit("diverges", diverging, 0, small_data.train))
    results = {
        unit.name: result
        for unit, result in run_units(
            units, _shared(small_data), 2, Resources(precision="fp32"), str(tmp_path)
        )
    }
    failure = results.pop("diverges")
    assert failure.failed
    assert len(failure.failures) == 1, "what diverged would diverge again"
    assert "learning rate 100" in failure.failures[0]
    assert len(results) == 3
    assert not any(each.failed for each in results.values())


def test_a_killed_unit_goes_on_from_its_checkpoint(
    small_data: FitData, ray_cluster: None, tmp_path: Path
) -> None:
    config = FitConfig(model="cnn", epochs=30, dropout=0.1)
    unit = FitUnit("victim", config, 0, small_data.train, small_data.validation)
    killed: list[int] = []
    epochs: list[int] = []

    def kill_once(name: str, row: dict) -> None:
        epochs.append(row["epoch"])
        if not killed and row["epoch"] >= 2:
            for process in psutil.process_iter(["cmdline"]):
                if "ray::victim" in " ".join(process.info["cmdline"] or []):
                    os.kill(process.pid, signal.SIGKILL)
                    killed.append(process.pid)

    ((_, outcome),) = run_units(
        [unit], _shared(small_data), 1, Resources(), str(tmp_path), on_epoch=kill_once
    )
    assert killed, "the task's process was not found"
    assert len(outcome.failures) == 1
    result = _value(outcome)
    assert [row["epoch"] for row in result.history] == list(range(1, 31))
    plain = fit(config, small_data, 0)
    for name, value in plain.weights.items():
        assert np.array_equal(result.weights[name], value)
    # The epochs before the kill were told twice, but their times show they were trained once.
    assert sorted(set(epochs)) == list(range(1, 31))
    assert CheckpointStore(str(tmp_path)).load_for("victim", config, 0) is not None

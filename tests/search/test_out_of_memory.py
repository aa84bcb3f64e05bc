"""A trial that eats the memory of its machine is ended by Ray, and marked; the others go on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT

GIB = 2**30
_SWEEP = """
import json, sys
from pathlib import Path
import ray
from tests.search.scripted_sweep import sweep_over

def fit(config, data, seed, resources, on_epoch, state):
    import time
    import numpy as np
    from fmnist_ray.training.checkpoint import Checkpoint
    from fmnist_ray.training.contract import EpochEnd

    held = []
    while config.learning_rate == 0.2:
        held.append(np.ones(8_000_000))
        time.sleep(0.05)
    history = list(state.history) if state is not None else []
    while len(history) < 2:
        history.append({"epoch": len(history) + 1, "validation_accuracy": 0.5, "seconds": 0.1})
        saved = Checkpoint(config.model_dump(), seed, list(history), {"w": np.ones(1)}, {})
        on_epoch(EpochEnd(history[-1], lambda saved=saved: saved))

ray.init(address="local", num_cpus=2, log_to_driver=False, logging_level="ERROR")
states = sweep_over(Path(sys.argv[1]), fit, [0.1, 0.2, 0.3, 0.4]).values()
print(json.dumps({state.config["learning_rate"]: [state.status, state.reason] for state in states}))
"""


@pytest.mark.slow  # other work on the machine counts towards the limit
@pytest.mark.ray
def test_a_trial_without_end_to_its_memory_is_marked_and_the_others_go_on(tmp_path: Path) -> None:
    memory = psutil.virtual_memory()
    if memory.available < 8 * GIB:
        pytest.skip("needs 8 GiB of free memory")
    limit = (memory.used + 5 * GIB) / memory.total
    done = subprocess.run(
        [sys.executable, "-c", _SWEEP, str(tmp_path / "run")],
        cwd=ROOT,
        env=os.environ
        | {"RAY_memory_usage_threshold": f"{limit:.3f}", "RAY_memory_monitor_refresh_ms": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert [found[rate][0] for rate in ("0.1", "0.3", "0.4")] == ["complete"] * 3
    assert found["0.2"][0] == "failed"
    assert "its machine ran out of memory" in found["0.2"][1]

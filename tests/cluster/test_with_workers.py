"""A search on a cluster that grows: real raylets, started and ended by Ray's own autoscaler."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[2]
_SCRIPT = str(ROOT / "cluster" / "with_workers.py")
_RAY = str(Path(sys.executable).parent / "ray")
_HEAD_ID = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
_WAIT_SECONDS = 90.0


def _config(address: str) -> dict[str, Any]:
    """A head without CPUs, and up to two workers of one CPU that go when idle for six seconds."""
    commands = ["initialization", "setup", "head_setup", "worker_setup"]
    commands += ["head_start_ray", "worker_start_ray"]
    return {
        "cluster_name": "grows",
        "max_workers": 2,
        "idle_timeout_minutes": 0.1,
        "upscaling_speed": 1.0,
        "provider": {
            # By its module: what Ray looks up for `fake_multinode` is not in its wheels.
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
            "head_node_id": _HEAD_ID,
            "gcs_address": address,
        },
        "head_node_type": "ray.head.default",  # the provider gives it this name
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 2},
        },
        "auth": {},
        "docker": {},
        "file_mounts": {},
        **{f"{name}_commands": [] for name in commands},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
    }


@pytest.fixture
def ray_folder() -> Iterator[str]:
    """A cluster's own folder: in the common one it would leave its address to other programs.

    Its path is short, since those of sockets must be.
    """
    with TemporaryDirectory(prefix="ray") as folder:
        yield folder


@pytest.fixture
def growing_cluster(
    ray_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Starts the cluster; yields its address."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 2)
    from ray.util import get_node_ip_address

    with socket.socket() as first, socket.socket() as second:
        first.bind(("", 0))
        second.bind(("", 0))
        port, client_port = first.getsockname()[1], second.getsockname()[1]
    host = get_node_ip_address()
    address = f"{host}:{port}"
    config = tmp_path / "cluster.yaml"
    config.write_text(json.dumps(_config(address)))
    environment = {
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": _HEAD_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD_ID,
    }
    command = [
        *(_RAY, "start", "--head", "--block", f"--autoscaling-config={config}"),
        *(f"--node-ip-address={host}", f"--port={port}", "--num-cpus=0"),
        f"--temp-dir={ray_folder}",
        *("--include-dashboard=false", "--disable-usage-stats"),
        # Where it is taken by another cluster of this machine, Ray would end the head.
        f"--ray-client-server-port={client_port}",
        "--object-store-memory=150000000",
    ]
    # A raylet whose agents take more than 15 s to start ends, on a busy machine: a second chance.
    for _ in range(3):
        head = subprocess.Popen(
            command,
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _until(lambda head=head: head.poll() is not None or _listens(host, port), "the head")
            _until(
                lambda head=head: (
                    head.poll() is not None or " ray.head.default" in _status(address)
                ),
                "the autoscaler",
            )
            if head.poll() is None:
                yield address
                return
        finally:
            _end(head)
    raise AssertionError("the head ended three times")


def _end(head: subprocess.Popen[bytes]) -> None:
    """Ends the head and, as far as it still has them, the processes that it started."""
    processes = []
    if head.poll() is None:
        processes = [psutil.Process(head.pid), *psutil.Process(head.pid).children(recursive=True)]
    head.terminate()
    _, alive = psutil.wait_procs(processes, timeout=10)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=10)
    head.wait()


def _listens(host: str, port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((host, port)) == 0


def _until(holds: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + _WAIT_SECONDS
    while not holds():
        assert time.monotonic() < ends, f"{what}: not within {_WAIT_SECONDS:g} s"
        time.sleep(1)


def _status(address: str) -> str:
    """What `ray status` says; empty before there is a cluster."""
    done = subprocess.run(
        [_RAY, "status", f"--address={address}"], capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else ""


def _workers(address: str) -> int:
    return _status(address).count(" worker\n")


def _asked(address: str) -> str:
    """What is requested of the autoscaler, as of its last round; empty for nothing."""
    asked = _status(address).split("From request_resources:")[1].split("Pending Demands:")[0]
    return asked.strip().removeprefix("(none)")


def _start(address: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, _SCRIPT, *arguments],
        env=os.environ | {"RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.ray
def test_workers_come_for_a_search_and_go_after_it(growing_cluster: str, tmp_path: Path) -> None:
    search = [sys.executable, "-m", "fmnist_ray.tune", "--data", "sample", "--trials", "2"]
    search += ["--space", str(ROOT / "search_spaces" / "dnn.yaml"), "--max-epochs", "1"]
    search += ["--retrain-seeds", "0", "--quiet", "--results", str(tmp_path / "results"), "--json"]
    assert _workers(growing_cluster) == 0
    process = _start(growing_cluster, "--cpus", "2", "--", *search)
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err[-3000:]
    found = json.loads(out.splitlines()[-1])
    assert found["slots"] == 2
    assert found["trials_complete"] == 2
    assert "workers: 2 of 2 CPUs" in err
    _until(lambda: not _asked(growing_cluster), "the request went")
    _until(lambda: _workers(growing_cluster) == 0, "the workers went")


@pytest.mark.ray
def test_what_is_told_to_stop_while_it_waits_withdraws_its_request(ray_cluster: None) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    process = _start(address, "--gpus", "1", "--", sys.executable, "-c", "print('began')")
    assert process.stderr is not None
    assert "workers: 0 of 1 GPUs" in process.stderr.readline()
    _until(lambda: "'GPU': 1" in _asked(address), "the request came")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "")
    assert "withdrawn" in err
    _until(lambda: not _asked(address), "the request went")


@pytest.mark.ray
@pytest.mark.parametrize(
    ("wanted", "code", "said"),
    [
        (["--cpus", "2"], 3, "workers: 2 of 2 CPUs"),
        (["--cpus", "9", "--wait", "0"], 3, "beginning with these"),
        (["--gpus", "1", "--wait", "0"], 1, "`ray status` says why"),
        (["--gpus", "-1"], 2, "cannot be below 0"),
        ([], 2, "say with --gpus or --cpus"),
    ],
)
def test_what_begins_and_how_it_ends(
    ray_cluster: None, wanted: list[str], code: int, said: str
) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    process = _start(address, *wanted, "--", sys.executable, "-c", "raise SystemExit(3)")
    _, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert said in err

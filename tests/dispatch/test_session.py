"""Joining and leaving Ray, and the signals that end a verb."""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.dispatch.session import cluster_nodes, ray_session
from fmnist_ray.errors import RequestError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "here:port"])
def test_an_address_where_nobody_listens_is_refused(address: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        address = address.format(port=taken.getsockname()[1])
        with pytest.raises(RequestError) as error, ray_session(address):
            pytest.fail("a session began")
    assert address in str(error.value)
    assert "--address local" in str(error.value)


def test_the_environment_names_the_cluster_where_no_address_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(RequestError, match=r"127\.0\.0\.1:1"), ray_session():
        pytest.fail("a session began")


_VERB = """
import time
from fmnist_ray.console import command
from fmnist_ray.dispatch.session import ray_session
import ray

def verb():
    print("begun", flush=True)
    with ray_session("local"):
        time.sleep(60)

command(verb)()
"""


@pytest.mark.ray
@pytest.mark.parametrize(
    ("seconds", "sent", "code"),
    [
        (1.0, (signal.SIGTERM,), 143),
        (1.5, (signal.SIGINT, signal.SIGINT), 130),
        (3.0, (signal.SIGTERM,), 143),
        (4.5, (signal.SIGINT, signal.SIGINT), 130),
    ],
)
def test_signals_while_ray_starts_are_interruptions_that_leave_nothing_behind(
    seconds: float, sent: tuple[signal.Signals, ...], code: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _VERB],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    time.sleep(seconds)
    seen = psutil.Process(process.pid).children(recursive=True)
    for number in sent:
        process.send_signal(number)
        seen += _children(process.pid)
        time.sleep(0.3)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == code, messages
    assert "interrupted" in messages
    assert "Traceback" not in messages
    _, left = psutil.wait_procs(seen, timeout=20)
    assert [" ".join(each.cmdline()) for each in left if each.is_running()] == []


def _children(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


@pytest.mark.ray
def test_a_session_of_the_callers_is_used_and_left_open(ray_cluster: None) -> None:
    import ray

    with ray_session() as dashboard:
        assert dashboard.startswith("http://")
        (node,) = cluster_nodes()
        assert (node.cpus, node.gpus) == (2, 0)
        assert node.memory > 2**30
    assert ray.is_initialized()


@pytest.mark.ray
def test_people_are_told_in_one_line_where_to_watch_a_run(ray_cluster: None) -> None:
    run = RunName("ensemble", "autumn", "cnn")
    for quiet in (False, True):
        text = io.StringIO()
        console = Console(file=text, quiet=quiet, width=1000)
        with ray_session(run=run, console=console) as dashboard:
            told = text.getvalue()
        if quiet:
            assert told == ""
        else:
            assert told.count("\n") == 1
            for part in (dashboard, "ray get-auth-token", "ensemble/autumn/"):
                assert part in told


@pytest.mark.ray
def test_a_session_of_its_own_ends_with_the_work_and_says_nothing() -> None:
    code = (
        "import os, psutil\n"
        "from fmnist_ray.dispatch.session import cluster_nodes, ray_session\n"
        "import ray\n"
        "with ray_session('local'):\n"
        "    assert cluster_nodes()[0].cpus >= 1\n"
        "    assert psutil.Process().children()\n"
        "assert not ray.is_initialized()\n"
        "names = [each.name() for each in psutil.Process().children(recursive=True)]\n"
        "assert not {'raylet', 'gcs_server'} & set(names), names\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout == ""
    assert found.stderr == ""


@pytest.mark.ray
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux binds processes")
def test_ray_started_here_has_the_cpus_that_the_process_may_use() -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from fmnist_ray.dispatch.session import cluster_nodes, ray_session\n"
        "with ray_session('local'):\n"
        "    print([node.cpus for node in cluster_nodes()])\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert found.stdout.strip() == "[1.0]"

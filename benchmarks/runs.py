"""Verbs and clusters in processes of their own, and what must be true of a record in the end."""

import contextlib
import csv
import itertools
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import psutil

from benchmarks.processes import kill_tree
from fmnist_ray.search.journal import JOURNAL_FILE, read_events, trial_states

_LEAVE_SECONDS = 30.0


class Run:
    """A verb in a process of its own, watched for steps back.

    Args:
        folder: Where its output is kept.
        arguments: Of `python -m fmnist_ray`.
        record: What is watched: `--results`/`--name` of the arguments if it is not given.
        environment: Variables besides this process' own.

    Attributes:
        losses: Steps back: events that went from the journal, checkpoints of earlier epochs.
    """

    def __init__(
        self,
        folder: Path,
        arguments: list[str],
        record: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        if record is None:
            after = dict(itertools.pairwise(arguments))
            record = Path(after["--results"]) / after["--name"]
        self.what, self.losses, self._record = arguments[0], [], record
        self._log = folder / f"{time.time_ns()}.log"
        self._tree: dict[int, psutil.Process] = {}
        self._epochs: dict[Path, int] = {}
        self._journal = b""
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fmnist_ray", *arguments],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | (environment or {}),
            )

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None if it has not ended after so long."""
        ends = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < ends:
            self._look()
            time.sleep(0.1)
        self._look()
        return self.process.poll()

    def kill(self) -> None:
        """SIGKILL for the driver alone."""
        self.process.kill()
        self.process.wait()
        self._look()

    def workers(self) -> list[psutil.Process]:
        """Ray's processes below the driver that are at work for it."""
        self._find_tree()
        return [each for each in self._tree.values() if _is_at_work(each)]

    def left_behind(self, agents: bool = True) -> list[str]:
        """What still runs of its processes a while after its end; ends it.

        Args:
            agents: Whether Ray's agents count. They notice only after a minute that their node was
                killed.
        """
        ends = time.monotonic() + _LEAVE_SECONDS
        left = [each for each in self._tree.values() if agents or not _is_agent(each)]
        while left and time.monotonic() < ends:
            left = [each for each in left if _is_running(each)]
            time.sleep(0.1)
        losses = []
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                title = " ".join(each.cmdline())[:100]
                losses.append(f"{self.what}: process {each.pid} was left behind: {title}")
                each.kill()
        return losses

    def output(self) -> str:
        """What it printed."""
        return self._log.read_text(errors="replace")

    def last_words(self) -> str:
        """The end of what it printed."""
        return self.output()[-1500:]

    def _find_tree(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in psutil.Process(self.process.pid).children(recursive=True):
                self._tree[each.pid] = each

    def _look(self) -> None:
        self._find_tree()
        with contextlib.suppress(FileNotFoundError):
            content = (self._record / JOURNAL_FILE).read_bytes()
            # A torn last line is cut off by whoever goes on.
            if not content.startswith(self._journal[: self._journal.rfind(b"\n") + 1]):
                self.losses.append("events went from the journal")
            self._journal = content
        for path in self._record.glob("units/[!p]*/checkpoint.safetensors"):  # no probes
            epoch = _epoch_of(path)
            if epoch is not None:
                if epoch < self._epochs.get(path, 0):
                    self.losses.append(
                        f"{path.parent.name} went back from {self._epochs[path]} to {epoch}"
                    )
                self._epochs[path] = epoch


def _epoch_of(path: Path) -> int | None:
    """Finished epochs of a checkpoint, from its header alone."""
    try:
        with path.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        return len(json.loads(header["__metadata__"]["state"])["history"])
    except FileNotFoundError:  # dropped since: its trial has ended
        return None


def _is_at_work(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        title = " ".join(process.cmdline())
        # Agents are parts of a node: with them it dies as a whole.
        return bool(re.match(r"ray::(?!IDLE|\w*Agent)", title))
    return False


def _is_agent(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(
            re.search(r"ray::\w*Agent|/agent\.py|/agent/main\.py", " ".join(process.cmdline()))
        )
    return False


def _is_running(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def check_search(record: Path, trials: int) -> list[str]:
    """What a finished search lacks, in words."""
    losses = _check_status(record)
    states = trial_states(list(read_events(record / JOURNAL_FILE)))
    if len(states) != trials:
        losses.append(f"{len(states)} trials instead of {trials}")
    for unit, state in states.items():
        epochs = [row["epoch"] for row in state.rows]
        if epochs != list(range(1, len(epochs) + 1)):
            losses.append(f"{unit} has the epochs {epochs}")
        if state.status not in ("complete", "stopped", "diverged"):
            losses.append(f"{unit} is {state.status}: {state.reason}")
        if state.status == "complete" and len(epochs) != state.config["epochs"]:
            losses.append(f"{unit} is complete after {len(epochs)} epochs")
        losses += _check_history(record, unit, epochs)
    return losses


def check_units(record: Path, units: int) -> list[str]:
    """What a finished cross-validation or ensemble lacks, in words."""
    losses = _check_status(record)
    folders = sorted(path.parent for path in record.glob("units/*/metrics.json"))
    if len(folders) != units:
        losses.append(f"{len(folders)} units instead of {units}")
    for folder in folders:
        metrics = json.loads((folder / "metrics.json").read_text())
        if metrics["status"] != "complete":
            losses.append(f"{folder.name} is {metrics['status']}: {metrics['failures']}")
            continue
        epochs = [row["epoch"] for row in metrics["history"]]
        if epochs != list(range(1, len(epochs) + 1)):
            losses.append(f"{folder.name} has the epochs {epochs}")
        losses += _check_history(record, folder.name, epochs)
    return losses


def _check_status(record: Path) -> list[str]:
    if not (record / "run.json").is_file():
        return [f"{record.name} was never begun"]
    status = json.loads((record / "run.json").read_text())["status"]
    losses = [] if status == "complete" else [f"{record.name} is {status}"]
    files = ("metrics.json", "history.csv", "report.html")
    missing = [file for file in files if not (record / file).is_file()]
    return losses + [f"{record.name} has no {file}" for file in missing]


def _check_history(record: Path, unit: str, epochs: list[int]) -> list[str]:
    if not (record / "history.csv").is_file():
        return []  # told already
    with (record / "history.csv").open() as stream:
        written = [int(row["epoch"]) for row in csv.DictReader(stream) if row["unit"] == unit]
    return [] if written == epochs else [f"history.csv has the epochs {written} of {unit}"]


class Cluster:
    """A Ray cluster of several nodes on this machine, each node a raylet of its own.

    Attributes:
        address: For `--address`.
        environment: Variables that hold its token.
    """

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.address = f"127.0.0.1:{self._port}"
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
        self._folder = folder
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in reversed(list(self._nodes)):
            self.kill(name)

    def start(self, name: str, cpus: int) -> None:
        """Starts a node, the first one as the head, and waits until it answers."""
        if self._nodes:
            role = [f"--address={self.address}"]
        else:  # in Ray's own folder it would leave an address behind that other programs take
            role = ["--head", f"--port={self._port}", f"--temp-dir={self._folder / 'ray'}"]
        common = ["--node-ip-address=127.0.0.1", f"--num-cpus={cpus}", "--disable-usage-stats"]
        log = self._folder / f"{name}-{time.time_ns()}.log"
        with log.open("wb") as stream:
            self._nodes[name] = subprocess.Popen(
                [str(Path(sys.executable).parent / "ray"), "start", "--block", *role, *common],
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                env=os.environ | self.environment,
            )
        ends = time.monotonic() + 60
        while b"Ray runtime started" not in log.read_bytes():
            if time.monotonic() > ends or self._nodes[name].poll() is not None:
                raise RuntimeError(f"{name} did not start: {log.read_text()[-1500:]}")
            time.sleep(0.2)

    def kill(self, name: str) -> None:
        """Ends a node with everything on it at once, as a power cut does."""
        process = self._nodes.pop(name)
        kill_tree(process.pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

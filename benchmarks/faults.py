"""The faults of the soak: each case runs a verb, disturbs it, and returns what that cost."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from benchmarks.runs import Cluster, Run, check_search, check_units

_LONG = ["tune", "--data", "sample", "--max-epochs", "9", "--retrain-seeds", "1", "--trials", "80"]
_SHORT = [
    "tune",
    "--train-size",
    "6000",
    "--max-epochs",
    "4",
    "--retrain-seeds",
    "1",
    "--trials",
    "16",
]
_END_SECONDS = 900.0


@dataclass
class Toll:
    """What a case came to.

    Attributes:
        faults: Times that something was killed, stopped or filled up.
        units: Trials, folds and members that ran.
        losses: What was lost, in words.
        note: What else is to be known.
    """

    faults: int = 0
    units: int = 0
    losses: list[str] = field(default_factory=list)
    note: str = ""

    def end(self, run: Run, expected: tuple[int, ...] = (0,), within: float = _END_SECONDS) -> int:
        """Waits for a run to end as it should, and takes over what it lost on its way."""
        code = run.wait(within)
        if code not in expected:
            self.losses.append(f"{run.what} ended with {code}, not {expected}: {run.last_words()}")
        self.losses += run.left_behind() + run.losses
        return code

    def search(self, record: Path, trials: int) -> None:
        """Counts a search that is to be whole now."""
        self.units += trials
        self.losses += check_search(record, trials)


def driver(folder: Path, random: np.random.Generator, kills: int) -> Toll:
    """SIGKILL for the driver of one search, at any moment, over and over."""
    toll = Toll()
    record = folder / "search"
    while toll.faults < kills:
        run = _search_or_resume(folder, record, _LONG)
        if run.wait(random.uniform(0, 22)) is not None:
            toll.end(run)  # to its end: what comes now begins another
            toll.search(record, 80)
            record.rename(folder / f"search-{toll.faults}")
            continue
        run.kill()
        toll.faults += 1
        toll.losses += run.left_behind(agents=False) + run.losses
    toll.end(_search_or_resume(folder, record, _LONG))
    toll.search(record, 80)
    return toll


def processes(folder: Path, random: np.random.Generator, kills: int) -> Toll:
    """SIGKILL for any process of a search, a cross-validation or an ensemble but the driver."""
    toll = Toll()
    verbs: dict[str, list[str]] = {
        "search": [*_SHORT],
        "folds": ["cross_validate", "--data", "sample", "--folds", "5", "--set", "epochs=24"],
        "members": ["ensemble", "--data", "sample", "--members", "6", "--set", "epochs=16"],
    }
    for name, arguments in verbs.items():
        run = Run(folder, [*arguments, "--results", str(folder), "--name", name])
        while run.wait(random.uniform(2, 6)) is None:
            victims = run.workers()
            if victims:
                victim = victims[random.integers(len(victims))]
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
                    toll.faults += 1
        toll.end(run)
        if name == "search":
            toll.search(folder / name, 16)
            continue
        units = {"folds": 5, "members": 12}[name]
        toll.units += units
        toll.losses += check_units(folder / name, units)
    return toll


def node(folder: Path, random: np.random.Generator, kills: int) -> Toll:
    """A node killed, and another that joins late."""
    toll = Toll()
    with Cluster(folder) as cluster:
        cluster.start("head", cpus=1)
        cluster.start("node-0", cpus=1)
        run = Run(
            folder,
            [*_SHORT, "--results", str(folder), "--name", "search", "--address", cluster.address],
            environment=cluster.environment,
        )
        for number in range(3):
            if run.wait(random.uniform(12, 25)) is not None:
                break
            cluster.kill(f"node-{number}")
            toll.faults += 1
            if run.wait(random.uniform(0, 10)) is not None:
                break
            cluster.start(f"node-{number + 1}", cpus=1)
        toll.end(run)
        toll.search(folder / "search", 16)
    return toll


def head(folder: Path, random: np.random.Generator, kills: int) -> Toll:
    """The head lost, and the search gone on with on a new cluster."""
    toll = Toll()
    for attempt in range(2):
        with Cluster(folder) as cluster:
            cluster.start("head", cpus=2)
            record = folder / "search"
            run = _search_or_resume(folder, record, _SHORT, cluster)
            if attempt == 0 and run.wait(random.uniform(12, 30)) is None:
                cluster.kill("head")
                toll.faults += 1
                toll.end(run, (1,), within=120)
                if "Traceback" in run.output():
                    toll.losses.append(f"no clear message: {run.last_words()}")
                continue
            toll.end(run)
    toll.search(folder / "search", 16)
    return toll


def signals(folder: Path, random: np.random.Generator, kills: int) -> Toll:
    """Ctrl-C once, Ctrl-C twice, SIGTERM."""
    toll = Toll()
    record = folder / "search"
    for sent, codes in (
        ((signal.SIGINT,), (130,)),
        ((signal.SIGINT, signal.SIGINT), (130,)),
        ((signal.SIGTERM,), (143,)),
    ):
        run = _search_or_resume(folder, record, _SHORT)
        # Python itself answers a signal that comes before it has imported anything of ours, and one
        # that comes when all is done changes nothing.
        if run.wait(random.uniform(3, 12)) is not None:
            break
        for number in sent:
            with contextlib.suppress(ProcessLookupError):
                os.kill(run.process.pid, number)
            time.sleep(0.3)
        toll.faults += 1
        toll.end(run, codes, within=60)
    toll.end(_search_or_resume(folder, record, _SHORT))
    toll.search(record, 16)
    return toll


def hang(folder: Path, random: np.random.Generator, kills: int) -> Toll:
    """SIGSTOP for a trial's process: it neither ends an epoch nor dies by itself."""
    toll = Toll()
    arguments = [*_SHORT, "--trial-timeout", "20s", "--results", str(folder), "--name", "search"]
    run = Run(folder, arguments)
    for _ in range(2):
        if run.wait(random.uniform(12, 18)) is not None:
            break
        if trials := [each for each in run.workers() if _is_trial(each)]:
            trials[random.integers(len(trials))].suspend()
            toll.faults += 1
    toll.end(run)
    toll.search(folder / "search", 16)
    return toll


def disk(folder: Path, random: np.random.Generator, kills: int) -> Toll:
    """The disk of the results full, then with room again."""
    toll = Toll()
    small = folder / "disk"
    small.mkdir()
    mebibytes = int(random.integers(2, 9))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "none", str(small)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        toll.note = f"left out, a small disk needs root: {mounted.stderr.strip()}"
        return toll
    try:
        run = Run(folder, [*_SHORT, "--results", str(small), "--name", "search"])
        toll.end(run, (1,))
        toll.faults += 1
        if not re.search(r"cannot be written: No space left", run.output()):
            toll.losses.append(f"no clear message: {run.last_words()}")
        subprocess.run(["mount", "-o", "remount,size=400m", str(small)], check=True)
        toll.end(_search_or_resume(folder, small / "search", _SHORT))
        toll.search(small / "search", 16)
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)
    return toll


def _search_or_resume(
    folder: Path, record: Path, arguments: list[str], cluster: Cluster | None = None
) -> Run:
    """The same search, from the beginning if it has no record yet."""
    if (record / "run.json").exists():
        arguments = ["tune", "--resume", str(record)]
    else:
        arguments = [*arguments, "--results", str(record.parent), "--name", record.name]
    if cluster is None:
        return Run(folder, arguments, record)
    return Run(folder, [*arguments, "--address", cluster.address], record, cluster.environment)


def _is_trial(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return "Events" not in " ".join(process.cmdline())
    return False


CASES: dict[str, Callable[[Path, np.random.Generator, int], Toll]] = {
    "driver": driver,
    "processes": processes,
    "node": node,
    "head": head,
    "signals": signals,
    "hang": hang,
    "disk": disk,
}
ONCE = frozenset({"driver"})

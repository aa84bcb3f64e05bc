"""Units as Ray tasks: side by side against one after another, and what each costs.

    python -m benchmarks.units [--images 60000] [--epochs 3] [--rounds 2]

Every contender starts with Ray anew, so that its first wave pays for importing torch; Ray's own
start is not counted. Units are written into a record as `cross_validate` and `ensemble` do it.
Both contenders give one thread to each unit, and must give the same weights bit for bit.

bare      4 CNN fits on all images without Ray, in 1 process against 2: what this machine can do
long      the same as units, 1 slot against 2
short     8 units of one epoch of the DNN on 6,000 images, 1 slot against as many as are planned,
          and against 2
cost      24 of the short units after a first wave: (wall x slots - training) / units; predicting
          the 10,000 test images and writing the record is in it
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.tables import show_table
from fmnist_ray.dataset.arrays import Dataset
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.dispatch.plan import plan
from fmnist_ray.dispatch.progress import UnitsProgress
from fmnist_ray.dispatch.resources import fit_demand, worthwhile
from fmnist_ray.dispatch.session import cluster_nodes, ray_session
from fmnist_ray.dispatch.unit_records import fit_units
from fmnist_ray.dispatch.units import FitUnit
from fmnist_ray.records import Record
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.contract import FitData
from fmnist_ray.training.fit import fit
from fmnist_ray.training.ray_train import Resources

Contender = Callable[[], tuple[float, list[bytes]]]

_DNN = FitConfig(model="dnn", epochs=1)


def units(config: FitConfig, count: int, images: int) -> list[FitUnit]:
    """Units that differ by their seeds."""
    return [
        FitUnit(f"{config.model}-{number:02}", config, number, np.arange(images))
        for number in range(count)
    ]


def timed(
    dataset: Dataset, wanted: list[FitUnit], slots: int | None, first: int = 0
) -> tuple[float, float, list[bytes]]:
    """Runs units in a Ray session of their own.

    Args:
        dataset: The images.
        wanted: The units.
        slots: How many run at once; None for as many as a verb would plan.
        first: So many of them run before the clock starts.

    Returns:
        Seconds of wall time, seconds of training, and each unit's weights.
    """
    with tempfile.TemporaryDirectory() as folder, ray_session("local"):
        record = Record(Path(folder))
        resources = Resources()
        places = plan(len(wanted), cluster_nodes(), fit_demand(resources), slots)
        if slots is None:
            places = worthwhile(places, wanted, resources)
        else:
            assert places.slots == slots, f"this machine has room for {places.slots} slots only"
        seconds = busy = 0.0
        for part in (wanted[:first], wanted[first:]):
            with UnitsProgress(Console(quiet=True), "units", part, places.slots) as progress:
                started = time.perf_counter()
                run = fit_units(record, part, dataset, places, resources, progress)
                seconds = time.perf_counter() - started
            assert not run.failures, run.failures
            busy = sum(each["busy_seconds"] for each in run.metrics.values())
        weights = [(record.unit(unit.name) / "model.safetensors").read_bytes() for unit in wanted]
    return seconds, busy, weights


def bare(fits: int, processes: int, images: int, epochs: int) -> float:
    """Seconds that plain processes take for CNN fits, counted once all have begun."""
    command = [sys.executable, "-m", "benchmarks.units", "--images", str(images)]
    command += ["--epochs", str(epochs), "--bare", str(fits // processes)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    begun = time.perf_counter()
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        process.communicate()
    return time.perf_counter() - begun


def run_bare(fits: int, images: int, epochs: int) -> None:
    """What such a process does."""
    split = load_dataset().train
    data = FitData(split.images, split.labels, np.arange(images))
    fit(_DNN, FitData(split.images, split.labels, np.arange(500)), 0)
    print("ready", flush=True)
    sys.stdin.readline()
    for seed in range(fits):
        fit(FitConfig(model="cnn", epochs=epochs), data, seed)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--bare", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    images, epochs = arguments.images, arguments.epochs
    if arguments.bare:
        run_bare(arguments.bare, images, epochs)
        return
    dataset = load_dataset()
    rows: list[tuple[str, ...]] = []

    def compare(name: str, one: Contender, other: Contender) -> None:
        times: tuple[list[float], list[float]] = ([], [])
        same = True
        for _ in range(arguments.rounds):
            first, second = one(), other()
            times[0].append(first[0])
            times[1].append(second[0])
            same = same and first[1] == second[1]
        ratios = sorted(b / a for a, b in zip(*times, strict=True))
        a, b = (statistics.median(each) for each in times)
        spread = f"{ratios[0]:.3f} to {ratios[-1]:.3f}"
        bits = "yes" if same else "NO"
        rows.append((name, f"{a:.2f}", f"{b:.2f}", f"{b / a:.3f}", spread, bits))

    def contender(wanted: list[FitUnit], slots: int | None) -> Contender:
        def run() -> tuple[float, list[bytes]]:
            seconds, _, weights = timed(dataset, wanted, slots)
            return seconds, weights

        return run

    long = units(FitConfig(model="cnn", epochs=epochs), 4, images)
    short = units(_DNN, 8, 6_000)
    compare(
        "without Ray: 4 CNN fits",
        lambda: (bare(4, 1, images, epochs), []),
        lambda: (bare(4, 2, images, epochs), []),
    )
    compare("4 CNN units, 2 slots", contender(long, 1), contender(long, 2))
    compare("8 short DNN units, as planned", contender(short, 1), contender(short, None))
    compare("8 short DNN units, 2 slots", contender(short, 1), contender(short, 2))
    console = Console()
    console.print(f"{images:,} images, {epochs} epochs; short: 6,000 images, 1 epoch")
    columns = ("units", "one by one (s)", "side by side (s)", "ratio", "spread", "same bits")
    show_table(columns, rows)
    seconds, busy, _ = timed(dataset, units(_DNN, 26, 6_000), 2, first=2)
    console.print(
        f"cost of a unit beyond training: {(seconds * 2 - busy) / 24:.3f} s "
        f"(24 short units, 2 slots, {seconds:.1f} s, training {busy:.1f} s)"
    )


if __name__ == "__main__":
    main()

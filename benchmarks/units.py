"""Units as Ray tasks: side by side against one after another, and what each costs.

    python -m benchmarks.units [--images 60000] [--epochs 3] [--rounds 2]

Every contender starts with Ray anew, so that its first wave pays for importing torch; Ray's own
start is not counted. Units are written into a record as `cross_validate` and `ensemble` do it.
Both contenders give one thread to each unit, and must give the same weights bit for bit.

long      4 CNN units on all images, 1 slot against 2
short     8 units of one epoch of the DNN on 6,000 images, 1 slot against 2
cost      24 of the short units after a first wave: (wall x slots - training) / units; predicting
          the 10,000 test images and writing the record is in it
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from fmnist_ray.dataset.arrays import Dataset
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.dispatch.plan import plan
from fmnist_ray.dispatch.progress import UnitsProgress
from fmnist_ray.dispatch.resources import fit_demand
from fmnist_ray.dispatch.session import cluster_nodes, ray_session
from fmnist_ray.dispatch.unit_records import fit_units
from fmnist_ray.dispatch.units import FitUnit
from fmnist_ray.records import Record
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.ray_train import Resources

_DNN = FitConfig(model="dnn", epochs=1)


def units(config: FitConfig, count: int, images: int) -> list[FitUnit]:
    """Units that differ by their seeds."""
    return [
        FitUnit(f"{config.model}-{number:02}", config, number, np.arange(images))
        for number in range(count)
    ]


def timed(
    dataset: Dataset, wanted: list[FitUnit], slots: int, first: int = 0
) -> tuple[float, float, list[bytes]]:
    """Runs units in a Ray session of their own.

    Args:
        dataset: The images.
        wanted: The units.
        slots: How many run at once.
        first: So many of them run before the clock starts.

    Returns:
        Seconds of wall time, seconds of training, and each unit's weights.
    """
    with tempfile.TemporaryDirectory() as folder, ray_session("local"):
        record = Record(Path(folder))
        resources = Resources()
        places = plan(len(wanted), cluster_nodes(), fit_demand(resources), slots)
        assert places.slots == slots, f"this machine has room for {places.slots} slots only"
        seconds = busy = 0.0
        for part in (wanted[:first], wanted[first:]):
            with UnitsProgress(Console(quiet=True), "units", part, slots) as progress:
                started = time.perf_counter()
                run = fit_units(record, part, dataset, places, resources, progress)
                seconds = time.perf_counter() - started
            assert not run.failures, run.failures
            busy = sum(each["busy_seconds"] for each in run.metrics.values())
        weights = [(record.unit(unit.name) / "model.safetensors").read_bytes() for unit in wanted]
    return seconds, busy, weights


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    dataset = load_dataset()
    console = Console()
    table = Table("units", "1 slot (s)", "2 slots (s)", "2 slots / 1 slot", "spread", "same bits")
    cnn = FitConfig(model="cnn", epochs=arguments.epochs)
    for name, wanted in {
        f"4 CNN, {arguments.epochs} epochs": units(cnn, 4, arguments.images),
        "8 DNN, 1 epoch, 6,000 images": units(_DNN, 8, 6_000),
    }.items():
        one, two, same = [], [], True
        for _ in range(arguments.rounds):
            seconds, _, expected = timed(dataset, wanted, 1)
            one.append(seconds)
            seconds, _, found = timed(dataset, wanted, 2)
            two.append(seconds)
            same = same and expected == found
        ratios = sorted(b / a for a, b in zip(one, two, strict=True))
        table.add_row(
            name,
            f"{statistics.median(one):.2f}",
            f"{statistics.median(two):.2f}",
            f"{statistics.median(two) / statistics.median(one):.3f}",
            f"{ratios[0]:.3f} to {ratios[-1]:.3f}",
            "yes" if same else "NO",
        )
    console.print(table)
    seconds, busy, _ = timed(dataset, units(_DNN, 26, 6_000), 2, first=2)
    console.print(
        f"cost of a unit beyond training: {(seconds * 2 - busy) / 24:.3f} s "
        f"(24 units, 2 slots, {seconds:.1f} s, training {busy:.1f} s)"
    )


if __name__ == "__main__":
    main()

"""Cross-validation of the CNN by several ways to run folds, from nothing to the end.

    python -m benchmarks.folds [--folds 5] [--epochs 3] [--images 60000] [--rounds 3] [--csv FILE]

ours       `python -m fmnist_ray.cross_validate`: folds as Ray tasks, two at a time. It also predicts
           the test images by every fold, writes checkpoints each epoch, the record and its report,
           which the others do not
joblib     two worker processes that are used again, as scikit-learn does it
processes  a fresh process for each fold, two at a time, as AutoGluon does it
sequence   one after another, each on both threads
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from benchmarks.contenders.folds import WAYS
from benchmarks.tables import show_table, write_rows

OURS = "ours"
NAMES = {
    OURS: "fmnist_ray.cross_validate",
    "joblib": "joblib, two workers",
    "processes": "a fresh process per fold",
    "sequence": "one after another, two threads",
}
SLOTS = {"sequence": 1}
COLUMNS = ("folds", "wall (s)", "of ours", "spread", "beyond training (s)", "accuracy (%)")


def run(way: str, folds: int, epochs: int, images: int) -> tuple[float, float, float]:
    """Seconds of the whole command, those beyond training, and the mean accuracy of the folds."""
    with tempfile.TemporaryDirectory() as folder:
        if way == OURS:
            command = f"fmnist_ray.cross_validate --folds {folds} --set epochs={epochs} --quiet"
            command += f" --train-size {images} --results {folder} --json"
        else:
            command = f"benchmarks.contenders.folds {way} {folds} {epochs} {images}"
        begun = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", *command.split()], check=True, stdout=subprocess.PIPE, text=True
        )
        wall = time.perf_counter() - begun
    if way == OURS:
        metrics = json.loads(done.stdout.splitlines()[-1])
        accuracy, busy = metrics["validation_accuracy_mean"], metrics["busy_seconds"]
    else:
        told = [tuple(map(float, line.split())) for line in done.stdout.splitlines()]
        accuracy, busy = statistics.mean(fold[0] for fold in told), sum(fold[1] for fold in told)
    return wall, wall - busy / SLOTS.get(way, 2), accuracy


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="also write the rows there")
    arguments = parser.parse_args()
    found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in (OURS, *WAYS)}
    for _ in range(arguments.rounds):
        for way, measured in found.items():
            measured.append(run(way, arguments.folds, arguments.epochs, arguments.images))
            Console(stderr=True).print(f"{NAMES[way]}: {measured[-1][0]:.1f} s", highlight=False)
    title = f"{arguments.folds} folds of {arguments.images:,} images, {arguments.epochs} epochs"
    rows = []
    for way, measured in found.items():
        walls, beyond, accuracies = zip(*measured, strict=True)
        ratios = sorted(each / ours[0] for each, ours in zip(walls, found[OURS], strict=True))
        rows.append(
            [
                NAMES[way],
                f"{statistics.median(walls):.1f}",
                f"{statistics.median(ratios):.2f}",
                f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
                f"{statistics.median(beyond):.1f}",
                f"{100 * statistics.mean(accuracies):.2f}",
            ]
        )
    show_table(COLUMNS, rows, title)
    write_rows(arguments.csv, COLUMNS, rows)


if __name__ == "__main__":
    main()

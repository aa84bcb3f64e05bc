"""The default search on the full data: time, overhead, memory, accuracy.

    python -m benchmarks.default_search [OPTIONS OF TUNE]

Runs `python -m fmnist_ray.tune` as a person would, in a process of its own, with its record in a
temporary folder, and watches the memory of all its processes. Fetch the data first.
"""

import json
import sys
import tempfile

from benchmarks.processes import measure
from benchmarks.tables import show_table


def main() -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as results:
        options = ["--results", results, "--json", *sys.argv[1:]]
        measured = measure(["-m", "fmnist_ray.tune", *options])
    metrics = json.loads(measured.output.splitlines()[-1])
    seeds = ", ".join(f"{score:.4f}" for score in metrics["test_accuracy_by_seed"])
    figures = {
        "whole command": f"{measured.seconds / 60:.1f} minutes",
        "sweep, slots": f"{metrics['sweep_seconds']:.0f} s, {metrics['slots']}",
        "busy (training and validating)": f"{metrics['busy_seconds']:.0f} s",
        "sweep x slots / busy": f"{metrics['slot_overhead']:.3f}",
        "trials, epochs": f"{metrics['trials']}, {metrics['epochs']}",
        "peak memory, driver and trials": f"{measured.training_gib:.2f} GiB",
        "Ray's own processes then": f"{measured.ray_gib:.2f} GiB",
        "best validation accuracy": f"{metrics['best_validation_accuracy']:.4f}",
        "test accuracy, mean over seeds": f"{metrics['test_accuracy_mean']:.4f}",
        "test accuracy by seed": seeds,
    }
    show_table(("figure", "measured"), figures.items())


if __name__ == "__main__":
    main()

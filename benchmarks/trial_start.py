"""What a trial costs beyond training: 24 short trials in local mode on the sample.

    python -m benchmarks.trial_start [--trials 24]

Wall time of the sweep that no slot spent on training or validating, over the number of trials:
(sweep - busy / slots) / trials. The start of the two trial processes, torch's import with it, is
in the sweep; Ray's own start is not. Every trial runs its one epoch, none is stopped.
"""

import argparse
import json
import tempfile

from benchmarks.processes import measure
from benchmarks.tables import show_table


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=24)
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as results:
        options = f"--data sample --trials {trials} --max-epochs 1 --scheduler none".split()
        options += ["--retrain-seeds", "0", "--results", results, "--json", "--quiet"]
        measured = measure(["-m", "fmnist_ray.tune", *options])
    metrics = json.loads(measured.output.splitlines()[-1])
    sweep, busy, slots = (metrics[key] for key in ("sweep_seconds", "busy_seconds", "slots"))
    each = (sweep - busy / slots) / trials
    row = [str(trials), f"{sweep:.1f}", f"{busy:.1f}", str(slots), f"{each:.3f}"]
    show_table(("trials", "sweep (s)", "busy (s)", "slots", "start-up per trial (s)"), [row])


if __name__ == "__main__":
    main()

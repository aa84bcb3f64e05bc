"""A search of very many trials: driver memory, time per trial, bookkeeping, on nodes that are played.

    python -m benchmarks.scale [--trials 1000] [--slots 8] [--seconds 1.0] [--nodes 4] [--csv FILE]
                               [--scheduler none]

The nodes are raylets on this machine (`ray start`, as many CPUs as their slots are told), the trials
real processes under Ray Tune that sleep instead of training. So it measures what our driver, Ray
Tune's loop and Ray itself cost, and nothing else; the record, journal, metrics and display are ours
in full, TensorBoard files left out. A row for each tenth of the trials.
"""

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from benchmarks.runs import Cluster
from benchmarks.tables import show_table, write_rows

SPACE = {"model": "dnn", "search": {"learning_rate": {"uniform": [0.001, 0.1]}}}
COLUMNS = (
    "trials",
    "driver (MiB)",
    "driver CPU per trial (ms)",
    "wall per trial x slots (s)",
    "bookkeeping",
)


def sleeping_fit(
    config: Any, data: Any, seed: int, resources: Any, on_epoch: Any, checkpoint: Any
) -> None:
    """Takes the place of `train_here`: sleeps through each epoch."""
    import time

    import numpy as np

    from fmnist_ray.training.checkpoint import Checkpoint
    from fmnist_ray.training.contract import EpochEnd

    history = list(checkpoint.history) if checkpoint is not None else []
    while len(history) < config.epochs:
        time.sleep(data["seconds"])
        epoch = len(history) + 1
        accuracy = 0.5 + 4 * config.learning_rate + 0.01 * epoch
        row = {"epoch": epoch, "validation_accuracy": accuracy, "seconds": data["seconds"]}
        history.append(row)
        state = Checkpoint(config.model_dump(), seed, list(history), {"w": np.ones(1)}, {})
        on_epoch(EpochEnd(row, lambda state=state: state))


class Watch:
    """Looks at the driver whenever another tenth of the trials has ended."""

    def __init__(self, trials: int) -> None:
        self._every = max(1, trials // 10)
        self._process = psutil.Process()
        self.seen: list[tuple[int, float, float, float]] = []

    def look(self, ended: int) -> None:
        """Trials that have ended by now."""
        if ended // self._every > len(self.seen) - 1:
            cpu = self._process.cpu_times()
            memory = self._process.memory_full_info().uss / 2**20
            self.seen.append((ended, time.monotonic(), memory, cpu.user + cpu.system))


def search(arguments: argparse.Namespace, address: str, watch: Watch) -> tuple[float, float]:
    """Runs it; gives the seconds of the sweep and of the sleeping."""
    import numpy as np

    from fmnist_ray.dispatch.run_name import RunName
    from fmnist_ray.dispatch.session import ray_session
    from fmnist_ray.records import Record
    from fmnist_ray.search.journal import JOURNAL_FILE, Journal, TrialState
    from fmnist_ray.search.progress import SearchProgress
    from fmnist_ray.search.settings import SearchSettings
    from fmnist_ray.search.space import parse_space
    from fmnist_ray.search.sweep import Sweep, run_sweep
    from fmnist_ray.training.ray_train import Resources

    class Progress(SearchProgress):
        def ended(self, state: TrialState) -> None:
            super().ended(state)
            watch.look(self._ended)

    settings = SearchSettings(
        space=SPACE,
        space_source="scripted",
        trials=arguments.trials,
        max_epochs=arguments.epochs,
        scheduler=arguments.scheduler,
        tensorboard=False,
    )
    space = parse_space(SPACE, "scripted").with_epochs_up_to(arguments.epochs)
    console = Console(quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        record = Record(Path(folder))
        sweep = Sweep(
            record=record,
            journal=Journal(record.path / JOURNAL_FILE),
            settings=settings,
            space=space,
            resources=Resources(),
            slots=arguments.slots,
            progress=Progress(
                console, arguments.trials, arguments.slots, settings.metric, "max", []
            ),
            run=RunName("tune", "scale", "dnn"),
            fit=sleeping_fit,
        )
        with ray_session(address):
            watch.look(0)
            begun = time.monotonic()
            states = run_sweep(sweep, {"seconds": arguments.seconds, "filler": np.zeros(1)})
            wall = time.monotonic() - begun
    epochs = sum(len(state.rows) for state in states.values())
    assert len(states) == arguments.trials
    return wall, epochs * arguments.seconds


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="of an epoch")
    parser.add_argument("--scheduler", default="none")
    parser.add_argument("--csv", type=Path, help="also write the rows there")
    arguments = parser.parse_args()
    watch = Watch(arguments.trials)
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder)) as cluster:
        import os

        os.environ.update(cluster.environment)
        for number in range(arguments.nodes):
            cluster.start(f"node{number}", cpus=math.ceil(arguments.slots / arguments.nodes))
        wall, busy = search(arguments, cluster.address, watch)
    rows = []
    for (before, begun, _, used), (ended, now, memory, cpu) in zip(
        watch.seen, watch.seen[1:], strict=False
    ):
        trials = ended - before
        each = (now - begun) * arguments.slots / trials
        rows.append(
            [
                f"{before} to {ended}",
                f"{memory:.0f}",
                f"{1000 * (cpu - used) / trials:.1f}",
                f"{each:.3f}",
                f"{100 * (each / (arguments.seconds * arguments.epochs) - 1):.1f} %"
                if arguments.scheduler == "none"
                else "",
            ]
        )
    show_table(COLUMNS, rows)
    Console().print(
        f"{arguments.trials:,} trials on {arguments.nodes} nodes, {arguments.slots} at a time: "
        f"{wall:.0f} s, slots x wall / training {wall * arguments.slots / busy:.3f}; memory of the "
        f"driver at the end against the first tenth "
        f"{float(rows[-1][1]) / float(rows[0][1]):.3f}; median wall per trial and slot "
        f"{statistics.median(float(row[3]) for row in rows):.3f} s"
    )
    write_rows(arguments.csv, COLUMNS, rows)


if __name__ == "__main__":
    main()

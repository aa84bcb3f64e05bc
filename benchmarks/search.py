"""The same search by several tools: wall time, what it costs beyond training, accuracy against time.

    python -m benchmarks.search [--trials 12] [--max-epochs 9] [--images 60000] [--rounds 1]
                                [--limit 1500] [--contenders ...] [--csv FILE]
                                [--epochs-csv FILE] [--figure FILE]

Every contender searches the learning rate, optimizer, batch size and activation of the CNN, two
trials at a time on one thread each (Keras Tuner one on two), with its own form of early stopping at
a third of the trials. Those that can be told so try the same configurations. They run in turn, each
in a process of its own from nothing to the end.

Their schedulers train different numbers of epochs. So the table has the wall time as it was, and
what it would be if the search had trained as many epochs as ours. Ours also runs with three times as
many trials, to show what it finds in the time that the others take. A search that stands still is
ended after `--limit` seconds and counts as not ended; its epochs are kept. The CSV files are
written after every search.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import yaml
from rich.console import Console

from benchmarks.contenders.task import SPACE
from benchmarks.processes import kill_tree
from benchmarks.tables import show_table, write_rows
from fmnist_ray.reports.figures import COLOURS, new_figure, write_png
from fmnist_ray.search.journal import JOURNAL_FILE, read_events

OURS = "fmnist_ray"
OURS_LONGER = "fmnist_ray_longer"
OUR_TWO = (OURS, OURS_LONGER)
LONGER = 3
CONTENDERS = {
    OURS: "fmnist_ray.tune",
    OURS_LONGER: f"fmnist_ray.tune, {LONGER} times as many trials",
    "tune_trainer": "Ray Tune, a Train trainer per trial",
    "tune_function": "Ray Tune, a plain function",
    "optuna_joblib": "Optuna, joblib, Hyperband",
    "keras_tuner_hyperband": "Keras Tuner, Hyperband",
}
SLOTS = {"keras_tuner_hyperband": 1}
GOAL = 0.9
LOG = "epochs.jsonl"


class Epoch(NamedTuple):
    """An epoch that a search finished.

    Attributes:
        at: Seconds from the command's begin.
        trial: Its trial.
        epoch: Of the trial, from 1.
        accuracy: On the images held out.
        seconds: It took, validation included.
    """

    at: float
    trial: str
    epoch: int
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Search:
    """What a search did.

    Attributes:
        wall: Seconds of the whole command.
        epochs: In their order.
        slots: Trials at a time.
        ended: Whether it ended by itself, within the limit.
    """

    wall: float
    epochs: Sequence[Epoch]
    slots: int
    ended: bool

    @property
    def start(self) -> float:
        """Seconds until the first epoch began."""
        return min(each.at - each.seconds for each in self.epochs)

    @property
    def beyond(self) -> float:
        """Slot seconds beyond training, as a share of training."""
        busy = sum(each.seconds for each in self.epochs)
        return self.wall * self.slots / busy - 1

    @property
    def best(self) -> float:
        """The best accuracy on the images held out."""
        return max(each.accuracy for each in self.epochs)

    @property
    def to_goal(self) -> float | None:
        """Seconds until an accuracy of `GOAL`; None if it was never reached."""
        return next((each.at for each in self.epochs if each.accuracy >= GOAL), None)


def command_of(
    contender: str, arguments: argparse.Namespace, seed: int, folder: Path, *, stops: bool = True
) -> list[str]:
    """What runs a contender's search in a folder, and what goes on with it there."""
    trials = arguments.trials * (LONGER if contender == OURS_LONGER else 1)
    asked = f"--trials {trials} --max-epochs {arguments.max_epochs} --seed {seed}".split()
    if contender not in OUR_TWO:
        command = [f"benchmarks.contenders.{contender}", *asked, "--images", str(arguments.images)]
        command += ["--log", str(folder / LOG), "--folder", str(folder)]
        return [sys.executable, "-m", *command, *([] if stops else ["--no-stops"])]
    record = folder / "ours"
    if (record / "run.json").is_file():
        command = ["--resume", str(record), "--quiet"]
    else:
        space = folder / "space.yaml"
        space.write_text(yaml.safe_dump(SPACE))
        command = [*asked, "--space", str(space), "--name", "ours", "--results", str(folder)]
        command += f"--train-size {arguments.images} --retrain-seeds 0 --quiet".split()
        command += [] if stops else ["--scheduler", "none"]
    return [sys.executable, "-m", "fmnist_ray.tune", *command]


def environment_of(folder: Path) -> dict[str, str]:
    """Has Ray keep to a folder.

    Where another cluster of this machine was killed, Ray's own folder still names it, and Train's
    placement-group cleaner would ask that one: what a stopped trial held would never be free.
    """
    return {**os.environ, "RAY_TMPDIR": str(folder)}


def run(contender: str, arguments: argparse.Namespace, seed: int) -> Search:
    """Runs a contender from nothing to the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = command_of(contender, arguments, seed, folder)
        begun = time.time()
        code, errors = _within(command, arguments.limit, environment_of(folder))
        wall = time.time() - begun
        if code:
            raise SystemExit(f"{contender} ended with {code}: {errors[-3000:]}")
        epochs = sorted(epochs_of(contender, folder, begun))
        return Search(wall, epochs, SLOTS.get(contender, 2), ended=code is not None)


def _within(
    command: list[str], limit: float, environment: dict[str, str]
) -> tuple[int | None, str]:
    """Runs a command; its status, None if it was ended after so many seconds, and its messages."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=errors, env=environment
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
            kill_tree(process.pid)
            process.wait()
        errors.seek(0)
        return code, errors.read()


def epochs_of(contender: str, folder: Path, begun: float) -> Iterator[Epoch]:
    """The epochs that a contender has told of by now, in their order."""
    if contender in OUR_TWO:
        for event in read_events(folder / "ours" / JOURNAL_FILE):
            if event["event"] == "result":
                row, at = event["row"], event["time"] - begun
                accuracy, seconds = row["validation_accuracy"], row["seconds"]
                yield Epoch(at, event["unit"], row["epoch"], accuracy, seconds)
    elif (folder / LOG).is_file():
        for line in (folder / LOG).read_text().splitlines():
            told = json.loads(line)
            at = told.pop("time") - begun
            yield Epoch(at, **told)


def rows_of(searches: dict[str, list[Search]]) -> list[list[str]]:
    """A row per contender: medians over the rounds that it ended, ratios within a round."""
    rows = []
    for contender, rounds in searches.items():
        pairs = [
            (each, our)
            for each, our in zip(rounds, searches[OURS], strict=False)
            if each.ended and our.ended
        ]
        if not rounds:
            continue
        name, ended = CONTENDERS[contender], f"{len(pairs)} of {len(rounds)}"
        if not pairs:
            rows.append([name, ended, *["-"] * (len(COLUMNS) - 2)])
            continue
        found = [each for each, _ in pairs]
        ratios = sorted(each.wall / our.wall for each, our in pairs)
        equal = [
            (each.wall / len(each.epochs)) / (our.wall / len(our.epochs)) for each, our in pairs
        ]
        goals = [each.to_goal for each in found if each.to_goal is not None]
        middle = statistics.median
        rows.append(
            [
                name,
                ended,
                f"{middle(each.wall for each in found):.0f}",
                f"{middle(ratios):.2f}",
                f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
                f"{middle(len(each.epochs) for each in found):.0f}",
                f"{middle(equal):.2f}",
                f"{middle(each.start for each in found):.1f}",
                f"{100 * middle(each.beyond for each in found):.0f} %",
                f"{100 * middle(each.best for each in found):.2f}",
                f"{middle(goals):.0f}" if len(goals) == len(found) else "not reached",
            ]
        )
    return rows


def draw(path: Path, searches: dict[str, list[Search]]) -> None:
    """Saves a figure: the best accuracy so far against the minutes since the command, as PNG."""
    figure = new_figure(8, 4.5)
    axes = figure.add_subplot()
    others = iter(COLOURS[1:])
    for contender, rounds in searches.items():
        colour = COLOURS[0] if contender in OUR_TWO else next(others)
        for number, search in enumerate(rounds):
            best = accumulate((100 * each.accuracy for each in search.epochs), max)
            minutes = [each.at / 60 for each in search.epochs]
            label = CONTENDERS[contender] if number == 0 else None
            (line,) = axes.step(minutes, list(best), where="post", color=colour, label=label)
            line.set_linewidth(2.5 if contender in OUR_TWO else 1.5)
            line.set_linestyle("--" if contender == OURS_LONGER else "-")
            if search.ended:
                axes.plot(search.wall / 60, 100 * search.best, "o", color=colour)
    axes.set_xlabel("Minutes since the command was given (dot: its end)")
    axes.set_ylabel("Best validation accuracy so far, percent")
    axes.set_ylim(bottom=80)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    write_png(path, figure)


COLUMNS = (
    "search",
    "ended",
    "wall (s)",
    "of ours",
    "spread",
    "epochs",
    "of ours, same epochs",
    "to the first epoch (s)",
    "beyond training",
    "best accuracy (%)",
    f"to {100 * GOAL:.0f} % (s)",
)


def _every_epoch(searches: dict[str, list[Search]]) -> Iterator[list[object]]:
    for contender, rounds in searches.items():
        for number, search in enumerate(rounds):
            yield from ([contender, number, *each] for each in search.epochs)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--max-epochs", type=int, default=9)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--limit", type=float, default=1500, help="seconds a search may take")
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--csv", type=Path, help="also write the rows there")
    parser.add_argument("--epochs-csv", type=Path, help="every epoch of every search")
    parser.add_argument("--figure", type=Path, help="accuracy against time, as PNG")
    arguments = parser.parse_args()
    others = [each for each in arguments.contenders.split(",") if each != OURS]
    console = Console(stderr=True)
    searches: dict[str, list[Search]] = {contender: [] for contender in (OURS, *others)}
    for seed in range(arguments.rounds):
        for contender, found in searches.items():
            found.append(run(contender, arguments, seed))
            said = "ended" if found[-1].ended else "stood still, ended by us"
            console.print(
                f"round {seed + 1}: {CONTENDERS[contender]} {said} after {found[-1].wall:.0f} s"
            )
            write_rows(arguments.csv, COLUMNS, rows_of(searches))
            write_rows(
                arguments.epochs_csv, ["search", "round", *Epoch._fields], _every_epoch(searches)
            )
    title = f"{arguments.trials} trials of at most {arguments.max_epochs} epochs"
    show_table(COLUMNS, rows_of(searches), f"{title}, {arguments.images:,} images")
    if arguments.figure:
        draw(arguments.figure, searches)


if __name__ == "__main__":
    main()

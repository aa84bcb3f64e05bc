"""What a search loses that is killed in the middle: time, epochs, trials.

    python -m benchmarks.resume [--trials 6] [--max-epochs 6] [--images 60000] [--csv FILE]

Each contender runs its search twice on the same trials, without early stopping, so that the number
of epochs is known: once undisturbed; once killed with all its processes (SIGKILL) after half of the
epochs and then started again as its documentation says.

    lost      seconds of both sessions beyond those of the undisturbed search; a second start is in it
    again     epochs that were finished before the kill and trained again after it
    trials    that were under way and never went on
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from benchmarks.processes import kill_tree
from benchmarks.search import CONTENDERS, OURS, Epoch, command_of, environment_of, epochs_of
from benchmarks.tables import show_table, write_rows

RESUMABLE = (OURS, "tune_function", "optuna_joblib")
COLUMNS = ("search", "undisturbed (s)", "killed and resumed (s)", "lost (s)", "again", "trials")


class Session(NamedTuple):
    """A run of a contender's command.

    Attributes:
        wall: Seconds until it ended or was killed.
        epochs: Told of by its end, those of earlier sessions included.
    """

    wall: float
    epochs: list[Epoch]


def session(command: list[str], contender: str, folder: Path, kill_after: int | None) -> Session:
    """Runs a command, and kills it with everything below it once so many epochs are told of."""
    begun = time.time()
    with (folder / "output.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, env=environment_of(folder)
        )
    while process.poll() is None:
        time.sleep(0.2)
        if kill_after and sum(1 for _ in epochs_of(contender, folder, begun)) >= kill_after:
            kill_tree(process.pid)
            break
    wall = time.time() - begun
    if process.wait() and not kill_after:
        raise SystemExit((folder / "output.log").read_text()[-3000:])
    return Session(wall, list(epochs_of(contender, folder, begun)))


def row_of(contender: str, arguments: argparse.Namespace) -> list[str]:
    """Runs a contender's search undisturbed, then killed and resumed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = command_of(contender, arguments, 0, folder, stops=False)
        whole = session(command, contender, folder, None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        half = len(whole.epochs) // 2
        command = command_of(contender, arguments, 0, folder, stops=False)
        first = session(command, contender, folder, half)
        command = command_of(contender, arguments, 0, folder, stops=False)
        second = session(command, contender, folder, None)
    told = [(each.trial, each.epoch) for each in second.epochs]
    reached: dict[str, int] = {}
    for trial, epoch in told:
        reached[trial] = max(epoch, reached.get(trial, 0))
    begun = {each.trial for each in first.epochs}
    abandoned = [trial for trial in begun if reached[trial] < arguments.max_epochs]
    lost_epochs = sum(reached[trial] for trial in abandoned)
    both = first.wall + second.wall
    return [
        CONTENDERS[contender],
        f"{whole.wall:.0f}",
        f"{both:.0f}",
        f"{both - whole.wall:.0f}",
        str(len(told) - len(set(told)) + lost_epochs),
        str(len(abandoned)),
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--max-epochs", type=int, default=6)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--contenders", default=",".join(RESUMABLE))
    parser.add_argument("--csv", type=Path, help="also write the rows there")
    arguments = parser.parse_args()
    title = f"{arguments.trials} trials of {arguments.max_epochs} epochs, killed after half of them"
    rows = []
    for contender in arguments.contenders.split(","):
        rows.append(row_of(contender, arguments))
        Console(stderr=True).print(f"{CONTENDERS[contender]}: done", highlight=False)
    show_table(COLUMNS, rows, title)
    write_rows(arguments.csv, COLUMNS, rows)


if __name__ == "__main__":
    main()

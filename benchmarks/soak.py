"""Faults on purpose, over and over, and a count of what was lost.

    python -m benchmarks.soak [--minutes 20] [--seed 0] [--cases driver,node] [--kills 50]

Runs the real verbs on real Ray clusters, does to them what nights do, and looks at the records
that come out. The cases take turns until the time is over; the first, `driver`, runs once, for as
many kills as are asked for. Exits with 1 if anything was lost. Fetch the data first.
"""

import shutil
import signal
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from benchmarks.faults import CASES, ONCE, Toll
from benchmarks.tables import show_table


def main(
    minutes: Annotated[float, typer.Option(help="How long new cases are begun.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the moments at which faults happen.")] = 0,
    cases: Annotated[str, typer.Option(help=f"Of {', '.join(CASES)}.")] = ",".join(CASES),
    kills: Annotated[int, typer.Option(help="Of the driver of one search.")] = 50,
) -> None:
    """Prints the table of faults and losses."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell gives that to what it starts in the background, and it would be handed on to the
        # runs, which could not be interrupted then.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    console = Console()
    random = np.random.default_rng(seed)
    names = cases.split(",")
    if unknown := set(names) - CASES.keys():
        raise typer.BadParameter(f"--cases knows {', '.join(CASES)}, not {', '.join(unknown)}.")
    tolls: dict[str, list[Toll]] = defaultdict(list)
    begun = time.monotonic()
    rounds = 0
    while not rounds or time.monotonic() - begun < 60 * minutes:
        for name in names:
            if rounds and (name in ONCE or time.monotonic() - begun >= 60 * minutes):
                continue
            folder = Path(tempfile.mkdtemp(prefix="soak-"))
            toll = CASES[name](folder, random, kills)
            tolls[name].append(toll)
            if not toll.losses:
                shutil.rmtree(folder)
            console.print(
                f"[{(time.monotonic() - begun) / 60:5.1f} min] {name}: {toll.faults} faults, "
                f"{len(toll.losses)} losses{'; ' + toll.note if toll.note else ''}",
                markup=False,
            )
            for loss in toll.losses:
                console.print(f"    lost: {loss} (see {folder})", markup=False)
        rounds += 1
        if set(names) <= ONCE:
            break
    rows = [
        (
            name,
            str(len(each)),
            str(sum(toll.faults for toll in each)),
            str(sum(toll.units for toll in each)),
            str(sum(len(toll.losses) for toll in each)),
        )
        for name, each in tolls.items()
    ]
    show_table(("case", "runs", "faults", "units", "losses"), rows)
    console.print(f"{(time.monotonic() - begun) / 60:.1f} minutes, seed {seed}")
    raise typer.Exit(int(any(toll.losses for each in tolls.values() for toll in each)))


if __name__ == "__main__":
    typer.run(main)

"""Makes a record's page again: `python -m fmnist_ray.report results/NAME`."""

from dataclasses import dataclass
from typing import Annotated

import typer

from fmnist_ray.console import JsonOption, QuietOption, command, progress_bar, verb_app
from fmnist_ray.records import Record


@dataclass(frozen=True)
class Reports:
    """What was written.

    Attributes:
        report: The pages, one per record.
    """

    report: tuple[str, ...]


def report(
    records: Annotated[
        list[str], typer.Argument(metavar="RECORD...", help="Runs' folders, such as results/NAME.")
    ],
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> Reports:
    """Draw a record's figures anew and write its `report.html`.

    The page holds all it needs: it can be sent by mail and opened without a network. Records that
    are unfinished, damaged in part or of an older version get a page too, which says so. Figures
    that need the images stay as `evaluate` or `explore` drew them.

    Raises:
        RequestError: A folder is no record, or its `run.json` is damaged; none was written.
        WorkError: A record cannot be written.
    """
    from fmnist_ray.reporting import write_report

    del as_json  # the command line prints the result
    opened = [Record.open(path) for path in records]
    for record in opened:
        record.run()
    pages = []
    with progress_bar("Drawing", quiet) as progress:
        for done, record in enumerate(opened, start=1):
            pages.append(str(write_report(record)))
            progress(done, len(opened))
    return Reports(tuple(pages))


app = verb_app("Make a record's report.html again.")
app.command()(command(report))


def main() -> None:
    """The command line."""
    app()


if __name__ == "__main__":
    main()

"""How a benchmark shows its table, and keeps its rows."""

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

_FILE_WIDTH = 160


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Prints a table."""
    table = Table(*columns, title=title or None)
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:  # a file has no 80 columns
        console.width = _FILE_WIDTH
    console.print(table)


def write_rows(path: Path | None, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes rows as CSV, if a file is asked for."""
    if path is not None:
        with path.open("w", newline="") as stream:
            csv.writer(stream).writerows([columns, *rows])

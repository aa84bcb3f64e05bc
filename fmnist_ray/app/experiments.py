"""What the pages show of records: a row for each, and all of one. Records may still grow."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fmnist_ray.app.run_state import RunState, run_state
from fmnist_ray.errors import RequestError
from fmnist_ray.evaluation.contenders import run_seconds
from fmnist_ray.evaluation.provenance import (
    as_mapping,
    described_model,
    number,
    read_if_there,
    read_or_note,
)
from fmnist_ray.records import Record, check_name
from fmnist_ray.reports.findings import Card, cards, sentences
from fmnist_ray.reports.page import REPORT_FILE, command_of, flat
from fmnist_ray.search.journal import JOURNAL_FILE

_DEEPEST = 2  # results/NAME, and results/reference/NAME
_ACCURACIES = (
    "test_accuracy",
    "best_validation_accuracy",
    "validation_accuracy",
    "validation_accuracy_mean",
    "out_of_fold_accuracy",
)


class Row(NamedTuple):
    """A record in the table of experiments; what it does not say is None or empty.

    Attributes:
        name: Below the results folder, with `/` between folders.
        verb: That made it.
        model: Its kind in a few words.
        status: `running`, `complete`, `interrupted`, `failed`, or `damaged`.
        progress: Of one that runs: how far it is, in words.
        test_accuracy: Between 0 and 1.
        validation_accuracy: The best so far; likewise.
        parameters: Numbers that were trained.
        started: In UTC, ISO 8601.
        seconds: From its start to its end.
    """

    name: str
    verb: str
    model: str
    status: str
    progress: str
    test_accuracy: float | None
    validation_accuracy: float | None
    parameters: int | None
    started: str
    seconds: float | None


@dataclass(frozen=True)
class View:
    """All that the page of one record shows.

    Attributes:
        row: As in the table of experiments.
        command: That made it.
        cards: Its key figures.
        sentences: What to read first.
        state: Its trials, folds, members or other units.
        confusion: Counts, rows the true classes; empty if there are none.
        classes: Their names.
        figures: Files below `figures/`.
        has_report: Whether there is a `report.html`.
        configuration: Settings by name.
        problems: What could not be read.
    """

    row: Row
    command: str
    cards: Sequence[Card]
    sentences: Sequence[str]
    state: RunState
    confusion: Sequence[Sequence[int]]
    classes: Sequence[str]
    figures: Sequence[str]
    has_report: bool
    configuration: Sequence[tuple[str, str]]
    problems: Sequence[str]


class Experiments:
    """The records below a results folder.

    Args:
        results: The folder; it need not exist yet.
    """

    def __init__(self, results: Path) -> None:
        self.results = results
        self._rows: dict[Path, tuple[tuple[float, ...], Row]] = {}

    def rows(self) -> list[Row]:
        """A row for each record, the newest first."""
        found: list[Path] = []
        for depth in range(1, _DEEPEST + 1):
            found += self.results.glob("*/" * depth + "run.json")
        rows = [self._row(path.parent) for path in found]
        return sorted(rows, key=lambda row: row.started, reverse=True)

    def open(self, name: str) -> Record:
        """The record of that name.

        Raises:
            RequestError: The name could leave the results folder, or there is no such record.
        """
        parts = [check_name(part) for part in name.split("/")]
        if len(parts) > _DEEPEST:
            raise RequestError(f"There is no record {name!r} below {self.results}.")
        path = self.results.joinpath(*parts)
        if not (path / "run.json").is_file():
            raise RequestError(f"There is no record {name!r} below {self.results}.")
        return Record(path)

    def view(self, name: str) -> View:
        """All of one record; what is damaged is named among the problems.

        Raises:
            RequestError: There is no such record, or its `run.json` is damaged.
        """
        record = self.open(name)
        run = record.run()
        problems: list[str] = []
        metrics = read_or_note(record.path / "metrics.json", problems)
        model = read_or_note(record.path / "model.json", problems)
        state = run_state(record, run, problems)
        classes, confusion = _confusion(record.path / "confusion_matrix.csv", problems)
        figures = sorted(path.name for path in record.path.glob("figures/*.png"))
        return View(
            row=self._row(record.path),
            command=command_of(run),
            cards=cards(metrics, model),
            sentences=sentences(metrics),
            state=state,
            confusion=confusion,
            classes=classes,
            figures=figures,
            has_report=(record.path / REPORT_FILE).is_file(),
            configuration=list(flat(run.get("config"))),
            problems=problems,
        )

    def _row(self, folder: Path) -> Row:
        stamp = tuple(
            (folder / file).stat().st_mtime if (folder / file).exists() else 0.0
            for file in ("run.json", "metrics.json", "model.json", "history.csv", JOURNAL_FILE)
        )
        known = self._rows.get(folder)
        if known is None or known[0] != stamp:
            name = folder.relative_to(self.results).as_posix()
            known = self._rows[folder] = (stamp, _row(Record(folder), name))
        return known[1]


def _row(record: Record, name: str) -> Row:
    try:
        run = record.run()
        metrics = read_if_there(record.path / "metrics.json")
        description = read_if_there(record.path / "model.json")
    except RequestError:
        return Row(name, "?", "", "damaged", "", None, None, None, "", None)
    status, config = str(run.get("status", "?")), as_mapping(run.get("config"))
    known = {key: number(metrics.get(key)) for key in _ACCURACIES}
    best = next((value for key, value in known.items() if key[:4] != "test" and value), None)
    progress = ""
    if status != "complete":
        state = run_state(record, run, [])
        progress, best = state.progress, best if best is not None else state.best
    parameters = description.get("parameters")
    space = as_mapping(as_mapping(config.get("space")).get("fixed"))
    model = described_model(description, config, [])
    return Row(
        name=name,
        verb=str(run.get("verb", "?")),
        model=model or str(space.get("model") or config.get("model") or ""),
        status=status,
        progress=progress,
        test_accuracy=known["test_accuracy"],
        validation_accuracy=best,
        parameters=parameters if isinstance(parameters, int) else None,
        started=str(run.get("started") or ""),
        seconds=run_seconds(run),
    )


def _confusion(path: Path, problems: list[str]) -> tuple[list[str], list[list[int]]]:
    """The classes and counts of a confusion matrix; none if there is no such file."""
    if not path.is_file():
        return [], []
    try:
        header, *rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
        counts = [[int(cell) for cell in row[1:]] for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        problems.append(f"{path} cannot be read: {error}.")
        return [], []
    if not counts or {len(header) - 1, *map(len, counts)} != {len(counts)}:
        problems.append(f"{path} is not square.")
        return [], []
    return header[1:], counts

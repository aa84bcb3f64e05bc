"""A record as one HTML page: its figures inside, nothing fetched when it is opened."""

import base64
import csv
import gzip
import io
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from fmnist_ray.evaluation.provenance import as_mapping, read_or_note
from fmnist_ray.records import Record, write_whole
from fmnist_ray.reports import wording
from fmnist_ray.reports.captions import Caption
from fmnist_ray.reports.findings import Card, cards

REPORT_FILE = "report.html"
TABLES = {
    "comparison.csv": "The models compared",
    "pairs.csv": "Paired tests",
    "trials.csv": "Trials",
    "ensembles.csv": "Members and ensembles",
    "predictions.csv": "Predictions",
    "skipped.csv": "Files that were skipped",
    "classification_report.csv": "Test images, by class",
    "classes.csv": "Images and pixels, by class",
    "bad_rows.csv": "Rows that cannot be read",
    "near_duplicates.csv": "Near-duplicates",
    "label_issues.csv": "Labels that are likely wrong",
}
"""The tables that a report shows, in this order, with their titles."""

_UNIT_FIGURES = (
    "status",
    "epochs",
    "train_accuracy",
    "validation_accuracy",
    "test_accuracy",
    "busy_seconds",
    "fit_seconds",
)
_MOST_ROWS = 20
# Narrower, on a phone, a figure of 12 inches cannot be read: it scrolls sideways instead.
_LEAST_WIDTH = 760


class PageFigure(NamedTuple):
    """A figure of the page; the last two are of the PNG in pixels."""

    stem: str
    caption: Caption
    link: str
    content: str
    plot: str
    width: int
    height: int


class Column(NamedTuple):
    """A table's column, and whether it holds numbers."""

    name: str
    number: bool


class PageTable(NamedTuple):
    """A table of the page, cut after `_MOST_ROWS` of `total` rows."""

    stem: str
    title: str
    link: str
    columns: list[Column]
    rows: list[list[str]]
    total: int

    @property
    def more(self) -> bool:
        return self.total > len(self.rows)


class FileLink(NamedTuple):
    """A file of the record, with its size or number of files in words."""

    link: str
    note: str


def write_page(
    record: Record,
    captions: Mapping[str, Caption],
    sentences: Sequence[str],
    problems: Sequence[str],
) -> Path:
    """Writes `report.html` from what the record holds by now.

    Args:
        record: Its `run.json` must be readable; all else may be missing.
        captions: Of figures by their file names, in the order in which they are shown. Figures
            that are not named follow, under their names.
        sentences: What stands first.
        problems: What could not be read or drawn.

    Returns:
        The file.

    Raises:
        RequestError: `run.json` is damaged.
        WorkError: The file cannot be written.
    """
    from jinja2 import Environment, PackageLoader

    run = record.run()
    troubles = list(problems)
    metrics = read_or_note(record.path / "metrics.json", troubles)
    model = read_or_note(record.path / "model.json", troubles)
    figures = list(_figures(record.path / "figures", captions))
    tables = list(_tables(record, troubles))
    environment = Environment(
        loader=PackageLoader("fmnist_ray.reports"), autoescape=True, trim_blocks=False
    )
    verb, status = str(run.get("verb", "?")), str(run.get("status", "?"))
    if status != "complete":
        troubles.insert(0, f"This run is not complete: its status is {status}.")
    html = environment.get_template("report.html").render(
        name=record.name,
        path=record.path,
        verb=verb,
        status=status,
        purpose=verb.replace("_", "-"),
        started=_moment(run.get("started")),
        duration=_duration(run.get("started"), run.get("ended")),
        command=command_of(run),
        problems=list(dict.fromkeys(troubles)),
        cards=[*cards(metrics, model), *_time_card(run)],
        sentences=sentences,
        figures=figures,
        tables=tables,
        configuration=list(flat(run.get("config"))),
        circumstances=list(_circumstances(run)),
        files=list(_files(record.path)),
        version=as_mapping(run.get("versions")).get("fmnist_ray", ""),
        plotly=_packed_plotly() if any(figure.plot for figure in figures) else "",
        least_width=_LEAST_WIDTH,
    )
    path = record.path / REPORT_FILE
    write_whole(path, html.encode())
    return path


def command_of(run: Mapping[str, Any]) -> str:
    """The command that made a record, as one would type it."""
    verb, words = str(run.get("verb", "?")), run.get("command")
    if not isinstance(words, list) or not words:
        return "The command was not recorded."
    program, rest = str(words[0]), [str(word) for word in words[1:]]
    if program == f"{verb}.py":
        return shlex.join(["python", "-m", f"fmnist_ray.{verb}", *rest])
    if program in ("fmnist", "__main__.py"):
        return shlex.join(["fmnist", *rest])
    return f"fmnist_ray.{verb}.{verb}(...) called by {program}"


def _figures(folder: Path, captions: Mapping[str, Caption]) -> Iterator[PageFigure]:
    from PIL import Image

    there = {path.name for path in folder.glob("*.png")}
    ordered = [name for name in captions if name in there]
    for name in [*ordered, *sorted(there - captions.keys())]:
        path = folder / name
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
        caption = captions.get(name, Caption(path.stem.replace("_", " ").capitalize(), ""))
        plot = folder / f"{path.stem}.plotly.json"
        text = plot.read_text(encoding="utf-8").replace("<", "\\u003c") if plot.is_file() else ""
        encoded = base64.b64encode(content).decode()
        yield PageFigure(
            path.stem, caption, f"figures/{name}", encoded, _Markup(text), width, height
        )


def _Markup(text: str) -> str:
    from markupsafe import Markup

    # JSON whose `<` are escaped already: HTML's own escapes would not be undone in a script.
    return Markup(text)


@cache
def _packed_plotly() -> str:
    from plotly.offline import get_plotlyjs

    packed = gzip.compress(get_plotlyjs().encode(), compresslevel=9, mtime=0)
    return base64.b64encode(packed).decode()


def _tables(record: Record, troubles: list[str]) -> Iterator[PageTable]:
    for file, title in TABLES.items():
        path = record.path / file
        if not path.is_file():
            continue
        try:
            with path.open(encoding="utf-8", newline="") as stream:
                header, *rows = list(csv.reader(stream))
        except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
            troubles.append(f"{path} cannot be read as CSV: {error}.")
            continue
        yield _table(path.stem, title, file, header, rows)
    if not (record.path / "trials.csv").is_file():
        yield from _units_table(record, troubles)


def _units_table(record: Record, troubles: list[str]) -> Iterator[PageTable]:
    found = {}
    for path in sorted((record.path / "units").glob("*/metrics.json")):
        found[path.parent.name] = read_or_note(path, troubles)
    columns = [key for key in _UNIT_FIGURES if any(key in each for each in found.values())]
    if columns:
        rows = [
            [unit, *("" if each.get(key) is None else str(each[key]) for key in columns)]
            for unit, each in found.items()
        ]
        yield _table("units", "Fits", "units/", ["unit", *columns], rows)


def _table(stem: str, title: str, link: str, header: list[str], rows: list[list[str]]) -> PageTable:
    numbers = [
        all(_is_number(row[at]) for row in rows if at < len(row) and row[at])
        and any(at < len(row) and row[at] for row in rows)
        for at in range(len(header))
    ]
    columns = [
        Column(name.replace("_", " "), number) for name, number in zip(header, numbers, strict=True)
    ]
    shown = [
        [_cell(row[at] if at < len(row) else "", numbers[at]) for at in range(len(header))]
        for row in rows[:_MOST_ROWS]
    ]
    return PageTable(stem, title, link, columns, shown, len(rows))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _cell(text: str, number: bool) -> str:
    if not (number and text and ("." in text or "e" in text)):
        return text
    value = float(text)
    return f"{value:.4g}" if value == 0 or abs(value) >= 1e-4 else f"{value:.0e}"


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """A configuration's settings; those of parts of it under names with dots, unset ones last."""
    for key, each in as_mapping(value).items():
        name = f"{prefix}{key}"
        if isinstance(each, Mapping) and each:
            yield from flat(each, f"{name}.")
        else:
            yield (
                name,
                "default" if each is None else each if isinstance(each, str) else json.dumps(each),
            )


def _circumstances(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "seed", str(run.get("seed", "not recorded"))
    data = as_mapping(run.get("data"))
    for key, value in data.items():
        if key == "sha256":
            for name, digest in as_mapping(value).items():
                yield f"SHA-256 of {name.replace('_', ' ')}", str(digest)[:16] + " …"
        else:
            yield f"data: {key.replace('_', ' ')}", str(value)
    for key, value in as_mapping(run.get("hardware")).items():
        yield key.replace("_gib", " (GiB)"), str(value)
    versions = as_mapping(run.get("versions"))
    yield "versions", ", ".join(f"{name} {number}" for name, number in versions.items())


def _files(folder: Path) -> Iterator[FileLink]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == REPORT_FILE:
            continue
        if path.is_dir():
            count = sum(1 for each in path.rglob("*") if each.is_file())
            yield FileLink(f"{path.name}/", wording.count(count, "file"))
        else:
            yield FileLink(path.name, _size(path.stat().st_size))


def _size(count: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000 or unit == "MB":
            break
        count = round(count / 1000)
    return f"{count:,} {unit}"


def _time_card(run: Mapping[str, Any]) -> list[Card]:
    duration = _duration(run.get("started"), run.get("ended"))
    return [Card("Time", duration)] if duration else []


def _moment(text: Any) -> str:
    time = _time(text)
    return f"{time:%Y-%m-%d %H:%M} UTC" if time is not None else ""


def _duration(started: Any, ended: Any) -> str:
    begin, end = _time(started), _time(ended)
    if begin is None or end is None:
        return ""
    return wording.duration((end - begin).total_seconds(), decimals=0)


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None

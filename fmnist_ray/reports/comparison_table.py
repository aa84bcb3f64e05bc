"""A comparison as a table for a terminal."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from fmnist_ray.evaluation.comparison import Row

_NARROW = 96
_WIDE_ONLY = ("Weights", "Images/s")


def comparison_table(rows: Sequence[Row], width: int) -> Table:
    """The rows under their heads, two lines for a model and one for a published figure.

    Args:
        rows: In the order in which they are to stand.
        width: Of the terminal, in characters. A narrow one gets fewer columns.
    """
    images = next((row.test_images for row in rows if row.test_images), 0)
    notes = ["Fit: of the model itself. Run: the whole run, search included."]
    columns = ["Loss", "ECE", "Weights", "Fit (s)", "Run (s)", "Images/s"]
    if width < _NARROW:
        columns = [column for column in columns if column not in _WIDE_ONLY]
        notes.append(f"{' and '.join(_WIDE_ONLY)}: in comparison.csv.")
    table = Table(
        title=f"Accuracy on {images:,} test images, in percent, with 95 % intervals",
        caption=" ".join(notes),
        title_justify="left",
        caption_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("Model", overflow="fold")
    for column in ("Accuracy", *columns):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        if row.source == "published":
            table.add_row(escape(f"published: {row.name}"), _accuracy(row), style="dim")
            continue
        about = "; ".join(filter(None, (row.what, row.trained_on)))
        cells = {
            "Loss": _cell(row.test_loss, ".3f"),
            "ECE": _cell(row.test_calibration_error, ".3f"),
            "Weights": _cell(row.parameters, ",.0f"),
            "Fit (s)": _cell(row.fit_seconds, ",.0f" if (row.fit_seconds or 0) >= 10 else ".1f"),
            "Run (s)": _cell(row.run_seconds, ",.0f"),
            "Images/s": _cell(row.images_per_second, ",.0f"),
        }
        table.add_row(
            f"[bold]{escape(row.name)}[/bold]\n{escape(about)}",
            _accuracy(row),
            *(cells[column] for column in columns),
        )
    return table


def _accuracy(row: Row) -> str:
    if row.reported_low is not None and row.reported_low != row.reported_high:
        return f"{100 * row.reported_low:g} to {100 * (row.reported_high or 0):g}"
    text = f"{100 * row.test_accuracy:.2f}"
    if row.test_accuracy_low is None or row.test_accuracy_high is None:
        return text
    return f"{text}\n{100 * row.test_accuracy_low:.2f} to {100 * row.test_accuracy_high:.2f}"


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"

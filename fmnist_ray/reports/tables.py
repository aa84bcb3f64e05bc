"""Figures as CSV files, for spreadsheets and other programs."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fmnist_ray.evaluation.metrics import ClassScore
from fmnist_ray.records import write_whole


def write_class_report(
    path: Path, scores: Sequence[ClassScore], class_names: Sequence[str]
) -> None:
    """Writes a row per class: `class,precision,recall,f1,support`.

    Args:
        path: The file; it appears whole or not at all.
        scores: As from `metrics.class_scores`.
        class_names: Names by label.
    """
    rows = [["class", "precision", "recall", "f1", "support"]]
    for score in scores:
        shares = (f"{share:.6f}" for share in (score.precision, score.recall, score.f1))
        rows.append([class_names[score.label], *shares, str(score.support)])
    _write_csv(path, rows)


def write_confusion_matrix(
    path: Path, counts: npt.NDArray[np.int64], class_names: Sequence[str]
) -> None:
    """Writes a row per true class and a column per predicted class.

    Args:
        path: The file; it appears whole or not at all.
        counts: Images, shape (k, k), as from `metrics.confusion_counts`.
        class_names: k names.
    """
    rows = [["true \\ predicted", *class_names]]
    for name, row in zip(class_names, counts, strict=True):
        rows.append([name, *(str(count) for count in row)])
    _write_csv(path, rows)


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows of one set of columns, those of the first row; None is an empty cell.

    Args:
        path: The file; it appears whole or not at all.
        rows: At least one.
    """
    columns = list(rows[0])
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    _write_csv(path, [columns, *cells])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _write_csv(path: Path, rows: Sequence[Sequence[str]]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    write_whole(path, buffer.getvalue().encode())

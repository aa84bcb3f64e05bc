"""Figures by class as CSV files."""

import csv
from pathlib import Path

import numpy as np

from fmnist_ray.evaluation.metrics import ClassScore
from fmnist_ray.reports.tables import write_class_report, write_confusion_matrix


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def test_class_report_has_a_row_per_class(tmp_path: Path) -> None:
    scores = [ClassScore(0, 0.5, 1.0, 2 / 3, 4), ClassScore(1, 0.0, 0.0, 0.0, 0)]
    write_class_report(tmp_path / "report.csv", scores, ("T-shirt, top", "Bag"))
    assert read(tmp_path / "report.csv") == [
        ["class", "precision", "recall", "f1", "support"],
        ["T-shirt, top", "0.500000", "1.000000", "0.666667", "4"],
        ["Bag", "0.000000", "0.000000", "0.000000", "0"],
    ]


def test_confusion_matrix_has_true_classes_as_rows(tmp_path: Path) -> None:
    write_confusion_matrix(tmp_path / "matrix.csv", np.array([[3, 1], [0, 5]]), ("Coat", "Bag"))
    assert read(tmp_path / "matrix.csv") == [
        ["true \\ predicted", "Coat", "Bag"],
        ["Coat", "3", "1"],
        ["Bag", "0", "5"],
    ]

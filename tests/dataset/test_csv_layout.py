from dataclasses import replace

import numpy as np
import pytest

from fmnist_ray.dataset.arrays import Dataset, Split
from fmnist_ray.dataset.csv_layout import (
    COLUMNS,
    Reason,
    read_csv,
    read_csv_folder,
    scan_csv,
    write_csv_folder,
)
from fmnist_ray.errors import RequestError
from tests.dataset.comparing import assert_same_arrays


@pytest.fixture
def folder(small, tmp_path):
    write_csv_folder(small, tmp_path)
    return tmp_path


@pytest.fixture
def train(folder):
    return folder / "fashion-mnist_train.csv"


def change_cell(path, line, column, text):
    rows = path.read_text().splitlines()
    cells = rows[line - 1].split(",")
    cells[COLUMNS.index(column)] = text
    rows[line - 1] = ",".join(cells)
    path.write_text("\n".join(rows) + "\n")


def test_reading_gives_what_was_written(small, tmp_path):
    with_validation = replace(small, validation=small.test)
    write_csv_folder(with_validation, tmp_path)
    assert_same_arrays(read_csv_folder(tmp_path), with_validation)


def test_the_file_has_the_published_form(small, train):
    lines = train.read_text().split("\n")
    assert lines[0] == "label," + ",".join(f"pixel{n}" for n in range(1, 785))
    first = [small.train.labels[0], *small.train.images[0].reshape(-1)]
    assert lines[1] == ",".join(map(str, first))
    assert len(lines) == 60 + 2
    assert lines[-1] == ""


def test_variants_that_other_programs_write_are_read(small, train):
    text = train.read_text()
    variants = [
        text.replace("\n", "\r\n"),
        text.rstrip("\n"),
        text + "\n\n",
        "\ufeff" + text,
        text.replace("label", '"label"'),
    ]
    for variant in variants:
        train.write_bytes(variant.encode())
        np.testing.assert_array_equal(read_csv(train).images, small.train.images)


def test_floats_that_are_whole_numbers_are_read(small, train):
    change_cell(train, 5, "label", f"{small.train.labels[3]}.0")
    change_cell(train, 5, "pixel9", f"{small.train.images[3].reshape(-1)[8]}.0")
    np.testing.assert_array_equal(read_csv(train).images, small.train.images)


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [
        ("pixel7", "abc", "column pixel7: `abc` is not a whole number"),
        ("pixel7", "True", "column pixel7: `True` is not a whole number"),
        ("pixel7", "1.5", "column pixel7: `1.5` is not a whole number"),
        ("pixel7", '"1"', 'column pixel7: `"1"` is not a whole number'),
        ("pixel784", "", "column pixel784: the cell is empty"),
        ("pixel1", "NaN", "column pixel1: `NaN` is a missing value"),
        ("pixel1", "256", r"column pixel1: pixel outside 0\.\.255: 256"),
        ("pixel1", "-1", r"column pixel1: pixel outside 0\.\.255: -1"),
        ("pixel1", "9" * 30, r"column pixel1: pixel outside 0\.\.255: 999"),
        ("pixel1", "inf", r"column pixel1: pixel outside 0\.\.255: inf"),
        ("label", "10", r"column label: label outside 0\.\.9: 10"),
        ("label", "-1", r"column label: label outside 0\.\.9: -1"),
        ("label", "shirt", "column label: `shirt` is not a whole number"),
    ],
)
def test_a_bad_cell_is_named_with_file_line_and_column(train, column, text, message):
    change_cell(train, 33, column, text)
    with pytest.raises(RequestError, match=f"fashion-mnist_train.csv, line 33, {message}") as error:
        read_csv(train)
    assert "clean --drop" in str(error.value)


@pytest.mark.parametrize(("change", "cells"), [(",1", 786), (",", 786), ("cut", 784)])
def test_rows_of_another_length_are_named(train, change, cells):
    rows = train.read_text().splitlines()
    rows[11] = rows[11].rpartition(",")[0] if change == "cut" else rows[11] + change
    train.write_text("\n".join(rows))
    with pytest.raises(RequestError, match=f"line 12: {cells} cells, but there are 785 columns"):
        read_csv(train)


def test_lines_are_counted_right_past_blank_ones_and_blocks(tmp_path):
    count = 11_000
    split = Split(np.zeros((count, 28, 28), np.uint8), np.zeros(count, np.uint8))
    write_csv_folder(Dataset(split, split, "made up"), tmp_path)
    path = tmp_path / "fashion-mnist_test.csv"
    rows = path.read_text().splitlines()
    rows.insert(100, "")
    rows[10_500] = rows[10_500].replace("0,", "x,", 1)
    path.write_text("\n".join(rows))
    seen = []
    with pytest.raises(RequestError, match="line 10501, column label: `x`"):
        read_csv(path, lambda done, total: seen.append((done, total)))
    assert seen == [(5_000, 11_001), (10_000, 11_001)]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", "is empty"),
        (",".join(COLUMNS[:500]), "columns pixel500, pixel501, pixel502 and 282 more are missing"),
        (",".join(COLUMNS).replace("pixel9,", ""), "column pixel9 is missing"),
        (",".join([*COLUMNS, "notes"]), "column notes is not known"),
        (",".join(reversed(COLUMNS)), "another order"),
        (",".join(["3"] * 785), "no header, only numbers"),
    ],
)
def test_another_header_is_refused(train, header, message):
    rows = train.read_text().splitlines()[1:] if header else []
    train.write_text("\n".join([header, *rows]) if header else "")
    with pytest.raises(RequestError, match=f"fashion-mnist_train.csv.*{message}"):
        read_csv(train)


def test_a_header_without_rows_and_a_missing_file_are_refused(folder, train):
    train.write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(RequestError, match="a header but no rows"):
        read_csv_folder(folder)
    train.unlink()
    with pytest.raises(
        RequestError, match=r"fashion-mnist_train\.csv cannot be read: No such file"
    ):
        read_csv_folder(folder)


def test_the_lenient_reader_keeps_good_rows_and_tells_of_each_bad_one(small, train):
    change_cell(train, 2, "pixel3", "")
    change_cell(train, 4, "label", "12")
    change_cell(train, 4, "pixel5", "x")
    change_cell(train, 61, "pixel784", "300")
    rows = train.read_text().splitlines()
    rows[9] += ",0"
    train.write_text("\n".join(rows))
    split, problems = scan_csv(train)
    found = [(problem.line, problem.column, problem.text, problem.reason) for problem in problems]
    assert found == [
        (2, "pixel3", "", Reason.MISSING),
        (4, "label", "12", Reason.LABEL),
        (10, "", "786", Reason.CELLS),
        (61, "pixel784", "300", Reason.PIXEL),
    ]
    kept = np.delete(np.arange(60), [0, 2, 8, 59])
    np.testing.assert_array_equal(split.images, small.train.images[kept])
    np.testing.assert_array_equal(split.labels, small.train.labels[kept])

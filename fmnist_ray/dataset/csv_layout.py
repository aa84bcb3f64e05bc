"""The two CSV files in which Fashion-MNIST is passed around: a label and 784 pixels per row.

There is one pass over a file, which tells good rows from bad ones and says where the bad ones
are. The strict reader refuses the file for its first bad row; the lenient one leaves them out.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fmnist_ray.dataset.arrays import CLASS_NAMES, IMAGE_SIZE, Bytes, Dataset, Split
from fmnist_ray.dataset.progress import Progress, no_progress
from fmnist_ray.dataset.staging import staged_file
from fmnist_ray.errors import RequestError

FILES: dict[str, str] = {
    "train": "fashion-mnist_train.csv",
    "test": "fashion-mnist_test.csv",
    "validation": "fashion-mnist_validation.csv",
}
"""File of each split. `validation` is this project's own and optional."""
COLUMNS: tuple[str, ...] = ("label", *(f"pixel{n}" for n in range(1, IMAGE_SIZE**2 + 1)))

_ROWS_AT_ONCE = 5_000  # about 10 MB of text
_LIMITS = np.array([len(CLASS_NAMES) - 1] + [255] * IMAGE_SIZE**2)
_MISSING = {"", "na", "nan", "null", "none", "n/a", "#n/a"}
_OR_CLEAN = "or drop such rows with `python -m fmnist_ray.data clean --drop --to DIR`"


class Reason(StrEnum):
    """What is wrong with a row."""

    CELLS = "wrong number of cells"
    MISSING = "missing value"
    TEXT = "not a whole number"
    LABEL = "label outside 0..9"
    PIXEL = "pixel outside 0..255"


@dataclass(frozen=True)
class RowProblem:
    """A row that cannot be used.

    Attributes:
        line: Line in the file; the header is line 1.
        column: Name of the first bad column; empty if the row has the wrong number of cells.
        text: What stands there; for the wrong number of cells, how many there are.
        reason: What is wrong with it.
    """

    line: int
    column: str
    text: str
    reason: Reason


@dataclass(frozen=True)
class _Rows:
    lines: npt.NDArray[np.int64]
    values: Bytes  # (n, 785), good rows only
    problems: list[RowProblem]


def read_csv_folder(folder: Path, progress: Progress = no_progress) -> Dataset:
    """Reads the two files, and the third of a validation split where it is there.

    Raises:
        RequestError: A file is missing, or as `read_csv`.
    """
    splits = {
        name: read_csv(folder / file, progress)
        for name, file in FILES.items()
        if name != "validation" or (folder / file).is_file()
    }
    return Dataset(
        splits["train"], splits["test"], f"CSV files in {folder}", splits.get("validation")
    )


def read_csv(path: Path, progress: Progress = no_progress) -> Split:
    """Reads one file, refusing it for any row that is not right.

    Args:
        path: The file; its header must be `label,pixel1..pixel784`.
        progress: Told the rows read so far.

    Returns:
        The rows as images, in the order of the file.

    Raises:
        RequestError: The file cannot be read, its header is another, or a row has a cell that is
            missing, not a whole number, or out of range; the message names file, line and column.
    """
    parts = []
    for part in _parts(path, progress):
        if part.problems:
            raise RequestError(_describe(path, part.problems[0]))
        parts.append(part)
    split = _as_split(parts)
    if not len(split):
        raise RequestError(f"{path} has a header but no rows. Name a file that holds images.")
    return split


def scan_csv(path: Path, progress: Progress = no_progress) -> tuple[Split, list[RowProblem]]:
    """Reads the rows that are right, and says what is wrong with the others.

    Returns:
        The good rows as images (there may be none), and a problem for each of the others.

    Raises:
        RequestError: The file cannot be read, or its header is another.
    """
    parts = list(_parts(path, progress))
    return _as_split(parts), [problem for part in parts for problem in part.problems]


def write_csv_folder(dataset: Dataset, folder: Path, progress: Progress = no_progress) -> None:
    """Writes a file for every split into a folder that is there.

    Args:
        dataset: What to write.
        folder: Files of the same name in it are replaced.
        progress: Told the rows written so far.
    """
    total = sum(len(split) for split in dataset.splits().values())
    done = 0
    texts = [str(value) for value in range(256)]
    for name, split in dataset.splits().items():
        rows = np.column_stack([split.labels, split.images.reshape(len(split), -1)])
        with staged_file(folder / FILES[name]) as aside, aside.open("w", newline="\n") as file:
            file.write(",".join(COLUMNS) + "\n")
            for start in range(0, len(rows), 1_000):
                block = rows[start : start + 1_000]
                # Looking up each byte's text is ten times as fast as formatting numbers.
                file.writelines(
                    ",".join(map(texts.__getitem__, row.tobytes())) + "\n" for row in block
                )
                done += len(block)
                progress(done, total)


def _as_split(parts: list[_Rows]) -> Split:
    values = np.concatenate([part.values for part in parts]) if parts else _no_rows()
    images = np.ascontiguousarray(values[:, 1:]).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    return Split(images, np.ascontiguousarray(values[:, 0]))


def _parts(path: Path, progress: Progress) -> Iterator[_Rows]:
    try:
        with path.open("rb") as file:
            total = _count_lines(path) - 1
            _check_header(file.readline(), path)
            line = 2
            while rows := list(islice(file, _ROWS_AT_ONCE)):
                yield _check_rows(rows, line)
                line += len(rows)
                progress(line - 2, total)
    except OSError as error:
        raise RequestError(
            f"{path} cannot be read: {error.strerror or error}. Both {FILES['train']} and "
            f"{FILES['test']} are needed."
        ) from error


def _count_lines(path: Path) -> int:
    count, last = 0, b""
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            count, last = count + block.count(b"\n"), block
    return count + (not last.endswith(b"\n"))


def _check_header(header: bytes, path: Path) -> None:
    names = [name.strip().strip('"') for name in header.decode("utf-8-sig", "replace").split(",")]
    if names == list(COLUMNS):
        return
    expected = "The header must be label,pixel1,...,pixel784, in this order."
    if names == [""]:
        raise RequestError(f"{path} is empty. {expected}")
    if all(name.isdigit() for name in names):
        raise RequestError(f"{path}, line 1: there is no header, only numbers. {expected}")
    present = set(names)
    missing = [name for name in COLUMNS if name not in present]
    if missing:
        raise RequestError(f"{path}, line 1: {_some(missing)} missing. {expected}")
    extra = [name for name in names if name not in set(COLUMNS)]
    what = f"{_some(extra)} not known" if extra else "the columns are repeated or in another order"
    raise RequestError(f"{path}, line 1: {what}. {expected}")


def _some(names: list[str]) -> str:
    shown = ", ".join(name[:20] for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"column{'s' if len(names) > 1 else ''} {shown}{more} {'are' if names[1:] else 'is'}"


def _check_rows(rows: list[bytes], first_line: int) -> _Rows:
    separators = len(COLUMNS) - 1
    problems: list[RowProblem] = []
    lines: list[int] = []
    whole: list[bytes] = []
    for line, row in enumerate(rows, first_line):
        text = row.rstrip(b"\r\n")
        if text.count(b",") == separators and b"\r" not in text:
            lines.append(line)
            whole.append(text)
        elif text.strip():  # empty lines, as editors leave them at the end, mean nothing
            cells = str(text.count(b",") + 1)
            problems.append(RowProblem(line, "", cells, Reason.CELLS))
    if not whole:
        return _Rows(np.array([], dtype=np.int64), _no_rows(), problems)
    numbers = _numbers(whole)
    # Comparisons with NaN are false: what is missing or text is not good either.
    good = (numbers >= 0) & (numbers <= _LIMITS)
    if numbers.dtype.kind == "f":
        good &= numbers == np.floor(numbers)
    good_rows = good.all(axis=1)
    for index in np.flatnonzero(~good_rows):
        column = int(np.flatnonzero(~good[index])[0])
        cell = whole[index].split(b",")[column].decode("utf-8", "replace").strip()
        problems.append(_problem(lines[index], column, cell, float(numbers[index, column])))
    problems.sort(key=lambda problem: problem.line)
    kept = numbers if good_rows.all() else numbers[good_rows]
    return _Rows(np.array(lines)[good_rows], kept.astype(np.uint8), problems)


def _numbers(rows: list[bytes]) -> npt.NDArray[np.integer | np.floating]:
    """Parses rows of equally many cells; NaN where a cell is no number."""
    import pandas

    table = pandas.read_csv(
        io.BytesIO(b"\n".join(rows)), header=None, quoting=csv.QUOTE_NONE, low_memory=False
    )
    if all(kind.kind == "i" for kind in table.dtypes):
        return table.to_numpy()
    for position in table.columns:
        column = table[position]
        if column.dtype.kind not in "if":  # text somewhere, or True and False, which are no pixels
            table[position] = pandas.to_numeric(column.astype(str), errors="coerce")
    return table.to_numpy(dtype=np.float64)


def _problem(line: int, column: int, text: str, number: float) -> RowProblem:
    if text.lower() in _MISSING:
        reason = Reason.MISSING
    elif number != np.floor(number):  # NaN, too, is unequal to itself
        reason = Reason.TEXT
    else:
        reason = Reason.LABEL if column == 0 else Reason.PIXEL
    return RowProblem(line, COLUMNS[column], text, reason)


def _describe(path: Path, problem: RowProblem) -> str:
    if problem.reason is Reason.CELLS:
        return (
            f"{path}, line {problem.line}: {problem.text} cells, but there are {len(COLUMNS)} "
            f"columns. Correct the row, {_OR_CLEAN}."
        )
    article = "a " if problem.reason is Reason.MISSING else ""
    shown = f"`{problem.text[:40]}` is {article}{problem.reason}"
    if not problem.text:
        shown = "the cell is empty"
    if problem.reason in (Reason.LABEL, Reason.PIXEL):
        shown = f"{problem.reason}: {problem.text[:40]}"
    return (
        f"{path}, line {problem.line}, column {problem.column}: {shown}. "
        f"Correct the row, {_OR_CLEAN}."
    )


def _no_rows() -> Bytes:
    return np.empty((0, len(COLUMNS)), dtype=np.uint8)

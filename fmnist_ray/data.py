"""Fetches, verifies, cleans and exports the data: `python -m fmnist_ray.data fetch`."""

import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from fmnist_ray.console import (
    DataOption,
    JsonOption,
    QuietOption,
    SeedOption,
    command,
    progress_bar,
    verb_app,
)
from fmnist_ray.dataset.arrays import Dataset, fingerprint
from fmnist_ray.dataset.cleaning import Problems, drop_problems, find_problems, read_to_clean
from fmnist_ray.dataset.csv_layout import FILES, Reason
from fmnist_ray.dataset.export import export_dataset
from fmnist_ray.dataset.layouts import Layout, detect_layout
from fmnist_ray.dataset.progress import Progress
from fmnist_ray.dataset.release import release_fingerprint
from fmnist_ray.dataset.sources import SAMPLE, fetch_release, load_dataset, named_data
from fmnist_ray.dataset.staging import require_free
from fmnist_ray.errors import RequestError

FormatOption = Annotated[
    Layout,
    typer.Option(
        "--format",
        help="`folders`: a PNG per image in a folder per class; `csv`: two files with a row per "
        "image; `idx`: the release's own format, compressed.",
    ),
]
ToOption = Annotated[
    str, typer.Option("--to", metavar="DIR", help="Folder to write; new or empty.")
]
CleanToOption = Annotated[
    str | None,
    typer.Option(
        "--to", metavar="DIR", help="Folder for the cleaned copy; new or empty. With --drop."
    ),
]
DropOption = Annotated[
    bool,
    typer.Option("--drop", help="Write a copy without the problems, in the layout of --data."),
]
FractionOption = Annotated[
    float | None,
    typer.Option(
        "--validation-fraction",
        metavar="F",
        help="Split off this share of the training images, stratified, as a validation set.",
    ),
]

_SHOWN_ROWS = 5
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FetchResult:
    """Where the release is now."""

    source: str
    train_images: int
    test_images: int
    checksums: str
    seconds: float


@dataclass(frozen=True)
class VerifyResult:
    """What a source holds, and whether that is Fashion-MNIST's release.

    Attributes:
        matches_release: Whether all four arrays are the release's, in its order.
        differs: Which arrays are not; `none` if all match.
        train_images_sha256: Of the array's bytes; likewise the others.
    """

    source: str
    train_images: int
    validation_images: int
    test_images: int
    matches_release: bool
    differs: str
    train_images_sha256: str
    train_labels_sha256: str
    test_images_sha256: str
    test_labels_sha256: str


@dataclass(frozen=True)
class CleanResult:
    """How many problems of each kind there are, over all splits unless it says which.

    Attributes:
        shared_by_train_and_test: Training images that are also in the test set.
        shared_with_validation: Training images also in the validation set, and validation images
            also in the test set.
        conflicting_labels: Repeated images whose label is not that of the first.
        missing_values: Rows of CSV files with an empty cell; likewise the next three.
        labels_out_of_range: Rows or images whose label is none of the classes.
        written_to: Folder of the cleaned copy; `nothing written` without one.
        dropped_train: Rows and images that the copy lacks; likewise the others.
    """

    source: str
    train_images: int
    validation_images: int
    test_images: int
    duplicates_in_train: int
    duplicates_in_validation: int
    duplicates_in_test: int
    shared_by_train_and_test: int
    shared_with_validation: int
    conflicting_labels: int
    missing_values: int
    not_whole_numbers: int
    wrong_numbers_of_cells: int
    pixels_out_of_range: int
    labels_out_of_range: int
    dropped_train: int
    dropped_validation: int
    dropped_test: int
    written_to: str


@dataclass(frozen=True)
class ExportResult:
    """What was written, and where."""

    source: str
    format: str
    train_images: int
    validation_images: int
    test_images: int
    written_to: str
    seconds: float


def fetch(quiet: QuietOption = False, as_json: JsonOption = False) -> FetchResult:
    """Gets Fashion-MNIST into the cache, unless it is on this machine, and verifies it.

    Raises:
        RequestError: No source has it; each is named with its reason.
    """
    start = time.perf_counter()
    with _bar("Fetching (MB)", quiet) as progress:
        dataset = fetch_release(progress=progress)
    return FetchResult(
        source=dataset.source,
        train_images=len(dataset.train),
        test_images=len(dataset.test),
        checksums="verified",
        seconds=round(time.perf_counter() - start, 2),
    )


def verify(
    data: DataOption = None, quiet: QuietOption = False, as_json: JsonOption = False
) -> VerifyResult:
    """Reads the data strictly, and tells whether it is Fashion-MNIST's release.

    Raises:
        RequestError: Something is wrong with it: `load_dataset` would not take it either.
    """
    dataset = _load(data, quiet)
    found = fingerprint(dataset)
    differs = [name for name, digest in release_fingerprint().items() if found[name] != digest]
    return VerifyResult(
        source=dataset.source,
        train_images=len(dataset.train),
        validation_images=len(dataset.validation or ()),
        test_images=len(dataset.test),
        matches_release=not differs,
        differs=", ".join(differs) or "none",
        train_images_sha256=found["train_images"],
        train_labels_sha256=found["train_labels"],
        test_images_sha256=found["test_images"],
        test_labels_sha256=found["test_labels"],
    )


def clean(
    data: DataOption = None,
    drop: DropOption = False,
    to: CleanToOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> CleanResult:
    """Counts duplicates, missing values and bad labels; with --drop, writes a copy without.

    The copy has the layout of the folder (IDX for the release and the sample). The test set keeps
    its duplicates: figures over fewer images could not be compared with published ones.

    Raises:
        RequestError: The data cannot be read at all, or the copy cannot be written.
    """
    if drop != (to is not None):
        raise RequestError(
            "--drop and --to DIR belong together: name the folder for the cleaned copy, or leave "
            "out both to count only."
        )
    if to is not None:
        require_free(Path(to))
    dataset, problems, layout = _inspect(data, quiet)
    _show_rows(dataset, problems)
    cleaned = drop_problems(dataset, problems) if drop else dataset
    if to is not None:
        with _bar("Writing", quiet) as progress:
            export_dataset(cleaned, layout, Path(to), progress=progress)
    return _clean_result(dataset, problems, cleaned, to)


def export(
    to: ToOption,
    format: FormatOption = Layout.FOLDERS,
    validation_fraction: FractionOption = None,
    data: DataOption = None,
    seed: SeedOption = 0,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> ExportResult:
    """Writes the data as class folders of PNGs, as CSV or as IDX, whole or not at all.

    Raises:
        RequestError: The data cannot be read, or the folder not be written.
    """
    start = time.perf_counter()
    require_free(Path(to))  # before a minute of reading, not after
    dataset = _load(data, quiet)
    with _bar("Writing", quiet) as progress:
        written = export_dataset(
            dataset,
            Layout(format),
            Path(to),
            validation_fraction=validation_fraction,
            seed=seed,
            progress=progress,
        )
    return ExportResult(
        source=dataset.source,
        format=Layout(format).value,
        train_images=len(written.train),
        validation_images=len(written.validation or ()),
        test_images=len(written.test),
        written_to=to,
        seconds=round(time.perf_counter() - start, 2),
    )


@contextmanager
def _bar(description: str, quiet: bool) -> Iterator[Progress]:
    """A bar that appears with the first step, so that quick work draws none."""
    with progress_bar(quiet) as bar:
        tasks = []

        def progress(done: int, total: int) -> None:
            if not tasks:
                tasks.append(bar.add_task(description))
            bar.update(tasks[0], completed=done, total=total)

        yield progress


def _load(data: str | None, quiet: bool) -> Dataset:
    with _bar("Reading", quiet) as progress:
        return load_dataset(data, progress=progress)


def _inspect(data: str | None, quiet: bool) -> tuple[Dataset, Problems, Layout]:
    data = named_data(data)
    if data is None or data == SAMPLE:
        dataset = _load(data, quiet)
        return dataset, find_problems(dataset), Layout.IDX
    folder = Path(data).expanduser()
    with _bar("Reading", quiet) as progress:
        dataset, bad_rows = read_to_clean(folder, progress)
    return dataset, find_problems(dataset, bad_rows), detect_layout(folder)


def _show_rows(dataset: Dataset, problems: Problems) -> None:
    for name, rows in problems.bad_rows.items():
        for row in rows[:_SHOWN_ROWS]:
            column = f", column {row.column}" if row.column else ""
            _log.info("%s, line %d%s: %s", FILES[name], row.line, column, row.reason)
        if len(rows) > _SHOWN_ROWS:
            _log.info("%s: %d more rows like these", FILES[name], len(rows) - _SHOWN_ROWS)


def _clean_result(
    dataset: Dataset, problems: Problems, cleaned: Dataset, to: str | None
) -> CleanResult:
    sizes = {name: len(split) for name, split in dataset.splits().items()}
    left = {name: len(split) for name, split in cleaned.splits().items()}
    rows = Counter({name: len(bad) for name, bad in problems.bad_rows.items()})
    dropped = Counter() if to is None else rows + Counter(sizes) - Counter(left)
    reasons = Counter(row.reason for bad in problems.bad_rows.values() for row in bad)
    duplicates = Counter({name: len(found.duplicates) for name, found in problems.splits.items()})
    shared = Counter(
        {
            (name, other): len(indices)
            for name, found in problems.splits.items()
            for other, indices in found.shared.items()
        }
    )
    return CleanResult(
        source=dataset.source,
        train_images=sizes["train"],
        validation_images=sizes.get("validation", 0),
        test_images=sizes["test"],
        duplicates_in_train=duplicates["train"],
        duplicates_in_validation=duplicates["validation"],
        duplicates_in_test=duplicates["test"],
        shared_by_train_and_test=shared["train", "test"],
        shared_with_validation=shared["train", "validation"] + shared["validation", "test"],
        conflicting_labels=sum(len(found.conflicts) for found in problems.splits.values()),
        missing_values=reasons[Reason.MISSING],
        not_whole_numbers=reasons[Reason.TEXT],
        wrong_numbers_of_cells=reasons[Reason.CELLS],
        pixels_out_of_range=reasons[Reason.PIXEL],
        labels_out_of_range=reasons[Reason.LABEL]
        + sum(len(found.bad_labels) for found in problems.splits.values()),
        dropped_train=dropped["train"],
        dropped_validation=dropped["validation"],
        dropped_test=dropped["test"],
        written_to=to or "nothing written",
    )


app = verb_app("Fetch, verify, clean and export the data.")
for _function in (fetch, verify, clean, export):
    app.command(_function.__name__)(command(_function))


def main() -> None:
    """Runs the command line."""
    app()


if __name__ == "__main__":
    main()

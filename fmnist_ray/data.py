"""Fetches, verifies, cleans and exports the data: `python -m fmnist_ray.data fetch`."""

import logging
import time
from dataclasses import asdict, dataclass
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
from fmnist_ray.dataset.cleaning import (
    Problems,
    count_problems,
    drop_problems,
)
from fmnist_ray.dataset.csv_layout import FILES
from fmnist_ray.dataset.export import export_dataset
from fmnist_ray.dataset.inspection import inspect_data
from fmnist_ray.dataset.layouts import Layout
from fmnist_ray.dataset.release import release_fingerprint
from fmnist_ray.dataset.sources import fetch_release, load_dataset
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
_log = logging.getLogger("fmnist_ray.data")  # run as a command, this module is `__main__`


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
    with progress_bar("Fetching (MB)", quiet) as progress:
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
) -> dict[str, str | int]:
    """Counts duplicates, missing values and bad labels; with --drop, writes a copy without.

    The copy has the layout of the folder (IDX for the release and the sample). The test set keeps
    its duplicates: figures over fewer images could not be compared with published ones.

    Returns:
        The source, the images of each split, the counts of `cleaning.ProblemCounts`, how many
        images and rows the copy lacks, and where it is.

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
    with progress_bar("Reading", quiet) as progress:
        dataset, problems, layout = inspect_data(data, progress)
    _show_rows(problems)
    cleaned = drop_problems(dataset, problems) if drop else dataset
    if to is not None:
        with progress_bar("Writing", quiet) as progress:
            export_dataset(cleaned, layout, Path(to), progress=progress)
    counts = count_problems(problems)
    sizes = {name: len(split) for name, split in dataset.splits().items()}
    dropped = {
        name: size - len(cleaned.splits()[name]) + len(problems.bad_rows.get(name, ()))
        for name, size in sizes.items()
    }
    return {
        "source": dataset.source,
        **{f"{name}_images": size for name, size in sizes.items()},
        **asdict(counts),
        **({f"dropped_{name}": count for name, count in dropped.items()} if drop else {}),
        "written_to": to or "nothing written",
    }


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
    with progress_bar("Writing", quiet) as progress:
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


def _load(data: str | None, quiet: bool) -> Dataset:
    with progress_bar("Reading", quiet) as progress:
        return load_dataset(data, progress=progress)


def _show_rows(problems: Problems) -> None:
    for name, rows in problems.bad_rows.items():
        for row in rows[:_SHOWN_ROWS]:
            column = f", column {row.column}" if row.column else ""
            _log.info("%s, line %d%s: %s", FILES[name], row.line, column, row.reason)
        if len(rows) > _SHOWN_ROWS:
            _log.info("%s: %d more rows like these", FILES[name], len(rows) - _SHOWN_ROWS)


app = verb_app("Fetch, verify, clean and export the data.")
for _function in (fetch, verify, clean, export):
    app.command(_function.__name__)(command(_function))


def main() -> None:
    """Runs the command line."""
    app()


if __name__ == "__main__":
    main()

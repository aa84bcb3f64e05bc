"""Labels a person's own photographs: `python -m fmnist_ray.predict FILES...`."""

import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fmnist_ray.console import (
    JsonOption,
    NameOption,
    QuietOption,
    ResultsOption,
    command,
    messages,
    progress_bar,
    verb_app,
)
from fmnist_ray.errors import Interrupted, RequestError

if TYPE_CHECKING:
    from fmnist_ray.dispatch.labels import Labels
    from fmnist_ray.records import Record

app = verb_app("Label your own photographs.")
VERB = "predict"
_PRINTED = 20  # warnings, and rows of the table
_LISTED = 100  # predictions in the summary
_log = logging.getLogger(__name__)


def predict(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES...",
            help="Image files (PNG, JPEG, WebP, BMP, GIF), and folders: all images below them.",
        ),
    ],
    record: Annotated[
        str | None,
        typer.Option(
            "--record",
            metavar="RECORD",
            help="Whose model labels: results/NAME, or results/NAME/units/ID.  "
            "[default: the CNN that comes with the package]",
        ),
    ] = None,
    name: NameOption = None,
    results: ResultsOption = "results",
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="ADDRESS",
            help="Label with Ray Data in any case: `local` starts Ray here, `auto` or HOST:PORT "
            "joins a cluster, on all nodes of which files and record have the same paths. "
            "Default: Ray Data on this machine where that is quicker, which the first files tell.",
        ),
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Label your own photographs, of any size, in colour or grey, on a light or a dark ground.

    A file that cannot be labelled is skipped with a warning that says why.

    Returns:
        The record's metrics, with `record`, its folder, and `predictions`, if there are at most
        100: `file`, `class`, `probability`, `second_class`, `second_probability` of each.

    Raises:
        RequestError: A path does not exist, no file could be labelled, or the model is missing.
        WorkError: The record cannot be written, or Ray failed.
        Interrupted: Ctrl-C or SIGTERM; nothing is kept but the note that it happened.
    """
    from fmnist_ray.dataset.image_files import find_images
    from fmnist_ray.dispatch.labelling import label_files
    from fmnist_ray.dispatch.run_name import RunName
    from fmnist_ray.records import Record
    from fmnist_ray.reporting import report_on

    del as_json  # the command line prints the result
    found = find_images(files)
    if not found:
        raise RequestError(
            f"There are no images below {', '.join(files)}. Name image files, or folders that "
            "hold some (PNG, JPEG, WebP, BMP, GIF)."
        )
    folder, kind, model = _model(record)
    if not quiet:
        messages().print(f"labelling with {model}", markup=False)
    written = Record.create(results, name, VERB, "photographs")
    config = {"files": files, "record": record, "address": address, "model": model}
    written.start(VERB, config, 0, {"source": "photographs", "files": len(found)})
    run = RunName(VERB, written.name, kind)
    with _at_work(written):
        begun = time.monotonic()
        with progress_bar("Labelling", quiet) as progress:
            labels, where = label_files(
                found, folder, address, progress, run, None if quiet else messages()
            )
        seconds = time.monotonic() - begun
        _warn(found, labels)
        metrics = {
            "model": model,
            "files": len(found),
            "labelled": len(found) - len(labels.reasons),
            "skipped": len(labels.reasons),
            "labelled_by": where,
            "seconds": round(seconds, 3),
            "files_per_second": round(len(found) / seconds, 1),
        }
        predictions = _write(written, found, labels)
        metrics |= {"by_class": _by_class(predictions)}
        written.write_metrics(metrics)
    report_on(written.path, quiet)
    if not quiet:
        messages().print(_table(predictions))
    listed = {"predictions": predictions} if len(predictions) <= _LISTED else {}
    return {"record": str(written.path), **metrics, **listed}


def _model(record: str | None) -> tuple[Path, str, str]:
    """The folder of the model, which it is, and what to call it."""
    from fmnist_ray.models.storage import DESCRIPTION_FILE
    from fmnist_ray.records import read_json
    from fmnist_ray.training.scoring import model_folder

    folder = model_folder(record)
    description = read_json(folder / DESCRIPTION_FILE)
    architecture = description.get("architecture")
    kind = architecture.get("model", "model") if isinstance(architecture, dict) else "model"
    if record is not None:
        return folder, kind, f"the {kind} of {folder}"
    accuracy = description.get("test_accuracy", 0.0)
    return (
        folder,
        kind,
        (
            f"the {kind} that comes with the package ({accuracy:.1%} of the test images right); "
            "--record names another"
        ),
    )


@contextmanager
def _at_work(record: "Record") -> Iterator[None]:
    """Has the record say how the work ended, and leaves none where nothing could be labelled."""
    from fmnist_ray.signals import stop_exit_code

    try:
        yield
    except RequestError:
        shutil.rmtree(record.path)
        raise
    except KeyboardInterrupt:
        record.end("interrupted")
        raise Interrupted(
            "nothing was labelled for good. Give the same command again.",
            exit_code=stop_exit_code(),
        ) from None
    except BaseException:
        record.end("failed")
        raise
    record.end("complete")


def _warn(files: Sequence[Path], labels: "Labels") -> None:
    """Says which files were skipped, and refuses if that is all of them.

    Raises:
        RequestError: No file could be labelled.
    """
    skipped = [f"{files[index]} is skipped: {why}." for index, why in labels.reasons.items()]
    if len(skipped) == len(files):
        more = f" So were {len(skipped) - 1:,} more." if len(skipped) > 1 else ""
        raise RequestError(
            f"No file could be labelled. {skipped[0]}{more} Name images of a single item that "
            "stands out from a plain background."
        )
    for text in skipped[:_PRINTED]:
        _log.warning("warning: %s", text)
    if len(skipped) > _PRINTED:
        _log.warning("warning: %d more are in skipped.csv.", len(skipped) - _PRINTED)


def _write(record: "Record", files: Sequence[Path], labels: "Labels") -> list[dict[str, Any]]:
    """Writes tables and figure, and returns what the summary says of each file."""
    import numpy as np

    from fmnist_ray.dataset.arrays import CLASS_NAMES
    from fmnist_ray.records import write_json
    from fmnist_ray.reports.tables import write_table

    rows, told = [], []
    done = [index for index in range(len(files)) if index not in labels.reasons]
    order = np.argsort(-labels.probability, axis=1, kind="stable")[:, :2]
    for index in done:
        shares = [float(share) for share in labels.probability[index]]
        first, second = (int(label) for label in order[index])
        label = {
            "file": str(files[index]),
            "class": CLASS_NAMES[first],
            "probability": shares[first],
        }
        rows.append({**label, **dict(zip(CLASS_NAMES, shares, strict=True))})
        told.append(
            {**label, "second_class": CLASS_NAMES[second], "second_probability": shares[second]}
        )
    write_table(record.path / "predictions.csv", rows)
    write_json(record.path / "predictions.json", {"predictions": rows})
    if labels.reasons:
        skipped = [{"file": str(files[at]), "reason": why} for at, why in labels.reasons.items()]
        write_table(record.path / "skipped.csv", skipped)
    _draw(record, [files[index] for index in done], labels.probability[done])
    return told


def _draw(record: "Record", files: Sequence[Path], probability: Any) -> None:
    from fmnist_ray.dataset.arrays import CLASS_NAMES
    from fmnist_ray.dataset.photographs import read_photograph, read_thumbnail
    from fmnist_ray.reports.figures import write_png
    from fmnist_ray.reports.photographs import (
        PREDICTIONS_FIGURE,
        SHOWN,
        draw_predictions,
        labelled,
    )

    shown = [
        labelled(path.name, read_thumbnail(path), read_photograph(path), shares, CLASS_NAMES)
        for path, shares in zip(files[:SHOWN], probability, strict=False)
    ]
    write_png(record.path / "figures" / PREDICTIONS_FIGURE, draw_predictions(shown))


def _by_class(predictions: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    from collections import Counter

    return dict(Counter(str(each["class"]) for each in predictions).most_common())


def _table(predictions: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="Labels")
    table.add_column("File", overflow="fold")
    table.add_column("Class", style="bold")
    table.add_column("Probability", justify="right")
    table.add_column("Second guess")
    for each in predictions[:_PRINTED]:
        table.add_row(
            escape(each["file"]),
            each["class"],
            f"{each['probability']:.1%}",
            f"{each['second_class']} ({each['second_probability']:.1%})",
        )
    if len(predictions) > _PRINTED:
        table.add_section()
        table.add_row(f"and {len(predictions) - _PRINTED:,} more, in predictions.csv", "", "", "")
    return table


def _shown(result: Mapping[str, Any]) -> dict[str, Any]:
    classes = ", ".join(f"{name} {count:,}" for name, count in result["by_class"].items())
    skipped = f", {result['skipped']:,} skipped" if result["skipped"] else ""
    return {
        "record": result["record"],
        "files": f"{result['labelled']:,} labelled{skipped}",
        "classes": classes,
        "time": f"{result['seconds']:.1f} s, in {result['labelled_by']}",
        "figure": str(Path(result["record"]) / "figures" / "predictions.png"),
    }


app.command()(command(predict, shown=_shown))


def main() -> None:
    """The command line."""
    app()


if __name__ == "__main__":
    main()

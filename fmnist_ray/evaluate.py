"""Scores a record's model on the test set: `python -m fmnist_ray.evaluate results/NAME`."""

import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from fmnist_ray.console import (
    DataOption,
    JsonOption,
    QuietOption,
    command,
    messages,
    progress_bar,
    verb_app,
)
from fmnist_ray.dataset.arrays import CLASS_NAMES, Dataset, fingerprint
from fmnist_ray.errors import RequestError
from fmnist_ray.evaluation.metrics import (
    ClassScore,
    ConfusedPair,
    class_scores,
    confusion_counts,
    most_confused_pairs,
    summarise,
)
from fmnist_ray.records import Record, read_json, write_json, write_predictions
from fmnist_ray.reports.tables import write_class_report, write_confusion_matrix

RecordArgument = Annotated[
    str, typer.Argument(metavar="RECORD", help="The run's folder, such as results/NAME.")
]
UnitOption = Annotated[
    str | None,
    typer.Option(
        "--unit",
        metavar="ID",
        help="Score the model of this trial, fold or member, below units/, instead of the run's.",
    ),
]

_ARRAYS = {
    "train_images": "training images",
    "train_labels": "training labels",
    "test_images": "test images",
    "test_labels": "test labels",
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """How a model does on the test set.

    Attributes:
        record: Folder that the files were written to.
        model: Its architecture's name.
        data: The source of the test images.
        data_as_trained: Whether the data are those that the record was trained on; None if the
            record does not say.
        test_images: Number of them.
        test_accuracy: Share that is right.
        test_accuracy_low: Lower bound of its 95 % interval (Wilson).
        test_accuracy_high: Upper bound.
        test_loss: Mean negative log-likelihood, in nats.
        test_macro_precision: Mean over the classes.
        test_macro_recall: Likewise.
        test_macro_f1: Likewise.
        most_confused: The class pairs that are taken for each other most often, each with the
            number of its errors.
    """

    record: str
    model: str
    data: str
    data_as_trained: bool | None
    test_images: int
    test_accuracy: float
    test_accuracy_low: float
    test_accuracy_high: float
    test_loss: float
    test_macro_precision: float
    test_macro_recall: float
    test_macro_f1: float
    most_confused: tuple[str, ...]


def evaluate(
    record: RecordArgument,
    data: DataOption = None,
    unit: UnitOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> Evaluation:
    """Scores a record's model on the test set, and adds figures, tables and plots to the record.

    Raises:
        RequestError: There is no such record, unit or model yet, the model is damaged, or the
            data cannot be read.
        WorkError: The model's output is no number, or the record cannot be written.
    """
    run = Record.open(record)
    folder = run.path if unit is None else run.unit(unit)
    _require_model(run, folder, unit)
    from fmnist_ray.training.scoring import score_model

    # By default the data that the record was made from, so that its figures stay comparable.
    dataset = _load(data or run.run().get("config", {}).get("data"), quiet)
    as_trained = _compare_data(run, dataset)
    with progress_bar("Scoring the test images", quiet) as progress:
        probabilities, model = score_model(folder, dataset.test.images, progress)
    figures = summarise(dataset.test.labels, probabilities, "test")
    scores = class_scores(dataset.test.labels, probabilities)
    counts = confusion_counts(dataset.test.labels, probabilities)
    pairs = most_confused_pairs(counts)
    name = run.name if unit is None else f"{run.name}, {unit}"
    title = (
        f"{name} ({model}): {figures['test_accuracy']:.2%} "
        f"of {len(dataset.test):,} test images right"
    )
    # A unit's own predictions may be those of its fold, which must not be lost.
    predictions = folder / ("predictions.npz" if unit is None else "test_predictions.npz")
    write_predictions(predictions, np.arange(len(dataset.test)), dataset.test.labels, probabilities)
    write_class_report(folder / "classification_report.csv", scores, CLASS_NAMES)
    write_confusion_matrix(folder / "confusion_matrix.csv", counts, CLASS_NAMES)
    _draw(run, folder, unit, counts, title)
    # Last, and merged: the verb that made the record has figures of its own in there.
    metrics = folder / "metrics.json"
    # It says which data the figures are of, since those may be other than the verb's.
    scored = {"test_data": dataset.source, "test_data_as_trained": as_trained}
    known = read_json(metrics) if metrics.exists() else {}
    write_json(metrics, known | figures | scored)
    if not quiet:
        messages().print(_table(scores, figures))
    return Evaluation(
        record=str(folder),
        model=model,
        data=dataset.source,
        data_as_trained=as_trained,
        most_confused=tuple(_describe(pair) for pair in pairs),
        **figures,  # type: ignore[arg-type]  # flat names, as the attributes
    )


def _require_model(run: Record, folder: Path, unit: str | None) -> None:
    """Refuses, and says how to come by a model, where there is none."""
    from fmnist_ray.models.storage import DESCRIPTION_FILE, WEIGHTS_FILE

    if (folder / DESCRIPTION_FILE).exists() or (folder / WEIGHTS_FILE).exists():
        return
    kept = sorted(path.parent.name for path in (run.path / "units").glob(f"*/{WEIGHTS_FILE}"))
    names = ", ".join(kept[:10]) + (f" and {len(kept) - 10} more" if len(kept) > 10 else "")
    if unit is not None:
        problem = "keeps no model" if folder.is_dir() else "does not exist"
        having = f"Units with a model: {names}." if kept else "None of its units has one."
        raise RequestError(f"Unit {unit} of {run.path} {problem}. {having}")
    content = run.run()
    verb, status = content.get("verb", "?"), content.get("status", "?")
    if verb == "baselines":
        raise RequestError(
            f"{run.path} is a record of `baselines`, which keeps predictions and no models. Its "
            "figures are in metrics.json, its predictions in predictions.npz."
        )
    resume = f"`{_go_on_command(verb, run)}`"
    if status == "running":
        remedy = f"Wait for `{verb}` to end; if it was killed, go on with it: {resume}."
    elif status in ("interrupted", "failed"):
        remedy = f"Go on with it: {resume}."
    else:
        remedy = f"Run `{verb}` again under another --name."
    also = f" With --unit ID one of its units can be scored: {names}." if kept else ""
    raise RequestError(f"{run.path} holds no model yet, its status is `{status}`. {remedy}{also}")


def _go_on_command(verb: str, run: Record) -> str:
    if verb in ("train", "tune"):
        return f"python -m fmnist_ray.{verb} --resume {shlex.quote(str(run.path))}"
    folder, name = shlex.quote(str(run.path.parent)), shlex.quote(run.name)
    return f"python -m fmnist_ray.{verb} --name {name} --results {folder}"


def _load(data: str | None, quiet: bool) -> Dataset:
    from fmnist_ray.dataset.sources import load_dataset

    with progress_bar("Reading the data", quiet) as progress:
        return load_dataset(data, progress=progress)


def _compare_data(run: Record, dataset: Dataset) -> bool | None:
    """Warns if the data are not those that the record was trained on."""
    facts = run.run().get("data")
    facts = facts if isinstance(facts, dict) else {}
    recorded = facts.get("sha256")
    recorded = recorded if isinstance(recorded, dict) else {}
    found = fingerprint(dataset)
    known = [name for name in _ARRAYS if name in recorded]
    if not known:
        _log.warning("warning: %s does not say what data it was trained on.", run.path)
        return None
    changed = [_ARRAYS[name] for name in known if recorded[name] != found[name]]
    if changed:
        _log.warning(
            "warning: the data are not those that %s was trained on (%s differ). Trained on: %s. "
            "Scored on: %s. Use --data to name the data it was trained on.",
            run.path,
            ", ".join(changed),
            facts.get("source", "not recorded"),
            dataset.source,
        )
    return not changed


def _draw(run: Record, folder: Path, unit: str | None, counts: np.ndarray, title: str) -> None:
    from fmnist_ray.reports.confusion import confusion_data, draw_confusion
    from fmnist_ray.reports.curves import draw_curves, read_curves
    from fmnist_ray.reports.figures import write_png

    figures = folder / "figures"
    write_png(
        figures / "confusion_matrix.png", draw_confusion(confusion_data(counts, CLASS_NAMES), title)
    )
    history = run.path / "history.csv"
    if not history.exists():
        return
    curves = [curve for curve in read_curves(history) if unit in (None, curve.unit)]
    if curves:
        name = run.name if unit is None else f"{run.name}, {unit}"
        drawn = draw_curves(curves, f"Learning curves of {name}")
        write_png(figures / "learning_curves.png", drawn)


def _table(scores: Sequence[ClassScore], figures: Mapping[str, float]) -> Table:
    table = Table(title="Test set, by class")
    table.add_column("Class")
    for column in ("Precision", "Recall", "F1", "Images"):
        table.add_column(column, justify="right")
    for score in scores:
        shares = (score.precision, score.recall, score.f1)
        table.add_row(CLASS_NAMES[score.label], *(f"{x:.3f}" for x in shares), f"{score.support:,}")
    table.add_section()
    means = (figures[f"test_macro_{name}"] for name in ("precision", "recall", "f1"))
    table.add_row("Mean", *(f"{mean:.3f}" for mean in means), f"{figures['test_images']:,}")
    return table


def _describe(pair: ConfusedPair) -> str:
    return f"{CLASS_NAMES[pair.first]} / {CLASS_NAMES[pair.second]} ({pair.errors})"


app = verb_app("Score a record's model on the test set.")
app.command()(command(evaluate))


def main() -> None:
    """Runs the command line."""
    app()


if __name__ == "__main__":
    main()

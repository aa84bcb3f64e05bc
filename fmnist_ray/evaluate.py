"""Scores a record's model on the test set: `python -m fmnist_ray.evaluate results/NAME`."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
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
from fmnist_ray.evaluation.calibration import calibration_summary
from fmnist_ray.evaluation.metrics import (
    ClassScore,
    class_scores,
    confusion_counts,
    most_confused_pairs,
    summarise,
)
from fmnist_ray.records import (
    PREDICTIONS_FILE,
    TEST_PREDICTIONS_FILE,
    Record,
    read_json,
    write_json,
    write_predictions,
)

if TYPE_CHECKING:
    from fmnist_ray.evaluation.held_out import HeldOut

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
FlipsOption = Annotated[
    bool,
    typer.Option(
        "--average-flips",
        help="Also judge the mean of what the model says of each image and of its mirror image; "
        "it takes twice as long and stands apart.",
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
        test_macro_precision: Mean over the classes.
        test_macro_recall: Likewise.
        test_macro_f1: Likewise.
        most_confused: The class pairs that are taken for each other most often, each with the
            number of its errors.
        test_loss: Mean negative log-likelihood, in nats; None of an SVM, whose scores are no
            probabilities, as are the next ones.
        test_ece: Expected calibration error over 15 bins.
        test_brier: Brier score, 0 to 2.
        temperature: What logits are divided by to be calibrated, fitted on held-out training
            images; None where there are none.
        temperature_from: Which those are.
        test_ece_with_temperature: `test_ece` of the calibrated probabilities.
        test_loss_with_temperature: `test_loss` of them.
        label_issues: Training images whose label is likely wrong, where the record holds
            out-of-fold or out-of-bag predictions.
        test_accuracy_with_flips: Accuracy of the mean of the probabilities of each image and of its
            mirror image; None if it was not asked for.
        predict_images_per_second: On this machine's CPUs in fp32; None if the record keeps
            predictions and no model.
    """

    record: str
    model: str
    data: str
    data_as_trained: bool | None
    test_images: int
    test_accuracy: float
    test_accuracy_low: float
    test_accuracy_high: float
    test_macro_precision: float
    test_macro_recall: float
    test_macro_f1: float
    most_confused: tuple[str, ...]
    test_loss: float | None = None
    test_ece: float | None = None
    test_brier: float | None = None
    temperature: float | None = None
    temperature_from: str | None = None
    test_ece_with_temperature: float | None = None
    test_loss_with_temperature: float | None = None
    label_issues: int | None = None
    test_accuracy_with_flips: float | None = None
    predict_images_per_second: float | None = None


def evaluate(
    record: RecordArgument,
    data: DataOption = None,
    unit: UnitOption = None,
    average_flips: FlipsOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> Evaluation:
    """Scores a record's model on the test set, and adds figures, tables and plots to the record.

    Calibration is judged too, and a temperature fitted where validation images were kept. In a
    record of a cross-validation or a bootstrap ensemble, likely wrong labels of the training
    images are searched for.

    Raises:
        RequestError: There is no such record, unit or model yet, the model is damaged, or the
            data cannot be read.
        WorkError: The model's output is no number, or the record cannot be written.
    """
    from fmnist_ray.evaluation.held_out import (
        fitted_temperature,
        gives_probabilities,
        unseen_predictions,
    )
    from fmnist_ray.reporting import report_on
    from fmnist_ray.reports.curves import write_curves
    from fmnist_ray.reports.scored import describe_pair
    from fmnist_ray.training.scoring import kept_answers, require_model, score_model

    run = Record.open(record)
    folder = run.path if unit is None else run.unit(unit)
    kept = kept_answers(run, unit)
    if kept is None:
        require_model(run, unit)
    # By default the data that the record was made from, so that its figures stay comparable.
    dataset = _load(data or run.run().get("config", {}).get("data"), quiet)
    as_trained = _compare_data(run, dataset)
    labels = dataset.test.labels
    if kept is not None and not np.array_equal(kept.label, labels):
        raise RequestError(
            f"{run.path} keeps predictions and no model, and they are not of the test images of "
            f"{dataset.source}. Use --data to name the data it was trained on."
        )
    if kept is not None and average_flips:
        raise RequestError(
            f"--average-flips needs a model to ask about mirror images, but {run.path} keeps "
            "predictions and no model. Leave it out."
        )
    speed: float | None = None
    if kept is not None:
        probabilities, model = kept.probability, kept.model
    else:
        begun = time.perf_counter()
        with progress_bar("Scoring the test images", quiet) as progress:
            probabilities, model = score_model(folder, dataset.test.images, progress)
        speed = round(len(labels) / (time.perf_counter() - begun), 1)
    figures: dict[str, Any] = summarise(labels, probabilities, "test")
    if average_flips:
        with progress_bar("Scoring the mirror images", quiet) as progress:
            mirrored, _ = score_model(folder, dataset.test.images[:, :, ::-1], progress)
        right = (probabilities + mirrored).argmax(axis=1) == labels
        figures["test_accuracy_with_flips"] = float(right.mean())
    calibration = gives_probabilities(run, unit)
    temperature = None
    if calibration:
        try:
            temperature = fitted_temperature(run, unit)
        except RequestError as error:
            _log.warning("warning: no temperature is fitted. %s", error)
    if calibration:
        value = None if temperature is None else temperature.value
        figures |= calibration_summary(labels, probabilities, value)
    else:
        del figures["test_loss"]  # of scores that are no probabilities, it says nothing
    figures["temperature_from"] = None if temperature is None else temperature.origin
    figures["predict_images_per_second"] = speed
    # A unit's own predictions may be those of its fold, which must not be lost.
    file = PREDICTIONS_FILE if unit is None else TEST_PREDICTIONS_FILE
    write_predictions(folder / file, np.arange(len(labels)), labels, probabilities)
    with progress_bar("Drawing", quiet) as progress:
        name = run.name if unit is None else f"{run.name}, {unit}"
        value = None if temperature is None else temperature.value
        _write(folder, dataset, probabilities, name, calibration, value)
        progress(1, 2)
        unseen = unseen_predictions(run) if unit is None else None
        if unseen is not None:
            figures["label_issues"] = _label_issues(run, dataset, unseen)
        progress(2, 2)
    # Last, and merged: the verb that made the record has figures of its own in there.
    metrics = folder / "metrics.json"
    # It says which data the figures are of, since those may be other than the verb's.
    scored = {"test_data": dataset.source, "test_data_as_trained": as_trained}
    known = read_json(metrics) if metrics.exists() else {}
    write_json(metrics, known | figures | scored)
    if not quiet:
        messages().print(_table(class_scores(labels, probabilities), figures))
    if unit is None:
        report_on(run.path, quiet)
    else:
        write_curves(run, unit)
    pairs = most_confused_pairs(confusion_counts(labels, probabilities))
    return Evaluation(
        record=str(folder),
        model=model,
        data=dataset.source,
        data_as_trained=as_trained,
        most_confused=tuple(describe_pair(pair, CLASS_NAMES) for pair in pairs),
        **figures,  # flat names, as the attributes
    )


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


def _write(
    folder: Path,
    dataset: Dataset,
    probabilities: npt.NDArray[np.float32],
    name: str,
    calibration: bool,
    temperature: float | None,
) -> None:
    from fmnist_ray.reports.scored import scores_title, write_examples, write_scores

    test = dataset.test
    title = scores_title(name, test.labels, probabilities)
    write_scores(
        folder,
        test.labels,
        probabilities,
        CLASS_NAMES,
        title,
        calibration=calibration,
        temperature=temperature,
    )
    write_examples(folder, test.images, test.labels, probabilities, CLASS_NAMES, name)


def _label_issues(run: Record, dataset: Dataset, unseen: "HeldOut") -> int | None:
    """How many training labels are likely wrong; they are drawn and listed, too."""
    from fmnist_ray.evaluation.label_issues import find_label_issues
    from fmnist_ray.reports.scored import write_label_issues

    found, train = unseen.predictions, dataset.train
    inside = len(found.index) and found.index.max() < len(train)
    if not inside or not np.array_equal(train.labels[found.index], found.label):
        _log.warning(
            "warning: the training labels are not those that %s was trained on, so that none of "
            "them is judged.",
            run.path,
        )
        return None
    issues = find_label_issues(found.label, found.probability)
    title = (
        f"{run.name}: {len(issues.position):,} of {len(found.label):,} training labels are likely "
        f"wrong, by {unseen.origin}"
    )
    write_label_issues(
        run.path, train.images, found.index, found.probability, issues, CLASS_NAMES, title
    )
    return len(issues.position)


def _table(scores: Sequence[ClassScore], figures: Mapping[str, Any]) -> Table:
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


app = verb_app("Score a record's model on the test set.")


def _shown(result: Mapping[str, Any]) -> dict[str, Any]:
    low, high = result["test_accuracy_low"], result["test_accuracy_high"]
    share, count = result["test_accuracy"], result["test_images"]
    shown: dict[str, Any] = {
        "record": result["record"],
        "model": result["model"],
        "test accuracy": f"{share:.4f} ({low:.4f} to {high:.4f}) on {count:,} images",
        "most often confused": result["most_confused"],
    }
    if result["test_accuracy_with_flips"] is not None:
        shown["with flips averaged"] = f"{result['test_accuracy_with_flips']:.4f}"
    if result["test_loss"] is not None:
        shown["test loss"] = f"{result['test_loss']:.4f} nats"
        shown["calibration error"] = (
            f"{result['test_ece']:.4f} (ECE), Brier {result['test_brier']:.4f}"
        )
    if result["temperature"] is not None:
        shown["with temperature"] = (
            f"{result['temperature']:.2f}: calibration error "
            f"{result['test_ece_with_temperature']:.4f}, loss "
            f"{result['test_loss_with_temperature']:.4f} nats"
        )
        shown["fitted on"] = result["temperature_from"]
    if result["label_issues"] is not None:
        shown["labels likely wrong"] = f"{result['label_issues']:,} of the training images"
    return shown


app.command()(command(evaluate, shown=_shown))


def main() -> None:
    """Runs the command line."""
    app()


if __name__ == "__main__":
    main()

"""Draws what a record's files allow, and makes its report."""

import logging
from pathlib import Path

from fmnist_ray.dataset.arrays import CLASS_NAMES
from fmnist_ray.errors import RequestError
from fmnist_ray.evaluation.provenance import read_if_there
from fmnist_ray.records import Record, read_json
from fmnist_ray.reports.captions import Caption

_MOST_PAIRS = 15
_log = logging.getLogger(__name__)


def write_report(record: Record) -> Path:
    """Draws a record's figures anew from its files, and writes `report.html`.

    Figures that need the images, such as those of confused pairs, stay as they were drawn. What
    is damaged is named on the page, and the rest is drawn.

    Returns:
        The page.

    Raises:
        RequestError: `run.json` is damaged.
        WorkError: The record cannot be written.
    """
    from fmnist_ray.reports.page import write_page

    problems: list[str] = []
    said: list[str] = []
    for draw in (_read_metrics, _draw_search, _read_pairs, _draw_scores, _draw_curves):
        try:
            said += draw(record, problems)
        except RequestError as error:
            problems.append(str(error))
    return write_page(record, captions(), said, problems)


def report_on(record: str | Path, quiet: bool) -> None:
    """Makes the report of a run that has ended, and says where it is.

    The run's work is done and saved by then: an error of drawing is told and does not undo that.
    """
    try:
        path = write_report(Record(Path(record)))
    except Exception as error:  # noqa: BLE001
        _log.warning(
            "warning: the report could not be made (%s: %s). The record is whole; once that is "
            "mended: python -m fmnist_ray.report %s",
            type(error).__name__,
            error,
            record,
        )
        return
    if not quiet:
        from fmnist_ray.console import messages

        messages().print(f"report: {path}", markup=False)


def captions() -> dict[str, Caption]:
    """Of all figures by their file names, in the order of a report."""
    from fmnist_ray.reports import (
        calibration,
        comparison,
        confusion,
        curves,
        exploration,
        folds,
        image_grids,
        members,
        photographs,
        search,
    )

    modules = (
        search,
        comparison,
        photographs,
        folds,
        members,
        curves,
        confusion,
        image_grids,
        calibration,
        exploration,
    )
    return {name: caption for module in modules for name, caption in module.CAPTIONS.items()}


def _draw_search(record: Record, problems: list[str]) -> list[str]:
    """What happened in a search; its figures become part of a complete search's metrics."""
    run = record.run()
    if run.get("verb") != "tune":
        return []
    from fmnist_ray.reports.search import CAPTIONS
    from fmnist_ray.search.analysis import draw_search

    findings = draw_search(record)
    if run.get("status") == "complete":
        record.write_metrics(read_if_there(record.path / "metrics.json") | findings.metrics)
    titles: dict[str, list[str]] = {}
    for stem, why in findings.left_out.items():
        titles.setdefault(why, []).append(CAPTIONS[f"{stem}.png"].title)
    left_out = [f"Not drawn: {', '.join(which)}. {why}" for why, which in titles.items()]
    return [*findings.sentences, *left_out]


def _draw_curves(record: Record, problems: list[str]) -> list[str]:
    from fmnist_ray.reports.curves import write_curves

    write_curves(record)
    return []


def _draw_scores(record: Record, problems: list[str]) -> list[str]:
    """The confusion matrix and the calibration, where predictions of the test images are kept."""
    from fmnist_ray.evaluation.held_out import fitted_temperature, gives_probabilities
    from fmnist_ray.evaluation.metrics import confusion_counts, most_confused_pairs
    from fmnist_ray.reports.scored import describe_pair, scores_title, write_scores

    predictions = record.test_predictions()
    if predictions is None:
        return []
    labels, probabilities = predictions.label, predictions.probability
    calibration, fitted = True, None
    try:
        calibration = gives_probabilities(record)
        fitted = fitted_temperature(record) if calibration else None
    except RequestError as error:
        problems.append(str(error))
    write_scores(
        record.path,
        labels,
        probabilities,
        CLASS_NAMES,
        scores_title(record.name, labels, probabilities),
        calibration=calibration,
        temperature=None if fitted is None else fitted.value,
    )
    pairs = most_confused_pairs(confusion_counts(labels, probabilities), most=1)
    return [f"Most often confused: {describe_pair(pairs[0], CLASS_NAMES)}." for _ in pairs]


def _read_metrics(record: Record, problems: list[str]) -> list[str]:
    from fmnist_ray.reports.findings import sentences

    return sentences(read_if_there(record.path / "metrics.json"))


def _read_pairs(record: Record, problems: list[str]) -> list[str]:
    """What a comparison says of its pairs, those of the best model first."""
    path = record.path / "comparison.json"
    said = read_json(path).get("sentences") if path.is_file() else None
    return [str(each) for each in said[:_MOST_PAIRS]] if isinstance(said, list) else []

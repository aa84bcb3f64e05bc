"""Sets several records side by side: `python -m fmnist_ray.compare results/ONE results/OTHER`.

All models answer the same test images, so pairs of them are compared by the images on which
exactly one is right (McNemar's exact test, with Holm's correction for all pairs). Two things no
test here can see: each further comparison on the same test images makes it likelier that the best
of them is so by luck, and intervals cover the drawing of the test images, not the seed of the
training, which moves a model's accuracy by some tenths of a point.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fmnist_ray.console import (
    DataOption,
    JsonOption,
    NameOption,
    QuietOption,
    ResultsOption,
    command,
    messages,
    progress_bar,
    verb_app,
)

if TYPE_CHECKING:
    from fmnist_ray.evaluation.comparison import Row
    from fmnist_ray.evaluation.significance import PairTest
    from fmnist_ray.records import Record
    from fmnist_ray.training.entrants import Entrant

app = verb_app("Set several records side by side: a table, figures, and tests of every pair.")
VERB = "compare"
_SENTENCES_PRINTED = 15
_log = logging.getLogger(__name__)


def compare(
    records: Annotated[
        list[str],
        typer.Argument(
            metavar="RECORD",
            help="Folders of runs, results/NAME, or of their trials, folds and members, "
            "results/NAME/units/ID. One of baselines stands for its final models.",
        ),
    ],
    published: Annotated[
        bool,
        typer.Option(
            "--published/--no-published", help="Set what earlier projects reported beside them."
        ),
    ] = True,
    data: DataOption = None,
    name: NameOption = None,
    results: ResultsOption = "results",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Set several records side by side: a table, figures, and tests of every pair.

    Models are compared on the test images: by the predictions that a record keeps, else by
    scoring its model now. The records are only read; the comparison is a record of its own.

    Returns:
        `record`: its folder; `rows`, `pairs` and `sentences`: as in its `comparison.json`; and
        the record's metrics.

    Raises:
        RequestError: Records cannot be compared; the message names all of them, and why.
        WorkError: A model's output is no number, or the record cannot be written.
    """
    from fmnist_ray.evaluation.comparison import published_row, ranked, scored_row
    from fmnist_ray.evaluation.metrics import predicted_classes
    from fmnist_ray.evaluation.published import PUBLISHED
    from fmnist_ray.evaluation.significance import compare_pairs, describe
    from fmnist_ray.records import Record
    from fmnist_ray.reporting import report_on
    from fmnist_ray.reports.comparison_table import comparison_table
    from fmnist_ray.training.entrants import answer, gather

    del as_json  # the command line prints the result
    entrants = gather(records)
    record = Record.create(results, name, VERB, f"{len(entrants)}-models")
    try:
        answers = answer(entrants, data, lambda text: progress_bar(text, quiet))
    except BaseException:
        record.path.rmdir()  # it is empty: nothing was compared
        raise
    for entrant in entrants:
        _warn(entrant)
    config = {"records": records, "published": published, "data": data}
    record.start(VERB, config, 0, {"source": answers.source, "sha256": answers.sha256})
    labels, given = answers.labels, answers.probabilities
    rows = [
        scored_row(entrant.contender, entrant.name, labels, given[entrant.name])
        for entrant in entrants
    ]
    if published:
        rows += [published_row(each) for each in PUBLISHED]
    rows = ranked(rows)
    right = {each: predicted_classes(given[each]) == labels for each in given}
    pairs = compare_pairs(right)
    sentences = [describe(pair, len(pairs)) for pair in pairs]
    metrics = _write(record, rows, pairs, sentences)
    if not quiet:
        # Not as a message, whose lines are not broken: its columns must fit the terminal.
        messages().print(comparison_table(rows, messages().width), soft_wrap=False)
    report_on(record.path, quiet)
    return {
        "record": str(record.path),
        **metrics,
        "rows": [asdict(row) for row in rows],
        "pairs": [asdict(pair) for pair in pairs],
        "sentences": sentences,
    }


def _warn(entrant: "Entrant") -> None:
    """Says what makes an entrant's figures less certain than they look."""
    one = entrant.contender
    if one.status != "complete":
        _log.warning("warning: %s is `%s`: its figures may change.", entrant.name, one.status)
    if not one.sha256:
        _log.warning("warning: %s does not say what data it was trained on.", entrant.name)


def _write(
    record: "Record", rows: "Sequence[Row]", pairs: "Sequence[PairTest]", sentences: Sequence[str]
) -> dict[str, Any]:
    from fmnist_ray.records import write_json
    from fmnist_ray.reports.comparison import (
        accuracy_dots,
        cost_dots,
        draw_accuracies,
        draw_cost,
    )
    from fmnist_ray.reports.figures import write_png
    from fmnist_ray.reports.pairs import MOST_IN_MATRIX, draw_pairs, pair_matrix
    from fmnist_ray.reports.tables import write_table

    own = [row for row in rows if row.source == "record"]
    tables = {"rows": [asdict(row) for row in rows], "pairs": [asdict(pair) for pair in pairs]}
    write_table(record.path / "comparison.csv", tables["rows"])
    if pairs:
        write_table(record.path / "pairs.csv", tables["pairs"])
    write_json(record.path / "comparison.json", {**tables, "sentences": sentences})
    figures = record.path / "figures"
    images = own[0].test_images or 0
    write_png(figures / "comparison.png", draw_accuracies(accuracy_dots(rows), images))
    if 3 <= len(own) <= MOST_IN_MATRIX:
        write_png(figures / "pairwise.png", draw_pairs(pair_matrix(pairs)))
    costs = cost_dots(rows)
    if len(costs.names) > 1:
        write_png(figures / "accuracy_against_cost.png", draw_cost(costs))
    metrics = {
        "models": len(own),
        "test_images": images,
        "best": own[0].name,
        "best_test_accuracy": own[0].test_accuracy,
        "pairs_tested": len(pairs),
        "pairs_shown": sum(pair.shown for pair in pairs),
    }
    record.write_metrics(metrics)
    record.end("complete")
    return metrics


def _shown(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What people read: with many pairs, those of the best model alone."""
    sentences, pairs = summary["sentences"], summary["pairs"]
    left_out = 0
    if len(sentences) > _SENTENCES_PRINTED:
        told = [pair["first"] == summary["best"] for pair in pairs]
        left_out = told.count(False)
        sentences = [each for each, tell in zip(sentences, told, strict=True) if tell]
    accuracy = f"{summary['best_test_accuracy']:.2%}"
    also = f"{left_out} more are in {Path(summary['record']) / 'pairs.csv'}"
    return {
        "record": summary["record"],
        "best": f"{summary['best']}, {accuracy} of {summary['test_images']:,} test images right",
        "pairs": [*sentences, *([also] if left_out else [])] if pairs else None,
        "figures": str(Path(summary["record"]) / "figures"),
    }


app.command()(command(compare, shown=_shown))


def main() -> None:
    """Runs the command line."""
    app()


if __name__ == "__main__":
    main()

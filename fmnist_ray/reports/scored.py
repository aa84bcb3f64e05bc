"""The figures and tables of a model that was scored on the test images."""

from collections.abc import Sequence
from pathlib import Path

from fmnist_ray.evaluation.calibration import reliability, with_temperature
from fmnist_ray.evaluation.label_issues import LabelIssues
from fmnist_ray.evaluation.metrics import (
    ConfusedPair,
    Floats,
    Integers,
    accuracy,
    class_scores,
    confusion_counts,
    most_confused_pairs,
)
from fmnist_ray.reports.calibration import ReliabilityPanel, draw_reliability, reliability_title
from fmnist_ray.reports.confusion import confusion_data, draw_confusion
from fmnist_ray.reports.figures import write_png
from fmnist_ray.reports.image_grids import (
    Images,
    draw_tile_rows,
    draw_tiles,
    issue_tiles,
    mistake_tiles,
    pair_rows,
    random_tiles,
)
from fmnist_ray.reports.tables import write_class_report, write_confusion_matrix, write_table


def scores_title(name: str, labels: Integers, probabilities: Floats) -> str:
    """What stands above the figures: whose they are, and how many images are right."""
    share = accuracy(labels, probabilities)
    return f"{name}: {100 * share:.2f} % of {len(labels):,} test images right"


def describe_pair(pair: ConfusedPair, names: Sequence[str]) -> str:
    """A pair of classes with its errors, such as `Shirt / Coat (87 images)`."""
    return f"{names[pair.first]} / {names[pair.second]} ({pair.errors} images)"


def write_scores(
    folder: Path,
    labels: Integers,
    probabilities: Floats,
    names: Sequence[str],
    title: str,
    *,
    calibration: bool = True,
    temperature: float | None = None,
) -> None:
    """Writes what needs no images: the report by class, the confusion matrix, the calibration.

    Args:
        folder: The record's, or a unit's.
        labels: Of the test images, shape (n,).
        probabilities: Shape (n, k).
        names: Of the classes.
        title: Above the figures: whose they are.
        calibration: Whether the probabilities are some; an SVM's scores are not.
        temperature: Fitted on held-out images, or None.
    """
    counts = confusion_counts(labels, probabilities)
    write_class_report(
        folder / "classification_report.csv", class_scores(labels, probabilities), names
    )
    write_confusion_matrix(folder / "confusion_matrix.csv", counts, names)
    figures = folder / "figures"
    write_png(
        figures / "confusion_matrix.png", draw_confusion(confusion_data(counts, names), title)
    )
    if calibration:
        write_png(
            figures / "reliability.png",
            draw_reliability(reliability_panels(labels, probabilities, temperature), title),
        )


def reliability_panels(
    labels: Integers, probabilities: Floats, temperature: float | None
) -> list[ReliabilityPanel]:
    """The diagram as the model is, and the one with a temperature where there is one."""
    panels = []
    as_it_is = reliability(labels, probabilities)
    panels.append(ReliabilityPanel(reliability_title("As it is", as_it_is), as_it_is))
    if temperature is not None:
        scaled = reliability(labels, with_temperature(probabilities, temperature))
        what = f"With temperature {temperature:.2f}"
        panels.append(ReliabilityPanel(reliability_title(what, scaled), scaled))
    return panels


def write_examples(
    folder: Path,
    images: Images,
    labels: Integers,
    probabilities: Floats,
    names: Sequence[str],
    title: str,
) -> None:
    """Draws test images: at random, the surest mistakes, and the most confused pairs."""
    figures = folder / "figures"
    tiles = random_tiles(images, labels, probabilities, names)
    write_png(figures / "test_predictions.png", draw_tiles(tiles, f"{title}: test images"))
    mistakes = mistake_tiles(images, labels, probabilities, names)
    if mistakes:
        drawn = draw_tiles(mistakes, f"{title}: the most confident mistakes")
        write_png(figures / "confident_mistakes.png", drawn)
        pairs = most_confused_pairs(confusion_counts(labels, probabilities))
        rows = pair_rows(images, labels, probabilities, pairs, names)
        drawn = draw_tile_rows(rows, f"{title}: the most confused pairs")
        write_png(figures / "confused_pairs.png", drawn)


def write_label_issues(
    folder: Path,
    images: Images,
    index: Integers,
    probabilities: Floats,
    issues: LabelIssues,
    names: Sequence[str],
    title: str,
) -> None:
    """Writes `label_issues.csv` and draws the likeliest.

    Args:
        folder: The record's.
        images: All training images.
        index: Of each row of the probabilities, the index of its image.
        probabilities: Of models that did not see the images.
        issues: Positions in `index`.
        names: Of the classes.
        title: Above the figure.
    """
    rows = [
        {
            "index": int(index[at]),
            "label": names[label],
            "suggested": names[suggested],
            "label_probability": float(probabilities[at, label]),
            "suggested_probability": float(probabilities[at, suggested]),
        }
        for at, label, suggested in zip(
            issues.position.tolist(), issues.label.tolist(), issues.suggested.tolist(), strict=True
        )
    ]
    if not rows:
        return
    write_table(folder / "label_issues.csv", rows)
    tiles = issue_tiles(images, issues, index, names)
    write_png(folder / "figures" / "label_issues.png", draw_tiles(tiles, title))

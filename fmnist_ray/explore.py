"""Looks at the data: classes, pixels, duplicates, correlations, a map of the images.

python -m fmnist_ray.explore
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from fmnist_ray.console import (
    DataOption,
    JsonOption,
    NameOption,
    QuietOption,
    ResultsOption,
    SeedOption,
    command,
    progress_bar,
    verb_app,
)
from fmnist_ray.dataset.arrays import CLASS_NAMES, Dataset, Split, fingerprint
from fmnist_ray.errors import RequestError

if TYPE_CHECKING:
    from fmnist_ray.dataset.cleaning import Problems
    from fmnist_ray.dataset.statistics import NearDuplicate
    from fmnist_ray.records import Record

app = verb_app("Look at the data: classes, pixels, duplicates, correlations, a map of the images.")
VERB = "explore"
_PAIRS_SHOWN = 24


def explore(
    near: Annotated[
        float,
        typer.Option(
            "--near",
            metavar="STEPS",
            help="Images are near-duplicates if their pixels differ by at most so many steps of "
            "255, root mean square.",
        ),
    ] = 8.0,
    embedded: Annotated[
        int,
        typer.Option("--embedded", metavar="N", help="Training images on the map; 0 for no map."),
    ] = 4000,
    data: DataOption = None,
    seed: SeedOption = 0,
    name: NameOption = None,
    results: ResultsOption = "results",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Look at the data, and leave figures and tables in a record.

    Returns:
        The record's metrics, with `record`: its folder.

    Raises:
        RequestError: A setting is wrong, or the data cannot be read.
        WorkError: The record cannot be written.
    """
    from fmnist_ray.dataset.inspection import inspect_data
    from fmnist_ray.records import Record
    from fmnist_ray.reporting import report_on

    del as_json  # the command line prints the result
    if not 0 <= near <= 255:
        raise RequestError(f"--near is {near:g}. Choose 0 to 255 steps.")
    if embedded < 0:
        raise RequestError(f"--embedded is {embedded}. Choose 0 or more images.")
    with progress_bar("Reading the data", quiet) as progress:
        inspected = inspect_data(data, progress)
    dataset = _with_known_labels(inspected.dataset)
    record = Record.create(results, name, VERB, "data")
    facts = {"source": dataset.source, "sha256": fingerprint(dataset)}
    record.start(VERB, {"near": near, "embedded": embedded, "data": data}, seed, facts)
    metrics = _statistics(dataset, record)
    metrics |= _correlations(dataset, record, quiet)
    metrics |= _near_duplicates(dataset, record, near, quiet)
    metrics |= _problems(inspected.problems, record)
    if embedded:
        _map(dataset.train, record, embedded, seed, quiet)
    record.write_metrics(metrics)
    record.end("complete")
    report_on(record.path, quiet)
    return {"record": str(record.path), **metrics}


def _statistics(dataset: Dataset, record: "Record") -> dict[str, Any]:
    from fmnist_ray.dataset.statistics import (
        class_balance,
        mean_and_deviation_images,
        pixel_statistics,
    )
    from fmnist_ray.reports.exploration import (
        draw_class_counts,
        draw_class_images,
        draw_intensities,
        draw_samples,
    )
    from fmnist_ray.reports.figures import write_png
    from fmnist_ray.reports.tables import write_table

    metrics: dict[str, Any] = {}
    rows, counts, histograms = [], {}, {}
    for split_name, split in dataset.splits().items():
        balance, pixels = class_balance(split.labels), pixel_statistics(split.images)
        counts[split_name], histograms[split_name] = balance.counts, pixels.histogram
        metrics |= {
            f"{split_name}_images": len(split),
            f"{split_name}_balance_p_value": balance.p_value,
            f"{split_name}_pixel_mean": pixels.mean,
            f"{split_name}_pixel_deviation": pixels.deviation,
            f"{split_name}_background": pixels.background,
        }
        for label, class_name in enumerate(CLASS_NAMES):
            of_class = pixel_statistics(split.images[split.labels == label])
            rows.append(
                {
                    "split": split_name,
                    "class": class_name,
                    "images": int(balance.counts[label]),
                    "share": float(balance.shares[label]),
                    "pixel_mean": of_class.mean,
                    "pixel_deviation": of_class.deviation,
                    "pixel_median": of_class.quantile(0.5),
                    "background": of_class.background,
                    "saturated": of_class.saturated,
                }
            )
    write_table(record.path / "classes.csv", rows)
    train, figures = dataset.train, record.path / "figures"
    parts = [
        mean_and_deviation_images(train.images[train.labels == label])
        for label in range(len(CLASS_NAMES))
    ]
    means, deviations = (np.stack([part[at] for part in parts]) for at in (0, 1))
    write_png(figures / "samples.png", draw_samples(train.images, train.labels, CLASS_NAMES))
    write_png(figures / "classes.png", draw_class_counts(counts, CLASS_NAMES))
    write_png(figures / "intensities.png", draw_intensities(histograms))
    drawn = draw_class_images(means, CLASS_NAMES, "Mean pixel value")
    write_png(figures / "mean_images.png", drawn)
    drawn = draw_class_images(deviations, CLASS_NAMES, "Standard deviation of the pixel")
    write_png(figures / "deviation_images.png", drawn)
    return metrics


def _correlations(dataset: Dataset, record: "Record", quiet: bool) -> dict[str, Any]:
    import pandas as pd

    from fmnist_ray.dataset.statistics import correlations
    from fmnist_ray.records import write_whole
    from fmnist_ray.reports.exploration import draw_correlations
    from fmnist_ray.reports.figures import write_png

    columns = ["label", *(f"pixel{number}" for number in range(1, 785))]
    matrices = {}
    with progress_bar("Correlating", quiet) as progress:
        for done, (split_name, split) in enumerate(dataset.splits().items(), start=1):
            matrices[split_name] = correlations(split)
            table = pd.DataFrame(matrices[split_name], columns=columns)
            text = table.to_csv(index=False, float_format="%.6f")
            write_whole(record.path / f"correlation_{split_name}.csv", text.encode())
            progress(done, len(dataset.splits()))
    write_png(record.path / "figures" / "correlations.png", draw_correlations(matrices))
    strongest = np.nan_to_num(np.abs(matrices["train"][0, 1:]))
    return {
        "pixel_most_correlated_with_label": int(strongest.argmax()) + 1,
        "its_correlation": float(matrices["train"][0, 1 + strongest.argmax()]),
    }


def _near_duplicates(
    dataset: Dataset, record: "Record", near: float, quiet: bool
) -> dict[str, Any]:
    from fmnist_ray.dataset.statistics import near_duplicates
    from fmnist_ray.reports.exploration import draw_pairs
    from fmnist_ray.reports.figures import write_png
    from fmnist_ray.reports.tables import write_table

    found: list[tuple[str, Split, Split, NearDuplicate]] = []
    train, test = dataset.train, dataset.test
    searches = (
        ("train", train, train, None),
        ("test", test, test, None),
        ("test and train", test, train, train.images),
    )
    for where, split, other, others in searches:
        with progress_bar(f"Near-duplicates, {where}", quiet) as progress:
            pairs = near_duplicates(split.images, others, near, progress)
        found += [(where, split, other, pair) for pair in pairs]
    found.sort(key=lambda each: each[3].distance)
    rows = [
        {
            "splits": where,
            "first": pair.first,
            "second": pair.second,
            "distance": pair.distance,
            "first_class": CLASS_NAMES[split.labels[pair.first]],
            "second_class": CLASS_NAMES[other.labels[pair.second]],
        }
        for where, split, other, pair in found
    ]
    if rows:
        write_table(record.path / "near_duplicates.csv", rows)
        shown = [
            (split.images[p.first], other.images[p.second], _caption(where, split, other, p))
            for where, split, other, p in found[:_PAIRS_SHOWN]
        ]
        write_png(record.path / "figures" / "near_duplicates.png", draw_pairs(shown))
    return {
        f"near_duplicates_{where.replace(' ', '_')}": sum(each[0] == where for each in found)
        for where, *_ in searches
    }


def _problems(problems: "Problems", record: "Record") -> dict[str, int]:
    """Exact duplicates, missing and odd values; rows that cannot be read are listed."""
    from fmnist_ray.dataset.cleaning import count_problems
    from fmnist_ray.reports.tables import write_table

    rows = [
        {"split": split, "line": row.line, "column": row.column, "problem": row.reason}
        for split, bad in problems.bad_rows.items()
        for row in bad
    ]
    if rows:
        write_table(record.path / "bad_rows.csv", rows)
    return asdict(count_problems(problems))


def _with_known_labels(dataset: Dataset) -> Dataset:
    """Without the images whose label is no class: they are counted, and nothing else."""
    validation = dataset.validation and _with_classes(dataset.validation, dataset.source)
    return replace(
        dataset,
        train=_with_classes(dataset.train, dataset.source),
        test=_with_classes(dataset.test, dataset.source),
        validation=validation,
    )


def _with_classes(split: Split, source: str) -> Split:
    known = split.labels < len(CLASS_NAMES)
    if not known.any():
        raise RequestError(
            f"{source}: no label of a split is one of the classes 0 to {len(CLASS_NAMES) - 1}. "
            "Correct the labels."
        )
    return split if known.all() else Split(split.images[known], split.labels[known])


def _caption(where: str, split: Split, other: Split, pair: "NearDuplicate") -> str:
    first, second = CLASS_NAMES[split.labels[pair.first]], CLASS_NAMES[other.labels[pair.second]]
    classes = first if first == second else f"{first} / {second}"
    return f"{where}: {pair.distance:.1f} steps\n{classes}"


def _map(train: Split, record: "Record", count: int, seed: int, quiet: bool) -> None:
    """Images as points of a plane: t-SNE (van der Maaten & Hinton 2008) of 50 main components."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    from fmnist_ray.dataset.splits import stratified_subset
    from fmnist_ray.reports.exploration import draw_embedding
    from fmnist_ray.reports.figures import write_png

    with progress_bar(f"A map of {count:,} images", quiet) as progress:
        chosen = np.arange(len(train))
        if count < len(train):
            chosen = stratified_subset(train.labels, count, seed)
        flat = train.images[chosen].reshape(len(chosen), -1).astype(np.float32) / 255
        components = PCA(min(50, len(flat)), random_state=seed).fit_transform(flat)
        progress(1, 2)
        neighbours = min(30.0, max(2.0, len(flat) / 4))
        places = TSNE(perplexity=neighbours, random_state=seed).fit_transform(components)
        progress(2, 2)
    drawn = draw_embedding(places, train.labels[chosen], CLASS_NAMES)
    write_png(record.path / "figures" / "map.png", drawn)


def _shown(metrics: Mapping[str, Any]) -> dict[str, Any]:
    from fmnist_ray.reports.findings import ODD_VALUES

    return {
        "record": metrics["record"],
        "images": f"{metrics['train_images']:,} to train on, {metrics['test_images']:,} to test on",
        "balance of the classes": f"p = {metrics['train_balance_p_value']:.3g} (train), "
        f"{metrics['test_balance_p_value']:.3g} (test); below 0.01 they are not balanced",
        "exact duplicates": f"{metrics['train_duplicates']} in train, "
        f"{metrics['test_duplicates']} in test, {metrics['shared_by_train_and_test']} in both",
        "missing or odd values": f"{sum(metrics[kind] for kind in ODD_VALUES):,} rows or labels",
        "near-duplicates": f"{metrics['near_duplicates_train']} pairs in train, "
        f"{metrics['near_duplicates_test']} in test, "
        f"{metrics['near_duplicates_test_and_train']} across",
        "figures": str(Path(metrics["record"]) / "figures"),
    }


app.command()(command(explore, shown=_shown))


def main() -> None:
    """The command line."""
    app()


if __name__ == "__main__":
    main()

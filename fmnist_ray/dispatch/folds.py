"""k-fold cross-validation as units: what they are, and what they come to."""

import statistics
from typing import Any

import numpy as np

from fmnist_ray.dataset.arrays import Dataset
from fmnist_ray.dataset.folds import stratified_folds
from fmnist_ray.dataset.splits import save_indices, stratified_subset
from fmnist_ray.dispatch.options import UnitOptions
from fmnist_ray.dispatch.seeds import FOLD_FITS, FOLDS, unit_seed
from fmnist_ray.dispatch.unit_records import (
    UnitsRun,
    adopt_ensemble,
)
from fmnist_ray.dispatch.units import FitUnit
from fmnist_ray.errors import RequestError
from fmnist_ray.evaluation.ensembles import out_of_bag
from fmnist_ray.evaluation.metrics import accuracy_summary
from fmnist_ray.records import (
    OUT_OF_FOLD_FILE,
    PREDICTIONS_FILE,
    Record,
    read_predictions,
    write_predictions,
)
from fmnist_ray.reports.curves import read_curves
from fmnist_ray.reports.figures import write_png
from fmnist_ray.reports.folds import draw_folds
from fmnist_ray.training.config import FitConfig


class CrossValidationOptions(UnitOptions):
    """Options of a cross-validation.

    Attributes:
        fit: The model and its training.
        folds: Parts of the training images, each held out once.
        repeats: Times the images are parted anew.
    """

    fit: dict[str, Any]
    folds: int = 5
    repeats: int = 1

    @property
    def config(self) -> FitConfig:
        """The model and its training."""
        return FitConfig.checked(self.fit, "configuration")


def fold_units(options: CrossValidationOptions, dataset: Dataset) -> list[FitUnit]:
    """One unit per fold and repeat, named `fold-1`, or `repeat-1-fold-1` if there are several.

    Raises:
        RequestError: There cannot be so many folds.
    """
    if options.repeats < 1:
        raise RequestError(f"--repeats is {options.repeats}. Ask for at least 1.")
    split = dataset.train
    used = np.arange(len(split))
    if options.train_size is not None:
        used = stratified_subset(split.labels, options.train_size, options.seed)
    units = []
    for repeat in range(options.repeats):
        parts = stratified_folds(split, used, options.folds, unit_seed(options.seed, FOLDS, repeat))
        for fold, held_out in enumerate(parts):
            name = f"fold-{fold + 1}"
            units.append(
                FitUnit(
                    name=name if options.repeats == 1 else f"repeat-{repeat + 1}-{name}",
                    config=options.config,
                    seed=unit_seed(options.seed, FOLD_FITS, repeat, fold),
                    train=np.setdiff1d(used, held_out, assume_unique=True),
                    held_out=held_out,
                )
            )
    return units


def save_folds(record: Record, units: list[FitUnit]) -> None:
    """Writes which images each fold holds out, `folds.npz`."""
    held_out = {unit.name: unit.held_out for unit in units if unit.held_out is not None}
    save_indices(record.path / "folds.npz", **held_out)


def conclude_folds(record: Record, run: UnitsRun, dataset: Dataset) -> dict[str, Any]:
    """Writes what the complete folds come to: predictions, figure, model and metrics.

    Every image's held-out prediction goes to `out_of_fold.npz`, the mean over repeats. The
    record's model is the average of the folds' models.

    Returns:
        The record's metrics.
    """
    names = list(run.metrics)
    stored = [read_predictions(record.unit(name) / PREDICTIONS_FILE) for name in names]
    held_out = out_of_bag(
        [each.index for each in stored],
        [each.probability for each in stored],
        len(dataset.train),
    )
    labels = dataset.train.labels[held_out.index]
    path = record.path / OUT_OF_FOLD_FILE
    write_predictions(path, held_out.index, labels, held_out.probability)
    probability = adopt_ensemble(record, names)
    metrics: dict[str, Any] = {"units": len(names), "units_failed": len(run.failures)}
    for key in ("train_accuracy", "validation_accuracy", "validation_loss", "test_accuracy"):
        values = [each[key] for each in run.metrics.values()]
        metrics[f"{key}_mean"] = statistics.mean(values)
        metrics[f"{key}_deviation"] = statistics.stdev(values) if len(values) > 1 else 0.0
    metrics |= accuracy_summary(labels, held_out.probability, "out_of_fold")
    metrics |= accuracy_summary(dataset.test.labels, probability, "test")
    metrics["busy_seconds"] = round(sum(each["busy_seconds"] for each in run.metrics.values()), 1)
    curves = [each for each in read_curves(record.path / "history.csv") if each.unit in names]
    title = (
        f"{record.name}: validation accuracy {metrics['validation_accuracy_mean']:.2%} "
        f"± {100 * metrics['validation_accuracy_deviation']:.2f} points over {len(names)} folds"
    )
    write_png(record.path / "figures" / "folds.png", draw_folds(curves, title))
    record.write_metrics(metrics)
    return metrics

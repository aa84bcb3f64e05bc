"""Bootstrap and seed ensembles as units: what they are, and what they come to."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from fmnist_ray.dataset.arrays import Dataset
from fmnist_ray.dataset.folds import first_copies
from fmnist_ray.dataset.splits import stratified_subset
from fmnist_ray.dispatch.options import UnitOptions
from fmnist_ray.dispatch.seeds import BOOTSTRAP, MEMBER_FITS, unit_seed
from fmnist_ray.dispatch.unit_records import (
    UnitsRun,
    adopt_ensemble,
)
from fmnist_ray.dispatch.units import FitUnit
from fmnist_ray.evaluation.ensembles import (
    accuracy_by_size,
    average,
    disagreement,
    majority_vote,
    out_of_bag,
)
from fmnist_ray.evaluation.metrics import accuracy, accuracy_summary
from fmnist_ray.models.config import MODEL_NAMES
from fmnist_ray.records import (
    OUT_OF_BAG_FILE,
    PREDICTIONS_FILE,
    TEST_PREDICTIONS_FILE,
    Record,
    read_predictions,
    write_predictions,
)
from fmnist_ray.reports.figures import write_png
from fmnist_ray.reports.members import (
    MemberGroup,
    draw_disagreement,
    draw_members,
    draw_sizes,
)
from fmnist_ray.reports.tables import write_table
from fmnist_ray.training.config import FitConfig

Kind = Literal["bootstrap", "seeds"]

ALL = "all"
"""Stands for the members of all models together."""


class EnsembleOptions(UnitOptions):
    """Options of an ensemble.

    Attributes:
        fits: The models and their training, by model.
        members: Of each model and kind.
        kind: `bootstrap`: each member learns from images drawn with replacement; `seeds`: each
            learns from all images with a seed of its own; `both`: as many of each.
    """

    fits: dict[str, dict[str, Any]]
    members: int = Field(default=10, ge=1, le=1000)
    kind: Literal["bootstrap", "seeds", "both"] = "bootstrap"

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of members."""
        return ("bootstrap", "seeds") if self.kind == "both" else (self.kind,)


@dataclass(frozen=True)
class Group:
    """Complete members whose probabilities are averaged.

    Attributes:
        model: Theirs, or `all`.
        kind: Theirs.
        names: Of the units.
    """

    model: str
    kind: Kind
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """For people, such as `cnn bootstrap`."""
        return f"{self.model} {self.kind}"


def member_units(options: EnsembleOptions, dataset: Dataset) -> list[FitUnit]:
    """The members: `cnn-member-01` and so on for bootstrap, `cnn-seed-01` for seeds.

    The models that take longest come first, which keeps all slots busy to the end.
    """
    labels = dataset.train.labels
    used = np.arange(len(labels))
    if options.train_size is not None:
        used = stratified_subset(labels, options.train_size, options.seed)
    copies = first_copies(dataset.train, used)
    units = []
    for model in sorted(options.fits, key=MODEL_NAMES.index, reverse=True):
        config = FitConfig.checked(options.fits[model], model)
        at = MODEL_NAMES.index(model)
        for kind in options.kinds:
            for number in range(options.members):
                drawn, held_out = np.arange(len(used)), None
                if kind == "bootstrap":
                    seed = unit_seed(options.seed, BOOTSTRAP, at, number)
                    drawn, left = _bootstrap(copies, seed)
                    held_out = used[left]
                units.append(
                    FitUnit(
                        name=f"{model}-{'member' if kind == 'bootstrap' else 'seed'}"
                        f"-{number + 1:0{max(2, len(str(options.members)))}}",
                        # Without images held out there is nothing to stop early by.
                        config=config
                        if held_out is not None
                        else config.model_copy(update={"early_stopping": None}),
                        seed=unit_seed(options.seed, MEMBER_FITS, at, kind == "seeds", number),
                        train=used[drawn],
                        held_out=held_out,
                        validate=config.early_stopping is not None,
                    )
                )
    return units


def conclude_members(
    record: Record, run: UnitsRun, dataset: Dataset, options: EnsembleOptions
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Writes what the complete members come to: predictions, figures, table, model, metrics.

    The record's model is an ensemble that the test images had no say in: the one with the best
    out-of-bag accuracy among each model's and all together; where there are members of seeds
    too, those of the same models, since they have seen all images.

    Returns:
        The record's metrics, and the rows of `ensembles.csv`: figures for each group.
    """
    groups = _groups(run, options)
    labels = dataset.test.labels
    of_unit = {
        name: read_predictions(record.unit(name) / TEST_PREDICTIONS_FILE).probability
        for name in run.metrics
    }
    rows, drawn, sizes = [], [], {}
    unseen = {
        group: _out_of_bag(record, group, dataset) for group in groups if group.kind == "bootstrap"
    }
    for group in groups:
        stack = np.stack([of_unit[name] for name in group.names])
        row = _figures(group, stack, labels, run)
        if group in unseen:
            index, probability = unseen[group]
            if len(index):
                row["out_of_bag_accuracy"] = accuracy(dataset.train.labels[index], probability)
        rows.append(row)
        members = [run.metrics[name]["test_accuracy"] for name in group.names]
        drawn.append(
            MemberGroup(
                group.name,
                np.array([] if group.model == ALL else members),
                row["ensemble_accuracy"],
                row["vote_accuracy"],
            )
        )
        if len(group.names) > 1:
            sizes[group.name] = accuracy_by_size(labels, stack)
    write_table(record.path / "ensembles.csv", rows)
    final = _final(groups, dict(zip(groups, rows, strict=True)))
    probability = adopt_ensemble(record, final.names)
    counterpart = next(
        (group for group in unseen if group.model == final.model), next(iter(unseen), None)
    )
    if counterpart is not None:
        index, held_out = unseen[counterpart]
        path = record.path / OUT_OF_BAG_FILE
        write_predictions(path, index, dataset.train.labels[index], held_out)
    figures = record.path / "figures"
    write_png(
        figures / "members.png", draw_members(drawn, f"{record.name}: accuracy on the test images")
    )
    if sizes:
        write_png(
            figures / "ensemble_size.png",
            draw_sizes(sizes, f"{record.name}: accuracy against ensemble size"),
        )
    if len(of_unit) > 1:
        matrix = disagreement(np.stack(list(of_unit.values())))
        write_png(
            figures / "disagreement.png",
            draw_disagreement(
                matrix, list(of_unit), f"{record.name}: disagreement on the test images"
            ),
        )
    metrics: dict[str, Any] = {
        "units": len(run.metrics),
        "units_failed": len(run.failures),
        "final": final.name,
        **{
            f"{group.model}_{group.kind}_{key}": value
            for group, row in zip(groups, rows, strict=True)
            for key, value in row.items()
            if key != "group"
        },
        **accuracy_summary(labels, probability, "test"),
    }
    record.write_metrics(metrics)
    return metrics, rows


def _bootstrap(copies: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions drawn with replacement, and those left out, copies of drawn images excepted."""
    drawn = np.sort(np.random.default_rng(seed).integers(0, len(copies), len(copies)))
    return drawn, np.flatnonzero(~np.isin(copies, copies[drawn]))


def _groups(run: UnitsRun, options: EnsembleOptions) -> list[Group]:
    groups = []
    for kind in options.kinds:
        prefix = "member" if kind == "bootstrap" else "seed"
        of_kind = []
        for model in options.fits:
            names = tuple(name for name in run.metrics if name.startswith(f"{model}-{prefix}-"))
            if names:
                of_kind.append(Group(model, kind, names))
        if len(of_kind) > 1:
            of_kind.append(Group(ALL, kind, sum((group.names for group in of_kind), ())))
        groups += of_kind
    return groups


def _out_of_bag(record: Record, group: Group, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    stored = [read_predictions(record.unit(name) / PREDICTIONS_FILE) for name in group.names]
    found = out_of_bag(
        [each.index for each in stored],
        [each.probability for each in stored],
        len(dataset.train),
    )
    return found.index, found.probability


def _figures(group: Group, stack: np.ndarray, labels: np.ndarray, run: UnitsRun) -> dict[str, Any]:
    members = [run.metrics[name]["test_accuracy"] for name in group.names]
    ensemble = accuracy(labels, average(stack))
    return {
        "group": group.name,
        "members": len(members),
        "member_accuracy_mean": float(np.mean(members)),
        "member_accuracy_deviation": float(np.std(members, ddof=1)) if len(members) > 1 else 0.0,
        "ensemble_accuracy": ensemble,
        "vote_accuracy": accuracy(labels, majority_vote(stack)),
        "gain": ensemble - float(np.mean(members)),
        "out_of_bag_accuracy": None,
        "disagreement": _mean_off_diagonal(disagreement(stack)),
        "busy_seconds": round(sum(run.metrics[name]["busy_seconds"] for name in group.names), 1),
    }


def _mean_off_diagonal(matrix: np.ndarray) -> float | None:
    pairs = matrix[np.triu_indices(len(matrix), k=1)]
    return float(pairs.mean()) if len(pairs) else None


def _final(groups: list[Group], rows: dict[Group, dict[str, Any]]) -> Group:
    by_bag = [group for group in groups if group.kind == "bootstrap"]
    if not by_bag:
        return groups[-1]  # of all models, where there are several
    best = max(by_bag, key=lambda group: rows[group]["out_of_bag_accuracy"] or 0.0)
    return next(
        (group for group in groups if group.kind == "seeds" and group.model == best.model), best
    )

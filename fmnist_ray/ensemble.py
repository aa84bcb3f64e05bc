"""Bootstrap and seed ensembles: every member a Ray task, its fit run by Ray Train.

python -m fmnist_ray.ensemble --members 10 --models dnn,cnn --kind both
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fmnist_ray.console import (
    AddressOption,
    DataOption,
    FrameworkOption,
    JsonOption,
    MaxConcurrentOption,
    PrecisionOption,
    QuietOption,
    ResultsOption,
    RetriesOption,
    RunNameOption,
    RunSeedOption,
    SetOption,
    StorageOption,
    TrainSizeOption,
    UnitCpusOption,
    UnitGpusOption,
    WorkersOption,
    command,
    messages,
    progress_bar,
    verb_app,
)
from fmnist_ray.errors import RequestError

if TYPE_CHECKING:
    from rich.table import Table

    from fmnist_ray.dataset.arrays import Dataset
    from fmnist_ray.dispatch.unit_records import UnitsRun
    from fmnist_ray.records import Record

app = verb_app("Train an ensemble: members in parallel as Ray tasks.")
VERB = "ensemble"


def ensemble(
    members: Annotated[
        int | None,
        typer.Option("--members", metavar="N", help="Of each model and kind.  [default: 10]"),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            "--models",
            metavar="dnn,cnn,resnet",
            help="Which models, with commas between.  [default: dnn,cnn, or those of --config]",
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            metavar="bootstrap|seeds|both",
            help="bootstrap: each member learns from images drawn with replacement; seeds: each "
            "learns from all images with a seed of its own.  [default: bootstrap]",
        ),
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option(
            "--config",
            metavar="FILE|results/NAME",
            help="A YAML file of settings for the model it names, or a record whose "
            "configuration is taken. May be given once for each model.",
        ),
    ] = None,
    set_: SetOption = None,
    framework: FrameworkOption = None,
    workers: WorkersOption = None,
    cpus: UnitCpusOption = None,
    gpus: UnitGpusOption = None,
    max_concurrent: MaxConcurrentOption = None,
    precision: PrecisionOption = None,
    train_size: TrainSizeOption = None,
    retries: RetriesOption = None,
    storage: StorageOption = None,
    data: DataOption = None,
    seed: RunSeedOption = None,
    name: RunNameOption = None,
    results: ResultsOption = "results",
    address: AddressOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Train an ensemble, its members in parallel as Ray tasks.

    Members' probabilities are averaged; a majority vote stands beside that. Bootstrap members
    are also judged on the images that they have not drawn. The record's model is the ensemble,
    and `evaluate` scores it like any other. A call on the `--name` of an earlier run goes on
    with it, and its options need not be given again.

    Returns:
        The record's metrics, with `record`: its folder.

    Raises:
        RequestError: A setting is wrong; no member was started.
        WorkError: A member failed for good; the others are in the record.
        Interrupted: Ctrl-C or SIGTERM; the message holds the command that goes on.
    """
    from rich.console import Console

    from fmnist_ray.dataset.sources import load_dataset
    from fmnist_ray.dispatch.members import EnsembleOptions, conclude_members, member_units
    from fmnist_ray.dispatch.options import named_run
    from fmnist_ray.dispatch.unit_runs import run_fits
    from fmnist_ray.reporting import report_on

    del as_json  # the command line prints the result
    console = Console(stderr=True, quiet=True) if quiet else messages()
    record = named_run(results, name, VERB)
    fits = None
    if record is None or any((models, config, set_, framework)):
        fits = _configurations(models, config or [], set_ or [], framework)
    asked = {
        "fits": fits,
        "members": members,
        "kind": kind,
        "workers": workers,
        "cpus": cpus,
        "gpus": gpus,
        "max_concurrent": max_concurrent,
        "precision": precision,
        "train_size": train_size,
        "retries": retries,
        "storage": storage,
        "data": data,
        "seed": seed,
    }
    options = EnsembleOptions.of_run(record, asked)
    with progress_bar("Reading the data", quiet) as progress:
        dataset = load_dataset(options.data, progress=progress)

    def conclude(made: "Record", run: "UnitsRun", images: "Dataset") -> dict[str, Any]:
        metrics, rows = conclude_members(made, run, images, options)
        console.print(_table(rows))
        return metrics

    metrics = run_fits(
        VERB,
        record,
        options,
        member_units(options, dataset),
        dataset,
        conclude,
        what="members",
        label="-".join(options.fits),
        name=name,
        results=results,
        address=address,
        console=console,
    )
    report_on(metrics["record"], quiet)
    return metrics


def _configurations(
    models: str | None,
    configs: Sequence[str],
    settings: Sequence[str],
    framework: str | None = None,
) -> dict[str, dict[str, Any]]:
    """The configuration of each model."""
    from fmnist_ray.models.config import MODEL_NAMES
    from fmnist_ray.training.configuration import read_configuration

    given: dict[str, str] = {}
    for source in configs:
        named = read_configuration(None, source).model
        if named in given:
            raise RequestError(
                f"--config {source} and --config {given[named]} are both of the model {named}. "
                "Give one of them."
            )
        given[named] = source
    names = [each.strip() for each in models.split(",")] if models else list(given)
    names = names or ["dnn", "cnn"]
    for model in names:
        if model not in MODEL_NAMES:
            raise RequestError(
                f"--models: there is no model {model!r}. Choose from {', '.join(MODEL_NAMES)}, "
                "with commas between."
            )
    if len(set(names)) < len(names):
        raise RequestError(f"--models {models} names a model twice. For more of it: --members.")
    left = set(given) - set(names)
    if left:
        raise RequestError(
            f"--config {given[min(left)]} is of the model {min(left)}, which --models {models} "
            "does not name. Name it there, or leave the configuration out."
        )
    for setting in settings:
        if setting.partition("=")[0].strip() == "model":
            raise RequestError(f"--set {setting}: name the models with --models.")
    return {
        model: read_configuration(model, given.get(model), settings, framework).model_dump()
        for model in names
    }


def _shown(metrics: Mapping[str, Any]) -> dict[str, Any]:
    low, high = metrics["test_accuracy_low"], metrics["test_accuracy_high"]
    return {
        "record": metrics["record"],
        "final ensemble": metrics["final"],
        "test accuracy": f"{metrics['test_accuracy']:.4f} ({low:.4f} to {high:.4f})",
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> "Table":
    """A row per group, as in `ensembles.csv`."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title="Accuracy on the test images", box=SIMPLE, collapse_padding=True)
    for column in ("Group", "N", "Mean", "±", "Ensemble", "Gain", "Vote", "Out of bag"):
        table.add_column(column, justify="left" if column == "Group" else "right", no_wrap=True)
    for row in rows:
        bag = row["out_of_bag_accuracy"]
        table.add_row(
            row["group"],
            str(row["members"]),
            f"{row['member_accuracy_mean']:.4f}",
            f"{row['member_accuracy_deviation']:.4f}",
            f"{row['ensemble_accuracy']:.4f}",
            f"{row['gain']:+.4f}",
            f"{row['vote_accuracy']:.4f}",
            "" if bag is None else f"{bag:.4f}",
        )
    return table


app.command()(command(ensemble, shown=_shown))


def main() -> None:
    """The command line."""
    app()


if __name__ == "__main__":
    main()

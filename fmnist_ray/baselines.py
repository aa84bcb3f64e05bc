"""SVM, random forest and logistic regression for comparison, tuned: every fit a Ray task.

python -m fmnist_ray.baselines --models svm,random_forest,logistic_regression
"""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fmnist_ray.console import (
    AddressOption,
    DataOption,
    JsonOption,
    MaxConcurrentOption,
    QuietOption,
    ResultsOption,
    RetriesOption,
    RunNameOption,
    RunSeedOption,
    TrainSizeOption,
    command,
    messages,
    progress_bar,
    verb_app,
)
from fmnist_ray.errors import RequestError, WorkError
from fmnist_ray.models.classical import MODEL_NAMES, PROCESS_MEMORY, svm_library

if TYPE_CHECKING:
    from rich.console import Console

    from fmnist_ray.dataset.arrays import Dataset
    from fmnist_ray.dispatch.classical_fits import BaselinesOptions
    from fmnist_ray.records import Record
    from fmnist_ray.training.classical import ClassicalUnit

app = verb_app("SVM, random forest and logistic regression for comparison, tuned.")
VERB = "baselines"


def baselines(
    models: Annotated[
        str | None,
        typer.Option(
            "--models",
            metavar="NAME,...",
            help="Of svm, random_forest and logistic_regression.  [default: all three]",
        ),
    ] = None,
    train_size: TrainSizeOption = None,
    validation_fraction: Annotated[
        float | None,
        typer.Option(
            "--validation-fraction",
            metavar="SHARE",
            help="Share of the training images that settings are chosen by.  [default: 0.1]",
        ),
    ] = None,
    cpus: Annotated[
        int | None,
        typer.Option("--cpus", metavar="N", help="CPUs, and threads, of each fit.  [default: 1]"),
    ] = None,
    max_concurrent: MaxConcurrentOption = None,
    retries: RetriesOption = None,
    data: DataOption = None,
    seed: RunSeedOption = None,
    name: RunNameOption = None,
    results: ResultsOption = "results",
    address: AddressOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Tune an SVM, a random forest and logistic regression, and score the best of each.

    Each setting of a small grid is fitted as a Ray task of its own and judged on validation
    images. Each model's best is then fitted on all training images and scored on the test images,
    once. A call on the `--name` of an earlier run goes on with it, and its options need not be
    given again.

    Returns:
        The record's metrics, with `record`: its folder.

    Raises:
        RequestError: A setting is wrong; nothing was started.
        WorkError: A fit failed for good; the others are in the record.
        Interrupted: Ctrl-C or SIGTERM; the message holds the command that goes on.
    """
    from rich.console import Console

    from fmnist_ray.dataset.sources import load_dataset
    from fmnist_ray.dispatch.classical_fits import BaselinesOptions
    from fmnist_ray.dispatch.options import named_run
    from fmnist_ray.reporting import report_on

    del as_json  # the command line prints the result
    console = Console(stderr=True, quiet=True) if quiet else messages()
    record = named_run(results, name, VERB)
    asked = {
        "models": None if models is None else _known_models(models),
        "train_size": train_size,
        "validation_fraction": validation_fraction,
        "cpus": cpus,
        "max_concurrent": max_concurrent,
        "retries": retries,
        "data": data,
        "seed": seed,
    }
    options = BaselinesOptions.of_run(record, asked)
    with progress_bar("Reading the data", quiet) as progress:
        dataset = load_dataset(options.data, progress=progress)
    metrics = _run(options, dataset, record, name, results, address, console)
    report_on(metrics["record"], quiet)
    return metrics


def _known_models(text: str) -> str:
    """The names of a list, each once and in the order of `MODEL_NAMES`."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in MODEL_NAMES:
            raise RequestError(
                f"--models names {name!r}. Choose from {', '.join(MODEL_NAMES)}, with commas "
                "between them."
            )
    return ",".join(name for name in MODEL_NAMES if name in names)


def _run(
    options: "BaselinesOptions",
    dataset: "Dataset",
    record: "Record | None",
    name: str | None,
    results: str,
    address: str | None,
    console: "Console",
) -> dict[str, Any]:
    from fmnist_ray.dispatch.at_work import at_work
    from fmnist_ray.dispatch.classical_fits import ClassicalFits, FitsProgress
    from fmnist_ray.dispatch.node_checks import check_nodes
    from fmnist_ray.dispatch.options import begin_run
    from fmnist_ray.dispatch.plan import Demand, plan
    from fmnist_ray.dispatch.room import Room
    from fmnist_ray.dispatch.run_name import RunName
    from fmnist_ray.dispatch.seeds import CLASSICAL_FITS, unit_seed
    from fmnist_ray.dispatch.session import cluster_nodes, ray_session
    from fmnist_ray.records import Record
    from fmnist_ray.training.classical import (
        FitsLeft,
        best_unit,
        conclude,
        final_unit,
        grid_units,
        is_done,
        split_images,
    )

    used, train, validation = split_images(
        dataset.train.labels, options.train_size, options.validation_fraction, options.seed
    )
    grids = {}
    for model in options.models.split(","):
        seed = unit_seed(options.seed, CLASSICAL_FITS, MODEL_NAMES.index(model))
        grids[model] = grid_units(model, train, validation, seed)
    tried = [unit for units in grids.values() for unit in units]
    # Which settings they get is not known before the grids are done, but that they come.
    to_come = [final_unit(units[0], used) for units in grids.values()]
    label = "mixed" if len(grids) > 1 else options.models
    record = record or Record.create(results, name, VERB, label)
    run = RunName(VERB, record.name, label)
    with record.gone_if_refused(), ray_session(address, run, console):
        demand = Demand(options.cpus or 1, memory=max(PROCESS_MEMORY[model] for model in grids))
        count = len(tried) + len(to_come)
        nodes = cluster_nodes()
        places = plan(count, nodes, demand, options.max_concurrent)
        check_nodes(nodes)
        begin_run(record, VERB, options, dataset)
        console.print(f"record: {record.path}", markup=False)
        console.print(f"plan: {places.describe('fits')}", markup=False)
        if "svm" in grids and svm_library() == "scikit-learn":
            console.print(
                "svm: fitted by scikit-learn alone, which takes longer than with "
                "scikit-learn-intelex, which is not installed or has no wheel for this system",
                markup=False,
            )
        go_on = f"python -m fmnist_ray.{VERB} --name {shlex.quote(record.name)}"
        if results != "results":
            go_on += f" --results {shlex.quote(results)}"
        with at_work(record, go_on, console, config=options.model_dump(mode="json")):
            with FitsProgress(console, FitsLeft((tried, to_come), places.slots)) as progress:
                room = Room.of(places, options.max_concurrent, None, progress.say)
                fits = ClassicalFits(record, dataset, options, room, progress, run)
                fits.complete(tried)
                best = [each for units in grids.values() if (each := best_unit(record, units))]
                finals = [final_unit(unit, used) for unit in best]
                fits.complete(finals)
            done = [pair for pair in zip(best, finals, strict=True) if is_done(record, pair[1])]
            metrics = conclude(record, done) | {"fits_failed": len(fits.failures)}
            record.write_metrics(metrics)
            _show(metrics, [unit for unit, _ in done], console)
            if fits.failures:
                reasons = "; ".join(f"{unit}: {why}" for unit, why in fits.failures.items())
                raise WorkError(
                    f"{len(fits.failures)} of {count} fits failed, the others are in "
                    f"{record.path}. {reasons}."
                )
    return {"record": str(record.path), **metrics}


def _show(metrics: dict[str, Any], best: "Sequence[ClassicalUnit]", console: "Console") -> None:
    """Prints a table of the models' best."""
    from rich.table import Table

    table = Table()
    for column in ("Model", "Setting", "Validation", "Test", "Fit (s)"):
        table.add_column(column, no_wrap=column != "Setting")
    for unit in best:
        setting = ", ".join(f"{key}={value}" for key, value in unit.settings.items())
        shown = {"validation_accuracy": ".4f", "test_accuracy": ".4f", "fit_seconds": ".1f"}
        figures = (f"{metrics[f'{unit.model}_{key}']:{form}}" for key, form in shown.items())
        table.add_row(unit.model, setting, *figures)
    console.print(table)


def _shown(metrics: dict[str, Any]) -> dict[str, Any]:
    low, high = metrics["test_accuracy_low"], metrics["test_accuracy_high"]
    return {
        "record": metrics["record"],
        "best on validation": metrics["best_model"],
        "test accuracy": f"{metrics['test_accuracy']:.4f} ({low:.4f} to {high:.4f})",
    }


app.command()(command(baselines, shown=_shown))


def main() -> None:
    """The command line."""
    app()


if __name__ == "__main__":
    main()

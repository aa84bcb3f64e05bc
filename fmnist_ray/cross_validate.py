"""k-fold cross-validation: every fold a Ray task, its fit run by Ray Train.

python -m fmnist_ray.cross_validate --folds 5 --config results/NAME
"""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from fmnist_ray.console import (
    AddressOption,
    ConfigOption,
    DataOption,
    FrameworkOption,
    JsonOption,
    MaxConcurrentOption,
    ModelOption,
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

app = verb_app("Cross-validate a model: folds in parallel as Ray tasks.")
VERB = "cross_validate"


def cross_validate(
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds", metavar="K", help="Parts, each held out once; at least 2.  [default: 5]"
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            "--repeats", metavar="N", help="Times the images are parted anew.  [default: 1]"
        ),
    ] = None,
    model: ModelOption = None,
    config: ConfigOption = None,
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
    """Cross-validate a model, its folds in parallel as Ray tasks.

    Each fold's model is judged on the images it has not seen and on the test images; the
    average of the models is the record's. Copies of one image stay in one fold. A call on the
    `--name` of an earlier run goes on with it, and its options need not be given again.

    Returns:
        The record's metrics, with `record`: its folder.

    Raises:
        RequestError: A setting is wrong; no fold was started.
        WorkError: A fold failed for good; the others are in the record.
        Interrupted: Ctrl-C or SIGTERM; the message holds the command that goes on.
    """
    from rich.console import Console

    from fmnist_ray.dataset.sources import load_dataset
    from fmnist_ray.dispatch.folds import (
        CrossValidationOptions,
        conclude_folds,
        fold_units,
        save_folds,
    )
    from fmnist_ray.dispatch.options import named_run
    from fmnist_ray.dispatch.unit_runs import run_fits
    from fmnist_ray.reporting import report_on
    from fmnist_ray.training.configuration import read_configuration

    del as_json  # the command line prints the result
    console = Console(stderr=True, quiet=True) if quiet else messages()
    record = named_run(results, name, VERB)
    described = any((model, config, set_, framework))
    fit = None
    if record is None or described:
        fit = read_configuration(model, config, set_ or [], framework).model_dump()
    asked = {
        "fit": fit,
        "folds": folds,
        "repeats": repeats,
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
    options = CrossValidationOptions.of_run(record, asked)
    with progress_bar("Reading the data", quiet) as progress:
        dataset = load_dataset(options.data, progress=progress)
    units = fold_units(options, dataset)
    metrics = run_fits(
        VERB,
        record,
        options,
        units,
        dataset,
        conclude_folds,
        what="folds",
        label=options.config.model,
        name=name,
        results=results,
        address=address,
        console=console,
        begun=lambda made: save_folds(made, units),
    )
    report_on(metrics["record"], quiet)
    return metrics


def _shown(metrics: Mapping[str, Any]) -> dict[str, str]:
    def spread(key: str) -> str:
        return f"{metrics[f'{key}_mean']:.4f} ± {metrics[f'{key}_deviation']:.4f}"

    def interval(key: str) -> str:
        low, high = metrics[f"{key}_accuracy_low"], metrics[f"{key}_accuracy_high"]
        return f"{metrics[f'{key}_accuracy']:.4f} ({low:.4f} to {high:.4f})"

    return {
        "record": metrics["record"],
        f"validation accuracy, {metrics['units']} folds": spread("validation_accuracy"),
        "test accuracy, each fold": spread("test_accuracy"),
        "out-of-fold accuracy": interval("out_of_fold"),
        "test accuracy, their average": interval("test"),
    }


app.command()(command(cross_validate, shown=_shown))


def main() -> None:
    """The command line."""
    app()


if __name__ == "__main__":
    main()

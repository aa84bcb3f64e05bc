"""Trains one model with Ray Train and leaves it in a record.

python -m fmnist_ray.train --model cnn --set epochs=8 --set early_stopping=3
python -m fmnist_ray.train --config results/NAME --workers 2
"""

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fmnist_ray.console import (
    AddressOption,
    ConfigOption,
    DataOption,
    FrameworkOption,
    JsonOption,
    ModelOption,
    NameOption,
    PrecisionOption,
    QuietOption,
    ResultsOption,
    SeedOption,
    SetOption,
    StorageOption,
    TrainSizeOption,
    WorkersOption,
    command,
    messages,
    progress_bar,
    verb_app,
)
from fmnist_ray.errors import RequestError, WorkError

if TYPE_CHECKING:
    from fmnist_ray.dataset.arrays import Dataset
    from fmnist_ray.dispatch.run_name import RunName
    from fmnist_ray.records import Record

app = verb_app("Train one model with Ray Train.")

UNIT = "fit"


def train(
    model: ModelOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    framework: FrameworkOption = None,
    workers: WorkersOption = 0,
    cpus: Annotated[
        float | None,
        typer.Option(
            "--cpus",
            metavar="N",
            help="CPUs, and threads, shared by the workers.  [default: all of the largest node; "
            "1 for each worker]",
        ),
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option(
            "--gpus", metavar="N", help="GPUs of each process.  [default: 1 if there is one]"
        ),
    ] = None,
    precision: PrecisionOption = "auto",
    train_size: TrainSizeOption = None,
    validation_fraction: Annotated[
        float,
        typer.Option("--validation-fraction", help="Share of the images held out; 0 for none."),
    ] = 0.1,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", metavar="results/NAME", help="Go on from the last epoch of that record."
        ),
    ] = None,
    storage: StorageOption = None,
    data: DataOption = None,
    seed: SeedOption = 0,
    name: NameOption = None,
    results: ResultsOption = "results",
    address: AddressOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Train one model with Ray Train.

    Returns:
        The record's metrics, with `record`: its folder.

    Raises:
        RequestError: A setting is wrong; nothing was started.
        WorkError: Training failed or diverged.
        Interrupted: Ctrl-C or SIGTERM; the message holds the command that goes on.
    """
    from rich.console import Console

    from fmnist_ray.dataset.sources import load_dataset
    from fmnist_ray.dispatch.run_name import RunName
    from fmnist_ray.dispatch.session import ray_session
    from fmnist_ray.records import Record
    from fmnist_ray.reporting import report_on
    from fmnist_ray.training.configuration import read_configuration

    del as_json  # the command line prints the result
    console = Console(stderr=True, quiet=True) if quiet else messages()
    if resume is not None:
        given = {"model": model, "config": config, "set": set_, "framework": framework}
        for option, value in {**given, "name": name, "train-size": train_size}.items():
            if value:
                raise RequestError(
                    f"--{option} cannot be given with --resume: the record {resume} has its own. "
                    "Leave it out, or begin a new training."
                )
        record = Record.open(resume)
        request = _request_of(record)
        # Where and with how much it goes on may differ.
        elsewhere = {"cpus": cpus, "gpus": gpus, "data": data, "storage": storage}
        request |= {key: value for key, value in elsewhere.items() if value is not None}
    else:
        record = None
        request = {
            "fit": read_configuration(model, config, set_ or [], framework).model_dump(),
            "workers": workers,
            "cpus": cpus,
            "gpus": gpus,
            "precision": precision,
            "train_size": train_size,
            "validation_fraction": validation_fraction,
            "data": data,
            "storage": storage,
            "seed": seed,
        }
        if precision not in ("auto", "bf16", "fp32"):
            raise RequestError(f"--precision is {precision!r}. Choose auto, bf16 or fp32.")
    with progress_bar("Reading the data", quiet) as progress:
        dataset = load_dataset(request["data"], progress=progress)
    label = str(request["fit"]["model"])
    record = record or Record.create(results, name, "train", label)
    run = RunName("train", record.name, label)
    with record.gone_if_refused(), ray_session(address, run, console):
        metrics = _run(request, dataset, record, run, console)
    report_on(metrics["record"], quiet)
    return metrics


def _run(
    request: dict[str, Any],
    dataset: "Dataset",
    record: "Record",
    run_name: "RunName",
    console: Any,
) -> dict[str, Any]:
    import numpy as np

    from fmnist_ray.dataset.arrays import fingerprint
    from fmnist_ray.dataset.splits import stratified_split, stratified_subset
    from fmnist_ray.dispatch.at_work import at_work
    from fmnist_ray.dispatch.node_checks import check_nodes, check_storage
    from fmnist_ray.dispatch.plan import plan
    from fmnist_ray.dispatch.progress import UnitsProgress
    from fmnist_ray.dispatch.resources import fit_demand
    from fmnist_ray.dispatch.session import cluster_nodes
    from fmnist_ray.dispatch.unit_records import adopt_model, checkpoint_place, fit_units
    from fmnist_ray.dispatch.units import FitUnit
    from fmnist_ray.training.config import FitConfig

    fit_config = FitConfig.checked(request["fit"], "settings")
    split = dataset.train
    used, validation = np.arange(len(split)), None
    if request["train_size"] is not None:
        used = stratified_subset(split.labels, request["train_size"], request["seed"])
    if request["validation_fraction"]:
        kept, held_out = stratified_split(
            split.labels[used], request["validation_fraction"], request["seed"]
        )
        used, validation = used[kept], used[held_out]
    elif fit_config.early_stopping:
        raise RequestError(
            "early_stopping needs validation images: give --validation-fraction above 0."
        )
    sha256 = fingerprint(dataset)
    if record.begun and record.run()["data"].get("sha256") != sha256:
        raise RequestError(
            f"The data of {dataset.source} are not those that {record.path} was begun with. Name "
            "the same data with --data."
        )
    nodes = cluster_nodes()
    resources = _resources(request, nodes)
    places = plan(1, nodes, fit_demand(resources))
    storage = request.get("storage")
    check_storage(storage)
    check_nodes(nodes, checkpoint_place(record, storage))
    if not record.begun:
        facts = {"source": dataset.source, "sha256": sha256}
        record.start("train", request, request["seed"], facts)
    console.print(f"record: {record.path}", markup=False)
    console.print(f"plan: {places.describe('fit')}", markup=False)
    unit = FitUnit(UNIT, fit_config, request["seed"], used, validation)
    go_on = f"python -m fmnist_ray.train --resume {shlex.quote(str(record.path))}"
    with (
        at_work(record, go_on, console),
        UnitsProgress(console, "fits", [unit], 1) as progress,
    ):
        run = fit_units(
            record,
            [unit],
            dataset,
            places,
            resources,
            progress,
            run_name,
            storage=storage,
            test=False,
        )
        if run.failures:
            raise WorkError(f"Training failed: {run.failures[UNIT]}. The record is {record.path}.")
        adopt_model(record, UNIT)
        metrics = {k: v for k, v in run.metrics[UNIT].items() if k != "history"}
        record.write_metrics(metrics)
    console.print(
        f"score it: python -m fmnist_ray.evaluate {shlex.quote(str(record.path))}", markup=False
    )
    return {"record": str(record.path), **metrics}


def _resources(request: dict[str, Any], nodes: list[Any]) -> Any:
    """One fit has the machine to itself: all CPUs of the largest node, and a whole GPU."""
    from fmnist_ray.dispatch.resources import fit_resources

    cpus, gpus = request["cpus"], request["gpus"]
    if cpus is None and not request["workers"]:
        cpus = max((node.cpus for node in nodes), default=1.0)
    if gpus is None:
        gpus = 1.0 if any(node.gpus for node in nodes) else 0.0
    return fit_resources(nodes, request["workers"], cpus, gpus, request["precision"])


def _request_of(record: Any) -> dict[str, Any]:
    run = record.run()
    if run.get("verb") != "train":
        raise RequestError(
            f"{record.path} is a record of `{run.get('verb')}`, which train cannot go on with."
        )
    if run.get("status") == "complete":
        raise RequestError(f"{record.path} is complete: there is nothing to go on with.")
    request: dict[str, Any] = run["config"]
    return request


app.command()(command(train))


def main() -> None:
    """The command line."""
    app()


if __name__ == "__main__":
    main()

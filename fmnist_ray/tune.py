"""The main job: searches configurations with Ray Tune, retrains the best and scores it.

python -m fmnist_ray.tune
python -m fmnist_ray.tune --space search_spaces/resnet.yaml --trials 48 --searcher optuna
python -m fmnist_ray.tune --resume results/NAME
"""

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fmnist_ray.console import (
    AddressOption,
    DataOption,
    FrameworkOption,
    JsonOption,
    NameOption,
    QuietOption,
    ResultsOption,
    StorageOption,
    command,
    messages,
    progress_bar,
    verb_app,
)
from fmnist_ray.errors import RequestError

if TYPE_CHECKING:
    from fmnist_ray.search.settings import SearchSettings

app = verb_app("Search configurations with Ray Tune, retrain the best and score it.")

_DEFAULT_SPACE = "cnn.yaml"


def tune(
    space: Annotated[
        str | None,
        typer.Option(
            "--space", metavar="FILE", help="Search space.  [default: cnn.yaml of search_spaces]"
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials", metavar="N", help="Trials in all.  [default: 24; the whole grid for grid]"
        ),
    ] = None,
    max_epochs: Annotated[
        int | None,
        typer.Option("--max-epochs", metavar="N", help="Most epochs of a trial.  [default: 12]"),
    ] = None,
    searcher: Annotated[
        str | None,
        typer.Option(
            "--searcher", metavar="NAME", help="random, grid or optuna.  [default: random]"
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler",
            metavar="NAME",
            help="asha, asha-promotion (trials pause at a rung until they are among the best "
            "there), median, pbt or none.  [default: asha]",
        ),
    ] = None,
    reduction_factor: Annotated[
        float | None,
        typer.Option(
            "--reduction-factor",
            metavar="N",
            help="ASHA keeps one trial in N at each rung.  [default: 3]",
        ),
    ] = None,
    workers_per_trial: Annotated[
        int | None,
        typer.Option(
            "--workers-per-trial",
            metavar="N",
            help="0 trains in the trial's own process; N starts a Ray Train worker group of N "
            "for each trial.  [default: 0]",
        ),
    ] = None,
    cpus_per_trial: Annotated[
        float | None,
        typer.Option(
            "--cpus-per-trial",
            metavar="N",
            help="CPUs, and threads, of a trial, shared by its workers.  "
            "[default: 1 for each process]",
        ),
    ] = None,
    gpus_per_trial: Annotated[
        str | None,
        typer.Option(
            "--gpus-per-trial",
            metavar="N|auto",
            help="GPUs of each process; 0.25 lets four share one.  [default: auto]",
        ),
    ] = None,
    max_concurrent: Annotated[
        str | None,
        typer.Option(
            "--max-concurrent", metavar="N|auto", help="Trials at a time. [default: auto]"
        ),
    ] = None,
    train_size: Annotated[
        int | None,
        typer.Option(
            "--train-size",
            metavar="N",
            help="Use only so many training images, validation included.  [default: all]",
        ),
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(
            "--time-budget",
            metavar="DURATION",
            help="Stop the trials after, say, 30m or 1h30m, then retrain the best. [default: none]",
        ),
    ] = None,
    trial_timeout: Annotated[
        str | None,
        typer.Option(
            "--trial-timeout",
            metavar="DURATION",
            help="A trial that ends no epoch for so long, say 10m, has hung: it is tried again "
            "from its last epoch, and fails if that does not help. [default: none]",
        ),
    ] = None,
    framework: FrameworkOption = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            metavar="NAME",
            help="What trials are compared by: validation_accuracy (default) or validation_loss.",
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="RECORD",
            help="Go on with an interrupted search: its settings are kept, no finished epoch is "
            "trained again, ASHA's rungs are as they were. More --trials and other resources may "
            "be asked for. Reads JSON and safetensors only.",
        ),
    ] = None,
    retrain_seeds: Annotated[
        int | None,
        typer.Option(
            "--retrain-seeds",
            metavar="N",
            help="Times the best configuration is trained anew on all images; 0 for none.  "
            "[default: 3]",
        ),
    ] = None,
    storage: StorageOption = None,
    tensorboard: Annotated[
        bool | None,
        typer.Option(
            "--tensorboard/--no-tensorboard",
            help="Write TensorBoard files into the record.  [default: tensorboard]",
        ),
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option("--mlflow", metavar="URI", help="Log to this MLflow server, too.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            metavar="NAME",
            help="bf16, fp32 or auto: bf16 where the hardware has it.  [default: auto]",
        ),
    ] = None,
    data: DataOption = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", help="Of everything random.  [default: 0]"),
    ] = None,
    name: NameOption = None,
    results: ResultsOption = "results",
    address: AddressOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Search configurations with Ray Tune, retrain the best on all images and score it.

    Options left out (None) take their defaults or, with `resume`, the record's settings.

    Returns:
        The record's metrics, with `record`: its folder.

    Raises:
        RequestError: A setting is wrong; no trial was started.
        WorkError: The work failed; what was done is in the record.
        Interrupted: Ctrl-C or SIGTERM; the message holds the command that goes on.
    """
    from rich.console import Console

    from fmnist_ray.dispatch.at_work import at_work
    from fmnist_ray.dispatch.node_checks import check_nodes
    from fmnist_ray.dispatch.run_name import RunName
    from fmnist_ray.dispatch.session import cluster_nodes, ray_session
    from fmnist_ray.dispatch.unit_records import checkpoint_place
    from fmnist_ray.records import Record, read_json
    from fmnist_ray.reporting import report_on
    from fmnist_ray.search.data import prepare_data, same_data
    from fmnist_ray.search.run import begin_record, load_settings, plan_search, run_search

    del as_json  # the command line prints the result
    console = Console(stderr=True, quiet=True) if quiet else messages()
    asked: dict[str, Any] = {
        "trials": trials,
        "max_epochs": max_epochs,
        "searcher": searcher,
        "scheduler": scheduler,
        "reduction_factor": reduction_factor,
        "workers_per_trial": workers_per_trial,
        "cpus_per_trial": cpus_per_trial,
        "gpus_per_trial": _number(gpus_per_trial, "--gpus-per-trial"),
        "max_concurrent": _number(max_concurrent, "--max-concurrent"),
        "train_size": train_size,
        "time_budget": parse_duration(time_budget, "--time-budget"),
        "trial_timeout": parse_duration(trial_timeout, "--trial-timeout"),
        "metric": metric,
        "retrain_seeds": retrain_seeds,
        "storage": storage,
        "tensorboard": tensorboard,
        "mlflow": mlflow,
        "precision": precision,
        "seed": seed,
        "data": data,
    }
    if resume is None:
        settings = _within_grid(_new_settings(asked, space, framework), trials)
        record = None
    else:
        for option, value in {"name": name, "space": space, "framework": framework}.items():
            if value is not None:
                raise RequestError(
                    f"--{option} cannot be given with --resume: the record {resume} has its own. "
                    "Leave it out."
                )
        record = Record.open(resume)
        settings = load_settings(record, Path(resume)).changed(asked)
        settings = _within_grid(settings, settings.trials)
    _check_extras(settings)
    with progress_bar("Reading the data", quiet) as progress:
        search_data = prepare_data(settings, progress)
    if record is not None:
        same_data(record, search_data)
    record = record or Record.create(results, name, "tune", settings.model)
    run = RunName("tune", record.name, settings.model)
    with record.gone_if_refused(), ray_session(address, run, console):
        nodes = cluster_nodes()
        plan_search(settings, nodes)
        check_nodes(nodes, checkpoint_place(record, settings.storage))
        changes = {}
        if record.begun:
            changes = {"config": settings.model_dump()}
        else:
            begin_record(record, settings, search_data)
        console.print(f"record: {record.path}", markup=False)
        with at_work(record, resume_command(record.path), console, **changes):
            metrics = run_search(record, run, settings, search_data, nodes, console)
    console.print(
        f"score it in detail: python -m fmnist_ray.evaluate {shlex.quote(str(record.path))}",
        markup=False,
    )
    report_on(record.path, quiet)  # adds to the metrics what it finds in the journal
    return {"record": str(record.path), **metrics, **read_json(record.path / "metrics.json")}


def resume_command(record: Path) -> str:
    """The command that goes on with a search."""
    return f"python -m fmnist_ray.tune --resume {shlex.quote(str(record))}"


def parse_duration(text: str | None, option: str = "--time-budget") -> float | None:
    """Seconds of `90`, `45s`, `30m`, `1h30m` or `2d`; None of None.

    Raises:
        RequestError: The text is no duration above zero.
    """
    if text is None:
        return None
    match = re.fullmatch(
        r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?",
        text.strip().lower(),
    )
    parts = [float(part or 0) for part in match.groups()] if match else []
    seconds = sum(part * unit for part, unit in zip(parts, (86400, 3600, 60, 1), strict=False))
    if seconds <= 0:
        raise RequestError(f"{option} is {text!r}. Write a duration such as 90s, 30m or 1h30m.")
    return seconds


def _number(text: str | None, option: str) -> float | None:
    if text is None or text == "auto":
        return None
    try:
        return float(text)
    except ValueError:
        raise RequestError(f"{option} is {text!r}. Give a number or `auto`.") from None


def _new_settings(
    asked: dict[str, Any], space: str | None, framework: str | None
) -> "SearchSettings":
    from fmnist_ray.search.settings import SearchSettings
    from fmnist_ray.search.space import known_spaces, load_space

    known = (str(each) for each in known_spaces() if each.name == _DEFAULT_SPACE)
    source = space or next(known, _DEFAULT_SPACE)
    loaded = load_space(source)
    if framework is not None:
        loaded = loaded.with_fixed("framework", framework, "--framework")
    return SearchSettings.checked({**asked, "space": loaded.as_dict(), "space_source": source})


def _within_grid(settings: "SearchSettings", asked: int | None) -> "SearchSettings":
    """As many trials as a grid has points, if not fewer are asked for."""
    from fmnist_ray.search.samplers import GridSampler
    from fmnist_ray.search.space import parse_space

    if settings.searcher != "grid":
        return settings
    space = parse_space(settings.space, settings.space_source)
    points = len(GridSampler(space.with_epochs_up_to(settings.max_epochs)))
    return settings.model_copy(update={"trials": min(asked or points, points)})


def _check_extras(settings: "SearchSettings") -> None:
    from importlib.util import find_spec

    from fmnist_ray.dispatch.node_checks import check_storage
    from fmnist_ray.records import check_no_secret

    if settings.mlflow is not None and find_spec("mlflow") is None:
        raise RequestError(
            "--mlflow needs MLflow. Install it with: pip install 'fmnist_ray[mlflow]'"
        )
    if settings.mlflow is not None:
        check_no_secret(settings.mlflow, "--mlflow")
    check_storage(settings.storage)


def _shown(metrics: dict[str, Any]) -> dict[str, Any]:
    ends = ("complete", "stopped", "diverged", "failed", "unfinished")
    counts = [f"{metrics[f'trials_{end}']} {end}" for end in ends if metrics[f"trials_{end}"]]
    shown: dict[str, Any] = {
        "record": metrics["record"],
        "trials": f"{metrics['trials']}: {', '.join(counts)}",
        "epochs": str(metrics["epochs"]),
        "search": f"{metrics['sweep_seconds'] / 60:.1f} minutes, {metrics['slots']} at a time",
    }
    if saved := metrics.get("epochs_saved_share"):
        shown["epochs"] += f", {saved:.0%} fewer than to the end of every trial"
    figure = next((key for key in metrics if key.startswith("best_validation_")), None)
    if figure is not None:
        name = figure.removeprefix("best_").replace("_", " ")
        shown["best trial"] = (
            f"{metrics['best_unit']}, {name} {metrics[figure]:.4f} after epoch "
            f"{metrics['best_epoch']}"
        )
    if "test_accuracy_mean" in metrics:
        seeds = metrics["test_accuracy_by_seed"]
        shown["test accuracy"] = (
            f"{metrics['test_accuracy_mean']:.4f} ± {metrics['test_accuracy_deviation']:.4f} over "
            f"{len(seeds)} seeds; the record's model {metrics['test_accuracy']:.4f}"
        )
    return shown


app.command()(command(tune, shown=_shown))


def main() -> None:
    """The command line."""
    app()


if __name__ == "__main__":
    main()

"""Transfer learning: VGG16 or VGG19 with a new output layer, or with the last blocks trained on.

python -m fmnist_ray.transfer --backbone vgg16 --weights imagenet --mode frozen --epochs 20
"""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from fmnist_ray.console import (
    AddressOption,
    DataOption,
    JsonOption,
    MaxConcurrentOption,
    PrecisionOption,
    QuietOption,
    ResultsOption,
    RetriesOption,
    RunNameOption,
    RunSeedOption,
    StorageOption,
    TrainSizeOption,
    command,
    messages,
    progress_bar,
    verb_app,
)
from fmnist_ray.errors import RequestError

app = verb_app("Transfer learning: a new output layer on VGG16 or VGG19.")
VERB = "transfer"


def transfer(
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", metavar="vgg16|vgg19", help="The network.  [default: vgg16]"),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="imagenet|FILE",
            help="imagenet: torchvision's, downloaded once; else a torchvision state dict, with "
            "or without the classifier.  [default: imagenet]",
        ),
    ] = None,
    input_size: Annotated[
        int | None,
        typer.Option(
            "--input-size",
            metavar="PIXELS",
            help="Images are resized to this height and width, 32 or more.  [default: 32]",
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            "--mode",
            metavar="frozen|finetune",
            help="frozen: only the output layer is trained, on features that are computed once; "
            "finetune: the last blocks are trained with it.  [default: frozen]",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", help="At most.  [default: 20]")
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials",
            metavar="N",
            help="frozen: output layers that are tried, with settings drawn by seed; the best is "
            "trained once more on all training images.  [default: 8]",
        ),
    ] = None,
    unfreeze: Annotated[
        int | None,
        typer.Option(
            "--unfreeze", metavar="1|2", help="finetune: blocks that are trained.  [default: 1]"
        ),
    ] = None,
    cpus: Annotated[
        float | None,
        typer.Option(
            "--cpus",
            metavar="N",
            help="CPUs, and threads, of each task.  [default: 1; all of the largest node for "
            "fine-tuning]",
        ),
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option(
            "--gpus",
            metavar="N",
            help="GPUs of each task that runs the backbone.  [default: a share of one if there "
            "is one; a whole one for fine-tuning]",
        ),
    ] = None,
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
    """Train a new output layer on VGG16 or VGG19, or the last blocks with it.

    The features of the images are computed once, in parallel, and kept in the cache for every
    later run on the same weights, images and input size; trials cost seconds then. A tenth of
    the training images judges them. A call on the `--name` of an earlier run goes on with it,
    and its options need not be given again.

    Returns:
        The record's metrics, with `record`: its folder.

    Raises:
        RequestError: A setting or the weights are wrong; nothing was started.
        WorkError: Work failed for good; what is done is kept.
        Interrupted: Ctrl-C or SIGTERM; the message holds the command that goes on.
    """
    from pathlib import Path

    from rich.console import Console

    from fmnist_ray.dataset.sources import load_dataset
    from fmnist_ray.dispatch.options import named_run
    from fmnist_ray.dispatch.transfer_options import TransferOptions, check_weights
    from fmnist_ray.dispatch.transfer_runs import run_transfer
    from fmnist_ray.models.vgg import IMAGENET, find_weights
    from fmnist_ray.reporting import report_on

    del as_json  # the command line prints the result
    console = Console(stderr=True, quiet=True) if quiet else messages()
    record = named_run(results, name, VERB)
    asked = {
        "backbone": backbone,
        "weights": weights if weights in (None, IMAGENET) else str(Path(weights).absolute()),
        "input_size": input_size,
        "mode": mode,
        "epochs": epochs,
        "trials": trials,
        "unfreeze": unfreeze,
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
    options = TransferOptions.of_run(record, asked)
    if options.mode == "finetune" and trials is not None:
        raise RequestError("--trials belongs to --mode frozen. Leave it out to fine-tune.")
    if options.mode == "frozen" and unfreeze is not None:
        raise RequestError("--unfreeze belongs to --mode finetune. Give that, or leave it out.")
    file = find_weights(options.backbone, options.weights, quiet)
    convolutions = check_weights(options, record, file)
    with progress_bar("Reading the data", quiet) as progress:
        dataset = load_dataset(options.data, progress=progress)
    metrics = run_transfer(
        options,
        file,
        convolutions,
        dataset,
        record,
        name=name,
        results=results,
        address=address,
        console=console,
        progress=lambda description: progress_bar(description, quiet),
    )
    report_on(metrics["record"], quiet)
    return metrics


def _shown(metrics: Mapping[str, Any]) -> dict[str, Any]:
    def figure(key: str) -> str:
        return f"{metrics[key]:.4f}"

    low, high = figure("test_accuracy_low"), figure("test_accuracy_high")
    return {
        "record": metrics["record"],
        "model": f"{metrics['backbone']} {metrics['mode']}, {metrics['input_size']} x "
        f"{metrics['input_size']} pixels",
        "training accuracy": figure("train_accuracy"),
        "validation accuracy": figure("validation_accuracy"),
        "test accuracy": f"{figure('test_accuracy')} ({low} to {high})",
    }


app.command()(command(transfer, shown=_shown))


def main() -> None:
    """The command line."""
    app()


if __name__ == "__main__":
    main()

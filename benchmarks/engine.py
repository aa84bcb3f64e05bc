"""One epoch, without start-up and validation: ours, plain torch, plain Keras, side by side.

    python -m benchmarks.engine [--models cnn,dnn] [--threads 1,2] [--batches 64,128,500]
                                [--contenders ...] [--rounds 3] [--images 60000] [--csv FILE]

All contenders train the same network on the same images with the same batch size, Adam at 0.001 and
dropout. Each waits in a process of its own, since TensorFlow's threads cannot be changed; they take
turns, an epoch each, and the first epoch, which builds graphs, is not counted.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.tables import show_table, write_rows
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.contract import Device, FitData

CONTENDERS = {
    "torch": "fmnist_ray, torch",
    "torch-fp32": "fmnist_ray, torch, fp32",
    "arrays": "plain torch over arrays",
    "loader": "plain torch, DataLoader, transforms",
    "keras": "plain Keras model.fit",
    "tensorflow": "fmnist_ray, TensorFlow",
    "tensorflow-fp32": "fmnist_ray, TensorFlow, fp32",
}
COLUMNS = ("model", "threads", "batch", "contender", "seconds", "of torch", "spread")


def epochs_of(
    contender: str, model: str, batch: int, threads: int, images: int
) -> Callable[[], None]:
    """What trains one epoch more."""
    split = load_dataset().train
    chosen, labels = split.images[:images], split.labels[:images]
    if contender == "keras":
        from benchmarks.contenders import keras_fit

        return keras_fit.epochs(model, batch, chosen, labels, threads)
    if contender in ("arrays", "loader"):
        import torch

        from benchmarks.contenders import plain_torch

        torch.set_num_threads(threads)
        loaders = {
            "arrays": plain_torch.array_batches,
            "loader": plain_torch.loader_with_transforms,
        }
        return plain_torch.epochs(model, batch, chosen, labels, loaders[contender])
    return our_epochs(contender, model, batch, threads, FitData(chosen, labels, np.arange(images)))


def our_epochs(
    contender: str, model: str, batch: int, threads: int, data: FitData
) -> Callable[[], None]:
    """Ours, in the framework and precision that the contender's name says."""
    from fmnist_ray.machine import keep_freed_memory
    from fmnist_ray.training.fit import _engine

    framework, _, precision = contender.partition("-")
    config = FitConfig.checked(
        {
            "model": model,
            "framework": framework,
            "batch_size": batch,
            "schedule": "constant",
            "epochs": 1000,
        },
        contender,
    )
    keep_freed_memory()
    engine = _engine(config, data, 0, Device(precision=precision or "auto", threads=threads))  # type: ignore[arg-type]
    numbers = iter(range(1, config.epochs))

    def epoch() -> None:
        engine.train_epoch(next(numbers))

    return epoch


def contend(arguments: argparse.Namespace) -> None:
    """Times epochs in this process, one for each line of standard input."""
    contender, model, batch, threads = arguments.run.split(",")
    epoch = epochs_of(contender, model, int(batch), int(threads), arguments.images)
    epoch()
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        epoch()
        print(json.dumps(time.perf_counter() - started), flush=True)


def timed(
    contenders: list[str], model: str, batch: str, threads: str, rounds: int, images: int
) -> dict[str, list[float]]:
    """Seconds of each contender's epochs; one epoch of each, then the next."""
    processes: dict[str, subprocess.Popen[str]] = {}
    # TensorFlow says there how it was built; of interest only if the contender fails.
    words = tempfile.TemporaryFile("w+")  # noqa: SIM115

    def answer(contender: str) -> str:
        stream = processes[contender].stdout
        assert stream is not None
        line = stream.readline().strip()
        if not line:
            code = processes[contender].wait()
            words.seek(0)
            raise SystemExit(f"{contender} ended with {code}: {words.read()[-3000:]}")
        return line

    for contender in contenders:
        command = [sys.executable, "-m", "benchmarks.engine", "--images", str(images)]
        command += ["--run", f"{contender},{model},{batch},{threads}"]
        processes[contender] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, text=True
        )
        assert answer(contender) == "ready"
    seconds: dict[str, list[float]] = {contender: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            stream = processes[contender].stdin
            assert stream is not None
            stream.write("\n")
            stream.flush()
            seconds[contender].append(float(answer(contender)))
    for process in processes.values():
        process.communicate()
    return seconds


def rows_of(
    model: str, threads: str, batch: str, seconds: dict[str, list[float]]
) -> list[list[str]]:
    """A row per contender; ratios are taken within a round, against ours in torch."""
    rows = []
    for contender, times in seconds.items():
        ratios = sorted(each / ours for each, ours in zip(times, seconds["torch"], strict=True))
        rows.append(
            [
                model,
                threads,
                batch,
                CONTENDERS[contender],
                f"{statistics.median(times):.2f}",
                f"{statistics.median(ratios):.2f}",
                f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
            ]
        )
    return rows


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--models", default="cnn,dnn")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--batches", default="64,128,500")
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--csv", type=Path, help="also write the rows there")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        contend(arguments)
        return
    others = [each for each in arguments.contenders.split(",") if each != "torch"]
    console, rows = Console(stderr=True), []
    for model in arguments.models.split(","):
        for threads in arguments.threads.split(","):
            for batch in arguments.batches.split(","):
                console.print(f"{model}, {threads} threads, batch {batch} ...", highlight=False)
                seconds = timed(
                    ["torch", *others], model, batch, threads, arguments.rounds, arguments.images
                )
                rows += rows_of(model, threads, batch, seconds)
                write_rows(arguments.csv, COLUMNS, rows)  # as far as it has come
    show_table(COLUMNS, rows, f"one epoch of {arguments.images:,} images, Adam")


if __name__ == "__main__":
    main()

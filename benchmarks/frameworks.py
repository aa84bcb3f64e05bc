"""One epoch in torch, in TensorFlow by this package, and by a plain `model.fit`, side by side.

    python -m benchmarks.frameworks [--model cnn] [--threads 1,2] [--rounds 3]

All contenders train on the same arrays with the same batch size, Adam and dropout. Each runs in a
process of its own, since TensorFlow's threads cannot be changed; they take turns, and the first
epoch, which builds graphs, is not counted. The plain `model.fit` has its images as float32 and
normalised beforehand, as tutorials have it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from fmnist_ray.dataset.preparation import TRAIN_MEAN, TRAIN_STD
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.contract import Device, FitData

CONTENDERS = {
    "torch": "torch, auto",
    "torch-fp32": "torch, fp32",
    "tensorflow": "TensorFlow, auto",
    "tensorflow-fp32": "TensorFlow, fp32",
    "model.fit": "plain model.fit, fp32",
}


def epochs_of(contender: str, config: FitConfig, data: FitData, threads: int) -> Callable[[], None]:
    """What trains one epoch more."""
    if contender == "model.fit":
        return plain_epochs(config, data, threads)
    framework, _, precision = contender.partition("-")
    chosen = config.model_copy(update={"framework": framework})
    device = Device(precision=precision or "auto", threads=threads)  # type: ignore[arg-type]
    from fmnist_ray.machine import keep_freed_memory
    from fmnist_ray.training.fit import _engine

    keep_freed_memory()
    engine = _engine(chosen, data, 0, device)
    epochs = iter(range(1, config.epochs + 1))

    def epoch() -> None:
        engine.train_epoch(next(epochs))

    return epoch


def plain_epochs(config: FitConfig, data: FitData, threads: int) -> Callable[[], None]:
    """Keras' own loop."""
    from fmnist_ray.models.keras_models import build_keras_model
    from fmnist_ray.tensorflow_setup import keras, tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = build_keras_model(config.architecture, seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.Adam(config.learning_rate)
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=False)
    images = (data.images.astype(np.float32) / 255 - TRAIN_MEAN) / TRAIN_STD
    labels = data.labels.astype(np.int32)

    def epoch() -> None:
        model.fit(images[..., None], labels, batch_size=config.batch_size, verbose=0)

    return epoch


def run(contender: str, model: str, threads: int, rounds: int) -> None:
    """Times epochs in this process, one for each line of standard input."""
    split = load_dataset().train
    config = FitConfig(model=model, epochs=rounds + 1)  # type: ignore[arg-type]
    epoch = epochs_of(
        contender, config, FitData(split.images, split.labels, np.arange(len(split))), threads
    )
    epoch()
    print("ready", flush=True)
    for _ in range(rounds):
        sys.stdin.readline()
        started = time.perf_counter()
        epoch()
        print(json.dumps(time.perf_counter() - started), flush=True)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="cnn")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run(arguments.run, arguments.model, int(arguments.threads), arguments.rounds)
        return
    table = Table("threads", "contender", "seconds an epoch", "of model.fit", "spread")
    for threads in arguments.threads.split(","):
        seconds = timed(arguments.model, threads, arguments.rounds)
        for contender, title in CONTENDERS.items():
            ratios = sorted(
                a / b for a, b in zip(seconds[contender], seconds["model.fit"], strict=True)
            )
            table.add_row(
                threads,
                title,
                f"{statistics.median(seconds[contender]):.2f}",
                f"{statistics.median(ratios):.2f}",
                f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
            )
    console = Console()
    console.print(f"{arguments.model}, 60,000 images, batch 128")
    console.print(table)


def timed(model: str, threads: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender's epochs; one epoch of each, then the next."""
    command = [sys.executable, "-m", "benchmarks.frameworks", "--model", model]
    command += ["--threads", threads, "--rounds", str(rounds), "--run"]
    processes = {}
    for contender in CONTENDERS:
        process = subprocess.Popen(
            [*command, contender], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        processes[contender] = process
    seconds: dict[str, list[float]] = {contender: [] for contender in CONTENDERS}
    for _ in range(rounds):
        for contender, process in processes.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            seconds[contender].append(json.loads(process.stdout.readline()))
    for process in processes.values():
        process.communicate()
    return seconds


if __name__ == "__main__":
    main()

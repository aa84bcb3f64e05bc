"""One epoch of the CNN: ours against a plain fp32 torch loop over the same arrays.

    python -m benchmarks.engine [--images 60000] [--rounds 3]

The contenders take turns in one process, with the same threads, batch size, images and order.
The plain loop is what a tutorial shows: torch's own layers and dropout, Adam, fp32, a shuffled
index, batches normalised as they are taken. Validation and start-up are left out of both.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional

from fmnist_ray.dataset.preparation import TRAIN_MEAN, TRAIN_STD
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.models.config import ModelConfig
from fmnist_ray.models.torch_models import build_model, parameter_count
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.contract import Device, FitData
from fmnist_ray.training.fit import fit

BATCH = 128


def plain_cnn() -> nn.Sequential:
    """The CNN of 121,930 parameters as one would write it down."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(1600, 64),
        nn.ReLU(),
        nn.Dropout(0.25),
        nn.Linear(64, 10),
    )


def plain_epoch(data: FitData, threads: int) -> Callable[[], float]:
    """A function that trains one epoch the plain way and returns its seconds."""
    model = plain_cnn()
    assert parameter_count(model) == parameter_count(build_model(ModelConfig(model="cnn"), 0))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    images = torch.from_numpy(data.images).unsqueeze(1)
    labels = torch.from_numpy(data.labels.astype(np.int64))

    def epoch() -> float:
        torch.set_num_threads(threads)
        started = time.perf_counter()
        for chosen in torch.from_numpy(data.train)[torch.randperm(len(data.train))].split(BATCH):
            batch = (images[chosen].float() / 255 - TRAIN_MEAN) / TRAIN_STD
            loss = functional.cross_entropy(model(batch), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return time.perf_counter() - started

    return epoch


def our_epoch(data: FitData, threads: int) -> Callable[[], float]:
    """Likewise by `fit`; its first epoch's seconds, without building the model."""
    config = FitConfig(model="cnn", batch_size=BATCH, epochs=1, schedule="constant")

    def epoch() -> float:
        row = fit(config, data, 0, Device(threads=threads)).history[0]
        return len(data.train) / float(row["images_per_second"])

    return epoch


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    split = load_dataset().train
    data = FitData(split.images, split.labels, np.arange(arguments.images))
    table = Table("threads", "plain fp32 torch (s)", "fmnist_ray (s)", "times as fast", "spread")
    for threads in (1, 2):
        contenders = [plain_epoch(data, threads), our_epoch(data, threads)]
        times: list[list[float]] = [[], []]
        for _ in range(arguments.rounds):
            for at, contender in enumerate(contenders):
                times[at].append(contender())
        plain, ours = (statistics.median(each) for each in times)
        ratios = sorted(p / o for p, o in zip(*times, strict=True))
        table.add_row(
            str(threads),
            f"{plain:.2f}",
            f"{ours:.2f}",
            f"{plain / ours:.2f}",
            f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
        )
    console = Console()
    console.print(f"one epoch of {arguments.images:,} images, CNN, batch {BATCH}, median of rounds")
    console.print(table)


if __name__ == "__main__":
    main()

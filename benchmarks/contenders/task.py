"""What the searches of `benchmarks.search` all have to do: the same space, data, epochs and log."""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

RATES = (0.0005, 0.02)
OPTIMIZERS = ("adam", "sgd")
BATCHES = (64, 128, 256)
ACTIVATIONS = ("relu", "tanh")
SPACE = {
    "model": "cnn",
    "fixed": {"dropout": 0.25, "schedule": "constant", "momentum": 0.9},
    "search": {
        "learning_rate": {"loguniform": list(RATES)},
        "optimizer": {"choice": list(OPTIMIZERS)},
        "batch_size": {"choice": list(BATCHES)},
        "activation": {"choice": list(ACTIVATIONS)},
    },
}
"""As a file of `search_spaces/` has it."""

REDUCTION = 3


class Task(NamedTuple):
    """A search as it is asked for on the command line.

    Attributes:
        trials: Configurations to try.
        max_epochs: Most epochs of one.
        images: Training images to use, a tenth of them to validate on.
        seed: Of the configurations.
        log: Where each epoch is told.
        folder: The search's own; one that was killed goes on from what it left there.
        early_stopping: Whether bad trials end before `max_epochs`.
    """

    trials: int
    max_epochs: int
    images: int
    seed: int
    log: Path
    folder: Path
    early_stopping: bool = True

    @classmethod
    def asked(cls) -> "Task":
        """From the command line."""
        parser = argparse.ArgumentParser()
        for option in ("trials", "max-epochs", "images", "seed"):
            parser.add_argument(f"--{option}", type=int, required=True)
        for option in ("log", "folder"):
            parser.add_argument(f"--{option}", type=Path, required=True)
        parser.add_argument("--no-stops", dest="early_stopping", action="store_false")
        return cls(**vars(parser.parse_args()))

    def configurations(self) -> list[dict[str, Any]]:
        """The configurations that every search tries which can be told what to try."""
        from fmnist_ray.search.space import parse_space

        space = parse_space(SPACE, "the benchmark's space")
        return [space.random(self.seed, index) for index in range(self.trials)]

    def data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Images and labels to train on, then to validate on."""
        from fmnist_ray.dataset.sources import load_dataset

        split = load_dataset().train
        validation = self.images // 10
        images, labels = split.images[: self.images], split.labels[: self.images]
        return images[validation:], labels[validation:], images[:validation], labels[:validation]

    def tell(self, trial: str, epoch: int, accuracy: float, seconds: float) -> None:
        """Writes down that an epoch ended; from any process."""
        line = {"time": time.time(), "trial": trial, "epoch": epoch}
        line |= {"accuracy": accuracy, "seconds": seconds}
        with self.log.open("a") as stream:
            stream.write(json.dumps(line) + "\n")


class Trained(NamedTuple):
    """An epoch of a training in plain torch.

    Attributes:
        epoch: From 1.
        accuracy: On the images held out.
        seconds: It took, validation included.
        state: To go on from: the epoch, the model's and the optimizer's state.
    """

    epoch: int
    accuracy: float
    seconds: float
    state: dict[str, Any]


def plain_training(
    config: dict[str, Any], task: Task, prepare: Any = None, state: dict[str, Any] | None = None
) -> Iterator[Trained]:
    """Trains in plain fp32 torch on one thread, epoch by epoch.

    Args:
        config: Of the space.
        task: The data and the most epochs.
        prepare: Takes the model and its loader and gives others in their place, or None.
        state: Of an earlier epoch, to go on from.
    """
    import torch

    from benchmarks.contenders import plain_torch

    torch.set_num_threads(1)
    images, labels, held_out, answers = task.data()
    model: Any = plain_torch.plain_model("cnn", config["activation"])
    loader: Any = plain_torch.tensor_loader(images, labels, config["batch_size"])
    if prepare is not None:
        model, loader = prepare(model, loader)
    optimizer = plain_torch.optimizer_of(model, config)
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    inputs, targets = plain_torch.normalised(held_out), plain_torch.as_labels(answers)
    done = 0 if state is None else int(state["epoch"])
    for epoch in range(done + 1, task.max_epochs + 1):
        begun = time.perf_counter()
        plain_torch.train_epoch(model, optimizer, loader)
        accuracy = plain_torch.accuracy(model, inputs, targets)
        seconds = time.perf_counter() - begun
        state = {"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
        yield Trained(epoch, accuracy, seconds, state)

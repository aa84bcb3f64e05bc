"""What a fit is given and what it gives, whatever framework it runs on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fmnist_ray.models.config import Weights
from fmnist_ray.training.checkpoint import Checkpoint, Row
from fmnist_ray.training.config import PrecisionChoice


@dataclass(frozen=True)
class FitData:
    """Images with the parts to train and to validate on; nothing is copied.

    Attributes:
        images: uint8, (n, 28, 28); may be read-only shared memory.
        labels: Integers 0 to 9, (n,).
        train: Indices of the training images.
        validation: Indices of the validation images; None or empty to do without.
    """

    images: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    validation: np.ndarray | None = None


@dataclass(frozen=True)
class Device:
    """Where and how a fit computes.

    Attributes:
        name: `cpu`, `cuda` or `cuda:1`.
        precision: `auto` is bf16 where the hardware has it.
        threads: Of the CPU.
        rank: Of this worker among data-parallel ones.
        workers: Their number; above 1, `torch.distributed` must be initialised.
    """

    name: str = "cpu"
    precision: PrecisionChoice = "auto"
    threads: int = 1
    rank: int = 0
    workers: int = 1


@dataclass(frozen=True)
class EpochEnd:
    """What is known after an epoch: its figures, and on demand the state to go on from."""

    row: Row
    checkpoint: Callable[[], Checkpoint]


@dataclass(frozen=True)
class FitResult:
    """A trained model.

    Attributes:
        weights: By their names in torch's state dict: the last, or with early stopping those of the lowest validation loss.
        history: A row per epoch.
        probability: Of the validation images under the weights, float32 (n, 10), or None.
    """

    weights: Weights
    history: list[Row]
    probability: np.ndarray | None

"""Fits the output layer of a classifier on features that do not change.

It is a softmax regression of a few thousand weights, stepped by AdamW (Loshchilov & Hutter 2017,
arXiv:1711.05101). In NumPy, since that needs neither autograd nor the two seconds that importing
torch takes, which would be half of such a fit.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from fmnist_ray.errors import DivergedError
from fmnist_ray.evaluation.metrics import accuracy as accuracy_of
from fmnist_ray.evaluation.metrics import negative_log_likelihood
from fmnist_ray.training.checkpoint import Row
from fmnist_ray.training.schedules import learning_rate_factor

Floats = npt.NDArray[np.float32]

CLASSES = 10
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
# Rows at a time where all are read once; features are mapped from disk and may be large.
_CHUNK_BYTES = 32 * 2**20
_SHUFFLE = 1


class HeadConfig(BaseModel):
    """How a head is trained.

    Attributes:
        learning_rate: The peak of the one-cycle schedule.
        weight_decay: Decoupled, as in AdamW.
        batch_size: Images per step.
        epochs: Passes over the training images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(default=0.02, gt=0.0, le=100.0)
    weight_decay: float = Field(default=0.01, ge=0.0, le=10.0)
    batch_size: int = Field(default=128, ge=1, le=65_536)
    epochs: int = Field(default=20, ge=1, le=10_000)


@dataclass(frozen=True)
class HeadData:
    """Features with the parts to train and to validate on; nothing is copied.

    Attributes:
        features: float16 or float32, (n, features); may be mapped from disk.
        labels: Integers 0 to 9, (n,).
        train: Indices of the training images.
        validation: Indices of the validation images; empty to do without.
    """

    features: npt.NDArray[np.floating[Any]]
    labels: npt.NDArray[np.integer[Any]]
    train: npt.NDArray[np.integer[Any]]
    validation: npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Head:
    """A trained output layer: logits are `features @ weight.T + bias`.

    Attributes:
        weight: float32, (10, features).
        bias: float32, (10,).
    """

    weight: Floats
    bias: Floats

    def probabilities(
        self, features: npt.NDArray[np.floating[Any]], rows: npt.NDArray[np.integer[Any]]
    ) -> Floats:
        """Class probabilities of some rows of the features, float32 (rows, 10)."""
        parts = [_softmax(part @ self.weight.T + self.bias) for part in _chunks(features, rows)]
        return np.concatenate(parts) if parts else np.zeros((0, CLASSES), np.float32)


def fit_head(
    config: HeadConfig,
    data: HeadData,
    seed: int,
    threads: int = 1,
    on_epoch: Callable[[Row], None] | None = None,
) -> Head:
    """Trains a head.

    The features are standardised for training, which makes learning rates mean the same for all
    backbones; that is folded into the weights that are returned.

    Args:
        config: How.
        data: Features and indices.
        seed: Of the shuffles; same seed, threads and build: same weights.
        threads: That matrix products may use.
        on_epoch: Called with each epoch's figures.

    Raises:
        DivergedError: The training loss became infinite or no number.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads):
        return _HeadFit(config, data, seed).run(on_epoch)


class _HeadFit:
    def __init__(self, config: HeadConfig, data: HeadData, seed: int) -> None:
        self.config, self.data, self.seed = config, data, seed
        self.mean, self.scale = _standardisation(data.features, data.train)
        count = data.features.shape[1]
        # Bias and weights as one array, the bias its last row: one step of AdamW for both.
        self.parameters = np.zeros((count + 1, CLASSES), np.float32)
        self.first, self.second = np.zeros_like(self.parameters), np.zeros_like(self.parameters)
        self.gradient = np.zeros_like(self.parameters)
        self.steps = 0

    def run(self, on_epoch: Callable[[Row], None] | None) -> Head:
        for epoch in range(1, self.config.epochs + 1):
            started = time.perf_counter()
            loss, accuracy = self._train_epoch(epoch)
            trained = time.perf_counter()
            row: Row = {"epoch": epoch, "train_loss": loss, "train_accuracy": accuracy}
            if len(self.data.validation):
                probability = self.head().probabilities(self.data.features, self.data.validation)
                labels = self.data.labels[self.data.validation]
                row["validation_loss"] = negative_log_likelihood(labels, probability)
                row["validation_accuracy"] = accuracy_of(labels, probability)
            row["seconds"] = time.perf_counter() - started
            row["images_per_second"] = len(self.data.train) / (trained - started)
            if on_epoch is not None:
                on_epoch(row)
        return self.head()

    def head(self) -> Head:
        """The weights for features as they are."""
        weight = self.parameters[:-1] * self.scale[:, None]
        bias = self.parameters[-1] - self.mean @ weight
        return Head(np.ascontiguousarray(weight.T), bias.astype(np.float32))

    def _train_epoch(self, epoch: int) -> tuple[float, float]:
        data, size = self.data, self.config.batch_size
        order = np.random.default_rng([self.seed, epoch, _SHUFFLE]).permutation(data.train)
        batches = math.ceil(len(order) / size)
        total_loss, correct = 0.0, 0
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            labels = data.labels[batch]
            inputs = (data.features[batch].astype(np.float32) - self.mean) * self.scale
            probability = _softmax(inputs @ self.parameters[:-1] + self.parameters[-1])
            rows = np.arange(len(batch))
            total_loss -= float(np.log(np.maximum(probability[rows, labels], 1e-30)).sum())
            correct += int((probability.argmax(1) == labels).sum())
            probability[rows, labels] -= 1
            probability /= len(batch)
            np.matmul(inputs.T, probability, out=self.gradient[:-1])
            self.gradient[-1] = probability.sum(0)
            self._step(self.config.epochs * batches)
        # A logarithm of a probability that was kept from zero hides an overflow.
        if not (math.isfinite(total_loss) and np.isfinite(self.parameters).all()):
            raise DivergedError(
                f"the training loss became no finite number in epoch {epoch} (head, learning rate "
                f"{self.config.learning_rate:g})"
            )
        return total_loss / len(order), correct / len(order)

    def _step(self, all_steps: int) -> None:
        config = self.config
        rate = config.learning_rate * learning_rate_factor("one_cycle", self.steps, all_steps)
        self.steps += 1
        self.first += (1 - _BETA_1) * (self.gradient - self.first)
        self.second += (1 - _BETA_2) * (self.gradient**2 - self.second)
        first = self.first / (1 - _BETA_1**self.steps)
        second = self.second / (1 - _BETA_2**self.steps)
        self.parameters[:-1] *= 1 - rate * config.weight_decay
        self.parameters -= rate * first / (np.sqrt(second) + _EPSILON)


def _standardisation(
    features: npt.NDArray[np.floating[Any]], rows: npt.NDArray[np.integer[Any]]
) -> tuple[Floats, Floats]:
    """Mean and inverse deviation of each feature; 0 for one that is always the same."""
    total, squares = (np.zeros(features.shape[1], np.float64) for _ in range(2))
    for part in _chunks(features, rows):
        total += part.sum(0, dtype=np.float64)
        squares += np.square(part, dtype=np.float64).sum(0)
    mean = total / len(rows)
    deviation = np.sqrt(np.maximum(squares / len(rows) - mean**2, 0))
    varies = deviation > 1e-6 * max(float(deviation.max()), 1e-30)
    scale = np.where(varies, 1 / np.where(varies, deviation, 1), 0)
    return mean.astype(np.float32), scale.astype(np.float32)


def _chunks(
    features: npt.NDArray[np.floating[Any]], rows: npt.NDArray[np.integer[Any]]
) -> Iterator[Floats]:
    size = max(1, _CHUNK_BYTES // (4 * features.shape[1]))
    for start in range(0, len(rows), size):
        yield features[rows[start : start + size]].astype(np.float32)


def _softmax(logits: Floats) -> Floats:
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    probability: Floats = exponentials / exponentials.sum(1, keepdims=True)
    return probability

"""The course of a fit, whatever framework computes it: epochs, figures, early stopping, state."""

import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from fmnist_ray.models.config import Weights
from fmnist_ray.training.checkpoint import Checkpoint, Row, lowest_loss_epoch
from fmnist_ray.training.contract import EpochEnd, FitData, FitResult


class CourseConfig(Protocol):
    """What the course depends on; the rest of a configuration is the engine's."""

    @property
    def epochs(self) -> int:
        """Passes over the training images."""
        ...

    @property
    def early_stopping(self) -> int | None:
        """Epochs without a lower validation loss after which training ends; None for never."""
        ...

    def model_dump(self) -> dict[str, Any]:
        """All of it, for checkpoints."""
        ...


class Engine(Protocol):
    """A model that trains in one framework.

    What is random in an epoch depends on (seed, epoch) only, so that the weights and the
    optimizer's state are all there is to save between two epochs.
    """

    def train_epoch(self, epoch: int) -> tuple[float, float]:
        """Trains on every training image once, as epoch 1, 2, ...

        Returns:
            Mean loss in nats and accuracy, under the weights each batch met.

        Raises:
            DivergedError: The loss became infinite or no number.
        """
        ...

    def probabilities(self, indices: np.ndarray) -> np.ndarray:
        """Of the images at `indices`, float32 (n, 10)."""
        ...

    def weights(self) -> Weights:
        """A copy of the weights, by their names in torch's state dict."""
        ...

    def load_weights(self, weights: Weights) -> None:
        """Takes what `weights` gave."""
        ...

    def optimizer_state(self) -> Weights:
        """A copy of the optimizer's arrays, under names that only this framework knows."""
        ...

    def load_optimizer_state(self, state: Weights) -> None:
        """Takes what `optimizer_state` gave."""
        ...


def run_fit(
    engine: Engine,
    config: CourseConfig,
    data: FitData,
    seed: int,
    on_epoch: Callable[[EpochEnd], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> FitResult:
    """Trains to the last epoch, or until early stopping ends it, from a checkpoint if given."""
    return _Course(engine, config, data, seed).run(on_epoch, checkpoint)


class _Course:
    def __init__(self, engine: Engine, config: CourseConfig, data: FitData, seed: int) -> None:
        self.engine, self.config, self.data, self.seed = engine, config, data, seed
        validation = data.validation
        self.validation = validation if validation is not None and len(validation) else None
        self.history: list[Row] = []
        self.best_weights: Weights = {}
        self.probability: np.ndarray | None = None

    def run(
        self, on_epoch: Callable[[EpochEnd], None] | None, checkpoint: Checkpoint | None
    ) -> FitResult:
        if checkpoint is not None:
            self.engine.load_weights(checkpoint.weights)
            self.engine.load_optimizer_state(checkpoint.optimizer)
            self.history = list(checkpoint.history)
            self.best_weights = checkpoint.best_weights
            self.probability = checkpoint.probability
        while len(self.history) < self.config.epochs and not self._is_over():
            row = self._epoch(len(self.history) + 1)
            self.history.append(row)
            if self.config.early_stopping and self._is_best():
                self.best_weights = self.engine.weights()
            if on_epoch is not None:
                on_epoch(EpochEnd(row, self._checkpoint))
        if self.best_weights:
            self.engine.load_weights(self.best_weights)
            if self.validation is not None:
                self.probability = self.engine.probabilities(self.validation)
        return FitResult(self.engine.weights(), self.history, self.probability)

    def _epoch(self, epoch: int) -> Row:
        started = time.perf_counter()
        loss, accuracy = self.engine.train_epoch(epoch)
        trained = time.perf_counter()
        row: Row = {"epoch": epoch, "train_loss": loss, "train_accuracy": accuracy}
        if self.validation is not None:
            self.probability = self.engine.probabilities(self.validation)
            labels = self.data.labels[self.validation]
            likelihood = self.probability[np.arange(len(labels)), labels]
            row["validation_loss"] = float(-np.log(np.maximum(likelihood, 1e-12)).mean())
            row["validation_accuracy"] = float((self.probability.argmax(1) == labels).mean())
        row["seconds"] = time.perf_counter() - started
        row["images_per_second"] = len(self.data.train) / (trained - started)
        return row

    def _is_best(self) -> bool:
        return lowest_loss_epoch(self.history) == len(self.history) - 1

    def _is_over(self) -> bool:
        patience = self.config.early_stopping
        if not patience or not self.history or "validation_loss" not in self.history[-1]:
            return False
        return len(self.history) - 1 - lowest_loss_epoch(self.history) >= patience

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            config=self.config.model_dump(),
            seed=self.seed,
            history=list(self.history),
            weights=self.engine.weights(),
            optimizer=self.engine.optimizer_state(),
            best_weights=self.best_weights,
            probability=self.probability,
        )

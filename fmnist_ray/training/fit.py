"""The training loop.

`fit` takes arrays and a configuration and knows nothing of Ray. It is quick on a CPU because it
computes in bf16 where the processor can, keeps images channels-last, pools before activating,
draws dropout masks from whole random words and slices batches from one array.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from fmnist_ray.dataset.augmentation import augment
from fmnist_ray.errors import DivergedError
from fmnist_ray.models.dropout import reseed_dropout
from fmnist_ray.models.torch_models import build_model
from fmnist_ray.training.checkpoint import Checkpoint, Row, lowest_loss_epoch
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.optimizers import (
    build_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
)
from fmnist_ray.training.precision import (
    Precision,
    PrecisionChoice,
    autocast,
    prepare_batch,
    resolve_precision,
)
from fmnist_ray.training.schedules import learning_rate_factor

_VALIDATION_BATCH = 500
# Streams of random numbers, one for each use, so that turning one on changes no other.
_SHUFFLE, _DROPOUT, _AUGMENT = 1, 2, 3


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
        weights: State dict: the last, or with early stopping those of the lowest validation loss.
        history: A row per epoch.
        probability: Of the validation images under the weights, float32 (n, 10), or None.
    """

    weights: dict[str, torch.Tensor]
    history: list[Row]
    probability: np.ndarray | None


def fit(
    config: FitConfig,
    data: FitData,
    seed: int,
    device: Device | None = None,
    on_epoch: Callable[[EpochEnd], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> FitResult:
    """Trains a model.

    The same seed, threads, precision and build give the same weights bit for bit, also when
    training goes on from a checkpoint: what is random in an epoch depends on (seed, epoch) only.

    Args:
        config: The model and its training.
        data: Images and indices.
        seed: Of initial weights, shuffles, dropout and augmentation.
        device: Where to compute; the CPU with one thread by default.
        on_epoch: Called after each epoch in every worker.
        checkpoint: State to go on from; its configuration should be this one.

    Raises:
        DivergedError: The training loss became infinite or no number.
    """
    return _Fit(config, data, seed, device or Device()).run(on_epoch, checkpoint)


class _Fit:
    def __init__(self, config: FitConfig, data: FitData, seed: int, device: Device) -> None:
        self.config, self.seed, self.device = config, seed, device
        torch.set_num_threads(max(1, device.threads))
        self.precision: Precision = resolve_precision(device.precision, device.name)
        self.images = _wrapped(data.images).to(device.name).unsqueeze(1)
        self.labels = torch.from_numpy(data.labels.astype(np.int64)).to(device.name)
        self.train = np.asarray(data.train, np.int64)
        self.validation = (
            np.asarray(data.validation, np.int64) if data.validation is not None else None
        )
        self.module = build_model(config.architecture, seed).to(device.name)
        self.module = self.module.to(memory_format=torch.channels_last)
        # With several workers this wraps the module and averages gradients between them.
        self.parallel: nn.Module = self.module
        if device.workers > 1:
            self.parallel = nn.parallel.DistributedDataParallel(self.module)
        self.optimizer = build_optimizer(config, self.module.parameters())
        self.history: list[Row] = []
        self.best_weights: dict[str, torch.Tensor] = {}
        self.probability: np.ndarray | None = None

    def run(
        self, on_epoch: Callable[[EpochEnd], None] | None, checkpoint: Checkpoint | None
    ) -> FitResult:
        if checkpoint is not None:
            self._restore(checkpoint)
        while len(self.history) < self.config.epochs and not self._is_over():
            row = self._epoch(len(self.history) + 1)
            self.history.append(row)
            if self.config.early_stopping and self._is_best():
                self.best_weights = _copied(self.module.state_dict())
            if on_epoch is not None:
                on_epoch(EpochEnd(row, self._checkpoint))
        if self.best_weights:
            self.module.load_state_dict(self.best_weights)
            if self.validation is not None:
                self.probability = self._validate(self.validation)
        return FitResult(_copied(self.module.state_dict()), self.history, self.probability)

    def _epoch(self, epoch: int) -> Row:
        started = time.perf_counter()
        loss, accuracy = self._train_epoch(epoch)
        trained = time.perf_counter()
        row: Row = {"epoch": epoch, "train_loss": loss, "train_accuracy": accuracy}
        if self.validation is not None and len(self.validation):
            self.probability = self._validate(self.validation)
            chosen = self.labels.cpu().numpy()[self.validation]
            likelihood = self.probability[np.arange(len(chosen)), chosen]
            row["validation_loss"] = float(-np.log(np.maximum(likelihood, 1e-12)).mean())
            row["validation_accuracy"] = float((self.probability.argmax(1) == chosen).mean())
        row["seconds"] = time.perf_counter() - started
        row["images_per_second"] = len(self.train) / (trained - started)
        return row

    def _train_epoch(self, epoch: int) -> tuple[float, float]:
        config, device = self.config, self.device
        self.parallel.train()
        reseed_dropout(
            self.module, np.random.SeedSequence([self.seed, epoch, _DROPOUT, device.rank])
        )
        if device.name != "cpu":
            torch.manual_seed(_derived(self.seed, epoch, _DROPOUT, device.rank))
        generator = torch.Generator().manual_seed(_derived(self.seed, epoch, _AUGMENT, device.rank))
        order = np.random.default_rng([self.seed, epoch, _SHUFFLE]).permutation(self.train)
        batches = list(_batches(order, config.batch_size, device.workers))
        steps_before, steps = (epoch - 1) * len(batches), config.epochs * len(batches)
        totals = torch.zeros(2, dtype=torch.float64, device=device.name)
        for at, batch in enumerate(batches):
            factor = learning_rate_factor(config.schedule, steps_before + at, steps)
            for group in self.optimizer.param_groups:
                group["lr"] = config.learning_rate * factor
            # Each worker takes every n-th image of the batch, so that the step is over one
            # batch whatever their number.
            mine = torch.from_numpy(batch[device.rank :: device.workers]).to(device.name)
            images, labels = self.images[mine], self.labels[mine]
            if config.augmentation.any:
                images = augment(images, config.augmentation, generator)
            with autocast(device.name, self.precision):
                logits = self.parallel(prepare_batch(images, self.precision))
            logits = logits.float()
            loss = functional.cross_entropy(
                logits, labels, label_smoothing=config.label_smoothing, reduction="sum"
            )
            # DistributedDataParallel averages over workers; their shares may differ by one image.
            (loss * (device.workers / len(batch))).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.optimizer.zero_grad()
            with torch.no_grad():
                totals += torch.stack([loss.detach(), (logits.argmax(1) == labels).sum()])
        if device.workers > 1:
            torch.distributed.all_reduce(totals)
        total_loss, correct = totals.tolist()
        if not math.isfinite(total_loss):
            raise DivergedError(
                f"the training loss became {total_loss} in epoch {epoch} "
                f"({config.optimizer}, learning rate {config.learning_rate:g})"
            )
        return total_loss / len(self.train), correct / len(self.train)

    def _validate(self, indices: np.ndarray) -> np.ndarray:
        """Probabilities (n, 10) of the images at `indices`, each worker computing its share."""
        self.module.eval()
        device = self.device
        result = torch.zeros(len(indices), 10, device=device.name)
        bounds = np.linspace(0, len(indices), device.workers + 1).astype(int)
        first, last = bounds[device.rank], bounds[device.rank + 1]
        with torch.inference_mode():
            for start in range(first, last, _VALIDATION_BATCH):
                stop = min(start + _VALIDATION_BATCH, last)
                chosen = torch.from_numpy(indices[start:stop]).to(device.name)
                with autocast(device.name, self.precision):
                    logits = self.module(prepare_batch(self.images[chosen], self.precision))
                result[start:stop] = logits.float().softmax(1)
        if device.workers > 1:
            torch.distributed.all_reduce(result)
        return result.cpu().numpy()

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
            weights=_copied(self.module.state_dict()),
            optimizer=_copied(optimizer_tensors(self.optimizer)),
            best_weights=self.best_weights,
            probability=self.probability,
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.module.load_state_dict(checkpoint.weights)
        load_optimizer_tensors(self.optimizer, checkpoint.optimizer)
        self.history = list(checkpoint.history)
        self.best_weights = checkpoint.best_weights
        self.probability = checkpoint.probability


def _batches(order: np.ndarray, size: int, workers: int) -> Iterator[np.ndarray]:
    """Slices of `order`; a last one too small for the workers joins the one before."""
    starts = list(range(0, len(order), size))
    if len(starts) > 1 and len(order) - starts[-1] < 2 * workers:
        starts.pop()
    for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
        yield order[start:stop]


def _derived(*key: int) -> int:
    return int(np.random.SeedSequence(list(key)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _wrapped(images: np.ndarray) -> torch.Tensor:
    """The array as a tensor without a copy; torch warns of read-only memory, we never write."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(images)


def _copied(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in weights.items()}

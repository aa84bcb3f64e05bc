"""Trains the last blocks of a VGG backbone on, together with the output layer.

The output layer comes in trained on the unchanged features, so that its first steps do not spoil
them (Kumar et al. 2022, arXiv:2202.10054).
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from fmnist_ray.dataset.augmentation import Augmentation, augment
from fmnist_ray.errors import DivergedError
from fmnist_ray.evaluation.metrics import accuracy as accuracy_of
from fmnist_ray.evaluation.metrics import negative_log_likelihood
from fmnist_ray.models.config import Weights
from fmnist_ray.models.vgg import TransferConfig, block_start
from fmnist_ray.models.vgg_torch import build_features, to_backbone_input
from fmnist_ray.training.checkpoint import Checkpoint, Row
from fmnist_ray.training.config import Precision
from fmnist_ray.training.contract import Device, EpochEnd, FitData
from fmnist_ray.training.head import CLASSES
from fmnist_ray.training.optimizers import load_optimizer_tensors, optimizer_tensors
from fmnist_ray.training.precision import autocast, resolve_precision
from fmnist_ray.training.schedules import learning_rate_factor

_BATCH = 125
_SHUFFLE, _AUGMENT = 1, 2


class FinetuneConfig(TransferConfig):
    """A classifier on a backbone, and how its last blocks are trained.

    Attributes:
        learning_rate: Of the blocks; the peak of the one-cycle schedule.
        head_learning_rate: Of the output layer, likewise.
        weight_decay: Decoupled, as in AdamW.
        batch_size: Images per step.
        epochs: Passes over the training images.
        shift_pixels: Training images are moved by up to this many pixels each way.
        flip: Every second one is mirrored.
    """

    learning_rate: float = Field(default=0.0002, gt=0.0)
    head_learning_rate: float = Field(default=0.001, gt=0.0)
    weight_decay: float = Field(default=0.01, ge=0.0)
    batch_size: int = Field(default=128, ge=1)
    epochs: int = Field(default=20, ge=1)
    shift_pixels: int = Field(default=2, ge=0)
    flip: bool = True

    @property
    def architecture(self) -> TransferConfig:
        """The classifier alone."""
        return TransferConfig(**{k: getattr(self, k) for k in TransferConfig.model_fields})


@dataclass(frozen=True)
class Start:
    """What training begins from.

    Attributes:
        convolutions: The backbone's.
        head: `head.weight` and `head.bias`, see `head.Head`.
    """

    convolutions: Weights
    head: Weights


class FinetuneFit:
    """One such training; what is random in an epoch depends on (seed, epoch) only.

    Args:
        config: The classifier and its training.
        start: Where it begins.
        data: Images and indices.
        seed: Of shuffles and augmentation.
        device: Where to compute.
    """

    def __init__(
        self, config: FinetuneConfig, start: Start, data: FitData, seed: int, device: Device
    ) -> None:
        self.config, self.data, self.seed, self.device = config, data, seed, device
        torch.set_num_threads(max(1, device.threads))
        self.precision: Precision = resolve_precision(device.precision, device.name)
        features = build_features(config.backbone, start.convolutions).to(device.name)
        first = block_start(config.backbone, config.unfrozen)
        # What stays as it is computes without autocast's casting of its weights in each step.
        self.frozen = features[:first].requires_grad_(False)
        if self.precision == "bf16":
            self.frozen = self.frozen.bfloat16()
        self.blocks = features[first:]
        self.head = nn.Linear(config.features, CLASSES).to(device.name)
        # A slice keeps the names that its layers have in the whole.
        self.own: dict[str, nn.Parameter] = {
            f"features.{name}": each for name, each in self.blocks.named_parameters()
        }
        self.own |= {f"head.{name}": each for name, each in self.head.named_parameters()}
        self._load(start.head)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": list(self.blocks.parameters()), "peak": config.learning_rate},
                {"params": list(self.head.parameters()), "peak": config.head_learning_rate},
            ],
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.history: list[Row] = []

    def run(
        self,
        on_epoch: Callable[[EpochEnd], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> list[Row]:
        """Trains to the end, from the checkpoint if there is one.

        Returns:
            A row per epoch.

        Raises:
            DivergedError: The training loss became infinite or no number.
        """
        if checkpoint is not None:
            self._load(checkpoint.weights)
            tensors = {k: torch.from_numpy(np.array(v)) for k, v in checkpoint.optimizer.items()}
            load_optimizer_tensors(self.optimizer, tensors)
            self.history = list(checkpoint.history)
        while len(self.history) < self.config.epochs:
            self.history.append(self._epoch(len(self.history) + 1))
            if on_epoch is not None:
                on_epoch(EpochEnd(self.history[-1], self._checkpoint))
        return self.history

    def weights(self) -> Weights:
        """What was trained: the head and the unfrozen convolutions."""
        return {
            name: np.array(each.detach().cpu().numpy(), order="C")
            for name, each in self.own.items()
        }

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Class probabilities (n, 10) of uint8 images (n, 28, 28)."""
        self.blocks.eval()
        parts = []
        with torch.inference_mode():
            for start in range(0, len(images), _BATCH):
                batch = torch.from_numpy(images[start : start + _BATCH].copy())
                logits = self._logits(batch.unsqueeze(1).to(self.device.name))
                parts.append(logits.softmax(1).cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, CLASSES), np.float32)

    def _epoch(self, epoch: int) -> Row:
        started = time.perf_counter()
        loss, accuracy = self._train_epoch(epoch)
        trained = time.perf_counter()
        row: Row = {"epoch": epoch, "train_loss": loss, "train_accuracy": accuracy}
        validation = self.data.validation
        if validation is not None and len(validation):
            probability = self.predict(self.data.images[validation])
            labels = self.data.labels[validation]
            row["validation_loss"] = negative_log_likelihood(labels, probability)
            row["validation_accuracy"] = accuracy_of(labels, probability)
        row["seconds"] = time.perf_counter() - started
        row["images_per_second"] = len(self.data.train) / (trained - started)
        return row

    def _train_epoch(self, epoch: int) -> tuple[float, float]:
        config = self.config
        self.blocks.train()
        generator = torch.Generator().manual_seed(_derived(self.seed, epoch, _AUGMENT))
        augmentation = Augmentation(shift_pixels=config.shift_pixels, flip=config.flip)
        order = np.random.default_rng([self.seed, epoch, _SHUFFLE]).permutation(self.data.train)
        starts = range(0, len(order), config.batch_size)
        steps = config.epochs * len(starts)
        total_loss, correct = 0.0, 0
        for at, first in enumerate(starts, start=(epoch - 1) * len(starts)):
            factor = learning_rate_factor("one_cycle", at, steps)
            for group in self.optimizer.param_groups:
                group["lr"] = group["peak"] * factor
            batch = order[first : first + config.batch_size]
            images = augment(
                torch.from_numpy(self.data.images[batch]).unsqueeze(1), augmentation, generator
            )
            labels = torch.from_numpy(self.data.labels[batch].astype(np.int64))
            labels = labels.to(self.device.name)
            logits = self._logits(images.to(self.device.name))
            loss = functional.cross_entropy(logits, labels)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.optimizer.zero_grad()
            total_loss += float(loss.detach()) * len(batch)
            correct += int((logits.argmax(1) == labels).sum())
        if not math.isfinite(total_loss):
            raise DivergedError(
                f"the training loss became {total_loss} in epoch {epoch} (fine-tuning, learning "
                f"rate {config.learning_rate:g})"
            )
        return total_loss / len(order), correct / len(order)

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        inputs = to_backbone_input(images.float() / 255, self.config.input_size)
        with torch.no_grad():
            hidden = self.frozen(inputs.bfloat16() if self.precision == "bf16" else inputs)
        with autocast(self.device.name, self.precision):
            features = self.blocks(hidden).flatten(1)
        logits: torch.Tensor = self.head(features.float())
        return logits

    def _load(self, weights: Mapping[str, np.ndarray]) -> None:
        with torch.no_grad():
            for name, value in weights.items():
                self.own[name].copy_(torch.from_numpy(np.array(value)))

    def _checkpoint(self) -> Checkpoint:
        optimizer = {
            name: np.array(each.detach().cpu().numpy(), order="C")
            for name, each in optimizer_tensors(self.optimizer).items()
        }
        config: dict[str, Any] = self.config.model_dump()
        return Checkpoint(config, self.seed, list(self.history), self.weights(), optimizer)


def _derived(*key: int) -> int:
    return int(np.random.SeedSequence(list(key)).generate_state(1, np.uint64)[0] >> np.uint64(1))

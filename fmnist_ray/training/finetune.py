"""Trains the last blocks of a VGG backbone on, together with the output layer.

The output layer comes in trained on the unchanged features, so that its first steps do not spoil
them (Kumar et al. 2022, arXiv:2202.10054).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from fmnist_ray.dataset.augmentation import Augmentation, augment
from fmnist_ray.errors import DivergedError
from fmnist_ray.models.config import Weights
from fmnist_ray.models.vgg import TransferConfig, block_start
from fmnist_ray.models.vgg_torch import build_features, to_backbone_input
from fmnist_ray.training.config import Precision, ScheduleName
from fmnist_ray.training.contract import Device, FitData
from fmnist_ray.training.head import CLASSES
from fmnist_ray.training.optimizers import Optimizer
from fmnist_ray.training.precision import autocast, resolve_precision
from fmnist_ray.training.steps import AUGMENT, epoch_steps

_BATCH = 125


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
        early_stopping: As of `FitConfig`.
    """

    learning_rate: float = Field(default=0.0002, gt=0.0)
    head_learning_rate: float = Field(default=0.001, gt=0.0)
    weight_decay: float = Field(default=0.01, ge=0.0)
    batch_size: int = Field(default=128, ge=1)
    epochs: int = Field(default=20, ge=1)
    shift_pixels: int = Field(default=2, ge=0)
    flip: bool = True
    early_stopping: int | None = Field(default=None, ge=1)

    @property
    def schedule(self) -> ScheduleName:
        """Of both learning rates."""
        return "one_cycle"

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


class FinetuneEngine:
    """Trains them in torch; see `training.loop.Engine`. Its weights are those that it trains.

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
        self.load_weights(start.head)
        decay = config.weight_decay
        self.optimizers = {
            "blocks": Optimizer("adamw", self.blocks.parameters(), weight_decay=decay),
            "head": Optimizer("adamw", self.head.parameters(), weight_decay=decay),
        }

    def weights(self) -> Weights:
        """What was trained: the head and the unfrozen convolutions."""
        return {
            name: np.array(each.detach().cpu().numpy(), order="C")
            for name, each in self.own.items()
        }

    def load_weights(self, weights: Weights) -> None:
        with torch.no_grad():
            for name, value in weights.items():
                self.own[name].copy_(torch.from_numpy(np.array(value)))

    def optimizer_state(self) -> Weights:
        return {
            f"{part}/{name}": np.array(each.detach().cpu().numpy(), order="C")
            for part, optimizer in self.optimizers.items()
            for name, each in optimizer.tensors().items()
        }

    def load_optimizer_state(self, state: Weights) -> None:
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
        for part, optimizer in self.optimizers.items():
            mine = f"{part}/"
            optimizer.load_tensors(
                {k.removeprefix(mine): v for k, v in tensors.items() if k.startswith(mine)}
            )

    def probabilities(self, indices: np.ndarray) -> np.ndarray:
        return self.predict(self.data.images[indices])

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

    def train_epoch(self, epoch: int) -> tuple[float, float]:
        config = self.config
        self.blocks.train()
        generator = np.random.default_rng([self.seed, epoch, AUGMENT])
        augmentation = Augmentation(shift_pixels=config.shift_pixels, flip=config.flip)
        steps = epoch_steps(config, self.data.train, self.seed, epoch)
        total_loss, correct = 0.0, 0
        for batch, factor in steps:
            images = augment(
                torch.from_numpy(self.data.images[batch]).unsqueeze(1), augmentation, generator
            )
            labels = torch.from_numpy(self.data.labels[batch].astype(np.int64))
            labels = labels.to(self.device.name)
            logits = self._logits(images.to(self.device.name))
            loss = functional.cross_entropy(logits, labels)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizers["blocks"].step(config.learning_rate * factor)
            self.optimizers["head"].step(config.head_learning_rate * factor)
            total_loss += float(loss.detach()) * len(batch)
            correct += int((logits.argmax(1) == labels).sum())
        if not math.isfinite(total_loss):
            raise DivergedError(
                f"the training loss became {total_loss} in epoch {epoch} (fine-tuning, learning "
                f"rate {config.learning_rate:g})"
            )
        return total_loss / len(steps.order), correct / len(steps.order)

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        inputs = to_backbone_input(images.float() / 255, self.config.input_size)
        with torch.no_grad():
            hidden = self.frozen(inputs.bfloat16() if self.precision == "bf16" else inputs)
        with autocast(self.device.name, self.precision):
            features = self.blocks(hidden).flatten(1)
        logits: torch.Tensor = self.head(features.float())
        return logits

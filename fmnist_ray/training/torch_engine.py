"""Training in torch.

It is quick on a CPU because it computes in bf16 where the processor can, keeps images
channels-last, pools before activating, draws dropout masks from whole random words and slices
batches from one array.
"""

import math
import warnings

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from fmnist_ray.dataset.augmentation import augment
from fmnist_ray.errors import DivergedError
from fmnist_ray.models.config import Weights
from fmnist_ray.models.dropout import reseed_dropout
from fmnist_ray.models.torch_models import build_model
from fmnist_ray.training.config import FitConfig, Precision
from fmnist_ray.training.contract import Device, FitData
from fmnist_ray.training.optimizers import Optimizer
from fmnist_ray.training.precision import (
    autocast,
    prepare_batch,
    resolve_precision,
)
from fmnist_ray.training.steps import AUGMENT, DROPOUT, epoch_steps

_VALIDATION_BATCH = 500


class TorchEngine:
    """A model that trains in torch; see `training.loop.Engine`.

    Several workers, each with its `rank`, train one model; `torch.distributed` must be
    initialised for them.
    """

    def __init__(self, config: FitConfig, data: FitData, seed: int, device: Device) -> None:
        self.config, self.seed, self.device = config, seed, device
        torch.set_num_threads(max(1, device.threads))
        self.precision: Precision = resolve_precision(device.precision, device.name)
        self.images = _wrapped(data.images).to(device.name).unsqueeze(1)
        self.labels = torch.from_numpy(data.labels.astype(np.int64)).to(device.name)
        self.train = np.asarray(data.train, np.int64)
        self.module = build_model(config.architecture, seed).to(device.name)
        self.module = self.module.to(memory_format=torch.channels_last)
        # With several workers this wraps the module and averages gradients between them.
        self.parallel: nn.Module = self.module
        if device.workers > 1:
            self.parallel = nn.parallel.DistributedDataParallel(self.module)
        self.optimizer = Optimizer(
            config.optimizer,
            self.module.parameters(),
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )

    def train_epoch(self, epoch: int) -> tuple[float, float]:
        config, device = self.config, self.device
        self.parallel.train()
        drops = np.random.SeedSequence([self.seed, epoch, DROPOUT, device.rank])
        reseed_dropout(self.module, drops)
        if device.name != "cpu":
            torch.manual_seed(int(drops.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        generator = np.random.default_rng([self.seed, epoch, AUGMENT, device.rank])
        steps = epoch_steps(config, self.train, self.seed, epoch, device.workers)
        totals = torch.zeros(2, dtype=torch.float64, device=device.name)
        for batch, factor in steps:
            # Each worker takes every n-th image of the batch, so that the step is over one
            # batch whatever their number.
            mine = torch.from_numpy(batch[device.rank :: device.workers]).to(device.name)
            # Copies whole rows; indexing by a tensor goes value by value.
            images, labels = self.images.index_select(0, mine), self.labels.index_select(0, mine)
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
            self.optimizer.step(config.learning_rate * factor)
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

    def probabilities(self, indices: np.ndarray) -> np.ndarray:
        """Of the images at `indices`, (n, 10), each worker computing its share."""
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
                    logits = self.module(
                        prepare_batch(self.images.index_select(0, chosen), self.precision)
                    )
                result[start:stop] = logits.float().softmax(1)
        if device.workers > 1:
            torch.distributed.all_reduce(result)
        return result.cpu().numpy()

    def weights(self) -> Weights:
        return _copied(self.module.state_dict())

    def load_weights(self, weights: Weights) -> None:
        self.module.load_state_dict(_as_tensors(weights))

    def optimizer_state(self) -> Weights:
        return _copied(self.optimizer.tensors())

    def load_optimizer_state(self, state: Weights) -> None:
        self.optimizer.load_tensors(_as_tensors(state))


def _wrapped(images: np.ndarray) -> torch.Tensor:
    """The array as a tensor without a copy; torch warns of read-only memory, we never write."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(images)


def _copied(tensors: dict[str, torch.Tensor]) -> Weights:
    # In the plain order, whatever the layout in memory; a copy even where that is plain.
    return {
        name: np.array(each.detach().cpu().numpy(), order="C") for name, each in tensors.items()
    }


def _as_tensors(weights: Weights) -> dict[str, torch.Tensor]:
    # Copied, since the arrays may be read-only views of a file.
    return {name: torch.from_numpy(np.array(each)) for name, each in weights.items()}

"""bf16 where the hardware computes with it, else fp32."""

from contextlib import AbstractContextManager, nullcontext

import torch

from fmnist_ray.dataset.preparation import TRAIN_MEAN, TRAIN_STD
from fmnist_ray.machine import cpu_has_bf16
from fmnist_ray.training.config import Precision, PrecisionChoice


def resolve_precision(choice: PrecisionChoice, device: str) -> Precision:
    """The precision to use: `auto` is bf16 on CUDA and CPUs with bf16 arithmetic, else fp32."""
    if choice != "auto":
        return choice
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if cpu_has_bf16() else "fp32"


def autocast(device: str, precision: Precision) -> AbstractContextManager[object]:
    """Runs a forward pass in the precision; weights stay fp32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.partition(":")[0], dtype=torch.bfloat16)


def prepare_batch(images: torch.Tensor, precision: Precision) -> torch.Tensor:
    """uint8 images (n, 1, 28, 28) normalised by the training mean and deviation."""
    # Scaled in float32: bf16 holds pixel values to 8 bits, but not their difference to the mean.
    values = images.float().sub_(TRAIN_MEAN * 255).div_(TRAIN_STD * 255)
    return values.bfloat16() if precision == "bf16" else values

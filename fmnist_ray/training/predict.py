"""Probabilities of a trained model for many images."""

import ctypes
import sys
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import nn

from fmnist_ray.models.ensemble import Ensemble
from fmnist_ray.training.config import Precision
from fmnist_ray.training.precision import autocast, prepare_batch

# Activations of a larger batch outgrow the cache; of a smaller one, the DNN and the ResNet are slower.
_BATCH = 64
_CUDA_BATCH = 2000
# Of `mallopt` in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 256 * 2**20


def predict(
    module: nn.Module,
    images: np.ndarray,
    *,
    precision: Precision = "fp32",
    device: str = "cpu",
) -> np.ndarray:
    """Class probabilities.

    Args:
        module: Gives logits (n, 10) for normalised images (n, 1, 28, 28). Its kernels are laid out
            with channels last hereafter, their values stay.
        images: uint8, (n, 28, 28).
        precision: Of the forward pass; probabilities are float32 in either.
        device: Where `module` is.

    Returns:
        float32, (n, 10), rows sum to 1.
    """
    probability: np.ndarray = _predict([module], images, precision, device)[0]
    return probability


def predict_members(
    module: nn.Module,
    images: np.ndarray,
    *,
    precision: Precision = "fp32",
    device: str = "cpu",
) -> np.ndarray:
    """Class probabilities of each member of an ensemble, whose own are their mean.

    Args:
        module: As for `predict`; one that is no ensemble is its own only member.
        images: uint8, (n, 28, 28).
        precision: As for `predict`.
        device: Where `module` is.

    Returns:
        float32, (members, n, 10), in the order of the ensemble.
    """
    members = list(module.members.values()) if isinstance(module, Ensemble) else [module]
    return _predict(members, images, precision, device)


@cache
def _keep_freed_memory() -> None:
    """Has the C library keep what it frees for the next batch, up to 256 MiB.

    It gives the memory of activations back to the system after each batch by default, and to have
    it cleared anew for the next takes two thirds of the time: of the CNN on two cores 10,000
    images a second instead of 30,000.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # there is none in musl
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def _predict(
    modules: Sequence[nn.Module], images: np.ndarray, precision: Precision, device: str
) -> np.ndarray:
    """float32 (modules, n, 10)."""
    _keep_freed_memory()
    # As in training: on a CPU convolutions take a third of the time with channels last.
    for module in modules:
        module.eval().to(memory_format=torch.channels_last)
    parts = []
    with torch.inference_mode():
        size = _CUDA_BATCH if device.startswith("cuda") else _BATCH
        for start in range(0, len(images), size):
            # A copy, since the images may be read-only memory that torch cannot wrap.
            batch = torch.from_numpy(images[start : start + size].copy()).to(device)
            with autocast(device, precision):
                prepared = prepare_batch(batch.unsqueeze(1), precision)
                logits = torch.stack([module(prepared) for module in modules])
            parts.append(logits.float().softmax(dim=2).cpu().numpy())
    if not parts:
        return np.zeros((len(modules), 0, 10), np.float32)
    return np.concatenate(parts, axis=1)

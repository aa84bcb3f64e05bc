"""Dropout whose masks cost little on a CPU.

torch's `bernoulli_` draws one number at a time and takes 40 % of a CNN's training step on a
CPU. Here a fast counter-free generator fills whole words of random bits, and each byte
decides one value, so the rate is rounded to a multiple of 1/256 (0.25 and 0.5 are exact).
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn


class Dropout(nn.Module):
    """Drops values at a rate during training and scales the others to keep the mean.

    On a CPU the masks come from a generator of this module's own, which `reseed` sets; on
    other devices from torch's generator of that device.

    Args:
        rate: Share of values dropped, in [0, 1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self._threshold = min(round(rate * 256), 255)
        self._scale = 256 / (256 - self._threshold)
        self._bits = np.random.SFC64(0)

    def reseed(self, seed: np.random.SeedSequence) -> None:
        """Sets the masks that follow."""
        self._bits = np.random.SFC64(seed)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training or self._threshold == 0:
            return values
        if values.device.type != "cpu":
            return nn.functional.dropout(values, self.rate)
        mask = self._mask(values.numel(), values.dtype)
        # Laid out like the values, so that the multiplication runs over both without striding.
        mask = (
            mask.as_strided(values.shape, values.stride())
            if _is_dense(values)
            else mask.view_as(values)
        )
        product: torch.Tensor = _Mask.apply(values, mask)
        return product

    def _mask(self, count: int, dtype: torch.dtype) -> torch.Tensor:
        """So many values, each 0 or what keeps the mean.

        Made from integers, by NumPy: ones times the number that has the bits of the scale. torch
        would take twenty times as long from bytes to comparisons to floats.
        """
        words = self._bits.random_raw((count + 7) // 8)
        kept = words.view(np.uint8)[:count] >= self._threshold
        bits = _bits_of(self._scale, dtype)
        scaled = kept.astype(bits.dtype)
        scaled *= bits
        return torch.from_numpy(scaled).view(dtype)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def reseed_dropout(module: nn.Module, seed: np.random.SeedSequence) -> None:
    """Gives every `Dropout` below `module` a stream of its own, derived from `seed`."""
    dropouts = [each for each in module.modules() if isinstance(each, Dropout)]
    for dropout, child in zip(dropouts, seed.spawn(len(dropouts)), strict=True):
        dropout.reseed(child)


@cache
def _bits_of(value: float, dtype: torch.dtype) -> np.unsignedinteger[Any]:
    """The number in a floating-point type, as the unsigned integer of the same bits."""
    unsigned = {2: torch.uint16, 4: torch.uint32, 8: torch.uint64}[dtype.itemsize]
    found: np.unsignedinteger[Any] = torch.tensor([value], dtype=dtype).view(unsigned).numpy()[0]
    return found


def _is_dense(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last)


class _Mask(torch.autograd.Function):
    """values * mask, keeping only the mask for the backward pass."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(mask)
        return values * mask

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (mask,) = ctx.saved_tensors
        return gradient * mask, None

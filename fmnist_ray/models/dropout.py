"""Dropout whose masks cost little on a CPU.

torch's `bernoulli_` draws one number at a time and takes 40 % of a CNN's training step on a
CPU. Here a fast counter-free generator fills whole words of random bits, and each byte
decides one value, so the rate is rounded to a multiple of 1/256 (0.25 and 0.5 are exact).
"""

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
        count = values.numel()
        words = self._bits.random_raw((count + 7) // 8)
        bits = torch.from_numpy(words.view(np.uint8))[:count]
        # empty_like keeps the memory order, so the mask is laid out like the values and the
        # multiplication below runs over both without striding.
        mask = torch.empty_like(values)
        in_memory_order = mask.as_strided((count,), (1,)) if _is_dense(mask) else mask.view(-1)
        in_memory_order.copy_(bits >= self._threshold).mul_(self._scale)
        product: torch.Tensor = _Mask.apply(values, mask)
        return product

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def reseed_dropout(module: nn.Module, seed: np.random.SeedSequence) -> None:
    """Gives every `Dropout` below `module` a stream of its own, derived from `seed`."""
    dropouts = [each for each in module.modules() if isinstance(each, Dropout)]
    for dropout, child in zip(dropouts, seed.spawn(len(dropouts)), strict=True):
        dropout.reseed(child)


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

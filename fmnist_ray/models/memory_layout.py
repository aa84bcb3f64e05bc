"""Layers that keep gradients in the order of channels-last images, in which a CPU is quickest."""

from typing import Any

import torch
from torch import nn


class Flatten(nn.Flatten):
    """Makes images vectors; their gradient comes back channels-last if they were so.

    As torch has it the gradient would come back channels-first, and each layer before would have to
    walk over two orders at once.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or not input.is_contiguous(memory_format=torch.channels_last):
            return super().forward(input)
        flat: torch.Tensor = _Flatten.apply(input)
        return flat


class _Flatten(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: torch.Tensor) -> torch.Tensor:
        ctx.shape = images.shape
        return images.flatten(1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.view(ctx.shape).contiguous(memory_format=torch.channels_last)

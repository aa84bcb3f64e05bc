"""Maximum pooling over pairs, in bf16 on a CPU quicker than torch's over windows."""

from typing import Any

import torch
from torch import nn

# The bits of bf16's; above it are, up to zero, NaNs with a minus sign, which a ReLU keeps.
_MINUS_INFINITY = -128


class MaxPoolOfConvolution(nn.MaxPool2d):
    """The largest of each two by two values of a convolution's result, **which it overwrites**.

    torch notes for every result where it came from, in eight bytes, and scatters gradients there
    one by one. In bf16 on a CPU this takes the larger of two rows, then of two columns, notes in
    place which it was, and the gradient goes the same way back: whole rows of channels at a time,
    in the same memory. Of equal values one gets the gradient. A convolution's result can be
    overwritten since its own gradient needs its input alone; most other layers' cannot. In fp32,
    twice the memory, torch's way is no slower.

    All of it is done on the values' bits as whole numbers, which a CPU compares and multiplies
    three times as fast as bf16. These have the order of the values, but for two negative ones. A
    NaN that has a minus sign loses against numbers, so only four of them stay one.

    Args:
        relu: Applies ReLU, too. It makes zero of negative values, so their order does not matter.
    """

    def __init__(self, relu: bool = False) -> None:
        super().__init__(2)
        self.relu = relu

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        quick = input.dtype == torch.bfloat16 and input.device.type == "cpu"
        if not quick or not input.is_contiguous(memory_format=torch.channels_last):
            pooled = nn.functional.max_pool2d(input, 2)
            return nn.functional.relu(pooled) if self.relu else pooled
        quickly: torch.Tensor = _Pooled.apply(input.permute(0, 2, 3, 1), self.relu)
        return quickly.permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        return f"relu={self.relu}"


class _Pooled(torch.autograd.Function):
    """Of images (n, height, width, channels); a last odd row or column is left out."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, relu: bool) -> torch.Tensor:
        bits = images.detach().view(torch.int16)
        if not relu:
            _order(bits)
        rows = _larger(bits, 1)
        result = _larger(rows, 2)
        if relu:
            torch.threshold_(result, _MINUS_INFINITY, 0)
            ctx.save_for_backward(bits, rows, result)
        else:
            _order(result)
            ctx.save_for_backward(bits, rows)
        return result.view(images.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        bits, rows, *rectified = ctx.saved_tensors
        given = gradient.contiguous().view(torch.int16)
        if rectified:
            given = torch.ops.aten.threshold_backward(given, *rectified, 0)
        return _gradient(_gradient(given, rows, 2), bits, 1).view(gradient.dtype), None


def _order(bits: torch.Tensor) -> None:
    """Turns the bits of negative numbers round, which run from zero down, and back again."""
    bits.bitwise_xor_((bits >> 15).bitwise_and_(0x7FFF))


def _pairs(values: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Every first and every second of two along a dimension; no copy."""
    end = values.shape[dim] // 2 * 2
    every_other = [(slice(None),) * dim + (slice(start, end, 2),) for start in (0, 1)]
    return values[every_other[0]], values[every_other[1]]


def _larger(values: torch.Tensor, dim: int) -> torch.Tensor:
    """The larger of pairs; each second becomes 1 where it is that, else 0."""
    first, second = _pairs(values, dim)
    larger = torch.maximum(first, second)
    torch.gt(second, first, out=second)
    return larger


def _gradient(gradient: torch.Tensor, noted: torch.Tensor, dim: int) -> torch.Tensor:
    """That of the larger ones of pairs, given back in place of what `_larger` noted.

    Times 1 or 0, and less either itself or 0, its bits stay what they are.
    """
    first, second = _pairs(noted, dim)
    second.mul_(gradient)
    torch.sub(gradient, second, out=first)
    if noted.shape[dim] % 2:
        noted.select(dim, -1).zero_()
    return noted

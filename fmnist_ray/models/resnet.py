"""A small residual network for 28 x 28 grey images.

Strided convolutions, batch norm, the configured activation, three stages of residual blocks and
global average pooling (after He et al. 2016, https://arxiv.org/abs/1603.05027, and Page's ResNet-9
for the short layout). Of one block a stage, widths 19, 38, 57 and 16, 32, 64 stay below 130,000
parameters.
"""

import torch
from torch import nn


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, added to their input."""

    def __init__(self, channels: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.activation = activation()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        inner = self.activation(self.norm1(self.conv1(values)))
        result: torch.Tensor = self.activation(values + self.norm2(self.conv2(inner)))
        return result


class Stage(nn.Module):
    """A convolution that halves the image if its stride is 2, then residual blocks."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        stride: int,
        blocks: int,
        activation: type[nn.Module],
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.activation = activation()
        self.block = ResidualBlock(channels, activation)
        # Beside the first, which stands under its own name in the models of earlier versions.
        self.more = nn.Sequential(*(ResidualBlock(channels, activation) for _ in range(blocks - 1)))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.more(self.block(self.activation(self.norm(self.conv(values)))))
        return result


class ResNet(nn.Module):
    """Three stages, each at half the pixels of the one before.

    Args:
        widths: Channels of each stage.
        first_stride: 1 has the first stage at 28 pixels, 2 at 14.
        blocks: Residual blocks of each stage.
        classes: Number of logits.
        activation: Module class of the activation.
        dropout: Module applied before the last layer.
    """

    def __init__(
        self,
        widths: tuple[int, int, int],
        first_stride: int,
        blocks: int,
        classes: int,
        activation: type[nn.Module],
        dropout: nn.Module,
    ) -> None:
        super().__init__()
        first, second, third = widths
        self.stage1 = Stage(1, first, first_stride, blocks, activation)
        self.stage2 = Stage(first, second, 2, blocks, activation)
        self.stage3 = Stage(second, third, 2, blocks, activation)
        self.dropout = dropout
        self.output = nn.Linear(third, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = self.stage3(self.stage2(self.stage1(images))).mean(dim=(2, 3))
        logits: torch.Tensor = self.output(self.dropout(values))
        return logits

"""A small residual network for 28 x 28 grey images.

Strided convolutions, batch norm, the configured activation, three stages of one residual
block each and global average pooling (after He et al. 2016, https://arxiv.org/abs/1603.05027,
and Page's ResNet-9 for the short layout). Width 19 stays below 130,000 parameters.
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
    """A strided convolution that halves the image, then a residual block."""

    def __init__(
        self, channels_in: int, channels: int, stride: int, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.activation = activation()
        self.block = ResidualBlock(channels, activation)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.block(self.activation(self.norm(self.conv(values))))
        return result


class ResNet(nn.Module):
    """Three stages of `width`, 2 x `width` and 3 x `width` channels, at 14, 7 and 4 pixels.

    Args:
        width: Channels of the first stage.
        classes: Number of logits.
        activation: Module class of the activation.
        dropout: Module applied before the last layer.
    """

    def __init__(
        self, width: int, classes: int, activation: type[nn.Module], dropout: nn.Module
    ) -> None:
        super().__init__()
        self.stage1 = Stage(1, width, 2, activation)
        self.stage2 = Stage(width, 2 * width, 2, activation)
        self.stage3 = Stage(2 * width, 3 * width, 2, activation)
        self.dropout = dropout
        self.output = nn.Linear(3 * width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = self.stage3(self.stage2(self.stage1(images))).mean(dim=(2, 3))
        logits: torch.Tensor = self.output(self.dropout(values))
        return logits

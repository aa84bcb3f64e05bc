"""Several models as one, whose probabilities are the mean of theirs."""

from collections.abc import Mapping

import torch
from torch import nn


class Ensemble(nn.Module):
    """Averages the probabilities of its members.

    Args:
        members: Modules from images to logits (n, 10), by name.
    """

    def __init__(self, members: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleDict(members)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The logarithm of the mean probabilities: logits like those of any other model."""
        total = sum(member(images).float().softmax(1) for member in self.members.values())
        mean: torch.Tensor = total / len(self.members)
        return mean.clamp_min(torch.finfo(torch.float32).tiny).log()

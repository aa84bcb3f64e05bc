"""Layers that keep gradients channels-last."""

import pytest
import torch
from torch import nn

from fmnist_ray.models.memory_layout import Flatten


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_flattening_is_torchs_and_the_gradient_has_the_layout_of_the_images(
    layout: torch.memory_format,
) -> None:
    images = torch.randn(6, 8, 5, 5).contiguous(memory_format=layout)
    backs = []
    for flatten in (nn.Flatten(), Flatten()):
        leaf = images.clone(memory_format=torch.preserve_format).requires_grad_()
        seen: list[torch.Tensor] = []
        inner = leaf * 1
        inner.register_hook(seen.append)
        flat = flatten(inner)
        assert torch.equal(flat, images.flatten(1))
        (flat * torch.arange(200.0)).sum().backward()
        backs.append(seen[0])
    assert torch.equal(*backs)
    assert backs[1].is_contiguous(memory_format=layout)

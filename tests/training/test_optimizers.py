import subprocess
import sys

import pytest
import torch
from torch import nn

from fmnist_ray.training.config import OPTIMIZER_NAMES
from fmnist_ray.training.optimizers import Optimizer


def theirs(name: str, module: nn.Module, momentum: float, decay: float) -> torch.optim.Optimizer:
    parameters, rate = module.parameters(), 0.01
    match name:
        case "sgd":
            return torch.optim.SGD(
                parameters, rate, momentum, weight_decay=decay, nesterov=momentum > 0
            )
        case "adam":
            return torch.optim.Adam(parameters, rate, weight_decay=decay)
        case "adamw":
            return torch.optim.AdamW(parameters, rate, weight_decay=decay)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, rate, momentum=momentum, weight_decay=decay)
    return torch.optim.NAdam(parameters, rate, weight_decay=decay)


@pytest.mark.parametrize("name", OPTIMIZER_NAMES)
@pytest.mark.parametrize(("momentum", "decay"), [(0.9, 0.0), (0.9, 0.05), (0.0, 0.05)])
def test_it_steps_as_that_of_torch(name: str, momentum: float, decay: float) -> None:
    torch.manual_seed(0)
    mine = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    other = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    mine.to(memory_format=torch.channels_last)
    other.load_state_dict(mine.state_dict())
    optimizer = Optimizer(name, mine.parameters(), momentum=momentum, weight_decay=decay)
    reference = theirs(name, other, momentum, decay)
    for step in range(12):
        rate = 0.01 / (step + 1)
        inputs = torch.randn(8, 1, 4, 4)
        for module in (mine, other):
            module(inputs).square().sum().backward()
        optimizer.step(rate)
        assert all(each.grad is None for each in mine.parameters())
        reference.param_groups[0]["lr"] = rate
        reference.step()
        reference.zero_grad()
    for found, expected in zip(mine.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_fit_does_not_import_the_compiler_of_torch() -> None:
    code = """
import sys
import numpy as np
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.contract import FitData
from fmnist_ray.training.fit import fit
split = load_dataset("sample").train
fit(FitConfig(epochs=1), FitData(split.images, split.labels, np.arange(200), np.arange(50)), 0)
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]

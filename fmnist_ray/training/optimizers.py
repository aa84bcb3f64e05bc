"""Builds optimizers, fused where torch has that, and moves their state to and from tensors."""

from collections.abc import Iterable

import torch
from torch import nn

from fmnist_ray.training.config import FitConfig


def build_optimizer(config: FitConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The configured optimizer over the parameters."""
    rate, decay = config.learning_rate, config.weight_decay
    match config.optimizer:
        case "sgd":
            return torch.optim.SGD(
                parameters,
                rate,
                momentum=config.momentum,
                weight_decay=decay,
                nesterov=config.momentum > 0,
                fused=True,
            )
        case "adam":
            return torch.optim.Adam(parameters, rate, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, rate, weight_decay=decay, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(
                parameters, rate, momentum=config.momentum, weight_decay=decay
            )
        case "nadam":
            return torch.optim.NAdam(parameters, rate, weight_decay=decay)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state under names `<parameter index>/<what>`."""
    return {
        f"{index}/{what}": value
        for index, state in optimizer.state_dict()["state"].items()
        for what, value in state.items()
        if isinstance(value, torch.Tensor)
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]
) -> None:
    """Sets the state that `optimizer_tensors` gave; rates and decays stay as configured."""
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        index, _, what = name.partition("/")
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:
            # Fused optimizers walk over memory, so the state must be laid out like its
            # parameter, which may be channels-last; a file holds it in the plain order.
            value = torch.empty_like(parameter.detach(), dtype=value.dtype).copy_(value)
        state.setdefault(int(index), {})[what] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})

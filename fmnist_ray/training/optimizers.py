"""Optimizers in torch, by its fused kernels where it has them.

They are not `torch.optim`'s, whose first use imports torch's compiler: that takes every process a
second and a half, and aborts it where TensorFlow is loaded. The steps are the same.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import nn

from fmnist_ray.training.config import OptimizerName

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
_RMSPROP_DECAY = 0.99
_NADAM_DECAY = 0.004


class Optimizer:
    """Steps parameters by their gradients.

    `sgd` has Nesterov's momentum; `adam` is Kingma & Ba 2014, arXiv:1412.6980; `adamw` Loshchilov
    & Hutter 2017, arXiv:1711.05101; `nadam` Dozat 2016; `rmsprop` Tieleman & Hinton 2012.

    Args:
        name: Which one.
        parameters: What is stepped.
        momentum: Of `sgd` and `rmsprop`.
        weight_decay: Decoupled in `adamw`, an L2 penalty in the others.
    """

    def __init__(
        self,
        name: OptimizerName,
        parameters: Iterable[nn.Parameter],
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        self.parameters: list[torch.Tensor] = list(parameters)
        self.momentum, self.weight_decay = momentum, weight_decay
        steps: dict[OptimizerName, tuple[Callable[[float], None], list[str]]] = {
            "sgd": (self._sgd, ["momentum_buffer"]),
            "adam": (self._adam, ["step", "exp_avg", "exp_avg_sq"]),
            "adamw": (self._adamw, ["step", "exp_avg", "exp_avg_sq"]),
            "rmsprop": (self._rmsprop, ["square_avg", "momentum_buffer"]),
            "nadam": (self._nadam, ["step", "exp_avg", "exp_avg_sq"]),
        }
        self._step, kinds = steps[name]
        self._products = [1.0]  # of NAdam's momenta up to each step
        # Kernels walk over memory: zeros_like lays the state out as its parameter is.
        self.state = {
            kind: [
                each.new_zeros((), dtype=torch.float32)
                if kind == "step"
                else torch.zeros_like(each)
                for each in (parameter.detach() for parameter in self.parameters)
            ]
            for kind in kinds
        }

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Changes the parameters, and forgets their gradients."""
        self._step(learning_rate)
        for parameter in self.parameters:
            parameter.grad = None

    def tensors(self) -> dict[str, torch.Tensor]:
        """The state under names `<parameter index>/<what>`; no copy."""
        return {
            f"{index}/{kind}": value
            for kind, values in self.state.items()
            for index, value in enumerate(values)
        }

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Takes what `tensors` gave."""
        for name, value in self.tensors().items():
            value.copy_(tensors[name])

    def _gradients(self) -> list[torch.Tensor]:
        return [each.grad for each in self.parameters if each.grad is not None]

    def _penalised(self) -> list[torch.Tensor]:
        gradients = self._gradients()
        if self.weight_decay:
            parameters = [each.detach() for each in self.parameters]
            added = torch._foreach_add(gradients, parameters, alpha=self.weight_decay)
            return list(added)
        return gradients

    def _sgd(self, rate: float) -> None:
        torch._fused_sgd_(
            self.parameters,
            self._gradients(),
            self.state["momentum_buffer"] if self.momentum else [],
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            lr=rate,
            dampening=0.0,
            nesterov=self.momentum > 0,
            maximize=False,
            is_first_step=False,
        )

    def _adam(self, rate: float) -> None:
        self._fused_adam(torch._fused_adam_, rate)

    def _adamw(self, rate: float) -> None:
        self._fused_adam(torch._fused_adamw_, rate)

    def _fused_adam(self, kernel: Callable[..., None], rate: float) -> None:
        torch._foreach_add_(self.state["step"], 1)
        kernel(
            self.parameters,
            self._gradients(),
            self.state["exp_avg"],
            self.state["exp_avg_sq"],
            [],
            self.state["step"],
            lr=rate,
            beta1=_BETA_1,
            beta2=_BETA_2,
            weight_decay=self.weight_decay,
            eps=_EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def _rmsprop(self, rate: float) -> None:
        gradients, squares = self._penalised(), self.state["square_avg"]
        torch._foreach_mul_(squares, _RMSPROP_DECAY)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - _RMSPROP_DECAY)
        scales = torch._foreach_sqrt(squares)
        torch._foreach_add_(scales, _EPSILON)
        buffers = self.state["momentum_buffer"]
        torch._foreach_mul_(buffers, self.momentum)
        torch._foreach_addcdiv_(buffers, gradients, scales)
        torch._foreach_add_(self.parameters, buffers, alpha=-rate)

    def _nadam(self, rate: float) -> None:
        gradients = self._penalised()
        firsts, seconds = self.state["exp_avg"], self.state["exp_avg_sq"]
        torch._foreach_add_(self.state["step"], 1)
        step = int(self.state["step"][0])
        while len(self._products) <= step:
            self._products.append(self._products[-1] * _nadam_momentum(len(self._products)))
        product = self._products[step]
        now, following = _nadam_momentum(step), _nadam_momentum(step + 1)
        torch._foreach_lerp_(firsts, gradients, 1 - _BETA_1)
        torch._foreach_mul_(seconds, _BETA_2)
        torch._foreach_addcmul_(seconds, gradients, gradients, 1 - _BETA_2)
        scales = torch._foreach_sqrt(torch._foreach_div(seconds, 1 - _BETA_2**step))
        torch._foreach_add_(scales, _EPSILON)
        by_gradient = -rate * (1 - now) / (1 - product)
        by_average = -rate * following / (1 - product * following)
        torch._foreach_addcdiv_(self.parameters, gradients, scales, by_gradient)
        torch._foreach_addcdiv_(self.parameters, firsts, scales, by_average)


def _nadam_momentum(step: int) -> float:
    momentum: float = _BETA_1 * (1 - 0.5 * 0.96 ** (step * _NADAM_DECAY))
    return momentum

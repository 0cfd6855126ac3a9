"""Lion, which torch lacks."""

from collections.abc import Callable, Iterable
from typing import Annotated

import torch
from pydantic import Field

from clipgrid.study.fields import NotNegative, Share
from clipgrid.study.parts import optimizer


class Lion(torch.optim.Optimizer):
    """w ← w - η·(sign(β₁·m + (1 - β₁)·g) + decay·w), then m ← β₂·m + (1 - β₂)·g."""

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                if weight not in self.state:
                    self.state[weight]["momentum"] = torch.zeros_like(weight)
                momentum = self.state[weight]["momentum"]
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                direction = momentum.lerp(weight.grad, 1 - beta1).sign_()
                weight.add_(direction, alpha=-group["lr"])
                momentum.lerp_(weight.grad, 1 - beta2)


@optimizer("lion", label="Lion", buffers=1, elementwise=True)
def lion(
    parameters: Iterable[torch.nn.Parameter],
    learning_rate: float,
    *,
    beta1: Annotated[Share, Field(description="Weight of the momentum in a step.")] = 0.9,
    beta2: Annotated[Share, Field(description="Decay of the momentum.")] = 0.99,
    weight_decay: Annotated[NotNegative, Field(description="Decoupled weight decay.")] = 0.0,
) -> torch.optim.Optimizer:
    """Lion: steps along the sign of the momentum (Chen et al. 2023, algorithm 2)."""
    defaults = {"lr": learning_rate, "betas": (beta1, beta2), "weight_decay": weight_decay}
    return Lion(parameters, defaults)

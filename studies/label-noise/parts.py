"""What Mizrahi, Yüksel and Kyzy (2021) train on MNIST by Adam: LeNet-5, at a rate that decays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from clipgrid.lazy import torch
from clipgrid.study.fields import Positive
from clipgrid.study.parts import model, schedule

if TYPE_CHECKING:
    from torch.nn import Module


def fault(size: int | None = None) -> str | None:
    """The net is for one size."""
    return f"images must have 28 px, not {size}" if size not in (None, 28) else None


@model("lenet5", label="LeNet-5", fault=fault)
def lenet5(channels: int, size: int, classes: int) -> Module:
    """LeCun et al. 1998, with tanh, average pooling, and weights by Glorot and Bengio 2010."""
    nn = torch.nn
    network = nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        nn.Tanh(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, classes),
    )
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
    return network


@schedule("exponential", label="exponential decay", ends=False)
def exponential(
    step: int,
    steps: int,
    *,
    decay_rate: Annotated[Positive, Field(description="Factor each `decay_steps`.")] = 0.1,
    decay_steps: Annotated[int, Field(ge=1, description="Steps.")] = 10_000,
) -> float:
    """A learning rate that falls by one factor at each step."""
    return decay_rate ** (step / decay_steps)

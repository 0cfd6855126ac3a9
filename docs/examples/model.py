"""LeNet-5, for images of any size from 8 px up."""

from typing import Annotated

from pydantic import Field
from torch import nn

from clipgrid.study.fields import Positive
from clipgrid.study.parts import model


@model("lenet5", label="LeNet-5")
def build(
    channels: int,
    size: int,
    classes: int,
    *,
    width: Annotated[Positive, Field(description="Multiplies the channels.")] = 1.0,
) -> nn.Module:
    """LeNet-5 with max pooling and ReLU (after LeCun et al. 1998)."""
    first, second = max(1, round(6 * width)), max(1, round(16 * width))
    side = size // 4  # after two poolings
    return nn.Sequential(
        nn.Conv2d(channels, first, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * side * side, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )

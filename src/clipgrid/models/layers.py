"""What the families share: widths, sides of maps, pooling, initial weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from clipgrid.lazy import torch
from clipgrid.study.fields import canonical

if TYPE_CHECKING:
    from torch import nn

SMALL = 64  # px; below it the ImageNet stems would throw most of the image away
SMALLEST = 8  # px
NARROWEST = 64  # channels at width 1, in every network here

Width = Annotated[
    float,
    Field(
        gt=0,
        le=16,
        allow_inf_nan=False,
        description="Multiplier of every layer's channels; 1 is the published size.",
    ),
]


def fault(size: int | None = None, *, width: float = 1.0) -> str | None:
    """Why a network can't have this width, or images of this side, px; None where it can."""
    if NARROWEST * width <= 0.5:
        return f"{canonical(width)} leaves a layer no channel"
    if size is not None and size < SMALLEST:
        return f"images must have {SMALLEST} px at least, not {size}"
    return None


def scaled(width: float) -> Callable[[int], int]:
    """Channel counts times `width`, rounded."""
    return lambda channels: round(channels * width)


def out_size(size: int, kernel: int, stride: int, padding: int = 0) -> int:
    """Side of the map that a convolution or a pooling layer leaves of one of side `size`, px."""
    return (size + 2 * padding - kernel) // stride + 1


def average_pool(size: int, side: int) -> nn.Module:
    """Maps of side `size` averaged to `side`; nothing is done where they have it."""
    from clipgrid.models.blocks.pooling import AveragePool

    return torch.nn.Identity() if size == side else AveragePool(size, side)


def kaiming(network: nn.Module) -> None:
    """He et al. 2015, section 2.2: without it, narrow nets without batch norm stay at chance."""
    nn = torch.nn
    for m in network.modules():
        if isinstance(m, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
            if m.bias is not None:
                nn.init.zeros_(m.bias)

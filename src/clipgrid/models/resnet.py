"""ResNets."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

from clipgrid.lazy import torch
from clipgrid.models import layers
from clipgrid.models.layers import SMALL, Width, scaled
from clipgrid.study.parts import model

if TYPE_CHECKING:
    from torch.nn import Module

BLOCKS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""By depth: how many each stage has; from 50 on they are bottlenecks. He et al. have none of 10
layers."""
BOTTLENECKS = 50


def fault(depth: int, size: int | None = None, *, width: float = 1.0) -> str | None:
    """As layers.fault; and where a CPU kernel of torch's for 1x1 convolutions of stride 2 corrupts
    memory: at 4 and 6 channels, and at 8 for maps of 46 px and more (oneDNN on AVX-512)."""
    if found := layers.fault(size, width=width):
        return found
    narrowest = layers.NARROWEST * width
    if narrowest % 8:
        return "must be a multiple of 0.125 for a ResNet"
    side = 0 if size is None else size if size < SMALL else size // 4
    if narrowest <= 8 and depth < BOTTLENECKS and side >= 46:
        return f"must be at least 0.25 for a ResNet-{depth} and images of {size} px"
    return None


def resnet(depth: int, channels: int, size: int, classes: int, width: float) -> Module:
    from clipgrid.models.blocks.residual import BasicBlock, Bottleneck

    nn, scale = torch.nn, scaled(width)
    block = Bottleneck if depth >= BOTTLENECKS else BasicBlock
    before = scale(64)

    def stage(i: int) -> Module:
        nonlocal before
        blocks = []
        for j in range(BLOCKS[depth][i]):
            planes = scale(64 * 2**i)
            blocks.append(block(before, planes, stride=2 if i > 0 and j == 0 else 1))
            before = planes * block.expansion
        return nn.Sequential(*blocks)

    stem = (7, 2, 3) if size >= SMALL else (3, 1, 1)
    parts: dict[str, Module] = {
        "conv1": nn.Conv2d(channels, before, *stem, bias=False),
        "bn1": nn.BatchNorm2d(before),
        "relu": nn.ReLU(inplace=True),
        "maxpool": nn.MaxPool2d(3, 2, 1) if size >= SMALL else nn.Identity(),
        **{f"layer{i + 1}": stage(i) for i in range(4)},
        "avgpool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(before, classes),
    }
    network = nn.Sequential(OrderedDict(parts))
    for m in network.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
    return network


for depth in BLOCKS:

    @model(f"resnet{depth}", label=f"ResNet-{depth}", fault=partial(fault, depth))
    def build(
        channels: int, size: int, classes: int, depth: int = depth, *, width: Width = 1.0
    ) -> Module:
        """He et al. 2016: four stages of residual blocks with batch norm."""
        return resnet(depth, channels, size, classes, width)

"""VGG, with and without batch norm."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from clipgrid.lazy import torch
from clipgrid.models.layers import Width, average_pool, fault, kaiming, out_size, scaled
from clipgrid.study.parts import model

if TYPE_CHECKING:
    from torch.nn import Module

CONVOLUTIONS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
"""By depth: how many each stage has."""


def vgg(
    depth: int, batch_norm: bool, channels: int, size: int, classes: int, width: float
) -> Module:
    nn, scale = torch.nn, scaled(width)
    features: list[Module] = []
    for convolutions, out in zip(CONVOLUTIONS[depth], (64, 128, 256, 512, 512), strict=True):
        for _ in range(convolutions):
            features.append(nn.Conv2d(channels, scale(out), 3, padding=1))
            if batch_norm:
                features.append(nn.BatchNorm2d(scale(out)))
            features.append(nn.ReLU(inplace=True))
            channels = scale(out)
        features.append(nn.MaxPool2d(2, 2) if size >= 2 else nn.Identity())
        size = out_size(size, 2, 2) if size >= 2 else size
    side = min(7, size)
    classifier = nn.Sequential(
        nn.Linear(scale(512) * side * side, scale(4096)),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(scale(4096), scale(4096)),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(scale(4096), classes),
    )
    network = nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*features),
            avgpool=average_pool(size, side),
            flatten=nn.Flatten(),
            classifier=classifier,
        )
    )
    kaiming(network)
    return network


for depth in CONVOLUTIONS:

    @model(f"vgg{depth}", label=f"VGG-{depth}", fault=fault)
    def plain(
        channels: int, size: int, classes: int, depth: int = depth, *, width: Width = 1.0
    ) -> Module:
        """Simonyan and Zisserman 2015: stages of 3x3 convolutions, 3 linear layers with dropout."""
        return vgg(depth, False, channels, size, classes, width)

    @model(f"vgg{depth}_bn", label=f"VGG-{depth} (BN)", fault=fault)
    def normalised(
        channels: int, size: int, classes: int, depth: int = depth, *, width: Width = 1.0
    ) -> Module:
        """VGG with a batch norm after each convolution."""
        return vgg(depth, True, channels, size, classes, width)

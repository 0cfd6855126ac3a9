"""AlexNet."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from clipgrid.lazy import torch
from clipgrid.models.layers import SMALL, Width, average_pool, fault, kaiming, out_size, scaled
from clipgrid.study.parts import model

if TYPE_CHECKING:
    from torch.nn import Module


@model("alexnet", label="AlexNet", fault=fault)
def alexnet(channels: int, size: int, classes: int, *, width: Width = 1.0) -> Module:
    """Krizhevsky 2014 (the one-column AlexNet): 5 conv and 3 linear layers, dropout, no norm."""
    nn, scale = torch.nn, scaled(width)
    if size >= SMALL:
        kernel, stride, padding = 11, 4, 2
    else:
        kernel, stride, padding = 5, 2 if size >= 24 else 1, 2
    size = out_size(size, kernel, stride, padding)
    features: list[Module] = [
        nn.Conv2d(channels, scale(64), kernel, stride, padding),
        nn.ReLU(inplace=True),
    ]

    def pool() -> None:
        nonlocal size
        features.append(nn.MaxPool2d(3, 2) if size >= 3 else nn.Identity())
        size = out_size(size, 3, 2) if size >= 3 else size

    pool()
    features += [nn.Conv2d(scale(64), scale(192), 5, padding=2), nn.ReLU(inplace=True)]
    pool()
    for before, after in ((192, 384), (384, 256), (256, 256)):
        features += [nn.Conv2d(scale(before), scale(after), 3, padding=1), nn.ReLU(inplace=True)]
    pool()
    side = min(6, size)
    classifier = nn.Sequential(
        nn.Dropout(),
        nn.Linear(scale(256) * side * side, scale(4096)),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(scale(4096), scale(4096)),
        nn.ReLU(inplace=True),
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

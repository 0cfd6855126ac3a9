"""The classification models of torchvision, by its names. A study that names one imports
torchvision; no other does."""

from __future__ import annotations

import math
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from clipgrid import InputError
from clipgrid.lazy import torch
from clipgrid.models.counting import without_values
from clipgrid.study.faults import first_line
from clipgrid.study.parts import library, model

if TYPE_CHECKING:
    from torch.nn import Module


def names() -> list[str]:
    """Of all classification models of torchvision."""
    from clipgrid.torchvision_on_cpu import torchvision

    return torchvision.models.list_models(module=torchvision.models)


@library("model", names)
def declare_if_known(name: str) -> None:
    """Make a part of torchvision's model `name`, if it has one."""
    if name in names():

        def build(channels: int, size: int, classes: int) -> Module:
            if why := fault(name, size):
                raise InputError(f"model {name}: {why}")
            return network(name, channels, size, classes)

        build.__doc__ = f"torchvision's {name}."
        build.__name__ = network.__name__  # whose source counts
        model(name, label=name, family=name, fault=partial(fault, name))(build)


@cache
def fault(name: str, size: int | None = None) -> str | None:
    """Why the model can't take images of this side, px; None where it can, which is tried."""
    if size is None:
        return None
    try:
        without_values(lambda: network(name, 3, size, 10))(
            torch.empty(2, 3, size, size, device="meta")
        )
    except (RuntimeError, ValueError, AssertionError) as error:
        return f"torchvision's takes no images of {size} px: {first_line(error)}"
    return None


def network(name: str, channels: int, size: int, classes: int) -> Module:
    from clipgrid.torchvision_on_cpu import torchvision

    settings: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        settings = {"aux_logits": False, "init_weights": True}
    elif name.startswith("vit_"):
        settings = {"image_size": size}
    elif name.startswith("maxvit_"):
        settings = {"input_size": (size, size)}
    made = torchvision.models.get_model(name, weights=None, num_classes=classes, **settings)
    if channels != 3:
        take_channels(made, channels)
    return made


def take_channels(network: Module, channels: int) -> None:
    """Make the first convolution one of `channels` instead of three. They have its filters in turn,
    scaled so that what comes out varies as much."""
    nn = torch.nn
    first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    turns = torch.arange(channels, device=first.weight.device) % 3
    weight = first.weight.detach()[:, turns] * math.sqrt(3 / channels)
    first.in_channels, first.weight = channels, nn.Parameter(weight)

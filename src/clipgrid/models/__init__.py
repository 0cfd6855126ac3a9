"""The networks: a file for each family.

AlexNet, VGG and ResNet take any image from 8 px on and have any width. At 224 px and width 1 they
are torchvision's models: same layers, same names of parameters. Two rules fit them to small images:
below 64 px the stem is the one usual for small images (AlexNet 5x5, ResNet 3x3 without pooling),
and a pooling layer that would leave no pixel is left out. Channels are scaled by `width`, the
architecture is not changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipgrid import InputError
from clipgrid.lazy import torch
from clipgrid.study import parts
from clipgrid.study.parts import Choice

if TYPE_CHECKING:
    from torch.nn import Module


def build(name: str, channels: int, size: int, classes: int, width: float = 1.0) -> Module:
    """The network `name` of ours for images of shape [channels, size, size]."""
    return parts.choose("model", name, {"width": width})(channels, size, classes)


def built(choice: Choice, channels: int, size: int, classes: int) -> Any:
    """A model's network, a Module. InputError where it isn't one."""
    network = choice(channels, size, classes)
    if not isinstance(network, torch.nn.Module):
        gives = f"its function gives {type(network).__name__}, and not a torch.nn.Module"
        raise InputError(f"model {choice}: {gives} (in {choice.part.file})")
    return network


def classifier(network: Module) -> Module | None:
    """The layer that makes the logits: the last linear one; in a network without any, its last 1x1
    convolution; None where there is neither."""
    nn = torch.nn
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    pointwise = [
        m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)
    ]
    return (linear or pointwise or [None])[-1]

"""The fixed transformations under which a trained net is shown test images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from clipgrid.images.moving import affine, margin
from clipgrid.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

COS, SIN = math.cos(math.pi / 12), math.sin(math.pi / 12)
MAPS = {  # as affine has them; the last column counts in margins of a crop
    "mirrored": [[-1, 0, 0], [0, 1, 0]],
    "shifted": [[1, 0, -1], [0, 1, -1]],  # right and down
    "enlarged": [[0.75, 0, 0], [0, 0.75, 0]],  # by a third
    "tilted": [[COS, SIN, 0], [-SIN, COS, 0]],  # by 15 degrees
    "rotated": [[0, 1, 0], [-1, 0, 0]],  # by 90 degrees
}


def transform(images: Tensor, name: str) -> Tensor:
    """uint8 images [N, C, S, S] under one of MAPS; what comes in from outside is black."""
    size = images.shape[-1]
    units = torch.tensor([1, 1, 2 * margin(size) / size])
    return affine(images, (torch.tensor(MAPS[name]) * units).repeat(len(images), 1, 1))

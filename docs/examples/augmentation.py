"""Cutout: a black square at a random place."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from clipgrid.images.moving import to_device
from clipgrid.study.fields import Share
from clipgrid.study.parts import augmentation


@augmentation("cutout", label="cut-out squares")
class Cutout:
    """A square becomes black; it may reach beyond the border (DeVries, Taylor 2017)."""

    def __init__(
        self, *, side: Annotated[Share, Field(description="Of the square, over the image's.")] = 0.5
    ) -> None:
        self.side = side

    def draw(self, n: int, size: int, generator: torch.Generator) -> Tensor:
        """The squares' centres [n, 2]."""
        return torch.randint(size, (n, 2), generator=generator)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        size = images.shape[-1]
        length = round(self.side * size)
        first = to_device(drawn - length // 2, images.device)[..., None]
        place = torch.arange(size, device=images.device)
        rows, columns = ((first <= place) & (place < first + length)).unbind(1)  # [n, size] each
        return images.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0)

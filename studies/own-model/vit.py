"""A small vision transformer, for images of a few pixels (after Dosovitskiy et al. 2021)."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from clipgrid.study.fields import Share
from clipgrid.study.parts import model

Whole = Annotated[int, Field(ge=1, le=4096)]


class Attention(nn.Module):
    """Every patch looks at every other one, in several ways at once."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ask, self.tell = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:  # [batch, patches, width], as what it gives
        asked = self.ask(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(*asked)
        return self.tell(seen.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and a net of two layers, each behind a norm and beside a path that skips it."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.look = nn.Sequential(nn.LayerNorm(width), Attention(width, heads), nn.Dropout(dropout))
        self.think = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.look(x)
        return x + self.think(x)


class ViT(nn.Module):
    """Patches of an image, told apart by what is learnt for each place; logits of their mean."""

    def __init__(
        self, channels: int, size: int, classes: int, patch: int, width: int, depth: int,
        heads: int, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.places = nn.Parameter(0.02 * torch.randn((size // patch) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, heads, dropout) for _ in range(depth)))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2) + self.places
        return self.head(self.blocks(x).mean(1))


def fault(
    size: int | None = None, *, patch: int, width: int, depth: int, heads: int, dropout: float
) -> str | None:
    """Why it can't have these settings or, where given, images of this side; None where it can."""
    if width % heads:
        return f"{heads} heads can't share a width of {width}"
    if size is not None and size % patch:
        return f"patches of {patch} px don't fill images of {size} px"
    return None


@model("tiny-vit", label="Tiny ViT", fault=fault)
def build(
    channels: int,
    size: int,
    classes: int,
    *,
    patch: Annotated[Whole, Field(description="Side of a patch, px.")] = 2,
    width: Annotated[Whole, Field(description="Numbers that stand for a patch.")] = 48,
    depth: Annotated[Whole, Field(description="Blocks.")] = 3,
    heads: Annotated[Whole, Field(description="Ways of attention in a block.")] = 4,
    dropout: Annotated[Share, Field(description="Of what a block adds.")] = 0.1,
) -> nn.Module:
    """A vision transformer of a few blocks."""
    return ViT(channels, size, classes, patch, width, depth, heads, dropout)

"""Augmentations: random changes of a whole batch of training images at once. Several are applied
one after another, as in flip+crop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clipgrid.images.moving import affine, margin, to_device
from clipgrid.lazy import torch
from clipgrid.study.parts import Choice, augmentation

if TYPE_CHECKING:
    from torch import Generator, Tensor


def draw(augmentations: Sequence[Choice], n: int, size: int, generator: Generator) -> list[Tensor]:
    """What is random in the augmentation of `n` images of side `size`: a tensor [n, …] for each of
    the `augmentations`. The draws are made on the CPU: every device sees the same."""
    return [choice().draw(n, size, generator) for choice in augmentations]


def augment(images: Tensor, augmentations: Sequence[Choice], draws: Sequence[Tensor]) -> Tensor:
    """uint8 images [N, C, S, S], each changed by its own of the `draws`."""
    for choice, drawn in zip(augmentations, draws, strict=True):
        images = choice().apply(images, drawn)
    return images


@augmentation("flip", label="flip")
class Flip:
    """Left to right, with probability 1/2."""

    def draw(self, n: int, size: int, generator: Generator) -> Tensor:
        return torch.rand(n, generator=generator) < 0.5

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        flipped = to_device(drawn, images.device)
        return torch.where(flipped[:, None, None, None], images.flip(-1), images)


@augmentation("crop", label="crop")
class Crop:
    """A window of the image's size out of the image padded with black by an eighth of its side."""

    def draw(self, n: int, size: int, generator: Generator) -> Tensor:
        return torch.randint(2 * margin(size) + 1, (2, n), generator=generator).T

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        n, _, height, width = images.shape
        top, left = to_device(drawn, images.device).T
        padded = torch.nn.functional.pad(images, (margin(height),) * 4)
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # views: [N, C, top, left, S, S]
        return windows[torch.arange(n, device=images.device), :, top, left]


@augmentation("resized-crop", label="resized crop")
class ResizedCrop:
    """A square of a quarter to all of the image, resized to its size."""

    def draw(self, n: int, size: int, generator: Generator) -> Tensor:
        """(height, width, y, x): sides as shares of the image's, the place from 0 to 1."""
        area, x, y = torch.rand(3, n, generator=generator)
        side = (0.25 + 0.75 * area).sqrt()
        return torch.stack([side, side, y, x], 1)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        height, width, y, x = drawn.T
        zero = torch.zeros_like(height)
        rows = [width, zero, (1 - width) * (2 * x - 1), zero, height, (1 - height) * (2 * y - 1)]
        return affine(images, torch.stack(rows, 1).view(-1, 2, 3), beyond="border")


@augmentation("inception-crop", label="Inception crop")
class InceptionCrop(ResizedCrop):
    """A rectangle of 8% to all of the image, 3:4 to 4:3, resized to its size (Szegedy et al. 2015,
    section 6; torchvision's RandomResizedCrop)."""

    def draw(self, n: int, size: int, generator: Generator) -> Tensor:
        """As a resized crop's. Of ten attempts the first that fits is taken; where none does, all
        of the image: as torchvision has it."""
        area, shape = torch.rand(2, 10, n, generator=generator)
        area, shape = 0.08 + 0.92 * area, ((2 * shape - 1) * math.log(4 / 3)).exp()
        sides = torch.stack([(area / shape).sqrt(), (area * shape).sqrt()])  # height, width
        fits = (sides <= 1).all(0)
        first = sides[:, fits.int().argmax(0), torch.arange(n)]
        height, width = torch.where(fits.any(0), first, 1.0)
        y, x = torch.rand(2, n, generator=generator)
        return torch.stack([height, width, y, x], 1)

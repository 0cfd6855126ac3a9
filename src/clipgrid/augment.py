"""Random flips and crops of a whole batch at once, drawn from a given generator; and the fixed
transformations that a trained net is looked at under."""

import math

import torch
from torch import Generator, Tensor


def augment(images: Tensor, augmentation: str, generator: Generator) -> Tensor:
    """`images` [N, C, H, W], each flipped and shifted by its own draw.

    `augmentation` joins `flip` (left to right, with probability 1/2) and `crop` (a window of the
    image's size out of the image padded with black by an eighth of its side) by `+`;
    `resized-crop` is a window of a quarter to all of the image, resized to its size; `none` is the
    images as they are. The draws are made on the CPU: every device sees the same.
    """
    if augmentation == "none":
        return images
    for name in augmentation.split("+"):
        images = KINDS[name](images, generator)
    return images


def transform(images: Tensor, name: str) -> Tensor:
    """uint8 images [N, C, H, W] under one of grid.TRANSFORMATIONS, else black."""
    size = images.shape[-1]
    shift = 2 * margin(size) / size
    cos, sin = math.cos(math.pi / 12), math.sin(math.pi / 12)
    maps = {
        "mirrored": [[-1, 0, 0], [0, 1, 0]],
        "shifted": [[1, 0, -shift], [0, 1, -shift]],  # right and down, as far as crops go
        "enlarged": [[0.75, 0, 0], [0, 0.75, 0]],  # by a third
        "tilted": [[cos, sin, 0], [-sin, cos, 0]],  # by 15 degrees
        "rotated": [[0, 1, 0], [-1, 0, 0]],  # by 90 degrees
    }
    return affine(images, torch.tensor(maps[name], dtype=torch.float).expand(len(images), -1, -1))


def affine(images: Tensor, maps: Tensor, beyond: str = "zeros") -> Tensor:
    """uint8 images, each under its own of `maps` [N, 2, 3], from the result's coordinates
    (x, y, 1), from -1 to 1, to the image's; bilinear. `beyond` it are zeros, or its border."""
    maps = to_device(maps, images.device)
    grid = torch.nn.functional.affine_grid(maps, list(images.shape), align_corners=False)
    moved = torch.nn.functional.grid_sample(
        images.float(), grid, padding_mode=beyond, align_corners=False
    )
    return moved.round().clamp(0, 255).byte()


def margin(size: int) -> int:
    """How far a random crop moves an image at most, px."""
    return max(1, size // 8)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A small tensor of the CPU's on `device`, without waiting for what runs there."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def random_flip(images: Tensor, generator: Generator) -> Tensor:
    flipped = torch.rand(len(images), generator=generator) < 0.5
    flipped = to_device(flipped, images.device)
    return torch.where(flipped[:, None, None, None], images.flip(-1), images)


def random_crop(images: Tensor, generator: Generator) -> Tensor:
    n, _, height, width = images.shape
    padding = margin(height)
    corners = torch.randint(2 * padding + 1, (2, n), generator=generator)
    top, left = to_device(corners, images.device)
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # views: [N, C, top, left, H, W]
    return windows[torch.arange(n, device=images.device), :, top, left]


def random_resized_crop(images: Tensor, generator: Generator) -> Tensor:
    area, x, y = torch.rand(3, len(images), generator=generator)
    side = (0.25 + 0.75 * area).sqrt()
    zero = torch.zeros_like(side)
    room = 1 - side
    rows = [side, zero, room * (2 * x - 1), zero, side, room * (2 * y - 1)]
    return affine(images, torch.stack(rows, 1).view(-1, 2, 3), beyond="border")


KINDS = {"flip": random_flip, "crop": random_crop, "resized-crop": random_resized_crop}

"""Random flips and crops of a whole batch at once, drawn from a given generator; and the fixed
transformations that a trained net is looked at under."""

import math

import torch
from torch import Generator, Tensor


def draw(augmentation: str, n: int, size: int, generator: Generator) -> list[Tensor]:
    """What is random in the augmentation of `n` images of side `size`: a tensor [n, ...] for each
    of the names in `augmentation`. The draws are made on the CPU: every device sees the same."""
    if augmentation == "none":
        return []
    return [KINDS[name][0](n, size, generator) for name in augmentation.split("+")]


def augment(images: Tensor, augmentation: str, draws: list[Tensor]) -> Tensor:
    """`images` [N, C, H, W], each changed by its own of the `draws`.

    `augmentation` joins these by `+`: `flip`, left to right, with probability 1/2; `crop`, a window
    of the image's size out of the image padded with black by an eighth of its side; `resized-crop`,
    a square of a quarter to all of the image, resized to its size; `inception-crop`, a rectangle of
    8% to all of it, 3:4 to 4:3, resized (Szegedy et al. 2015, section 6; torchvision's
    RandomResizedCrop). `none` is the images as they are.
    """
    if augmentation == "none":
        return images
    for name, drawn in zip(augmentation.split("+"), draws, strict=True):
        images = KINDS[name][1](images, drawn)
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
    return moved.round_().clamp_(0, 255).byte()


def margin(size: int) -> int:
    """How far a random crop moves an image at most, px."""
    return max(1, size // 8)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A small tensor of the CPU's on `device`, without waiting for what runs there."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def draw_flips(n: int, size: int, generator: Generator) -> Tensor:
    return torch.rand(n, generator=generator) < 0.5


def flip(images: Tensor, flipped: Tensor) -> Tensor:
    flipped = to_device(flipped, images.device)
    return torch.where(flipped[:, None, None, None], images.flip(-1), images)


def draw_corners(n: int, size: int, generator: Generator) -> Tensor:
    return torch.randint(2 * margin(size) + 1, (2, n), generator=generator).T


def crop(images: Tensor, corners: Tensor) -> Tensor:
    n, _, height, width = images.shape
    top, left = to_device(corners, images.device).T
    padded = torch.nn.functional.pad(images, (margin(height),) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # views: [N, C, top, left, H, W]
    return windows[torch.arange(n, device=images.device), :, top, left]


def draw_squares(n: int, size: int, generator: Generator) -> Tensor:
    """(height, width, y, x) of windows: sides as shares of the image's, the place from 0 to 1."""
    area, x, y = torch.rand(3, n, generator=generator)
    side = (0.25 + 0.75 * area).sqrt()
    return torch.stack([side, side, y, x], 1)


def draw_rectangles(n: int, size: int, generator: Generator) -> Tensor:
    """As draw_squares. Of ten attempts the first that fits is taken; where none does, all of the
    image: as torchvision has it."""
    area, shape = torch.rand(2, 10, n, generator=generator)
    area, shape = 0.08 + 0.92 * area, ((2 * shape - 1) * math.log(4 / 3)).exp()  # width / height
    sides = torch.stack([(area / shape).sqrt(), (area * shape).sqrt()])
    fits = (sides <= 1).all(0)
    first = sides[:, fits.int().argmax(0), torch.arange(n)]
    height, width = torch.where(fits.any(0), first, 1.0)
    y, x = torch.rand(2, n, generator=generator)
    return torch.stack([height, width, y, x], 1)


def resized_crop(images: Tensor, windows: Tensor) -> Tensor:
    height, width, y, x = windows.T
    zero = torch.zeros_like(height)
    rows = [width, zero, (1 - width) * (2 * x - 1), zero, height, (1 - height) * (2 * y - 1)]
    return affine(images, torch.stack(rows, 1).view(-1, 2, 3), beyond="border")


KINDS = {  # name: what is drawn for each image, and what is done with it
    "flip": (draw_flips, flip),
    "crop": (draw_corners, crop),
    "resized-crop": (draw_squares, resized_crop),
    "inception-crop": (draw_rectangles, resized_crop),
}

"""Random flip and crop of a whole batch at once, drawn from a given generator."""

import torch
from torch import Generator, Tensor


def augment(images: Tensor, augmentation: str, generator: Generator) -> Tensor:
    """`images` [N, C, H, W], each flipped and shifted by its own draw.

    `augmentation` joins `flip` (left to right, with probability 1/2) and `crop` (a window of the
    image's size out of the image padded with black by an eighth of its side) by `+`; `none` is
    the images as they are. The draws are made on the CPU: every device sees the same.
    """
    if augmentation == "none":
        return images
    for name in augmentation.split("+"):
        images = {"flip": random_flip, "crop": random_crop}[name](images, generator)
    return images


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A small tensor of the CPU's on `device`, without waiting for what runs there."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def random_flip(images: Tensor, generator: Generator) -> Tensor:
    flipped = torch.rand(len(images), generator=generator) < 0.5
    flipped = to_device(flipped, images.device)
    return torch.where(flipped[:, None, None, None], images.flip(-1), images)


def random_crop(images: Tensor, generator: Generator) -> Tensor:
    n, _, height, width = images.shape
    padding = max(1, height // 8)
    corners = torch.randint(2 * padding + 1, (2, n), generator=generator)
    top, left = to_device(corners, images.device)
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # views: [N, C, top, left, H, W]
    return windows[torch.arange(n, device=images.device), :, top, left]

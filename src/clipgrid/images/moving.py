"""Maps of the plane under which images are seen; how they come to where the images are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipgrid.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def affine(images: Tensor, maps: Tensor, beyond: str = "zeros") -> Tensor:
    """uint8 images [N, C, S, S], each under its own of `maps` [N, 2, 3], from the result's
    coordinates (x, y, 1), from -1 to 1, to the image's; bilinear. `beyond` it are zeros, or its
    border."""
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
    if device.type == "cpu":
        return tensor
    # Pinning keeps strides, and can't fill memory whose places are several elements' at once.
    return tensor.contiguous().pin_memory().to(device, non_blocking=True)

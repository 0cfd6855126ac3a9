"""Norms and factors of gradients that lie on several devices, or of which each process has a shard
(DTensors, as FSDP2 and tensor parallelism make them)."""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from clipgrid.clipping.shared import product_type, tensor_norms

Gradients = list[Tensor | None]
"""None where a parameter has no gradient."""


def places(gradients: Gradients) -> dict[tuple, list[int]]:
    """The positions of the gradients that lie in one place: device, and of DTensors the mesh of
    processes and how they are laid out on it."""
    found: dict[tuple, list[int]] = defaultdict(list)
    for position, gradient in enumerate(gradients):
        if type(gradient) is Tensor:
            found[gradient.device, None, ()].append(position)
        elif gradient is not None:
            mesh, layout = (
                getattr(gradient, "device_mesh", None),
                getattr(gradient, "placements", ()),
            )
            found[gradient.device, mesh, layout].append(position)
    return found


def local(gradient: Any) -> Tensor:
    """What this process has of it: changed in place, the gradient is changed."""
    return gradient.to_local() if hasattr(gradient, "to_local") else gradient


def norms_of(gradients: Gradients) -> Tensor:
    """The L2 norm of each whole gradient, float64 [n], on the first one's device; 0 where there is
    none. ValueError for a DTensor that isn't added up over the processes yet."""
    found = places(gradients)
    (device, mesh, _), *others = found
    if not others and mesh is None and len(found[device, None, ()]) == len(gradients):
        return tensor_norms([gradient for gradient in gradients if gradient is not None])
    zero = torch.zeros((), dtype=torch.float64, device=device)
    norms = [zero] * len(gradients)
    for (_, mesh, layout), positions in found.items():
        here = tensor_norms([local(gradients[position]) for position in positions])
        if mesh is not None:
            here = over_processes(here, mesh, layout)
        for position, norm in zip(positions, here.to(device).unbind(), strict=True):
            norms[position] = norm
    return torch.stack(norms)


def over_processes(norms: Tensor, mesh: Any, layout: tuple) -> Tensor:
    """The norms of whole gradients, from those of this process's shards [n]."""
    from torch.distributed.tensor import DTensor, Partial

    if any(place.is_partial() for place in layout):
        raise ValueError("a gradient still has to be added up over the processes: clip it after")
    summed = [Partial() if place.is_shard() else place for place in layout]
    return DTensor.from_local(norms.square(), mesh, summed).full_tensor().sqrt()


def multiply_all(gradients: Gradients, factors: Tensor) -> None:
    """Each gradient times its own of the factors, float64 [n] or 0-dim for all."""
    if factors.device.type == "cpu" and not (factors != 1).any().item():
        return
    for (device, _, _), positions in places(gradients).items():
        here = [local(gradients[position]) for position in positions]
        own = factors.to(device, product_type(*here))
        each = own.unbind() if own.ndim else ()
        torch._foreach_mul_(here, [each[position] for position in positions] if each else own)

"""By the norm of each unit, over that of its weights."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from clipgrid.clipping.shared import (
    VANISHING,
    Telemetry,
    checked,
    in_order,
    multiply,
    piecewise,
    tensor_norms,
)

MANY = 1024  # from so many values on, and for units of at most so many, float32 adds norms up


@torch.no_grad()
def clip_adaptively(
    gradients: Iterable[Tensor],
    weights: Iterable[Tensor | None],
    threshold: float,
    eps: float = 1e-3,
) -> Telemetry:
    """AGC: G ← λ·max(‖W‖, ε)/‖G‖ · G where ‖G‖/max(‖W‖, ε) > λ, for each unit by itself.

    A unit is what leads to one output: W[i] of a weight of two or more dimensions, and the whole
    of a bias or a gain. `weights` holds the parameter of each gradient; None is left alone, as
    the paper leaves the classifier. ε lets units that start at zero move.
    Brock, De, Smith, Simonyan 2021, section 4.1 (ε = 1e-3, λ = 0.01 there).
    """
    gradients, weights = list(gradients), list(weights)
    both = [(g, w) for g, w in zip(gradients, weights, strict=True) if w is not None]
    clipped = checked((g for g, _ in both), threshold)
    others = tensor_norms([g for g, w in zip(gradients, weights, strict=True) if w is None])
    if not clipped:
        return piecewise(others[:0], others[:0], threshold, others)[1]
    norms = unit_norms(clipped, threshold * eps)
    sizes = unit_norms([w for _, w in both if w.numel()], eps).clamp(min=eps)
    coefficients, telemetry = piecewise(norms, norms / sizes, threshold, others)
    multiply(clipped, coefficients, [len(g) if g.ndim > 1 else 1 for g in clipped])
    return telemetry


def unit_norms(tensors: list[Tensor], least: float) -> Tensor:
    """The L2 norm of each unit of each tensor, float64 [units]. On a CPU those of many float32
    values are taken in float32, at a relative error below 1e-6, unless squares overflow, or norms
    that matter, those above `least`, might vanish."""
    rows = [in_rows(tensor) for tensor in tensors]
    types = {(row.device.type, row.dtype) for row in rows}
    many = sum(row.numel() for row in rows) >= MANY
    if many and least > VANISHING and types == {("cpu", torch.float32)}:
        long = [torch.float64 if row.shape[1] > MANY else None for row in rows]
        each = zip(rows, long, strict=True)
        norms = torch.cat([torch.linalg.vector_norm(r, 2, 1, dtype=t) for r, t in each]).double()
        if VANISHING < norms.sum().item() < math.inf:
            return norms
    return torch.cat([torch.linalg.vector_norm(row, 2, 1, dtype=torch.float64) for row in rows])


def in_rows(tensor: Tensor) -> Tensor:
    """[units, values of one]"""
    values = in_order(tensor)
    units = len(tensor) if tensor.ndim > 1 else 1
    return (tensor.flatten() if values is None else values).view(units, -1)

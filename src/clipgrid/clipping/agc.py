"""By the norm of each unit, over that of its weights."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from clipgrid.clipping.shared import Telemetry, checked, multiply, piecewise, tensor_norms


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
    units = checked((g for g, _ in both), threshold)
    norms = [unit_norms(g) for g in units]
    sizes = [unit_norms(w).clamp(min=eps) for _, w in both if w.numel()]
    others = tensor_norms([g for g, w in zip(gradients, weights, strict=True) if w is None])
    flat = join(norms)
    coefficients, telemetry = piecewise(flat, flat / join(sizes), threshold, others)
    parts = coefficients.split([n.numel() for n in norms])
    multiply(units, (part.view_as(n) for part, n in zip(parts, norms, strict=True)))
    return telemetry


def join(norms: Sequence[Tensor]) -> Tensor:
    """All of these in one vector."""
    return torch.cat([n.flatten() for n in norms]) if norms else tensor_norms([])


def unit_norms(tensor: Tensor) -> Tensor:
    """The L2 norm of each unit, float64, of a shape that broadcasts to `tensor`'s."""
    dimensions = tuple(range(1, tensor.ndim)) or None
    keep = tensor.ndim > 1
    return torch.linalg.vector_norm(tensor, 2, dimensions, keep, dtype=torch.float64)

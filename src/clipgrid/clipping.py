"""Gradient clipping: the subject. One function a kind; each returns what it saw and did."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class Clip(NamedTuple):
    """One step's telemetry, as 0-dim float64 tensors on the gradients' device."""

    norm: Tensor  # before clipping
    coefficient: Tensor  # what the gradient was multiplied by; 1 where it was left alone


@torch.no_grad()
def clip_by_global_norm(gradients: Iterable[Tensor], threshold: float) -> Clip:
    """Scale `gradients` in place by λ/‖g‖ where ‖g‖₂ > λ = `threshold` (document, section 3.1).

    ‖g‖ is the L2 norm over all tensors together, accumulated in float64. Where ‖g‖ ≤ λ, where λ
    is infinite and where the norm isn't finite, the coefficient is 1 and no bit changes. Exact to
    rounding while λ/‖g‖ is a normal number of the gradients' type (1e-38 in float32). Nothing is
    fetched from the device. ValueError unless λ > 0.
    """
    if not threshold > 0:
        raise ValueError(f"the threshold must be above 0, not {threshold}")
    gradients = list(gradients)
    if not gradients:
        return Clip(torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64))
    norms = torch._foreach_norm(gradients, 2, torch.float64)
    norm = torch.linalg.vector_norm(torch.stack(norms))
    fires = (norm > threshold) & norm.isfinite()
    coefficient = torch.where(fires, threshold / norm, 1.0)
    torch._foreach_mul_(gradients, coefficient)
    return Clip(norm, coefficient)

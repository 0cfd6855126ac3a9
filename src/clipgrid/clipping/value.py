"""By value."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from clipgrid.clipping.shared import Telemetry, checked, global_norm


@torch.no_grad()
def clip_by_value(gradients: Iterable[Tensor], threshold: float) -> Telemetry:
    """gᵢ ← max(-λ, min(λ, gᵢ)) for every single value. Changes the gradient's direction."""
    gradients = checked(gradients, threshold)
    norm, observed = global_norm(gradients), global_norm(gradients, math.inf)
    limit = torch.full_like(norm, threshold)
    clipped = torch.zeros_like(norm)
    for gradient in gradients:
        bound = limit.where(norm.isfinite(), math.inf).to(gradient.dtype)
        above = gradient.abs() > bound
        clipped += above.sum()
        gradient.copy_(torch.where(above, bound.copysign(gradient), gradient))
    share = clipped / max(1, sum(gradient.numel() for gradient in gradients))
    coefficient = torch.where(clipped > 0, global_norm(gradients) / norm, 1.0)
    return Telemetry(norm, observed, limit, coefficient, share)

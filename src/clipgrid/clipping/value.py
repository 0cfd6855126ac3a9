"""By value."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from clipgrid.clipping.flat import Flat
from clipgrid.clipping.shared import Telemetry, checked, global_norm, none, product_type, whole

EXACT = 2**24  # float32 holds every integer up to it


@torch.no_grad()
def clip_by_value(gradients: Iterable[Tensor], threshold: float) -> Telemetry:
    """gᵢ ← max(-λ, min(λ, gᵢ)) for every single value. Changes the gradient's direction."""
    if not isinstance(gradients, Flat):
        gradients = list(gradients)
    values = sum(gradient.numel() for gradient in gradients)
    gradients = checked(whole(gradients), threshold)
    norm, observed = global_norm(gradients), global_norm(gradients, math.inf)
    limit = torch.full_like(norm, threshold)
    fires = (observed > limit) & (norm < math.inf)
    if none(fires):
        return Telemetry(norm, observed, limit, torch.ones_like(norm), torch.zeros_like(norm))
    clipped = torch.zeros_like(norm)
    for gradient in gradients:
        bound = limit.where(fires, math.inf).to(gradient.dtype)
        # Ones of the gradient's own type: a CPU compares and counts them three times as fast.
        above = gradient.abs().gt_(bound).flatten().split(EXACT)
        clipped += sum(ones.sum(dtype=product_type(gradient)) for ones in above)
        torch.minimum(gradient, bound, out=gradient)
        torch.maximum(gradient, -bound, out=gradient)
    coefficient = torch.where(clipped > 0, global_norm(gradients) / norm, 1.0)
    return Telemetry(norm, observed, limit, coefficient, clipped / max(1, values))

"""By the norm of each tensor."""

from collections.abc import Iterable

import torch
from torch import Tensor

from clipgrid.clipping.shared import Telemetry, checked, multiply, piecewise, tensor_norms


@torch.no_grad()
def clip_by_layer_norm(gradients: Iterable[Tensor], threshold: float) -> Telemetry:
    """g ← λ/‖g‖₂ · g where ‖g‖₂ > λ, for each tensor by itself: a weight, a bias."""
    gradients = checked(gradients, threshold)
    norms = tensor_norms(gradients)
    coefficients, telemetry = piecewise(norms, norms, threshold)
    multiply(gradients, coefficients, [1] * len(gradients))
    return telemetry

"""By the norm of the whole gradient."""

from collections.abc import Iterable

import torch
from torch import Tensor

from clipgrid.clipping.shared import Telemetry, checked, global_norm, scale, whole


@torch.no_grad()
def clip_by_global_norm(gradients: Iterable[Tensor], threshold: float, p: float = 2.0) -> Telemetry:
    """g ← λ/‖g‖ₚ · g where ‖g‖ₚ > λ, the norm being that of all tensors together.

    p is 1, 2 or ∞. Pascanu, Mikolov, Bengio 2013, algorithm 1 (the article's section 3.1).
    """
    gradients = checked(whole(gradients), threshold)
    norm = global_norm(gradients)
    observed = norm if p == 2 else global_norm(gradients, p)
    return scale(gradients, norm, observed, threshold)

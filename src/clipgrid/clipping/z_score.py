"""By how unusual the norm is."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from clipgrid.clipping.shared import Telemetry, checked, global_norm, scale, whole


@torch.no_grad()
def clip_by_z_score(
    gradients: Iterable[Tensor],
    threshold: float,
    state: dict[str, Tensor],
    alpha: float = 0.97,
    warm_up: int = 25,
    eps: float = 1e-6,
) -> Telemetry:
    """ZClip: where z = (‖g‖ - μ)/(σ + ε) > λ, by global norm at μ + λ²σ/z.

    μ and σ² are moving averages of the norms after clipping, which `state` holds (empty before
    the first step); they start as mean and variance of the first `warm_up` norms, which are left
    alone. The published rules as they are: the limit FALLS as z grows, from μ + λσ towards μ; the
    variance is taken around the mean that the same step has moved; ‖g‖ is not limited otherwise.
    Kumar, Owen, Roy Chowdhury, Güra 2025 (arXiv:2504.02507), section 3.
    """
    gradients = checked(whole(gradients), threshold)
    norm = global_norm(gradients)
    if "mean" not in state:
        norms = torch.cat([state["norms"], norm[None]]) if state else norm[None]
        state["norms"] = norms
        if len(norms) == warm_up:
            state.clear()
            state |= {"mean": norms.mean(), "variance": norms.var(correction=0)}
        return scale(gradients, norm, norm, math.inf)
    mean, deviation = state["mean"], state["variance"].sqrt()
    z = (norm - mean) / (deviation + eps)
    limit = torch.where(z > threshold, mean + threshold**2 * deviation / z, math.inf)
    telemetry = scale(gradients, norm, norm, limit)
    after = torch.minimum(norm, limit)
    state["mean"] = alpha * mean + (1 - alpha) * after
    state["variance"] = alpha * state["variance"] + (1 - alpha) * (after - state["mean"]) ** 2
    return telemetry

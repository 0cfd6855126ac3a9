"""By the norms of the latest steps."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from clipgrid.clipping.shared import Telemetry, checked, global_norm, scale, whole


@torch.no_grad()
def clip_by_window(
    gradients: Iterable[Tensor],
    percentile: float,
    state: dict[str, Tensor],
    cap: float = 1.0,
    window: int = 1000,
) -> Telemetry:
    """By global norm, at the `percentile` of the latest `window` finite norms before this step's,
    and at most at `cap`; as long as there are fewer norms, at `cap` alone.

    `state`, empty before the first step, holds the norms before clipping. At the 100th percentile
    it only observes. The rule of TRELLIS (Xiang et al. 2025, arXiv:2412.01506), whose trainer has
    the 95th percentile, 1,000 norms and a cap of 1.
    """
    if not 0 < percentile <= 100:
        raise ValueError(f"the percentile must be above 0 and at most 100, not {percentile}")
    gradients = checked(whole(gradients), cap)
    norm = global_norm(gradients)
    norms = state.get("norms", norm.new_zeros(window))
    seen = state.get("seen", norm.new_zeros(()))
    limit = torch.where(seen < window, math.inf, torch.quantile(norms, percentile / 100))
    limit = limit.clamp(max=cap) if percentile < 100 else torch.full_like(norm, math.inf)
    oldest = torch.arange(window, device=norm.device) == seen % window
    state["norms"] = torch.where(oldest & norm.isfinite(), norm, norms)
    state["seen"] = seen + norm.isfinite()
    return scale(gradients, norm, norm, limit)

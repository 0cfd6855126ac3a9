"""By the norms of the run so far."""

from collections.abc import Iterable

import torch
from torch import Tensor

from clipgrid.clipping.shared import Telemetry, checked, global_norm, scale, whole


@torch.no_grad()
def clip_by_percentile(
    gradients: Iterable[Tensor], percentile: float, state: dict[str, Tensor]
) -> Telemetry:
    """AutoClip: by global norm, at the `percentile` of all norms of the run so far, this included.

    `state`, empty before the first step, holds those norms. The percentile is interpolated
    linearly; 0 < percentile ≤ 100. Seetharaman, Wichern, Pardo, Le Roux 2020, section 3.
    """
    if not 0 < percentile <= 100:
        raise ValueError(f"the percentile must be above 0 and at most 100, not {percentile}")
    gradients = checked(whole(gradients), percentile)
    norm = global_norm(gradients)
    norms = [state["norms"]] if state else []
    state["norms"] = torch.cat([*norms, norm[None]])
    return scale(gradients, norm, norm, torch.quantile(state["norms"], percentile / 100))

"""By a norm that moves with the step."""

from collections.abc import Iterable

import torch
from torch import Tensor

from clipgrid.clipping.shared import Telemetry, checked, global_norm, scale, whole


@torch.no_grad()
def clip_on_schedule(
    gradients: Iterable[Tensor],
    threshold: float,
    state: dict[str, Tensor],
    to: float = 0.1,
    over: int = 1000,
) -> Telemetry:
    """By global norm, at λ·to^(t/over) at step t = 0, 1, …, and at λ·to from step `over` on.

    `state`, empty before the first step, counts the steps. Marshall, Xiao, Agarwala, Paquette 2024
    (arXiv:2406.11733) show for least squares that a threshold which follows the training can beat
    each constant one where noise has heavy tails, and propose a heuristic with one parameter. That
    heuristic wasn't at hand; the geometric path here is ours, as gradients fall so where a loss
    does.
    """
    gradients = checked(whole(gradients), threshold)
    norm = global_norm(gradients)
    step = state.get("step", torch.zeros_like(norm))
    state["step"] = step + 1
    return scale(gradients, norm, norm, threshold * to ** (step / over).clamp(max=1))

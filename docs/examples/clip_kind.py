"""Each tensor is clipped by a moving average of its own norms."""

from typing import Annotated

import torch
from pydantic import Field

from clipgrid.clipping.shared import Telemetry, multiply, piecewise, tensor_norms
from clipgrid.study.fields import Count, Share
from clipgrid.study.parts import clip_kind


@clip_kind(
    "adagc", label="AdaGC, λ = {}", observes="the L2 norm of each tensor, over its moving average"
)
def clip_by_own_average(
    gradients: list[torch.Tensor],
    weights: list[torch.Tensor | None],
    threshold: float,
    state: dict[str, torch.Tensor],
    *,
    beta: Annotated[Share, Field(description="Decay of the averages.")] = 0.98,
    warm_up: Annotated[Count, Field(description="Steps that are left alone first.")] = 100,
) -> Telemetry:
    """AdaGC: each tensor by a moving average of its own clipped norms (Wang et al. 2025, 3.2)."""
    norms = tensor_norms(gradients)
    step = state.get("step", norms.new_zeros(()))
    average = state.get("average", torch.full_like(norms, torch.inf))
    known = average.clamp(min=1e-8).where(step >= warm_up, torch.inf)
    coefficients, telemetry = piecewise(norms, norms / known, threshold)
    multiply(gradients, coefficients, [1] * len(gradients))
    after = norms * coefficients
    moved = beta * average + (1 - beta) * after
    state["average"] = torch.where(step < warm_up, torch.minimum(average, after), moved)
    state["step"] = step + 1
    return telemetry

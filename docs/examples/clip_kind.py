"""The gradient is clipped by a moving average of its own norms."""

from typing import Annotated

import torch
from pydantic import Field

from clipgrid.clipping.shared import Telemetry, global_norm, scale, whole
from clipgrid.study.fields import Count, Share
from clipgrid.study.parts import clip_kind


@clip_kind(
    "relative",
    label="relative norm, λ = {}",
    observes="the global L2 norm; the threshold is in units of its moving average",
)
def clip_by_average(
    gradients: list[torch.Tensor],
    weights: list[torch.Tensor | None],
    threshold: float,
    state: dict[str, torch.Tensor],
    *,
    beta: Annotated[Share, Field(description="Decay of the average.")] = 0.98,
    warm_up: Annotated[Count, Field(description="Steps that are left alone first.")] = 20,
) -> Telemetry:
    """At λ times a moving average of the clipped norms."""
    gradients = list(whole(gradients))
    norm = global_norm(gradients)
    step = state.get("step", torch.zeros_like(norm))
    average = state.get("average", norm)
    limit = torch.where(step < warm_up, torch.inf, threshold * average)
    telemetry = scale(gradients, norm, norm, limit)
    after = norm * telemetry.coefficient
    state["average"] = beta * average + (1 - beta) * after
    state["step"] = step + 1
    return telemetry

"""Kinds of clipping, as a study names them: what each does is in clipgrid.clipping."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from clipgrid.lazy import Lazy
from clipgrid.study.fields import Count, Positive, Share
from clipgrid.study.parts import clip_kind

if TYPE_CHECKING:
    from torch import Tensor

    from clipgrid import clipping

    Gradients = list[Tensor]
    Weights = list[Tensor | None]
    State = dict[str, Tensor]
else:
    clipping = Lazy("clipgrid.clipping")


@clip_kind("norm", label="λ = {}", observes="the global L2 norm")
def by_norm(
    gradients: Gradients, weights: Weights, threshold: float, state: State
) -> clipping.Telemetry:
    """The whole gradient is scaled down to the threshold (Pascanu et al. 2013)."""
    return clipping.clip_by_global_norm(gradients, threshold)


@clip_kind("l1norm", label="L1 norm, λ = {}", observes="the global L1 norm")
def by_l1_norm(
    gradients: Gradients, weights: Weights, threshold: float, state: State
) -> clipping.Telemetry:
    """As norm, by the sum of all values' magnitudes."""
    return clipping.clip_by_global_norm(gradients, threshold, p=1)


@clip_kind(
    "maxnorm", label="max norm, λ = {}", observes="the largest value, to scale the whole gradient"
)
def by_max_norm(
    gradients: Gradients, weights: Weights, threshold: float, state: State
) -> clipping.Telemetry:
    """As norm, by the largest magnitude."""
    return clipping.clip_by_global_norm(gradients, threshold, p=math.inf)


@clip_kind("value", label="by value, λ = {}", observes="every single value")
def by_value(
    gradients: Gradients, weights: Weights, threshold: float, state: State
) -> clipping.Telemetry:
    """Each value is bounded by itself."""
    return clipping.clip_by_value(gradients, threshold)


@clip_kind("layer", label="by layer, λ = {}", observes="the L2 norm of each tensor")
def by_layer(
    gradients: Gradients, weights: Weights, threshold: float, state: State
) -> clipping.Telemetry:
    """Each tensor is scaled down by itself."""
    return clipping.clip_by_layer_norm(gradients, threshold)


@clip_kind(
    "agc", label="AGC, λ = {}", observes="the L2 norm of each unit, over that of its weights"
)
def adaptively(
    gradients: Gradients,
    weights: Weights,
    threshold: float,
    state: State,
    *,
    eps: Annotated[Positive, Field(description="The least norm of a unit's weights.")] = 1e-3,
) -> clipping.Telemetry:
    """Adaptive gradient clipping: each unit by the norm of its weights (Brock et al. 2021)."""
    return clipping.clip_adaptively(gradients, weights, threshold, eps)


@clip_kind(
    "autoclip",
    label="AutoClip, p = {}",
    observes="the global L2 norm; the threshold is a percentile of the run's own norms",
    most=100,
)
def by_percentile(
    gradients: Gradients, weights: Weights, threshold: float, state: State
) -> clipping.Telemetry:
    """AutoClip: at a percentile of all norms of the run so far (Seetharaman et al. 2020)."""
    return clipping.clip_by_percentile(gradients, threshold, state)


@clip_kind("zclip", label="ZClip, z = {}", observes="the z-score of the global L2 norm")
def by_z_score(
    gradients: Gradients,
    weights: Weights,
    threshold: float,
    state: State,
    *,
    alpha: Annotated[Share, Field(description="Smoothing constant of the norms' moments.")] = 0.97,
    warm_up: Annotated[Count, Field(description="Steps that are left alone first.")] = 25,
    eps: Annotated[Positive, Field(description="Added to the norms' deviation.")] = 1e-6,
) -> clipping.Telemetry:
    """ZClip: where the norm is unusual among the run's own (Kumar et al. 2025)."""
    return clipping.clip_by_z_score(gradients, threshold, state, alpha, warm_up, eps)

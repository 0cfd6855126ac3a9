"""By a moving average of each tensor's own norms."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from clipgrid.clipping.shared import Telemetry, checked, multiply, piecewise, tensor_norms


@torch.no_grad()
def clip_by_own_average(
    gradients: Iterable[Tensor],
    threshold: float,
    state: dict[str, Tensor],
    beta: float = 0.98,
    warm_up: int = 100,
    cap: float = 1.0,
) -> Telemetry:
    """AdaGC: g ← λγ/‖g‖ · g where ‖g‖ > λγ, for each tensor by itself; γ is the moving average of
    its clipped norms.

    For the first `warm_up` steps the whole gradient is clipped at the norm `cap`, and γ is the
    least clipped norm so far. `state`, empty before the first step, holds γ, one for each tensor,
    which must then be the same at each step. A tensor whose gradient is 0 or isn't finite keeps
    its γ. Wang et al. 2025 (arXiv:2502.11034).

    The default settings are not from the paper, whose values weren't at hand, but those of AdaGC in
    the package pytorch-optimizer: β = 0.98 (its beta), 100 steps (warmup_steps), cap 1
    (lambda_abs), for λ = 1.05 (lambda_rel). What is done with a tensor without a gradient is ours.
    """
    gradients = checked(gradients, threshold)
    norms = tensor_norms(gradients)
    average = state.get("average", torch.full_like(norms, math.inf))
    if len(average) != len(norms):
        raise ValueError(f"adagc remembers {len(average)} tensors, and is given {len(norms)}")
    if not gradients:
        return piecewise(norms, norms, threshold)[1]
    step = state.get("step", norms.new_zeros(()))
    warm = step < warm_up
    total = torch.linalg.vector_norm(norms)
    # In units of λ, so that one comparison does for both phases.
    least = cap if threshold < math.inf else math.inf
    relative = torch.where(warm, total / least, norms / average.clamp(min=1e-8) / threshold)
    coefficients, seen = piecewise(norms, relative, 1.0)
    multiply(gradients, coefficients, [1] * len(gradients))
    after = norms * coefficients
    moved = torch.where(average.isinf(), after, beta * average + (1 - beta) * after)
    new = torch.where(warm, torch.minimum(average, after), moved)
    known = (norms > 0) & total.isfinite()
    state["average"] = torch.where(known, new, average)
    state["step"] = step + total.isfinite()
    limit = torch.where(warm, least, torch.full_like(total, threshold))
    observed = torch.where(warm, total, (norms / average.clamp(min=1e-8)).max())
    return seen._replace(observed=observed, limit=limit)

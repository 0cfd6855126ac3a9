"""Gradient clipping: the subject. One function a kind; each returns what it saw and did.

What holds for all of them:

- Gradients are changed in place, once an optimizer step: after all accumulation, and before the
  optimizer adds weight decay. (torch's optimizers take the penalty as part of the gradient; who
  clips after that clips the penalty too.)
- A gradient that isn't above its threshold keeps every bit, and so does one that isn't finite:
  the trainer ends a run there. At λ = ∞ (AutoClip: at its 100th percentile) a kind only observes.
- Norms add up in float64, and nothing is added to them. Results are exact to rounding while the
  coefficient is a normal number of the gradients' type, or of float32 where that is larger.
- Nothing is fetched from the device.

`gradients` may be any iterable of tensors, of any floating type and memory layout, none included.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Telemetry(NamedTuple):
    """What one step's clipping saw and did, as 0-dim float64 tensors on the gradients' device.

    It clipped where observed > limit. A piece is what a kind compares with its threshold: the
    whole gradient, a tensor, a unit or a single value.
    """

    norm: Tensor  # global L2 norm before clipping, whatever the kind
    observed: Tensor  # what was compared with the limit, in the piece where it is largest
    limit: Tensor  # the threshold in effect
    coefficient: Tensor  # global L2 norm after clipping / before; 1 where nothing was clipped
    share: Tensor  # of the pieces, those that were clipped


@torch.no_grad()
def clip_by_global_norm(gradients: Iterable[Tensor], threshold: float, p: float = 2.0) -> Telemetry:
    """g ← λ/‖g‖ₚ · g where ‖g‖ₚ > λ, the norm being that of all tensors together.

    p is 1, 2 or ∞. Pascanu, Mikolov, Bengio 2013, algorithm 1 (the document's section 3.1).
    """
    gradients = checked(gradients, threshold)
    norm = global_norm(gradients)
    observed = norm if p == 2 else global_norm(gradients, p)
    return scale(gradients, norm, observed, torch.full_like(norm, threshold))


@torch.no_grad()
def clip_by_value(gradients: Iterable[Tensor], threshold: float) -> Telemetry:
    """gᵢ ← max(-λ, min(λ, gᵢ)) for every single value. Changes the gradient's direction."""
    gradients = checked(gradients, threshold)
    norm, observed = global_norm(gradients), global_norm(gradients, math.inf)
    limit = torch.full_like(norm, threshold)
    clipped = torch.zeros_like(norm)
    for gradient in gradients:
        bound = limit.where(norm.isfinite(), math.inf).to(gradient.dtype)
        above = gradient.abs() > bound
        clipped += above.sum()
        gradient.copy_(torch.where(above, bound.copysign(gradient), gradient))
    share = clipped / max(1, sum(gradient.numel() for gradient in gradients))
    coefficient = torch.where(clipped > 0, global_norm(gradients) / norm, 1.0)
    return Telemetry(norm, observed, limit, coefficient, share)


@torch.no_grad()
def clip_by_layer_norm(gradients: Iterable[Tensor], threshold: float) -> Telemetry:
    """g ← λ/‖g‖₂ · g where ‖g‖₂ > λ, for each tensor by itself: a weight, a bias."""
    gradients = checked(gradients, threshold)
    norms = tensor_norms(gradients)
    coefficients, telemetry = piecewise(norms, norms, threshold)
    multiply(gradients, coefficients.unbind())
    return telemetry


@torch.no_grad()
def clip_adaptively(
    gradients: Iterable[Tensor],
    weights: Iterable[Tensor | None],
    threshold: float,
    eps: float = 1e-3,
) -> Telemetry:
    """AGC: G ← λ·max(‖W‖, ε)/‖G‖ · G where ‖G‖/max(‖W‖, ε) > λ, for each unit by itself.

    A unit is what leads to one output: W[i] of a weight of two or more dimensions, and the whole
    of a bias or a gain. `weights` holds the parameter of each gradient; None is left alone, as
    the paper leaves the classifier. ε lets units that start at zero move.
    Brock, De, Smith, Simonyan 2021, section 4.1 (ε = 1e-3, λ = 0.01 there).
    """
    gradients, weights = list(gradients), list(weights)
    both = [(g, w) for g, w in zip(gradients, weights, strict=True) if w is not None]
    units = checked((g for g, _ in both), threshold)
    norms = [unit_norms(g) for g in units]
    sizes = [unit_norms(w).clamp(min=eps) for _, w in both if w.numel()]
    others = tensor_norms([g for g, w in zip(gradients, weights, strict=True) if w is None])
    flat = join(norms)
    coefficients, telemetry = piecewise(flat, flat / join(sizes), threshold, others)
    parts = coefficients.split([n.numel() for n in norms])
    multiply(units, (part.view_as(n) for part, n in zip(parts, norms, strict=True)))
    return telemetry


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
    gradients = checked(gradients, percentile)
    norm = global_norm(gradients)
    norms = [state["norms"]] if state else []
    state["norms"] = torch.cat([*norms, norm[None]])
    return scale(gradients, norm, norm, torch.quantile(state["norms"], percentile / 100))


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
    gradients = checked(gradients, threshold)
    norm = global_norm(gradients)
    if "mean" not in state:
        norms = torch.cat([state["norms"], norm[None]]) if state else norm[None]
        state["norms"] = norms
        if len(norms) == warm_up:
            state.clear()
            state |= {"mean": norms.mean(), "variance": norms.var(correction=0)}
        return scale(gradients, norm, norm, torch.full_like(norm, math.inf))
    mean, deviation = state["mean"], state["variance"].sqrt()
    z = (norm - mean) / (deviation + eps)
    limit = torch.where(z > threshold, mean + threshold**2 * deviation / z, math.inf)
    telemetry = scale(gradients, norm, norm, limit)
    after = torch.minimum(norm, limit)
    state["mean"] = alpha * mean + (1 - alpha) * after
    state["variance"] = alpha * state["variance"] + (1 - alpha) * (after - state["mean"]) ** 2
    return telemetry


# ---- what the kinds share -----------------------------------------------------------------------


def checked(gradients: Iterable[Tensor], threshold: float) -> list[Tensor]:
    if not threshold > 0:
        raise ValueError(f"the threshold must be above 0, not {threshold}")
    return [gradient for gradient in gradients if gradient.numel()]


def tensor_norms(tensors: list[Tensor], p: float = 2.0) -> Tensor:
    """The p-norm of each tensor, float64 [number of tensors]."""
    if not tensors:
        return torch.zeros(0, dtype=torch.float64)
    if p == math.inf:  # exact in any type; torch's own is ten times slower on a CPU
        return torch.stack([tensor.abs().amax() for tensor in tensors]).double()
    return torch.stack(torch._foreach_norm(tensors, p, torch.float64))


def global_norm(tensors: list[Tensor], p: float = 2.0) -> Tensor:
    """The p-norm of all tensors together, 0-dim float64."""
    norms = tensor_norms(tensors, p)
    return torch.linalg.vector_norm(norms, p) if len(norms) else norms.sum()


def join(norms: Sequence[Tensor]) -> Tensor:
    """All of these in one vector."""
    return torch.cat([n.flatten() for n in norms]) if norms else tensor_norms([])


def unit_norms(tensor: Tensor) -> Tensor:
    """The L2 norm of each unit, float64, of a shape that broadcasts to `tensor`'s."""
    dimensions = tuple(range(1, tensor.ndim)) or None
    keep = tensor.ndim > 1
    return torch.linalg.vector_norm(tensor, 2, dimensions, keep, dtype=torch.float64)


def product_type(*gradients: Tensor) -> torch.dtype:
    """The type that gradients are multiplied in: theirs, or float32 where that is larger."""
    types = {gradient.dtype for gradient in gradients}
    return functools.reduce(torch.promote_types, types, torch.float32)


def multiply(gradients: Sequence[Tensor], coefficients: Iterable[Tensor]) -> None:
    """Each gradient times its own coefficient."""
    for gradient, coefficient in zip(gradients, coefficients, strict=True):
        gradient.mul_(coefficient.to(product_type(gradient)))


def scale(gradients: list[Tensor], norm: Tensor, observed: Tensor, limit: Tensor) -> Telemetry:
    """The whole gradient, of this L2 norm, times limit/observed where that is below 1."""
    fires = (observed > limit) & norm.isfinite()
    coefficient = torch.where(fires, limit / observed, 1.0)
    if gradients:
        torch._foreach_mul_(gradients, coefficient.to(product_type(*gradients)))
    return Telemetry(norm, observed, limit, coefficient, fires.double())


def piecewise(
    norms: Tensor, observed: Tensor, threshold: float, others: Tensor | None = None
) -> tuple[Tensor, Telemetry]:
    """Coefficients of the pieces of these L2 norms, λ/observed where that is below 1, and their
    telemetry. `others` are the norms of what is not to be clipped. All float64 [pieces]."""
    others = norms[:0] if others is None else others.to(norms.device)
    pieces = len(norms)
    if not pieces:
        norms = observed = norms.new_zeros(1)
    norm = torch.linalg.vector_norm(torch.cat([norms, others]))
    fires = (observed > threshold) & norm.isfinite()
    coefficients = torch.where(fires, threshold / observed, 1.0)
    after = torch.linalg.vector_norm(torch.cat([norms * coefficients, others]))
    return coefficients[:pieces], Telemetry(
        norm,
        observed.max(),
        torch.full_like(norm, threshold),
        torch.where(fires.any(), after / norm, 1.0),
        fires.double().mean(),
    )

"""What the kinds of clipping share: norms, scaling, telemetry."""

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

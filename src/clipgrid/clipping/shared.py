"""What the kinds of clipping share: norms, scaling, telemetry."""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from clipgrid.clipping.flat import Flat

BLOCK = 256  # values that are added up in float32
LONG = 64 * BLOCK  # values of a tensor whose norm is taken by blocks
VANISHING = 1e-9  # of a norm below it, squares that underflow could matter


class Telemetry(NamedTuple):
    """What one step's clipping saw and did, as 0-dim float64 tensors on the gradients' device.

    It clipped where observed > limit (by value: where it is so in the gradient's type). A piece is
    what a kind compares with its threshold: the whole gradient, a tensor, a unit or a single value.
    """

    norm: Tensor  # global L2 norm before clipping, whatever the kind
    observed: Tensor  # what was compared with the limit, in the piece where it is largest
    limit: Tensor  # the threshold in effect
    coefficient: Tensor  # global L2 norm after clipping / before; 1 where nothing was clipped
    share: Tensor  # of the pieces, those that were clipped


def checked(gradients: Iterable[Tensor], threshold: float) -> list[Tensor]:
    """The gradients that aren't empty. ValueError for a threshold that isn't above 0, and for a
    device on which norms can't be taken."""
    if not threshold > 0:
        raise ValueError(f"the threshold must be above 0, not {threshold}")
    found = [gradient for gradient in gradients if gradient.numel()]
    check_device(found)
    return found


def check_device(gradients: Sequence[Tensor | None]) -> None:
    """ValueError for gradients on a device that lacks float64, by the first of them."""
    first = next((gradient for gradient in gradients if gradient is not None), None)
    if first is not None and first.device.type == "mps":
        raise ValueError(
            "gradients on the device mps can't be clipped exactly: norms add up in float64, which"
            " MPS doesn't have; train on the CPU or on a CUDA GPU, or clip by torch's own"
            " clip_grad_norm_"
        )


def whole(gradients: Iterable[Tensor]) -> Iterable[Tensor]:
    """The buffers of a Flat, for kinds that treat all values alike."""
    return gradients.buffers if isinstance(gradients, Flat) else gradients


def tensor_norms(tensors: list[Tensor], p: float = 2.0) -> Tensor:
    """The p-norm of each tensor, float64 [number of tensors]."""
    if not tensors:
        return torch.zeros(0, dtype=torch.float64)
    if p == math.inf:  # exact in any type; torch's own is ten times slower on a CPU
        ends = map(torch.aminmax, tensors)
        return torch.stack([torch.maximum(high, -low) for low, high in ends]).double()
    long = [in_order(tensor) if is_long(tensor) else None for tensor in tensors]
    others = [tensor for tensor, values in zip(tensors, long, strict=True) if values is None]
    norms = iter(torch._foreach_norm(others, p, torch.float64) if others else ())
    each = [next(norms) if v is None else norm_by_blocks(v, p) for v in long]
    return torch.stack(each) if len(each) > 1 else each[0][None]


def is_long(tensor: Tensor) -> bool:
    """Whether its norm is faster by blocks."""
    on_cpu = tensor.device.type == "cpu"
    return on_cpu and tensor.dtype == torch.float32 and tensor.numel() >= LONG


def in_order(tensor: Tensor) -> Tensor | None:
    """The values as they lie in memory, [n]; None where there are gaps between them."""
    if tensor.is_contiguous():
        return tensor if tensor.dim() == 1 else tensor.view(-1)
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor.permute(0, 2, 3, 1).view(-1)
    return None


def norm_by_blocks(values: Tensor, p: float) -> Tensor:
    """The 1- or 2-norm, 0-dim float64, of float32 `values` [n] on a CPU: in float32 within blocks,
    and in float64 across them. It takes a third of the time of float64 throughout, at a relative
    error of 1e-9 (within one block: 1e-7). Where a block overflows or squares vanish, all
    is in float64."""
    rest = len(values) % BLOCK
    blocks = (values[:-rest] if rest else values).view(-1, BLOCK)
    # torch's own 1-norm of rows is seven times slower.
    norms = torch.linalg.vector_norm(blocks, 2, 1) if p == 2 else blocks.abs().sum(1)
    if rest:
        norms = torch.cat([norms, torch.linalg.vector_norm(values[-rest:], p)[None]])
    norm = torch.linalg.vector_norm(norms, p, dtype=torch.float64)
    if VANISHING < norm.item() < math.inf:
        return norm
    return torch.linalg.vector_norm(values, p, dtype=torch.float64)


def global_norm(tensors: list[Tensor], p: float = 2.0) -> Tensor:
    """The p-norm of all tensors together, 0-dim float64."""
    norms = tensor_norms(tensors, p)
    if len(norms) == 1:
        return norms[0]
    return torch.linalg.vector_norm(norms, p) if len(norms) else norms.sum()


def none(fires: Tensor) -> bool:
    """On a CPU, whether no piece is to be clipped; elsewhere False, as asking would wait."""
    return fires.device.type == "cpu" and not fires.any().item()


def product_type(*gradients: Tensor) -> torch.dtype:
    """The type that gradients are multiplied in: theirs, or float32 where that is larger."""
    types = {gradient.dtype for gradient in gradients}
    return functools.reduce(torch.promote_types, types, torch.float32)


def multiply(gradients: list[Tensor], coefficients: Tensor, pieces: list[int]) -> None:
    """Each piece times its own of the coefficients. `pieces` says how many each gradient has: one
    for each row, or 1."""
    if gradients and not none(coefficients < 1):
        parts = coefficients.to(product_type(*gradients)).split(pieces)
        each = zip(gradients, parts, strict=True)
        shaped = [part.view([-1, *[1] * (g.ndim - 1)] if g.ndim else []) for g, part in each]
        torch._foreach_mul_(gradients, shaped)


def scale(
    gradients: list[Tensor], norm: Tensor, observed: Tensor, limit: Tensor | float
) -> Telemetry:
    """The whole gradient, of this L2 norm, times limit/observed where that is below 1."""
    if norm.device.type == "cpu":  # nothing waits there, and numbers take less time than tensors
        numbers = norm.item(), observed.item(), float(limit)
        fires = numbers[1] > numbers[2] and numbers[0] < math.inf
        coefficient = numbers[2] / numbers[1] if fires else 1.0
        if fires:
            factor: Tensor | float = coefficient
            if any(gradient.itemsize < 4 for gradient in gradients):  # a number would be as short
                factor = torch.tensor(coefficient, dtype=product_type(*gradients))
            torch._foreach_mul_(gradients, factor)
        return telemetry(*numbers, coefficient, float(fires))
    limits = torch.zeros_like(norm) + limit
    above = (observed > limits) & (norm < math.inf)
    factors = torch.where(above, limits / observed, 1.0)
    torch._foreach_mul_(gradients, factors.to(product_type(*gradients)))
    return Telemetry(norm, observed, limits, factors, above.double())


def telemetry(*numbers: float) -> Telemetry:
    """Of numbers, on the CPU."""
    return Telemetry(*torch.tensor(numbers, dtype=torch.float64).unbind())


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
    fires = (observed > threshold) & (norm < math.inf)
    coefficients = torch.where(fires, threshold / observed, 1.0)
    after = torch.linalg.vector_norm(torch.cat([norms * coefficients, others]))
    return coefficients[:pieces], Telemetry(
        norm,
        observed.max(),
        torch.full_like(norm, threshold),
        torch.where(fires.any(), after / norm, 1.0),
        fires.double().mean(),
    )

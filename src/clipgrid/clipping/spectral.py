"""By the singular values of each matrix."""

from collections.abc import Iterable

import torch
from torch import Tensor

from clipgrid.clipping.shared import Telemetry, checked


@torch.no_grad()
def clip_by_singular_values(gradients: Iterable[Tensor], threshold: float) -> Telemetry:
    """σ ← min(σ, λ) for each singular value of each gradient G = U·diag(σ)·Vᵀ, by itself.

    A convolution's gradient is the matrix [outputs, all else]; a bias or a gain is one row, whose
    singular value is its norm. It is exact, by a full decomposition in float64: that takes long for
    large matrices, and off a CPU torch waits for the device in it. Where no value is above λ, every
    bit is kept. Yukhimchuk, Kolar, Takáč, Choudhury 2026 (arXiv:2605.11838) at a constant threshold
    (their adaptive thresholds and their truncated decomposition aren't here); the hard form of what
    Jiang, Semenov, Stich 2026 (arXiv:2603.14315) do softly, by Newton-Schulz iterations.
    """
    gradients = checked(gradients, threshold)
    if not gradients:
        none = torch.zeros((), dtype=torch.float64)
        return Telemetry(none, none, none + threshold, none + 1, none)
    norms = [torch.linalg.vector_norm(g, dtype=torch.float64) for g in gradients]
    norm = torch.linalg.vector_norm(torch.stack(norms))
    values, clipped = [], []
    for gradient in gradients:
        sound = torch.where(norm.isfinite(), gradient.double(), 0.0)
        matrix = sound.flatten(1) if gradient.dim() > 1 else sound.view(1, -1)
        u, sigma, v = torch.linalg.svd(matrix, full_matrices=False)
        least = sigma.clamp(max=threshold)
        less = ((u * least) @ v).view(gradient.shape).to(gradient.dtype)
        gradient.copy_(torch.where((sigma > threshold).any(), less, gradient))
        values.append(sigma)
        clipped.append(least)
    before, after = torch.cat(values), torch.cat(clipped)
    fires = before > after
    return Telemetry(
        norm,
        torch.where(norm.isfinite(), before.max(), norm),
        torch.full_like(norm, threshold),
        torch.where(fires.any(), torch.linalg.vector_norm(after) / norm, 1.0),
        fires.double().mean(),
    )

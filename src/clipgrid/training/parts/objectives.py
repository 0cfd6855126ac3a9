"""Objectives: what training minimises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipgrid.lazy import torch
from clipgrid.study.parts import objective

if TYPE_CHECKING:
    from torch import Tensor


@objective("cross-entropy", label="cross-entropy")
def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy of a batch, nats."""
    return torch.nn.functional.cross_entropy(logits, labels)

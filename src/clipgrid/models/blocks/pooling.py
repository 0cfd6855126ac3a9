"""Average pooling with a gradient that is deterministic on CUDA."""

import torch
from torch import Tensor, nn


class AveragePool(nn.Module):
    """nn.AdaptiveAvgPool2d(side) for maps [N, C, size, size], as two products of matrices, whose
    gradient CUDA computes deterministically."""

    bins: Tensor
    areas: Tensor

    def __init__(self, size: int, side: int) -> None:
        super().__init__()
        bins = torch.zeros(side, size)  # 1 where a value goes into an average
        for i in range(side):
            bins[i, i * size // side : -(-(i + 1) * size // side)] = 1
        lengths = bins.sum(1)
        # Ones are exact in every precision; the division comes after the sum.
        self.register_buffer("bins", bins, persistent=False)
        self.register_buffer("areas", lengths[:, None] * lengths, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.bins @ x @ self.bins.T / self.areas

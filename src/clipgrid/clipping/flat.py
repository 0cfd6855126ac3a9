"""Tensors in one buffer: what is done to each value takes one kernel, however many tensors."""

from collections.abc import Iterable

import torch
from torch import Tensor

ALIGNED = 64  # bytes, where a tensor begins: kernels are faster there
WHOLE = 256  # a buffer's length is a multiple of it: nothing is left over when it is cut in blocks


class Flat(list[Tensor]):
    """Tensors of zeros, each of the shape and memory layout of one of `like`, that lie one behind
    another in `buffers`: one tensor [n] for each type, in the order in which types appear, on the
    device of the first. Between tensors there may be some zeros, and so behind the last, which ends
    before `ends`."""

    def __init__(self, like: Iterable[Tensor]) -> None:
        like = list(like)
        starts: list[int] = []
        ends: dict[torch.dtype, int] = {}
        for tensor in like:
            starts.append(ends.get(tensor.dtype, 0))
            step = ALIGNED // tensor.element_size()
            ends[tensor.dtype] = starts[-1] + -(-tensor.numel() // step) * step
        whole = {
            dtype: torch.zeros(-(-end // WHOLE) * WHOLE, dtype=dtype, device=like[0].device)
            for dtype, end in ends.items()
        }
        super().__init__(
            # What empty_like makes has the tensor's order in memory, without its gaps.
            whole[t.dtype].as_strided(t.shape, torch.empty_like(t, device="meta").stride(), start)
            for t, start in zip(like, starts, strict=True)
        )
        self.buffers, self.ends = list(whole.values()), list(ends.values())

    def fill(self, tensors: Iterable[Tensor | None]) -> None:
        """Copy these in, one for each; None is zeros."""
        both = [*zip(self, tensors, strict=True)]
        for own in (own for own, tensor in both if tensor is None):
            own.zero_()
        if given := [(own, tensor) for own, tensor in both if tensor is not None]:
            torch._foreach_copy_([own for own, _ in given], [tensor for _, tensor in given])

    def __setitem__(self, *_: object) -> None:
        raise TypeError("a tensor of a Flat is a view of its buffer: change it in place")

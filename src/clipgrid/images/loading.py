"""Images on their way from the prepared file to where the model is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from clipgrid.images.moving import to_device
from clipgrid.study.looks import RESIDENT_BYTES

if TYPE_CHECKING:
    import torch
    from torch import Tensor

READERS = 4  # threads; several wait for a slow disk at once
AHEAD = READERS  # batches that are read before they are asked for


class Images:
    """`images` uint8 [N, C, S, S], mapped from a file, as batches on `device`.

    A set of up to RESIDENT_BYTES lies on the device as a whole (on a CPU, in the system's cache of
    the file). Of a larger one READERS threads read the batches to come, a batch each, into memory
    that is pinned for a GPU, from where they are copied in its one stream. (A stream of their own,
    and pinned memory that is used again, would take events that only a GPU can try.)
    """

    def __init__(self, images: Tensor, device: torch.device) -> None:
        self.device = device
        self.resident = images.nbytes <= RESIDENT_BYTES
        self.images = images.to(device) if self.resident else images

    def batches(self, indices: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Each of `indices` [n] with its images [n, C, S, S], both on the device."""
        if self.resident:
            for index in indices:
                index = to_device(index, self.device)
                # images[index] would take ten times as long.
                yield index, self.images.index_select(0, index)
            return
        under_way: deque = deque()
        with ThreadPoolExecutor(READERS) as readers:
            for index in indices:
                under_way.append(readers.submit(self.read, index))
                if len(under_way) > AHEAD:
                    yield self.arrived(*under_way.popleft().result())
            while under_way:
                yield self.arrived(*under_way.popleft().result())

    def read(self, index: Tensor) -> tuple[Tensor, Tensor]:
        images = self.images.index_select(0, index)
        return index, images if self.device.type == "cpu" else images.pin_memory()

    def arrived(self, index: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        return to_device(index, self.device), images.to(self.device, non_blocking=True)

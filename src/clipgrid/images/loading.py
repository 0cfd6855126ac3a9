"""Images on their way from the prepared file to where the model is."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from clipgrid.images.moving import to_device
from clipgrid.lazy import torch
from clipgrid.study.looks import RESIDENT_BYTES

if TYPE_CHECKING:
    from torch import Tensor

    from clipgrid.images.dataset import Dataset

READERS = 4  # threads; several wait for a slow disk at once
CHECKED_BYTES, CHECKED_AT_ONCE = 1e9, 2**16  # of a set that is checked as a whole: 0.4 s; images
AHEAD = READERS  # batches that are read before they are asked for


class Images:
    """The images of a data set, mapped from its file, as batches on `device`. Each is held against
    its checksum once: here where the set is small or lies on a GPU, else by `Dataset.take`.

    A set of up to RESIDENT_BYTES lies on the device as a whole (on a CPU, in the system's cache of
    the file). Of a larger one READERS threads read the batches to come, a batch each, into memory
    that is pinned for a GPU, from where they are copied in its one stream. (A stream of their own,
    and pinned memory that is used again, would take events that only a GPU can try.)
    """

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self.dataset, self.device = dataset, device
        size, on_cpu = dataset.images.nbytes, device.type == "cpu"
        self.resident = size <= RESIDENT_BYTES
        self.take = dataset.take
        if self.resident and (size <= CHECKED_BYTES or not on_cpu):
            images = dataset.images.to(device)
            for start in range(0, len(images), CHECKED_AT_ONCE):
                some = images[start : start + CHECKED_AT_ONCE]
                dataset.check(some, torch.arange(start, start + len(some)))
            self.take = functools.partial(images.index_select, 0)

    def batches(self, indices: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Each of `indices` [n] with its images [n, C, S, S], both on the device."""
        if self.resident:
            for index in indices:
                index = to_device(index, self.device)
                yield index, self.take(index)
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
        images = self.take(index)
        return index, images if self.device.type == "cpu" else images.pin_memory()

    def arrived(self, index: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        return to_device(index, self.device), images.to(self.device, non_blocking=True)

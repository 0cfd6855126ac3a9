"""Images of a set that is too large for the device: read ahead, by several threads."""

import threading
import time

import pytest
import torch

from clipgrid.images import loading
from clipgrid.images.data import Dataset
from clipgrid.images.loading import READERS


@pytest.fixture
def images(digits, monkeypatch):
    monkeypatch.setattr(loading, "RESIDENT_BYTES", 0)
    return loading.Images(Dataset.load(digits), torch.device("cpu"))


@pytest.fixture
def reading(images, monkeypatch):
    """A function: let something happen before each batch is read, given its first image."""

    def before(happens):
        def then_read(index):
            happens(index[0].item())
            return read(index)

        read = images.read
        monkeypatch.setattr(images, "read", then_read)

    return before


def batches(n):
    return [torch.tensor([t, 100 - t, t]) for t in range(n)]


def test_batches_are_read_before_they_are_asked_for(images):
    asked = []
    stream = images.batches(asked.append(t) or torch.tensor([t]) for t in range(10))
    index, some = next(stream)
    assert (index.tolist(), asked) == ([0], list(range(1 + loading.AHEAD)))
    assert torch.equal(some, images.dataset.images[[0]])
    assert [index.item() for index, _ in stream] == list(range(1, 10))


def test_several_are_read_at_once_and_come_in_the_order_asked_for(images, reading):
    together = threading.Barrier(READERS, timeout=10)
    reading(lambda first: together.wait() and time.sleep(0.01 * (READERS - first % READERS)))
    found = list(images.batches(batches(3 * READERS)))
    for (index, some), wanted in zip(found, batches(3 * READERS), strict=True):
        assert torch.equal(index, wanted)
        assert torch.equal(some, images.dataset.images[wanted])


@pytest.mark.parametrize("n", [0, 1, READERS, READERS + 1])
def test_fewer_batches_than_are_read_ahead_all_come(images, n):
    assert [index[0].item() for index, _ in images.batches(batches(n))] == list(range(n))


def test_what_goes_wrong_in_a_reader_is_told_where_its_batch_is_asked_for(images, reading):
    def unreadable(first):
        if first == 2:
            raise OSError(5, "Input/output error", "data.pt")

    reading(unreadable)
    stream = images.batches(batches(10))
    assert [next(stream)[0][0].item() for _ in range(2)] == [0, 1]
    with pytest.raises(OSError, match="Input/output error"):
        next(stream)


@pytest.mark.parametrize("taken", [1, 3])
def test_who_stops_early_leaves_no_reader(images, taken):
    before = threading.active_count()
    stream = images.batches(batches(50))
    for _ in range(taken):
        next(stream)
    assert threading.active_count() > before
    stream.close()
    assert threading.active_count() == before

"""What clipping alone takes, beside torch's clip_grad_norm_ on the same gradients.

    python benchmarks/clip.py      # a minute; writes benchmarks/results/clip.json

Each call clips: the threshold falls a little below the norm each time. Gradients lie in a Flat, as
in a run of ours, or are a list. What it takes to bring them into a Flat is told apart. Every
variant takes its turn in every round; ratios are within a round.
"""

import itertools
import random
import statistics
import time
from collections.abc import Callable

import torch
from record import record
from torch import nn

from clipgrid import models
from clipgrid.clipping import Flat, clip_by_global_norm
from clipgrid.training.machine import set_up_process

NETS = {  # name: width, side of an image in px, calls in a round
    "alexnet": (0.125, 12, 100),
    "vgg11": (0.0625, 12, 100),
    "resnet18": (0.125, 12, 100),
    "resnet50": (1.0, 64, 4),  # 25 million parameters
}
ROUNDS = 15


def main() -> None:
    set_up_process()
    figures = {name: measure(name, *about) for name, about in NETS.items()}
    record("clip", figures, "python benchmarks/clip.py", ("torch",))


def measure(name: str, width: float, size: int, calls: int) -> dict:
    """Microseconds of a call, and its ratio to torch's."""
    torch.manual_seed(0)
    model = models.build(name, 3, size, 10, width).to(memory_format=torch.channels_last)
    images = torch.rand(8, 3, size, size).contiguous(memory_format=torch.channels_last)
    nn.functional.cross_entropy(model(images), torch.arange(8)).backward()
    parameters = list(model.parameters())
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = Flat(gradients)
    flat.fill(gradients)
    ways = {
        "torch": clipping(lambda limit: nn.utils.clip_grad_norm_(parameters, limit), gradients),
        "clipgrid": clipping(lambda limit: clip_by_global_norm(flat, limit), flat),
        "clipgrid, of a list": clipping(
            lambda limit: clip_by_global_norm(copies, limit), copies := [g.clone() for g in flat]
        ),
        "bringing gradients into a Flat": lambda: flat.fill(gradients),
    }
    microseconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way in random.sample(list(ways), len(ways)):
            started = time.perf_counter()
            for _ in range(calls):
                ways[way]()
            microseconds[way].append(1e6 * (time.perf_counter() - started) / calls)
    times_torch = {
        way: statistics.median(t / u for t, u in zip(times, microseconds["torch"], strict=True))
        for way, times in microseconds.items()
    }
    return {
        "values": sum(p.numel() for p in parameters),
        "tensors": len(parameters),
        **{
            way: {
                "microseconds": round(statistics.median(times), 1),
                "ratio_to_torch": round(times_torch[way], 3),
            }
            for way, times in microseconds.items()
        },
    }


def clipping(clip: Callable, gradients: list[torch.Tensor]) -> Callable[[], object]:
    """A call that clips these gradients a little, each time."""
    norm = torch.nn.utils.get_total_norm(gradients).item()
    limits = (norm * (1 - 1e-5) ** n for n in itertools.count(1))
    return lambda: clip(next(limits))


if __name__ == "__main__":
    main()

"""What clipping takes in a bare training loop: clipgrid's Clipper, with its telemetry and without,
beside torch's clip_grad_norm_ and beside no clipping.

    python benchmarks/clipper.py      # two minutes; writes benchmarks/results/clipper.json

A step is forward, backward, the clip and torch's fused SGD, on one batch that lies ready, in one
thread. The threshold is such that about half of the steps are clipped. Every variant has a copy of
the net and takes its turn in every round; ratios are within a round.
"""

import copy
import random
import statistics
import time
from collections.abc import Callable

import torch
from record import record
from torch import nn

from clipgrid import models
from clipgrid.clipping import Clipper, clip_by_global_norm
from clipgrid.training.machine import set_up_process

NETS = {  # name: width, side of an image in px, steps in a round
    "alexnet": (0.125, 12, 20),
    "vgg11": (0.0625, 12, 20),
    "resnet18": (0.125, 12, 20),
}
ROUNDS = 15
BATCH = 32
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main() -> None:
    set_up_process()
    figures = {name: measure(name, *about) for name, about in NETS.items()}
    record("clipper", figures, "python benchmarks/clipper.py", ("torch",))


def measure(name: str, width: float, size: int, steps: int) -> dict:
    """Milliseconds of a step, its ratio to that without clipping, and what clipping adds."""
    torch.manual_seed(0)
    model = models.build(name, 3, size, 10, width).to(DEVICE, memory_format=torch.channels_last)
    images = torch.rand(BATCH, 3, size, size, device=DEVICE)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(BATCH, device=DEVICE) % 10
    limit = threshold(copy.deepcopy(model), images, labels)
    ways: dict[str, Callable[[nn.Module], Callable]] = {
        "no clipping": lambda net: lambda: None,
        "torch": lambda net: lambda: nn.utils.clip_grad_norm_(net.parameters(), limit),
        "clipgrid's function": lambda net: (
            lambda: clip_by_global_norm([p.grad for p in net.parameters()], limit)
        ),
        "Clipper": lambda net: Clipper(net, limit),
        "Clipper, by layer": lambda net: Clipper(net, limit, by_layer=True),
        "Clipper that observes": lambda net: Clipper(net, "inf"),
    }
    loops = {way: loop(copy.deepcopy(model), images, labels, ways[way]) for way in ways}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for way in ways:
        loops[way](3)
    for _ in range(ROUNDS):
        for way in random.sample(list(ways), len(ways)):
            started = time.perf_counter()
            loops[way](steps)
            seconds[way].append((time.perf_counter() - started) / steps)
    bare, own = seconds["no clipping"], {}
    for way, times in seconds.items():
        own[way] = {
            "milliseconds": round(1e3 * statistics.median(times), 3),
            "ratio_to_no_clipping": round(ratio(times, bare), 3),
            "added_microseconds": round(
                1e6 * statistics.median(t - b for t, b in zip(times, bare, strict=True))
            ),
        }
    values = sum(p.numel() for p in model.parameters())
    return {"device": DEVICE, "values": values, "tensors": len(list(model.parameters())), **own}


def ratio(times: list[float], others: list[float]) -> float:
    return statistics.median(t / o for t, o in zip(times, others, strict=True))


def loop(
    net: nn.Module, images: torch.Tensor, labels: torch.Tensor, way: Callable
) -> Callable[[int], None]:
    """A function that takes so many steps."""
    clip = way(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, fused=True)

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images), labels).backward()
            clip()
            optimizer.step()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return run


def threshold(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The median norm of some steps."""
    clipper = Clipper(net, "inf")
    loop(net, images, labels, lambda _: clipper)(20)
    return statistics.median(clipper.table()["norm"])


if __name__ == "__main__":
    main()

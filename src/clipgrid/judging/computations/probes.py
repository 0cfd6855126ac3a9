"""What computations try things on: a batch, a net, gradients of a known norm, a run of a few steps.
All are the same each time."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clipgrid.lazy import Lazy, torch
from clipgrid.study.cells import Trajectory

if TYPE_CHECKING:
    from torch import Tensor

    from clipgrid import models
    from clipgrid.images import data
    from clipgrid.judging.evidence import Evidence
    from clipgrid.training import loop, readouts
    from clipgrid.training import run as training
else:
    models = Lazy("clipgrid.models")
    data = Lazy("clipgrid.images.data")
    loop = Lazy("clipgrid.training.loop")
    readouts = Lazy("clipgrid.training.readouts")
    training = Lazy("clipgrid.training.run")

LIMIT = 1.0  # λ
RATE = 0.03  # the learning rate


def batch(n: int = 8) -> tuple[Tensor, Tensor]:
    """Random images [n, 1, 12, 12] and labels of 10 classes."""
    draws = torch.Generator().manual_seed(0)
    return torch.rand(n, 1, 12, 12, generator=draws), torch.arange(n) % 10


def net(name: str = "alexnet") -> torch.nn.Module:
    """An eighth of the width, for such images."""
    torch.manual_seed(0)
    return models.build(name, 1, 12, 10, 0.125)


def norm(tensors: list[Tensor]) -> float:
    """The global L2 norm."""
    return float(torch.cat([t.flatten() for t in tensors]).double().norm())


def random_gradients(size: float) -> list[Tensor]:
    """Three tensors whose global L2 norm is `size`."""
    draws = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=draws).double() for shape in ((4, 3), (7,), (2, 2, 2))]
    scale = size / norm(tensors)
    return [scale * t for t in tensors]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    """Bit for bit."""
    return all(torch.equal(one, other) for one, other in zip(a, b, strict=True))


def cosine(a: list[Tensor], b: list[Tensor]) -> float:
    """Of the angle between two gradients."""
    one, other = (torch.cat([t.flatten() for t in tensors]).double() for tensors in (a, b))
    return float(torch.nn.functional.cosine_similarity(one, other, dim=0))


# ---- of the study's own images ----------------------------------------------------------------


def dataset(evidence: Evidence) -> data.Dataset:
    return data.Dataset.load(evidence.results / "data.pt")


def run(
    evidence: Evidence, steps: int, decays: Iterable[float] = (), **settings: Any
) -> training.Run:
    """A narrow AlexNet after so many steps, with moving averages of these decays."""
    usual: dict[str, Any] = {
        **{"model": "alexnet:width=0.125", "optimizer": "momentum", "learning_rate": RATE},
        **{"clip": LIMIT, "seed": 0, "evaluate_every": 1000},
    }
    trained = training.Run(Trajectory(**usual | settings), dataset(evidence), set(decays))
    advance(trained, steps)
    return trained


@contextmanager
def one_thread() -> Iterator[None]:
    """More of them change bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def advance(run: training.Run, steps: int) -> None:
    """Train until so many steps are done."""
    with one_thread():
        loop.advance(run, steps)


def layer_norms(run: training.Run, steps: int) -> Tensor:
    """The norm of the gradient of each layer's weights, float64 [steps, layers], at the next steps;
    the first of them at which one isn't finite is the last."""
    rows: list[Tensor] = []
    with one_thread():
        while len(rows) < steps and (not rows or rows[-1].isfinite().all()):
            loop.update(run)
            layers = [g.double().norm() for g in run.weights.gradients if g.dim() > 1]
            rows.append(torch.stack(layers))
    return torch.stack(rows)


def batch_gradients(run: training.Run, batches: int) -> list[list[Tensor]]:
    """The gradients of the next batches, all at the present weights; float64, without dropout."""
    model = copy.deepcopy(run.model).double().eval()
    found = []
    with one_thread():
        for images, labels in itertools.islice(run.batches.since(run.step), batches):
            loss = torch.nn.functional.cross_entropy(model(images.double()), labels)
            found.append(list(torch.autograd.grad(loss, list(model.parameters()))))
    return found


def telemetry(run: training.Run) -> dict[str, Tensor]:
    """A column [steps] of each thing that its steps saw: loss, norm, share, ..."""
    return run.history.steps


def average(run: training.Run, decay: float) -> dict[str, Tensor]:
    """The moving average of that decay."""
    return run.weights_of(decay)


def look(run: training.Run, index: Tensor) -> tuple[float, float]:
    """Loss and accuracy on these images."""
    return readouts.evaluate(run, index)

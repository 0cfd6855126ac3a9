"""Is the loss less smooth where its gradient is larger? Along runs on the study's images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clipgrid.judging.computations import probes
from clipgrid.judging.computations.answers import Answer
from clipgrid.judging.computations.optimisation import Estimate, above, over_seeds
from clipgrid.lazy import Lazy, torch
from clipgrid.study.parts import computation

if TYPE_CHECKING:
    from scipy import stats
    from torch import Tensor

    from clipgrid.judging.evidence import Evidence
    from clipgrid.training import run as training
else:
    stats = Lazy("scipy.stats")

SEEDS = 6
STEPS, EVERY = 150, 10  # of each run, and from one look to the next
IMAGES = 100  # on which gradients are taken, at each look the same
PARTS = (0.5, 1.0)  # of the step ahead, at which the gradient is compared with that before it


class Path(NamedTuple):
    """What the looks at one run saw."""

    norms: list[float]
    smoothness: list[float]


@computation("smoothness_grows_with_the_norm")
def smoothness_grows_with_the_norm(evidence: Evidence) -> Answer:
    """Is the loss less smooth where its gradient is larger?

    Zhang, He, Sra, Jadbabaie 2020 plot one against the other along runs of a language model and
    of a ResNet, and see them rise together on logarithmic axes. Here a narrow AlexNet is trained as
    usual (momentum, η = 0.03, λ = 1).
    """
    with probes.one_thread():
        return correlation([path(evidence, seed) for seed in range(SEEDS)])


def correlation(paths: list[Path]) -> Answer:
    """Spearman's of each run, its mean over runs by Fisher's z."""
    each = np.array([stats.spearmanr(p.norms, p.smoothness).statistic for p in paths])
    rank = Estimate(*np.tanh(over_seeds(np.arctanh(each.clip(-0.999, 0.999)))).tolist())
    return Answer(
        above(rank, 0),
        f"Along a run of AlexNet, gradient norm and local smoothness have a rank correlation of"
        f" {rank.mean:.2f} [{rank.low:.2f}, {rank.high:.2f}]; it is above 0 in {(each > 0).sum()}"
        f" of {len(each)} runs ({len(paths[0].norms)} looks at each).",
        rank.mean,
        "Spearman's correlation of gradient norm and smoothness",
    )


def path(evidence: Evidence, seed: int) -> Path:
    """Looks at a run, one before each tenth step."""
    run = probes.run(evidence, 0, seed=seed)
    found = Path([], [])
    for step in range(EVERY, STEPS + 1, EVERY):
        probes.advance(run, step - 1)
        before = weights(run)
        probes.advance(run, step)
        norm, smoothness = look(lambda at: gradient(run, at), before, weights(run) - before)
        found.norms.append(norm)
        found.smoothness.append(smoothness)
    return found


def look(
    gradient: Callable[[Tensor], Tensor], weights: Tensor, step: Tensor
) -> tuple[float, float]:
    """The gradient's norm, and how much it changes on the way of the step, over the distance: the
    largest of such ratios."""
    start = gradient(weights)
    changes = [(gradient(weights + part * step) - start).norm() / part for part in PARTS]
    return float(start.norm()), float(max(changes) / step.norm())


def weights(run: training.Run) -> Tensor:
    """Of a run, as one vector of float64."""
    return torch.cat([tensor.flatten() for tensor in run.weights_of(None).values()]).double()


def gradient(run: training.Run, at: Tensor) -> Tensor:
    """Of the mean loss of the first training images, without dropout, at the weights of such a
    vector."""
    vector, shapes = at.float().requires_grad_(), run.weights_of(None)
    pieces = vector.split([tensor.numel() for tensor in shapes.values()])
    own = {n: piece.view_as(shapes[n]) for n, piece in zip(shapes, pieces, strict=True)}
    index = run.dataset.train[:IMAGES]
    images = run.batches.normalize(run.dataset.take(index))
    logits = torch.func.functional_call(run.model.eval(), own, (images,))
    loss = torch.nn.functional.cross_entropy(logits, run.dataset.labels[index])
    return torch.autograd.grad(loss, vector)[0].double()

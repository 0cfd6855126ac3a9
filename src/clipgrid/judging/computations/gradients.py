"""What clipping does to gradients, and what explosion is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from clipgrid.judging.computations import probes
from clipgrid.judging.computations.answers import Answer, decided, in_part
from clipgrid.judging.computations.probes import LIMIT, RATE
from clipgrid.lazy import Lazy, torch
from clipgrid.study.parts import computation

if TYPE_CHECKING:
    from torch import Tensor

    from clipgrid import clipping
    from clipgrid.judging.evidence import Evidence
else:
    clipping = Lazy("clipgrid.clipping")

EXACT = 1e-12  # what rounding may do to a number near 1 in float64


@computation("clipping_changes_the_batch")
def clipping_changes_the_batch(evidence: Evidence) -> Answer:
    """Data augmentation changes inputs. Does clipping?"""
    model = probes.net()
    images, labels = probes.batch()
    before = images.clone()
    torch.nn.functional.cross_entropy(model.train()(images), labels).backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    seen = [g.clone() for g in grads]
    clipping.clip_by_global_norm(grads, 1e-3)
    changed = not torch.equal(images, before)
    of_gradient = sum(not torch.equal(a, b) for a, b in zip(grads, seen, strict=True))
    return decided(
        changed,
        f"Clipping left the batch as it was, bit for bit, and changed {of_gradient} of {len(grads)}"
        " gradient tensors. It acts on gradients; augmentation acts on inputs.",
    )


@computation("gradients_below_are_clipped")
def gradients_below_are_clipped(evidence: Evidence) -> Answer:
    """Is a gradient below the threshold changed, and one above it not?"""
    changed = {}
    for size in (0.5, 2.0):
        grads = probes.random_gradients(size)
        before = [g.clone() for g in grads]
        clipping.clip_by_global_norm(grads, LIMIT)
        changed[size] = any(not torch.equal(a, b) for a, b in zip(grads, before, strict=True))
    return decided(
        changed[0.5] and not changed[2.0],
        "At λ = 1 a gradient of norm 0.5 stays as it is, bit for bit, and one of norm 2 is scaled"
        " down. So those above the threshold are clipped, as in the article's own formula.",
    )


@computation("clips_to_the_norm")
def clips_to_the_norm(evidence: Evidence) -> Answer:
    """Is the norm after clipping min(norm, λ)?"""
    worst = 0.0
    for size in (1e-8, 0.3, 0.999, 1.0, 1.001, 5.0, 1e8):
        grads = probes.random_gradients(size)
        clipping.clip_by_global_norm(grads, LIMIT)
        worst = max(worst, abs(probes.norm(grads) / min(size, LIMIT) - 1))
    return decided(
        worst < 1e-12,
        "The norm after clipping is min(‖g‖, λ) for norms from 1e-8 to 1e8.",
        worst,
        "largest relative error",
    )


@computation("formula")
def formula(evidence: Evidence) -> Answer:
    """Does the formula, with |.| an L2 norm, agree with torch's?"""
    worst = 0.0
    for size in (0.3, 1.001, 5.0, 1e6):
        ours, theirs = probes.random_gradients(size), probes.random_gradients(size)
        clipping.clip_by_global_norm(ours, LIMIT)
        parameters = [torch.nn.Parameter(torch.zeros_like(g)) for g in theirs]
        for p, g in zip(parameters, theirs, strict=True):
            p.grad = g
        torch.nn.utils.clip_grad_norm_(parameters, LIMIT)
        pairs = zip(ours, theirs, strict=True)
        worst = max(worst, *(float((a / b - 1).abs().max()) for a, b in pairs))
    return decided(
        worst < 1e-5,
        "In float64 the formula does what torch's clip_grad_norm_ does, apart from the 1e-6 that"
        " torch adds to the norm. The article writes |g| and names no norm: it has to be one of the"
        " whole gradient.",
        worst,
        "largest relative difference",
    )


@computation("raises_small_gradients")
def raises_small_gradients(evidence: Evidence) -> Answer:
    """Against explosion clipping has to bound large gradients, against vanishing it has to make
    small ones larger. Which of the two does it do?"""
    after = {}
    for size in (1e-6, 1e-3, 1e3, 1e6):
        grads = probes.random_gradients(size)
        clipping.clip_by_global_norm(grads, LIMIT)
        after[size] = probes.norm(grads)
    bounded = all(after[size] <= LIMIT + EXACT for size in after if size > LIMIT)
    ratios = [after[size] / size for size in after if size < LIMIT]
    raised = min(ratios) > 1 + EXACT
    return in_part(
        (bounded, raised),
        f"At λ = 1, gradients of norms 1,000 and 1,000,000 come out with {after[1e3]:.4g} and"
        f" {after[1e6]:.4g}: large ones are {'bounded' if bounded else 'not bounded'}. Gradients of"
        f" norms 1e-6 and 1e-3 come out with {after[1e-6]:.4g} and {after[1e-3]:.4g}: small ones"
        f" are made {'larger' if raised else 'no larger, so a vanishing gradient vanishes still'}.",
        min(ratios),
        "norm after clipping over before, of small gradients",
    )


@computation("keeps_the_direction")
@probes.one_thread()
def keeps_the_direction(evidence: Evidence) -> Answer:
    """The right direction is that of the mean gradient. Does each batch keep its own when it is
    clipped, and the mean of the clipped batches that of the mean? (It needn't: Chen, Wu, Hong 2020;
    Koloskova et al. 2023.) About an epoch of digits, at the weights after 100 steps."""
    batches = probes.batch_gradients(probes.run(evidence, 100), 36)
    middle = sorted(map(probes.norm, batches))[len(batches) // 2]
    mean = [sum(parts) / len(batches) for parts in zip(*batches, strict=True)]
    mean_clipped = [torch.zeros_like(g) for g in mean]
    own, to_mean = [], []
    for before in batches:
        after = [g.clone() for g in before]
        clipping.clip_by_global_norm(after, middle)
        own.append(probes.cosine(before, after))
        to_mean.append(probes.cosine(before, mean))
        torch._foreach_add_(mean_clipped, after)
    by_value = [g.clone() for g in mean]
    clipping.clip_by_value(by_value, probes.norm(mean) / math.sqrt(sum(g.numel() for g in mean)))
    bent, together = probes.cosine(mean, by_value), probes.cosine(mean, mean_clipped)
    kept, unbiased = min(own) > 1 - EXACT, together > 1 - EXACT
    return in_part(
        (kept, unbiased),
        f"Of {len(batches)} batches of the training images, with λ at the median of their norms,"
        f" {'each keeps' if kept else 'not each keeps'} its gradient's direction when it is clipped"
        f" (smallest cosine {min(own):.6g}). The mean of the clipped gradients points"
        f" {'where' if unbiased else 'elsewhere than'} the mean gradient does: their cosine is"
        f" {together:.6g}, an angle of {degrees(together):.2g}°, where a batch's own"
        f" angle to the mean is {degrees(sorted(to_mean)[len(batches) // 2]):.2g}° (median)."
        " Chen, Wu, Hong 2020 (arXiv:2006.15429) and Koloskova et al. 2023 (arXiv:2305.01588) show"
        " that clipping can bias the expected direction. Clipping by value, at the root mean square"
        f" of its values, bends the mean gradient itself (cosine {bent:.3f}).",
        together,
        "cosine of the mean clipped to the mean gradient",
    )


def degrees(cosine: float) -> float:
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


@computation("explosion_is_vanishing")
def explosion_is_vanishing(evidence: Evidence) -> Answer:
    """Two chains of linear layers, one that amplifies and one that damps."""
    sizes = {}
    for gain in (2.0, 0.5):
        torch.manual_seed(0)
        layers = [torch.nn.Linear(16, 16, bias=False) for _ in range(20)]
        for layer in layers:
            torch.nn.init.orthogonal_(layer.weight, gain)
        torch.nn.Sequential(*layers)(torch.ones(1, 16)).sum().backward()
        assert layers[0].weight.grad is not None
        sizes[gain] = float(layers[0].weight.grad.norm())
    ratio = sizes[2.0] / sizes[0.5]
    return decided(
        ratio < 10,
        "The article uses one name for both. In a chain of 20 layers of gain 2 the gradient of the"
        f" first layer has the norm {sizes[2.0]:.1e}; with a gain of 1/2 it has {sizes[0.5]:.1e}."
        " So exploding and vanishing are opposites.",
    )


@computation("explosion_is_imbalance")
def explosion_is_imbalance(evidence: Evidence) -> Answer:
    """When the gradient explodes, do some layers' gradients become very large and others very
    small? What explosion means is so in each: one in which all rise is a counterexample."""
    seeds = range(5)
    found = [changes for seed in seeds if (changes := explosion(evidence, seed)) is not None]
    if not found:
        lack = "No gradient exploded, at learning rates up to a thousand times the usual one."
        return Answer("inconclusive", lack)
    rose = [changes for changes in found if changes.min() > 1]
    fell = sum(bool(changes.min() <= 1 / 10 and changes.max() > 1) for changes in found)
    verdict = "refuted" if rose else "supported" if fell == len(found) else "inconclusive"
    least = f" ({min(float(c.min()) for c in rose):.1e} times or more)" if rose else ""
    return Answer(
        verdict,
        f"{len(seeds)} runs without clipping were given larger learning rates, ten times each,"
        " until the gradient exploded: until within 30 steps its norm was a hundred times the first"
        f" one, or not finite. It came to that in {len(found)}. At the largest finite norm, all"
        f" {len(found[0])} layers had larger gradients than at the start in {len(rose)} of these"
        f"{least}; in {fell}, some had larger ones and another had a tenth or less.",
        float(fell),
        f"of {len(found)} explosions, those with a layer that fell tenfold",
    )


def explosion(evidence: Evidence, seed: int) -> Tensor | None:
    """The norm of each layer's gradient, [layers], at the step where that of all is largest (of
    those where it is finite), over that at the first step: of an unclipped run at the smallest
    learning rate, by factors of 10, at which it rises a hundredfold or isn't finite."""
    for power in range(4):
        run = probes.run(evidence, 0, clip=math.inf, learning_rate=RATE * 10**power, seed=seed)
        layers = probes.layer_norms(run, 30)
        norms = layers.norm(dim=1)
        if not (norms < 100 * norms[0]).all():
            return layers[norms.nan_to_num(0, posinf=0).argmax()] / layers[0]
    return None

"""What clipping does to gradients, and what explosion is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from clipgrid.judging.computations import probes
from clipgrid.judging.computations.answers import Answer, decided
from clipgrid.judging.computations.probes import LIMIT
from clipgrid.lazy import Lazy, torch
from clipgrid.study.parts import computation

if TYPE_CHECKING:
    from clipgrid import clipping
    from clipgrid.judging.evidence import Evidence
else:
    clipping = Lazy("clipgrid.clipping")


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
    """Against vanishing gradients clipping would have to make small ones larger. Does it?"""
    ratios = []
    for size in (1e-12, 1e-6, 1e-3, 1.0, 1e3):
        grads = probes.random_gradients(size)
        clipping.clip_by_global_norm(grads, LIMIT)
        ratios.append(probes.norm(grads) / size)
    return decided(
        max(ratios) > 1 + 1e-12,
        "Clipping bounds large gradients, so half of the statement is right. But it never makes a"
        " gradient larger: the norm after clipping is at most the norm before. A vanishing gradient"
        " stays as small as it is.",
        max(ratios),
        "largest ratio of norms",
    )


@computation("keeps_the_direction")
def keeps_the_direction(evidence: Evidence) -> Answer:
    """Does the clipped gradient point where the gradient does?"""
    before = probes.random_gradients(5.0)
    by_norm, by_value = [[t.clone() for t in before] for _ in range(2)]
    clipping.clip_by_global_norm(by_norm, LIMIT)
    clipping.clip_by_value(by_value, 0.5)
    kept, bent = probes.cosine(before, by_norm), probes.cosine(before, by_value)
    return decided(
        abs(kept - 1) < 1e-12,
        "Clipping by the global norm keeps the direction of the batch's gradient; clipping by"
        f" value bends it (cosine {bent:.3f}). Neither changes how far the direction of a batch is"
        " from that of the whole set.",
        kept,
        "cosine to the unclipped gradient",
    )


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
    """Is "some gradients large, others small" the same as an explosion?"""
    grads = probes.gradients(probes.net())
    layers = torch.stack([g.norm() for g in grads if g.dim() > 1])
    imbalance = float(layers.max() / layers.min())
    exploded = 1e6 * layers
    same = float(exploded.max() / exploded.min())
    return decided(
        not math.isclose(imbalance, same, rel_tol=1e-5),
        "In a healthy AlexNet at its start the gradient norms of the layers differ by a factor of"
        f" {imbalance:.1f}, and no one would call that an explosion. A million times that gradient"
        " is an explosion, and the factor between its layers is the same. So imbalance and size are"
        " two things.",
        imbalance,
        "largest over smallest layer norm",
    )

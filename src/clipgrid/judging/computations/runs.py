"""What clipping, iterations and averages do in a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from clipgrid.judging.computations import probes
from clipgrid.judging.computations.answers import Answer, decided, in_part
from clipgrid.lazy import torch
from clipgrid.study.axes import family, model_label
from clipgrid.study.parts import computation

if TYPE_CHECKING:
    from torch import Tensor

    from clipgrid.judging.evidence import Evidence
    from clipgrid.training.run import Run


@computation("one_iteration_suffices")
def one_iteration_suffices(evidence: Evidence) -> Answer:
    """Is a run that clips at its first step alone the run that clips at every step? That decides;
    at how many steps the study's own runs were clipped is told beside it."""
    steps = 100
    always, once = probes.run(evidence, steps), probes.run(evidence, 1)
    once.clip.threshold = math.inf
    probes.advance(once, steps)
    clipped = int((probes.telemetry(always)["share"] > 0).sum())
    same = probes.same(always.weights.flat, once.weights.flat)
    verdict = "inconclusive" if not clipped else "supported" if same else "refuted"
    return Answer(
        verdict,
        f"Two runs from one seed were trained for {steps} steps. One was clipped wherever its norm"
        f" exceeded λ = 1, at {clipped} of them: it {outcome(always)}. The other was clipped at the"
        f" first step alone: it {outcome(once)}. Their weights are"
        f" {'the same, bit for bit' if same else 'different'}." + steps_clipped(evidence),
        float(clipped),
        f"steps clipped, of {steps}",
        "steps",
    )


def outcome(run: Run) -> str:
    """How well a run knows the images that it was trained on."""
    loss, accuracy = probes.look(run, run.dataset.train[:500])
    if run.diverged_at or not math.isfinite(loss):
        return "diverged"
    return f"ended with {100 * accuracy:.0f}% of its training images right ({loss:.2f} nats)"


def steps_clipped(evidence: Evidence) -> str:
    """What the cells with λ = 1 say, each run at its last T."""
    here = evidence.cells
    runs = here[(here["clip"] == "norm") & (here.threshold == 1) & here.ema.isna()]
    runs = runs.sort_values("iterations").groupby("trajectory").last()
    if runs.empty:
        return ""
    again = int((runs.steps_clipped > 1).sum())
    return (
        f" Of the study's own runs at λ = 1, {again} of {len(runs)} were clipped at more than one"
        f" step; the median run was clipped at {runs.steps_clipped.median():.0f} steps."
    )


@computation("hyper_parameters")
def hyper_parameters(evidence: Evidence) -> Answer:
    """Which of threshold, norm and number of iterations change what a step's clipping does?"""
    start = list(probes.run(evidence, 0).weights.flat)

    def step(**settings: Any) -> list[Tensor]:
        run = probes.run(evidence, 1, **settings)
        return [after - before for after, before in zip(run.weights.flat, start, strict=True)]

    usual, half, l1 = step(), step(clip=0.5), step(clip="l1norm1")
    threshold, kind = not probes.same(usual, half), not probes.same(usual, l1)
    iterations = _prefix_differs(evidence)
    verdict = "supported" if iterations else "partly"
    lengths = [f"{probes.norm(moved):.2g}" for moved in (usual, half, l1)]
    return Answer(
        verdict if threshold and kind else "refuted",
        f"The first step of a run moves the weights by {lengths[0]} at λ = 1. Another threshold"
        f" {changes(threshold)} (λ = 1/2: {lengths[1]}), and another norm {changes(kind)} (L1 at"
        f" λ = 1: {lengths[2]}). Another number of iterations {changes(iterations)}: the first 3"
        f" steps of a run of 6 are {'not ' if iterations else ''}those of a run of 3, bit for bit."
        f" So {threshold + kind + iterations} of the three are hyper-parameters of clipping.",
        float(threshold + kind + iterations),
        "of the three",
    )


def changes(does: bool) -> str:
    return "changes that" if does else "doesn't change that"


def _prefix_differs(evidence: Evidence) -> bool:
    """Whether the first 3 steps of a run of 6 differ from a run of 3, trained apart."""
    short, long = (probes.telemetry(probes.run(evidence, steps)) for steps in (3, 6))
    return any(not torch.equal(short[name], long[name][:3]) for name in short)


@computation("longer_runs_converge_faster")
def longer_runs_converge_faster(evidence: Evidence) -> Answer:
    """Is the run to a smaller T the beginning of the one to a larger T?"""
    differs = _prefix_differs(evidence)
    reason = (
        "Under a constant learning rate the run to the smaller T is the beginning of the run to the"
        " larger T, bit for bit: two such runs were trained and compared. So the statement compares"
        " a run with itself. It means something where the schedule depends on T: a cosine schedule"
        " is what is measured, over the steps that both runs have."
    )
    return Answer("inconclusive" if differs else "ill-posed", reason)


@computation("average_tracks_losses")
def average_tracks_losses(evidence: Evidence) -> Answer:
    """What does the moving average hold, and does it feed back?"""
    plain, averaged = probes.run(evidence, 4), probes.run(evidence, 4, decays=[0.9])
    same = probes.same(plain.weights.flat, averaged.weights.flat)
    shapes = [t.shape for t in probes.average(averaged, 0.9).values()]
    of_weights = shapes == [t.shape for t in averaged.weights_of(None).values()]
    return decided(
        not (same and of_weights),
        "The average is one of the weights, tensor by tensor, and not of losses. Training with it"
        " and without it gives the same weights, bit for bit: the average is another look at the"
        " same run.",
    )


@computation("only_the_product_matters")
def only_the_product_matters(evidence: Evidence) -> Answer:
    """Runs of 50 steps, all clipped, of which λ and the learning rate differ, but not λη."""
    small, large, other = (
        probes.telemetry(probes.run(evidence, 50, clip=threshold, learning_rate=rate))
        for threshold, rate in ((2**-5, 2**-3), (2**-8, 2**0), (2**-8, 2**-3))
    )
    always = all(bool((steps["share"] > 0).all()) for steps in (small, large, other))
    apart = [float((small["loss"] - steps["loss"]).abs().max()) for steps in (large, other)]
    return decided(
        always and apart[0] == 0 < apart[1],
        "Two runs of 50 clipped steps with one λη (λ = 1/32, η = 1/8 and λ = 1/256, η = 1) differ"
        f" in loss by {apart[0]:.2g} nats at most; a run with another λη (λ = 1/256, η = 1/8)"
        f" differs by {apart[1]:.2f}. Weight decay acts by η alone, so the study's own runs, which"
        " have it, agree less well.",
        apart[0],
        "largest difference of loss",
        "nats",
    )


FITTED = 0.9
"""Of the training accuracy that a net has at its best in the study, what a run has to have: one
below it under-fits, as the net can do better. (A bound in percent would be another data set's.)"""
WIDE = 0.05
"""The gap of accuracy from training to test images with which a run over-fits: five points, about
two standard errors where it is taken of some 300 images each, 90% of them right."""


@computation("underfitting_by_overfitting")
def underfitting_by_overfitting(evidence: Evidence) -> Answer:
    """Does a run under-fit and over-fit at once? That can be, as over-fitting is a gap and no
    perfect fit, so the statement isn't ill-posed. Where a run doesn't do both, one can't be the
    cause of the other. Where it does, it may be: the article says "may", accuracies say no more."""
    here = evidence.cells
    vggs = here[
        (here.model.map(family) == "vgg") & (here.train_images == "all") & (here.label_noise == 0)
    ]
    vggs = vggs.assign(best=vggs.groupby("model").train_accuracy.transform("max"))
    runs = vggs[
        (vggs.iterations == 1000)
        & (vggs.optimizer == "momentum")
        & (vggs.learning_rate == 0.03)
        & vggs.ema.isna()
        & (vggs.schedule == "constant")
        & (vggs["clip"] == "norm")
        & (vggs.threshold == 1)
        & (vggs.augmentation == "none")
    ]
    runs = runs[runs.train_accuracy.notna()]
    if runs.empty:
        lack = "This study has no cell with a VGG that reached T = 1000 at λ = 1."
        return Answer("inconclusive", lack)
    under = runs.train_accuracy < FITTED * runs.best
    over = runs.accuracy_gap.round(6) >= WIDE
    return in_part(
        list(under & over),
        f"{' and '.join(map(model_label, runs.model.unique()))} at T = 1000 and λ = 1 has"
        f" {100 * runs.train_accuracy.mean():.1f}% training accuracy, where the net reaches"
        f" {100 * runs.best.max():.1f}% in this study, and a gap of"
        f" {100 * runs.accuracy_gap.mean():.1f} points to the test images (means of {len(runs)}"
        f" runs). {under.sum()} of {len(runs)} under-fit (below nine tenths of what the net"
        f" reaches), {over.sum()} over-fit (a gap of {100 * WIDE:.0f} points or more), and"
        f" {(under & over).sum()} do both, as they would have to if one were the cause of the"
        " other.",
        float((under & over).sum()),
        f"of {len(runs)} runs, those that under-fit and over-fit",
    )

"""What clipping, iterations and averages do in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipgrid.judging.computations import probes
from clipgrid.judging.computations.answers import Answer, decided
from clipgrid.lazy import torch
from clipgrid.study.axes import family, model_label
from clipgrid.study.parts import computation

if TYPE_CHECKING:
    from torch import Tensor

    from clipgrid.judging.evidence import Evidence


@computation("one_iteration_suffices")
def one_iteration_suffices(evidence: Evidence) -> Answer:
    """Were gradients clipped at one step of a run only?"""
    here = evidence.cells
    runs = here[(here["clip"] == "norm") & (here.threshold == 1) & here.ema.isna()]
    runs = runs.sort_values("iterations").groupby("trajectory").last()
    if runs.empty:
        return Answer("inconclusive", "This study has no cell with λ = 1.")
    again = int((runs.steps_clipped > 1).sum())
    return decided(
        again == 0,
        f"At λ = 1, {again} of {len(runs)} runs were clipped at more than one step; the median run"
        f" was clipped at {runs.steps_clipped.median():.0f} steps. Clipping is part of each step of"
        " an optimizer, and not done once.",
        float(runs.steps_clipped.median()),
        "steps clipped in a run, median",
        "steps",
    )


@computation("hyper_parameters")
def hyper_parameters(evidence: Evidence) -> Answer:
    """Which of threshold, norm and number of iterations change what a step's clipping does?"""

    def clipped(**settings: Any) -> list[Tensor]:
        run = probes.run(evidence, 1, **settings)
        return list(run.weights_of(None).values())

    def differs(a: list[Tensor], b: list[Tensor]) -> bool:
        return any(not torch.equal(x, y) for x, y in zip(a, b, strict=True))

    usual = clipped()
    threshold = differs(usual, clipped(clip=0.5))
    kind = differs(usual, clipped(clip="l1norm1"))
    prefix = _prefix_differs(evidence)
    return decided(
        threshold and kind and prefix,
        "Another threshold changes what a step does, and so does another norm. Another number of"
        " iterations doesn't: the shorter run is the beginning of the longer one, bit for bit. So"
        " two of the three are hyper-parameters of clipping.",
        float(threshold + kind + prefix),
        "of the three",
    )


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
    same = all(
        torch.equal(a, b) for a, b in zip(plain.weights.flat, averaged.weights.flat, strict=True)
    )
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


@computation("underfitting_by_overfitting")
def underfitting_by_overfitting(evidence: Evidence) -> Answer:
    """Do the runs in question fit their training images badly, or too well?"""
    here = evidence.cells
    runs = here[
        (here.model.map(family) == "vgg")
        & (here.iterations == 1000)
        & (here.optimizer == "momentum")
        & (here.learning_rate == 0.03)
        & here.ema.isna()
        & (here.schedule == "constant")
        & (here.train_images == "all")
        & (here.label_noise == 0)
        & (here["clip"] == "norm")
        & (here.threshold == 1)
        & (here.augmentation == "none")
    ]
    runs = runs[runs.train_accuracy.notna()]
    if runs.empty:
        lack = "This study has no cell with a VGG that reached T = 1000 at λ = 1."
        return Answer("inconclusive", lack)
    train, gap = 100 * runs.train_accuracy.mean(), 100 * runs.accuracy_gap.mean()
    return Answer(
        "ill-posed",
        "A net can't fit its training images badly because it fits them too well. Here"
        f" {' and '.join(map(model_label, runs.model.unique()))} at T = 1000 and λ = 1 has"
        f" {train:.1f}% training accuracy and a gap of {gap:.1f} points to the test images.",
        train,
        "train_accuracy",
        "%",
    )

"""Test loss minus training loss, over λ and T."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipgrid.reporting.arms import arm_names, originals, reported
from clipgrid.reporting.figures import AT_WORK
from clipgrid.reporting.figures.drawing import dots_by_clip
from clipgrid.study.parts import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clipgrid.judging.evidence import Evidence


@figure(
    "generalization-gap",
    title="Generalisation gap",
    caption="Test loss minus the loss on un-augmented training images, at T. A run that has not"
    " learnt has no gap: read this beside the accuracies.",
    category=AT_WORK,
    order=70,
)
def generalization_gap(evidence: Evidence) -> Figure:
    """A panel an arm: a dot a seed, a bar the mean."""
    cells = originals(reported(evidence))
    cells = cells.assign(arm=arm_names(cells))
    label = "test loss - training loss (nats)"
    return dots_by_clip(cells, "iterations", cells.loss_gap, label, zero=True)

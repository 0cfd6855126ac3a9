"""Test accuracy over λ and T."""

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
    "accuracy",
    title="Accuracy over λ and T",
    caption="Test accuracy over λ and T. A dot is a seed, a bar the mean with its 95% t-interval,"
    " cut off where it leaves the picture.",
    category=AT_WORK,
    order=50,
)
def accuracy(evidence: Evidence) -> Figure:
    """A panel an arm: a dot a seed, a bar the mean."""
    cells = originals(reported(evidence))
    cells = cells.assign(arm=arm_names(cells))
    return dots_by_clip(cells, "iterations", 100 * cells.test_accuracy, "test accuracy (%)")

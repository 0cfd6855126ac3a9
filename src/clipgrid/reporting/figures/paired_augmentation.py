"""Runs on augmented images against runs on the originals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipgrid.reporting.arms import RUN, arm_names, labels, pairs, reported, usual_on
from clipgrid.reporting.figures import AT_WORK
from clipgrid.reporting.figures.drawing import dots_by_clip, empty
from clipgrid.study.parts import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clipgrid.judging.evidence import Evidence


@figure(
    "paired-augmentation",
    title="Augmentation, paired",
    caption="Runs on augmented images against runs on the originals, seed by seed: they start"
    " from the same weights and see the same batches. On digits a flip makes other"
    " characters: it is a negative control.",
    category=AT_WORK,
    order=100,
)
def paired_augmentation(evidence: Evidence) -> Figure:
    """A panel an arm and T: the difference of the test accuracies of each seed."""
    cells = reported(evidence)
    differences = pairs(usual_on(cells, ["ema"]), "augmentation")
    if differences.empty:
        return empty("The study has no augmented images beside original ones.")
    axes = [axis for axis in (*RUN, "iterations") if axis != "augmentation"]
    called = labels(differences, "augmentation")
    return dots_by_clip(
        differences.assign(arm=arm_names(differences, axes), augmentation=called),
        "augmentation",
        100 * differences.difference,
        "augmented - original images:\ntest accuracy (points)",
        zero=True,
    )

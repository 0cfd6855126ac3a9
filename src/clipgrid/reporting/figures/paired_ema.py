"""The moving average of the weights against the raw weights of the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipgrid.reporting.arms import arm_names, pairs, reported, usual_on
from clipgrid.reporting.figures import AT_WORK
from clipgrid.reporting.figures.drawing import dots_by_clip, empty
from clipgrid.study.fields import canonical
from clipgrid.study.parts import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clipgrid.judging.evidence import Evidence


@figure(
    "paired-ema",
    title="Moving average, paired",
    caption="The moving average of the weights against the raw weights of the same run. It is"
    " read off and never fed back, so that training is the same with it and without. Its"
    " decay has a warm-up, min(d, (1+t)/(10+t)).",
    category=AT_WORK,
    order=90,
)
def paired_ema(evidence: Evidence) -> Figure:
    """A panel an arm and decay: the difference of the test accuracies of each seed."""
    cells = reported(evidence)
    differences = pairs(usual_on(cells, ["augmentations"]), "ema")
    if differences.empty:
        return empty("The study has no moving average beside raw weights.")
    decays = differences.ema.map(lambda decay: f"\ndecay {canonical(decay)}")
    return dots_by_clip(
        differences.assign(arm=arm_names(differences) + decays),
        "iterations",
        100 * differences.difference,
        "averaged - raw weights:\ntest accuracy (points)",
        zero=True,
    )

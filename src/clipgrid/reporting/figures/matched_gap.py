"""Validation loss at matched training loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipgrid.reporting.arms import arm_names, by_clip, longest
from clipgrid.reporting.figures import AT_WORK
from clipgrid.reporting.figures.drawing import colours, empty, legend, panels
from clipgrid.study.parts import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clipgrid.judging.evidence import Evidence


@figure(
    "matched-gap",
    title="The gap at matched training loss",
    caption="Validation loss against training loss as a part of the training images is learnt by"
    " heart, from left to right. At the same training loss the higher line generalises"
    " worse; a line that ends early has only learnt less. A line is a seed, a dot a look"
    " at training and validation images, both as they are and in eval mode.",
    category=AT_WORK,
    order=80,
)
def matched_gap(evidence: Evidence) -> Figure:
    """A panel an arm: a line a seed."""
    cells = evidence.cells
    runs = longest(cells[(cells.train_images != "all") & cells.ema.isna()])
    if runs.empty:
        return empty("The study has no run on a part of the training images.")
    runs = runs.assign(arm=arm_names(runs))
    palette = colours(runs)
    drawn, axes, arms = panels(runs.arm, height=2.4, sharex=True, sharey=True)
    for one, arm in zip(axes.flat, arms, strict=False):
        for name, mine in by_clip(runs[runs.arm == arm]):
            label = name
            for row in mine.itertuples():
                looks = evidence.looks(row)
                one.plot(looks.loss, looks.validation_loss, "-o", ms=1.8, lw=0.8, alpha=0.7,
                         color=palette[name], label=label)  # fmt: skip
                label = "_"
        one.set(xscale="log", xlabel="training loss (nats)")
    axes[0, 0].invert_xaxis()  # training goes from left to right
    axes[0, 0].set_ylabel("validation loss (nats)")
    legend(drawn)
    return drawn

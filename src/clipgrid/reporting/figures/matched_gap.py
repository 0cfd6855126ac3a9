"""The generalisation gap at matched training loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipgrid.lazy import np, pd
from clipgrid.reporting.arms import arm_names, by_clip, longest, usual_on
from clipgrid.reporting.figures import AT_WORK
from clipgrid.reporting.figures.drawing import colours, empty, legend, log_scale, panels
from clipgrid.study.parts import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clipgrid.judging.evidence import Evidence


BINS = 10


@figure(
    "matched-gap",
    title="The gap at matched training loss",
    caption="Validation loss less training loss, over the training loss, as a part of the training"
    " images is learnt by heart. Training goes from right to left; a line that ends early has"
    " learnt less. At the same training loss the higher line generalises worse. A thin line is a"
    " seed, a thick one the mean where half of the seeds have been; losses are gathered into"
    " bins, both of images as they are and in eval mode.",
    category=AT_WORK,
    order=80,
)
def matched_gap(evidence: Evidence) -> Figure:
    """A panel an arm: the mean over seeds, and a line a seed."""
    cells = evidence.cells
    runs = longest(usual_on(cells[cells.train_images != "all"], ["ema"]))
    if runs.empty:
        return empty("The study has no run on a part of the training images.")
    looks = pd.concat(
        [evidence.looks(row).assign(trajectory=row.trajectory) for row in runs.itertuples()]
    )
    looks = looks[(looks.loss > 0) & np.isfinite(looks.loss) & np.isfinite(looks.validation_loss)]
    if looks.empty:
        return empty("No run on a part of the training images has a finite loss.")
    runs = runs.assign(arm=arm_names(runs))
    edges = np.geomspace(looks.loss.min(), looks.loss.max() * 1.001, BINS + 1)
    middle = np.sqrt(edges[1:] * edges[:-1])
    looks["bin"] = np.searchsorted(edges, looks.loss, side="right").clip(1, BINS) - 1
    gaps = (looks.validation_loss - looks.loss).groupby([looks.trajectory, looks.bin]).mean()
    by_run = gaps.unstack().reindex(columns=range(BINS))
    by_run = by_run.interpolate(axis=1, limit_area="inside")  # bins that a run leapt over
    palette = colours(runs)
    drawn, axes, arms = panels(runs.arm, height=2.4, sharex=True, sharey=True)
    for one, arm in zip(axes.flat, arms, strict=False):
        for name, mine in by_clip(runs[runs.arm == arm]):
            lines = by_run.reindex(mine.trajectory)
            one.plot(middle, lines.T, color=palette[name], lw=0.5, alpha=0.5)
            enough = lines.notna().sum() >= len(lines) / 2
            one.plot(middle, lines.mean().where(enough), "-o", ms=3, lw=1.6, color=palette[name],
                     label=name)  # fmt: skip
        one.set_xlabel("training loss (nats)")
    log_scale(axes[0, 0], "x")
    axes[0, 0].set_ylabel("validation - training loss\n(nats)")
    legend(drawn)
    return drawn

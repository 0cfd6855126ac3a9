"""The gradient's norm before clipping, and the thresholds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from clipgrid.lazy import np
from clipgrid.reporting.arms import arm_names, by_clip, longest, originals, reported
from clipgrid.reporting.figures import AT_WORK
from clipgrid.reporting.figures.drawing import colours, legend, log_scale, panels
from clipgrid.study.parts import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clipgrid.judging.evidence import Evidence


@figure(
    "gradient-norms",
    title="Gradient norms",
    caption="The norm of the gradient before clipping: median over seeds and the steps between"
    " two looks, and the band from the 5th to the 95th percentile. Dashed lines are the"
    " thresholds: a run in the colour of a line was clipped wherever it lies above that"
    " line.",
    category=AT_WORK,
    order=30,
)
def gradient_norms(evidence: Evidence) -> Figure:
    """A panel an arm: norms over the steps, a line a clip."""
    runs = longest(originals(reported(evidence)))
    runs = runs.assign(arm=arm_names(runs))
    norms = evidence.histories[["trajectory", "step", "norm"]]
    norms = norms[np.isfinite(norms.norm)].merge(runs[["trajectory", "iterations"]])
    norms = norms[norms.step <= norms.iterations].set_index("trajectory")
    window = evidence.study.training.evaluate_every
    palette = colours(runs)
    drawn, axes, arms = panels(runs.arm, sharey=True)
    for one, arm in zip(axes.flat, arms, strict=False):
        for name, mine in by_clip(runs[runs.arm == arm]):
            here = norms[norms.index.isin(mine.trajectory)].groupby("step").norm.median()
            rolling = here.rolling(window, min_periods=1)
            at = here.index[:: max(1, window // 5)]
            low, middle, high = (rolling.quantile(q).loc[at] for q in (0.05, 0.5, 0.95))
            one.fill_between(at, low, high, color=palette[name], alpha=0.18, lw=0)
            one.plot(at, middle, color=palette[name], lw=1.3, label=name)
            kind, threshold = mine[["clip", "threshold"]].iloc[0]
            if kind == "norm" and math.isfinite(threshold):
                one.axhline(threshold, color=palette[name], lw=0.9, ls=(0, (4, 2)))
        one.set_xlabel("iteration")
    log_scale(axes[0, 0], "y")
    axes[0, 0].set_ylabel("gradient norm before clipping")
    legend(drawn)
    return drawn

"""Steps to an accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clipgrid.lazy import np, pd
from clipgrid.reporting.arms import sweep
from clipgrid.reporting.figures import AT_WORK
from clipgrid.reporting.figures.drawing import SQUARE, empty, squares
from clipgrid.study.parts import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clipgrid.judging.evidence import Evidence


@figure(
    "time-to-target",
    title="Steps to a target",
    caption="Does clipping make training slower, or possible at all? Steps until so many of the"
    " validation images are classified correctly: the median over seeds, the darker the sooner."
    " Grey squares never get there; where only some of the seeds do, their number stands below.",
    category=AT_WORK,
    order=20,
)
def time_to_target(evidence: Evidence) -> Figure:
    """A panel a model: a square a learning rate and λ."""
    from clipgrid.judging import claims

    runs = sweep(evidence.cells)
    if runs.empty:
        return empty("No net has several learning rates and several λ.")
    if runs.ema.notna().any():
        return empty("The study has no raw weights, of which alone each step is known.")
    file = evidence.study.claims
    target = claims.load(Path(file)).target if file else None
    if target is None:
        return empty("The study has no claim that names an accuracy to reach.")
    runs = runs.assign(steps=[evidence.steps_to(row, target) for row in runs.itertuples()])
    steps = runs.groupby(SQUARE, sort=False).steps
    median = steps.median().where(np.isfinite)
    words = median.map("{:.0f}".format).replace("nan", "never") + steps.agg(some)
    title = f"steps to {target:g}% of the validation images"
    last = int(runs.iterations.iloc[0])
    return squares(median, words, title, cmap="mako", vmin=0, vmax=1.2 * last)


def some(steps: pd.Series) -> str:
    """How many runs got there, where neither all nor none did."""
    there = int(np.isfinite(steps).sum())
    return f"\n{there}/{len(steps)}" if 0 < there < len(steps) else ""

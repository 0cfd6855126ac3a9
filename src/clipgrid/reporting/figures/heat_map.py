"""Accuracy over λ and learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipgrid.reporting.arms import not_usual, sweep
from clipgrid.reporting.figures import AT_WORK
from clipgrid.reporting.figures.drawing import SQUARE, empty, squares
from clipgrid.study.parts import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clipgrid.judging.evidence import Evidence


@figure(
    "heat-map",
    title="Accuracy over λ and learning rate",
    caption="Does a smaller λ help or hurt, and at which learning rates? A square has the mean test"
    " accuracy over seeds. † counts the runs that collapsed, whose accuracy is in the mean, or"
    " diverged, which have none. A grey square wasn't trained, or all of its runs diverged (–).",
    category=AT_WORK,
    order=10,
)
def heat_map(evidence: Evidence) -> Figure:
    """A panel a model, at the T that has most learning rates."""
    cells = sweep(evidence.cells)
    if cells.empty:
        return empty("No net has several learning rates and several λ.")
    square = cells.assign(failed=cells.status != "finished").groupby(SQUARE, sort=False)
    percent = 100 * square.test_accuracy.mean()  # of what didn't diverge
    failed = square.failed.agg(lambda f: f"\n{f.sum()}/{len(f)} †" if f.any() else "")
    words = percent.map("{:.0f}".format).replace("nan", "–") + failed
    iterations = cells.iterations.iloc[0]
    title = (
        f"test accuracy (%) after T = {iterations} steps{not_usual(cells)}; chance is"
        f" {100 / evidence.classes:.3g}; † failed runs"
    )
    return squares(percent, words, title, cmap="viridis", vmin=0, vmax=100)

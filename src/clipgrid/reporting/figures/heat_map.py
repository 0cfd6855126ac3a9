"""Accuracy over λ and learning rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from clipgrid.lazy import plt, sns
from clipgrid.reporting.arms import sweep
from clipgrid.reporting.figures import AT_WORK
from clipgrid.reporting.figures.drawing import WIDTH, as_they_are, empty
from clipgrid.study.axes import model_label
from clipgrid.study.fields import canonical
from clipgrid.study.parts import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clipgrid.judging.evidence import Evidence


@figure(
    "heat-map",
    title="Accuracy over λ and learning rate",
    caption="Whether a smaller λ helps or hurts depends on the learning rate. A square has the"
    " mean test accuracy over seeds (– where all diverged); † counts runs that collapsed"
    " or diverged. Along a diagonal λ times η is about the same: where every step is"
    " clipped, so is the accuracy.",
    category=AT_WORK,
    order=10,
)
def heat_map(evidence: Evidence) -> Figure:
    """A panel a model, at the T that has most learning rates."""
    cells = sweep(evidence.cells)
    if cells.empty:
        return empty("The study has one learning rate.")
    iterations = cells.iterations.iloc[0]
    models = list(cells.model.unique())
    drawn, axes = plt.subplots(1, len(models), figsize=(WIDTH, 2.5), sharey=True, squeeze=False)
    for one, model in zip(axes.flat, models, strict=True):
        mine = cells[cells.model == model]
        square = mine.assign(failed=mine.status != "finished").groupby(
            ["threshold", "learning_rate"]
        )
        percent = 100 * square.test_accuracy.mean()  # of what didn't diverge
        means = percent.fillna(0).unstack().sort_index(ascending=False)
        failed = square.failed.agg(lambda f: f"\n{f.sum()}/{len(f)} †" if f.any() else "")
        words = percent.map("{:.0f}".format).replace("nan", "–") + failed
        sns.heatmap(
            means,
            ax=one,
            cmap="viridis",
            vmin=0,
            vmax=100,
            annot=words.unstack().reindex_like(means).fillna(""),
            fmt="",
            annot_kws={"fontsize": 8, "linespacing": 0.9},
            linewidths=1,
            cbar=False,
        )
        as_they_are([one.set_title(model_label(model))])
        one.set(xlabel="learning rate η", ylabel="")
        one.set_xticklabels([canonical(r) for r in means.columns])
        one.set_yticklabels(["none" if t == math.inf else canonical(t) for t in means.index])
        one.tick_params(length=0)
        one.tick_params(axis="y", rotation=0)
        one.grid(visible=False)
    axes[0, 0].set_ylabel("threshold λ")
    drawn.suptitle(f"test accuracy (%) at T = {iterations}; † failed runs", fontsize=9)
    return drawn

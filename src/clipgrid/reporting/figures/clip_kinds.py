"""Accuracy by kind of clipping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipgrid.lazy import np, pd, plt
from clipgrid.reporting.arms import clip_names, usual
from clipgrid.reporting.figures import AT_WORK
from clipgrid.reporting.figures.drawing import WIDTH, colours, empty, limits, mean_and_half_width
from clipgrid.study.parts import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clipgrid.judging.evidence import Evidence


@figure(
    "clip-kinds",
    title="Kinds of clipping",
    caption="Is the norm a hyper-parameter beside the threshold? Kinds of clipping, with how often"
    " each fires; the global norm has the threshold at which it fires most alike. A dot is a seed,"
    " a bar the mean with its 95% t-interval, cut off where it leaves the picture.",
    category=AT_WORK,
    order=120,
)
def clip_kinds(evidence: Evidence) -> Figure:
    """A row a kind: a dot a seed, a bar the mean; beside its name how often it fired."""
    cells = usual(evidence.cells)
    finite = cells[np.isfinite(cells.threshold)]
    kinds = finite[finite["clip"] != "norm"]
    if kinds.empty:
        return empty("The study clips by one kind.")
    # Beside every kind stands the global norm of the same runs that is clipped as often.
    same = ["model", "optimizer", "learning_rate", "iterations"]
    beside = finite[finite["clip"] == "norm"].merge(kinds[same].drop_duplicates())
    near = (beside.clip_fraction - kinds.clip_fraction.median()).abs()
    nearest = near.groupby(beside.threshold).mean().idxmin() if len(beside) else None
    cells = pd.concat([beside[beside.threshold == nearest], kinds], ignore_index=True)
    cells["name"] = clip_names(cells)
    names, palette = list(cells.name.cat.categories), colours(cells)
    drawn, axes = plt.subplots(figsize=(WIDTH, 0.28 * len(names) + 0.7))
    for i, name in enumerate(names):
        percent = 100 * cells.test_accuracy[cells.name == name]
        axes.plot(percent, [i] * len(percent), "o", ms=3.5, mew=0, alpha=0.6, color=palette[name])
        mean, half_width = mean_and_half_width(percent)
        axes.errorbar(mean, i, xerr=half_width, fmt="|", ms=9, mew=1.8, elinewidth=0.9,
                      color=palette[name])  # fmt: skip
    fired = 100 * cells.groupby("name", observed=True).clip_fraction.mean()
    axes.set_yticks(
        range(len(names)), [f"{n}  ({fired[n]:.0f}% of steps)" for n in names], parse_math=False
    )
    axes.set(xlabel="test accuracy (%)", ylim=(len(names) - 0.5, -0.5),
             xlim=limits(100 * cells.test_accuracy))  # fmt: skip
    axes.grid(axis="y", visible=False)
    return drawn

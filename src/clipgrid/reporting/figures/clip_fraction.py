"""How often each threshold fires."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipgrid.lazy import np, plt, sns
from clipgrid.reporting.arms import arm_names, clip_names, clips_in, reported
from clipgrid.reporting.figures import AT_WORK
from clipgrid.reporting.figures.drawing import WIDTH, empty
from clipgrid.study.parts import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clipgrid.judging.evidence import Evidence


@figure(
    "clip-fraction",
    title="How often clipping fires",
    caption="Share of the steps up to T in which the gradient was clipped, mean over seeds. Where"
    " it is 0.0, the run is, bit for bit or but for a few steps, the run without clipping."
    " λ = 1 is not “no clipping”.",
    category=AT_WORK,
    order=40,
)
def clip_fraction(evidence: Evidence) -> Figure:
    """A field an arm (row), clip and T (column)."""
    cells = reported(evidence)
    fires = [c.label for c in clips_in(cells) if not c.observes]
    cells = cells.assign(clip_name=clip_names(cells))
    cells = cells[cells.clip_name.isin(fires) & cells.ema.isna()]
    if cells.empty:
        return empty("The study clips nowhere.")
    cells = cells.assign(
        arm=arm_names(cells),
        column=cells.clip_name.astype(str) + "\nT = " + cells.iterations.astype(str),
        percent=100 * cells.clip_fraction,
    ).sort_values(["clip_name", "iterations"])
    columns = list(dict.fromkeys(cells.column))
    arms = list(dict.fromkeys(cells.sort_index().arm))
    table = cells.pivot_table(index="arm", columns="column", values="percent").loc[arms, columns]
    drawn, axes = plt.subplots(figsize=(WIDTH, 0.32 * len(arms) + 1.1))
    sns.heatmap(
        table,
        ax=axes,
        cmap=sns.light_palette("#0173b2", as_cmap=True),
        vmin=0,
        vmax=100,
        annot=table.map(lambda x: "" if np.isnan(x) else f"{x:.1f}"),
        fmt="",
        linewidths=1,
        cbar=False,
        xticklabels=False,
        yticklabels=False,
    )
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, parse_math=False)
    axes.set_yticks(np.arange(len(arms)) + 0.5, arms, parse_math=False)
    axes.set(xlabel="", ylabel="", title="steps clipped (%)")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    return drawn

"""The effects of the claims."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from clipgrid.lazy import mpl, pd, plt
from clipgrid.reporting.figures import VERDICTS
from clipgrid.reporting.figures.drawing import WIDTH, empty
from clipgrid.reporting.text import line
from clipgrid.study.parts import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clipgrid.judging.evidence import Evidence

COLOURS = {
    "supported": "#029e73",
    "partly": "#b59b00",
    "depends": "#ece133",
    "refuted": "#d55e00",
    "no effect that matters": "#0173b2",
    "inconclusive": "0.55",
    "ill-posed": "#cc78bc",  # where another rule of the claim finds so
    "self-contradicted": "#cc78bc",
}
UNITS = {"points": "points", "nats": "nats", "%": "percent"}


@figure(
    "forest",
    title="Effects of the claims",
    caption="The effect that decided each claim that was tested, with its 95% interval (cut where"
    " it leaves the picture); its colour is the verdict. A verdict looks at all rules of a"
    " claim, and at each stratum: an effect that holds on average is refuted as a general"
    " statement by one arm that does the opposite.",
    category=VERDICTS,
    order=10,
)
def forest(evidence: Evidence) -> Figure:
    """A row a claim, a panel a unit."""
    from clipgrid.judging.verdicts import read_claims

    claims = read_claims(evidence.results)
    claims = claims[(claims.decided_by == "test") & (claims.section != "external")]
    claims = claims[claims.effect.notna() & claims.low.notna()]
    units = [unit for unit in UNITS if (claims.unit == unit).any()]
    if not units:
        return empty("No tested claim has an interval: it needs its cells, and two seeds.")
    counts = [int((claims.unit == unit).sum()) for unit in units]
    drawn, axes = plt.subplots(
        len(units),
        figsize=(WIDTH, 0.25 * sum(counts) + 0.75 * len(units)),
        height_ratios=[n + 1 for n in counts],
        squeeze=False,
    )
    for one, unit in zip(axes.flat, units, strict=True):
        effects(one, claims[claims.unit == unit].reset_index(drop=True))
        one.set_xlabel(f"effect ({UNITS[unit]})")
    present = [verdict for verdict in COLOURS if (claims.verdict == verdict).any()]
    handles = [
        mpl.lines.Line2D([], [], marker="o", ms=4.5, lw=1.3, color=COLOURS[v], label=v)
        for v in present
    ]
    drawn.legend(handles=handles, loc="outside upper center", ncols=len(present), fontsize=8)
    return drawn


def effects(axes: mpl.axes.Axes, claims: pd.DataFrame) -> None:
    """Effects of one unit with their intervals, a row a claim."""
    for i, row in claims.iterrows():
        axes.plot([row.low, row.high], [i, i], lw=1.3, color=COLOURS[row.verdict])
        axes.plot(row.effect, i, "o", ms=4.5, color=COLOURS[row.verdict])
    names = [
        f"{row.id}  {textwrap.shorten(line(row.statement), 58, placeholder=' …')}"
        for row in claims.itertuples()
    ]
    axes.set_yticks(range(len(claims)), names, parse_math=False)  # of the claims, as they are
    axes.set_ylim(len(claims) - 0.5, -0.5)
    chances = claims.measure.str.startswith("P(").all()  # which are even at 50%
    none = 50 if chances else 0
    axes.axvline(none, color="0.6", lw=0.8, zorder=0)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    wide = 1.6 * claims.effect.abs().max() or 1.0
    low = min(none, max(claims.low.min(), -wide))
    high = max(none, min(claims.high.max(), wide))
    margin = 0.05 * (high - low) or 1.0
    axes.set_xlim(low - margin, high + margin)

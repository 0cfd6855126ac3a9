"""How often each threshold fires."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from clipgrid.lazy import plt
from clipgrid.reporting.arms import (
    arm_names,
    by_clip,
    clip_names,
    clips_in,
    longest,
    reported,
    usual_on,
)
from clipgrid.reporting.figures import AT_WORK
from clipgrid.reporting.figures.drawing import WIDTH, colours, empty, legend
from clipgrid.study.parts import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clipgrid.judging.evidence import Evidence


@figure(
    "clip-fraction",
    title="How often clipping fires",
    caption="Share of the steps in which the gradient was clipped, up to a run's largest T: a dot"
    " is a seed, a bar the mean. A run at 0 is, bit for bit, the run without clipping.",
    category=AT_WORK,
    order=40,
)
def clip_fraction(evidence: Evidence) -> Figure:
    """A row an arm: a dot a seed, a bar the mean of each clip."""
    cells = reported(evidence)
    fires = [c.label for c in clips_in(cells) if not c.observes]
    palette = colours(cells)
    runs = longest(usual_on(cells[clip_names(cells).isin(fires)], ["ema"]))
    if runs.empty:
        return empty("The study clips nowhere.")
    runs = runs.assign(arm=arm_names(runs))
    arms = list(dict.fromkeys(runs.arm))
    drawn, axes = plt.subplots(figsize=(WIDTH, 0.36 * len(arms) + 0.9))
    for k, (name, mine) in enumerate(by_clip(runs, fires)):
        shift = min(0.22, 0.7 / len(fires)) * (k - (len(fires) - 1) / 2)
        percent = 100 * mine.clip_fraction
        at = mine.arm.map(arms.index) + shift
        axes.plot(percent, at, "o", ms=3, mew=0, alpha=0.5, color=palette[name])
        means = percent.groupby(mine.arm).mean()
        axes.plot(means, [arms.index(arm) + shift for arm in means.index], "|", ms=8, mew=1.8,
                  color=palette[name], label=name)  # fmt: skip
    names = [textwrap.fill(arm, 40, replace_whitespace=False) for arm in arms]
    axes.set_yticks(range(len(arms)), names, parse_math=False)
    axes.set(xlabel="steps clipped (%)", xlim=(-2, 102), ylim=(len(arms) - 0.5, -0.5))
    axes.grid(axis="y", visible=False)
    legend(drawn)
    return drawn

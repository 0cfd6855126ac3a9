"""A learning rate that falls to 0 at T against a constant one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipgrid.lazy import pd, sns
from clipgrid.reporting.arms import RUN, arm_names, longest, usual_on
from clipgrid.reporting.figures import AT_WORK
from clipgrid.reporting.figures.drawing import empty, legend, log_scale, panels, training_loss
from clipgrid.study import parts
from clipgrid.study.parts import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clipgrid.judging.evidence import Evidence


@figure(
    "schedule",
    title="A schedule that depends on T",
    caption="With a constant learning rate there is one run, and a larger T is more of it. With a"
    " schedule that ends at T the longer run is another, and the slower one at first:"
    " “faster” needs a definition. Thin lines are seeds, thick ones their means; λ is the"
    " same in all.",
    category=AT_WORK,
    order=60,
)
def schedule(evidence: Evidence) -> Figure:
    """A panel an arm: training loss over the steps, a line a schedule and T."""
    raw = usual_on(evidence.cells, ["ema"])
    ends = {s: parts.parse("schedule", s).part.about["ends"] for s in raw.schedule.unique()}
    ending = raw[raw.schedule.map(ends).astype(bool)]
    if ending.empty:
        return empty("The study has no schedule that depends on T.")
    ending = ending.assign(line=ending.schedule + " to T = " + ending.iterations.astype(str))
    same = [axis for axis in (*RUN, "clip", "threshold", "seed") if axis != "schedule"]
    constant = longest(raw[raw.schedule == "constant"]).merge(ending[same].drop_duplicates())
    runs = pd.concat([constant.assign(line="constant"), ending], ignore_index=True)
    last = int(ending.iterations.max())
    runs["arm"] = arm_names(runs, [axis for axis in RUN if axis != "schedule"])
    drawn, axes, arms = panels(runs.arm, sharey=True)
    # λ is the same in all: colour tells the schedules apart here, with dashes beside it.
    lines = sorted(runs.line.unique())
    dashes = dict(zip(lines, ("-", (0, (1, 1)), (0, (4, 1.5))) * len(lines), strict=False))
    palette = dict(
        zip(lines, ("0.35", *sns.color_palette("colorblind")[2:9] * len(lines)), strict=False)
    )
    for one, arm in zip(axes.flat, arms, strict=False):
        for line, mine in runs[runs.arm == arm].groupby("line"):
            losses = [training_loss(evidence, row) for row in mine.itertuples()]
            loss = pd.concat(losses, axis=1).loc[:last]
            one.plot(loss.index, loss, lw=0.4, alpha=0.4, color=palette[line])
            one.plot(loss.index, loss.mean(axis=1), lw=1.5, color=palette[line], ls=dashes[line],
                     label=line)  # fmt: skip
        one.set_xlabel("iteration")
    log_scale(axes[0, 0], "y")
    axes[0, 0].set_ylabel("training loss (nats)")
    legend(drawn)
    return drawn

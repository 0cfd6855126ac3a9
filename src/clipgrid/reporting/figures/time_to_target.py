"""Steps to an accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clipgrid.reporting.arms import by_clip, labels, sweep
from clipgrid.reporting.figures import AT_WORK
from clipgrid.reporting.figures.drawing import colours, empty, legend, panels
from clipgrid.study.fields import canonical
from clipgrid.study.parts import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clipgrid.judging.evidence import Evidence


@figure(
    "time-to-target",
    title="Steps to a target",
    caption="Clipping makes training slower where nothing else is wrong, and possible where the"
    " learning rate is too large. Steps until so many of the validation images are"
    " classified correctly: a dot a seed, a line the median. Runs that never get there lie"
    " at the top.",
    category=AT_WORK,
    order=20,
)
def time_to_target(evidence: Evidence) -> Figure:
    """A panel a model: steps over the learning rate, a line a clip."""
    from clipgrid.judging import claims

    runs = sweep(evidence.cells)
    if runs.empty:
        return empty("The study has one learning rate.")
    file = evidence.study.claims
    target = claims.load(Path(file)).target if file else None
    if target is None:
        return empty("The study has no claim that names an accuracy to reach.")
    last = int(runs.iterations.iloc[0])
    never = 1.35 * last
    steps = [min(evidence.steps_to(row, target), never) for row in runs.itertuples()]
    runs = runs.assign(steps=steps, arm=labels(runs, "model"))
    palette = colours(runs)
    drawn, axes, arms = panels(runs.arm, sharey=True)
    for one, arm in zip(axes.flat, arms, strict=False):
        here = runs[runs.arm == arm]
        positions = {r: i for i, r in enumerate(sorted(here.learning_rate.unique()))}
        for k, (name, mine) in enumerate(by_clip(here, list(palette))):
            shift = 0.13 * (k - (len(palette) - 1) / 2)
            at = mine.learning_rate.map(positions) + shift
            one.plot(at, mine.steps, "o", ms=3.5, mew=0, alpha=0.6, color=palette[name])
            medians = mine.groupby("learning_rate").steps.median()
            middle = [positions[r] + shift for r in medians.index]
            one.plot(middle, medians, lw=1.1, color=palette[name], label=name)
        one.set(xlabel="learning rate η", yscale="log", ylim=(None, 1.6 * last))
        one.set_xticks(range(len(positions)), [canonical(r) for r in positions])
        one.axhline(1.15 * last, color="0.6", lw=0.8, ls=":")
        one.grid(axis="x", visible=False)
        ticks = [t for t in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if t <= last]
        one.set_yticks([*ticks, never], [*map(str, ticks), "never"])
        one.yaxis.minorticks_off()
    axes[0, 0].set_ylabel(f"steps to {target:g}% on\nvalidation images")
    legend(drawn)
    return drawn

"""Accuracy on transformed test images, by augmentation in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipgrid.lazy import pd
from clipgrid.reporting.arms import by_clip, labels, reported, usual
from clipgrid.reporting.figures import AT_WORK
from clipgrid.reporting.figures.drawing import colours, empty, legend, limits, panels
from clipgrid.study.looks import TRANSFORMATIONS
from clipgrid.study.parts import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clipgrid.judging.evidence import Evidence


@figure(
    "transformed",
    title="Transformed test images",
    caption="Is a net robust to what its training images underwent, and to what else? Test images"
    " as they are, mirrored, shifted (as far as random crops go),"
    " enlarged by a third, tilted by 15° and rotated by 90°. A dot is a seed, a bar the"
    " mean.",
    category=AT_WORK,
    order=110,
)
def transformed(evidence: Evidence) -> Figure:
    """A panel a transformation: accuracy by augmentation."""
    cells = usual(reported(evidence), but="augmentations")
    trained = cells.groupby(["model", "optimizer", "learning_rate", "iterations"])
    cells = trained.filter(lambda group: group.augmentation.nunique() > 1)
    if cells.empty:
        return empty("No runs differ in their augmentation alone.")
    looks = {"as they are": "test", **{name: name for name in TRANSFORMATIONS}}
    long = pd.concat(
        [
            cells.assign(arm=shown, value=100 * cells[f"{of}_accuracy"])
            for shown, of in looks.items()
        ]
    )
    long["augmentation"] = labels(long, "augmentation")
    palette = colours(long)
    kinds = list(dict.fromkeys(long.augmentation))
    drawn, axes, arms = panels(long.arm, height=2.0, sharey=True)
    for one, arm in zip(axes.flat, arms, strict=False):
        here = long[long.arm == arm]
        for k, (name, mine) in enumerate(by_clip(here, list(palette))):
            shift = 0.2 * (k - (len(palette) - 1) / 2)
            at = mine.augmentation.map(kinds.index) + shift
            one.plot(mine.value, at, "o", ms=3, mew=0, alpha=0.55, color=palette[name])
            means = mine.groupby("augmentation").value.mean()
            one.plot(means, [kinds.index(a) + shift for a in means.index], "|", ms=8, mew=1.8,
                     color=palette[name], label=name)  # fmt: skip
        one.set(xlim=limits(long.value), ylim=(len(kinds) - 0.5, -0.5))
        one.set_yticks(range(len(kinds)), kinds, parse_math=False)
        one.grid(axis="y", visible=False)
    for one in axes[-1]:
        one.set_xlabel("test accuracy (%)")
    for row in axes:
        for one in row[1:]:
            one.tick_params(labelleft=False)
    legend(drawn)
    return drawn

"""Is a run that is clipped more often more accurate?"""

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from clipgrid.judging.evidence import Evidence
from clipgrid.reporting.arms import by_clip
from clipgrid.reporting.figures import AT_WORK
from clipgrid.reporting.figures.drawing import colours
from clipgrid.study.parts import figure


@figure(
    "accuracy-by-share",
    title="Accuracy, by how often clipping fires",
    caption="A dot is a cell: its test accuracy over the share of its steps that were clipped.",
    category=AT_WORK,
    order=45,
)
def accuracy_by_share(evidence: Evidence) -> Figure:
    """Test accuracy over the share of clipped steps, a colour a clip."""
    palette = colours(evidence.cells)
    drawn, axes = plt.subplots(figsize=(6, 3.5))
    for clip, cells in by_clip(evidence.cells):
        accuracy = [evidence.accuracy(cell, "test") for cell in cells.itertuples()]
        share = 100 * cells.clip_fraction
        axes.plot(share, accuracy, "o", alpha=0.6, color=palette[clip], label=clip)
    axes.set(xlabel="steps that were clipped (%)", ylabel="test accuracy (%)")
    axes.legend()
    return drawn

"""Training loss and validation accuracy of one experiment's runs: on its page of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipgrid.lazy import np, pd
from clipgrid.reporting.arms import arm_names, by_clip, longest
from clipgrid.reporting.figures.drawing import (
    colours,
    legend,
    limits,
    log_scale,
    panels,
    training_loss,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from clipgrid.judging.evidence import Evidence


CAPTION = (
    "Training loss (the mean since the look before; on augmented images where there are such) and"
    " accuracy on validation images. Thin lines are seeds, thick lines their mean. Runs that"
    " diverge end where they do. Runs of one seed start from the same weights and see the same"
    " batches."
)


def learning_curves(evidence: Evidence, cells: pd.DataFrame) -> Figure:
    """Training loss above, accuracy on validation images below, a column an arm of `cells`."""
    runs = longest(cells)
    runs = runs.assign(arm=arm_names(runs))
    palette = colours(runs)
    figure, axes, arms = panels(runs.arm, rows=2, height=1.9, sharex="col", sharey="row")
    accuracies = []
    for column, arm in enumerate(arms):
        for name, mine in by_clip(runs[runs.arm == arm]):
            rows = list(mine.itertuples())
            losses = [training_loss(evidence, row) for row in rows]
            looks = [evidence.looks(row).set_index("step").validation_accuracy for row in rows]
            accuracies += [100 * look for look in looks]
            tables = (pd.concat(losses, axis=1), 100 * pd.concat(looks, axis=1).sort_index())
            for one, table in zip(axes[:, column], tables, strict=True):
                lines = one.plot(table.index, table, color=palette[name], lw=0.5, alpha=0.45)
                mean = table.mean(axis=1, skipna=False)
                lines += one.plot(table.index, mean, color=palette[name], lw=1.6, label=name)
                for line in lines:
                    if np.isfinite(line.get_ydata()).sum() < 3:  # one alone would not be seen
                        line.set(marker="o", markersize=3)
        axes[1, column].set_xlabel("iteration")
    log_scale(axes[0, 0], "y")
    axes[1, 0].set_ylim(limits(pd.concat(accuracies)))
    axes[0, 0].set_ylabel("training loss\n(nats)")
    axes[1, 0].set_ylabel("validation\naccuracy (%)")
    legend(figure)
    return figure

"""Facts that others have published, seen here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipgrid.lazy import mpl, np, pd, plt
from clipgrid.reporting.arms import by_clip, sweep, usual
from clipgrid.reporting.figures import EXTERNAL
from clipgrid.reporting.figures.drawing import WIDTH, as_they_are, colours, empty, log_scale
from clipgrid.study.axes import model_label
from clipgrid.study.fields import canonical
from clipgrid.study.parts import figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from clipgrid.judging.evidence import Evidence

Palette = dict[str, Any]


@figure(
    "external",
    title="Published facts, seen here",
    caption="Four facts that others have published; the claims above have their sources."
    " a: does clipping widen the range of learning rates at which runs don't fail? Over all"
    " models. b: do λ and η act as their product, whatever λ? A mark is a run that was clipped at"
    " every step. c: does batch norm do what clipping does? Means over seeds. d: does clipping help"
    " when a share of the training labels is exchanged? Colour is λ.",
    category=EXTERNAL,
    order=10,
)
def external(evidence: Evidence) -> Figure:
    """Failures over the learning rate; speed over λη; batch norm; label noise."""
    swept = sweep(evidence.cells)
    plain = usual(evidence.cells, but="label_noise")
    plain = plain[plain["clip"] == "norm"]
    if swept.empty and not plain.label_noise.any():
        return empty("No net has several learning rates and several λ, and no labels are wrong.")
    at_one_t = swept
    if len(swept):
        plain = plain[plain.optimizer == swept.optimizer.iloc[0]]
        at_one_t = usual(plain[plain.iterations == swept.iterations.iloc[0]])
    palette = colours(plain)
    drawn, axes = plt.subplots(2, 2, figsize=(WIDTH, 4.6))
    failures(axes[0, 0], swept, palette)
    products(axes[0, 1], evidence, swept, palette)
    batch_norm(axes[1, 0], at_one_t, palette)
    label_noise(axes[1, 1], plain, palette)
    keys = axes[0, 0] if len(swept) else axes[1, 1]
    handles, labels = keys.get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8)
    for key in filter(None, (*drawn.legends, *(one.get_legend() for one in axes.flat))):
        as_they_are(key.get_texts())
    as_they_are(one.title for one in axes.flat)
    return drawn


def failures(axes: Axes, swept: pd.DataFrame, palette: Palette) -> None:
    if swept.empty:
        axes.set_title("a  failed runs")
        nothing(axes, "no net has several learning rates and λ")
        return
    for name, mine in by_clip(swept):
        failed = 100 * (mine.status != "finished").groupby(mine.learning_rate).mean()
        axes.plot(failed.index, failed, "-o", ms=3.5, lw=1.2, color=palette[name], label=name)
    axes.set(xlabel="learning rate η", ylabel="failed runs (%)", ylim=(-4, 104),
             title="a  failed runs")  # fmt: skip
    at_rates(axes, swept)


def products(axes: Axes, evidence: Evidence, swept: pd.DataFrame, palette: Palette) -> None:
    points = swept[np.isfinite(swept.threshold) & (swept.clip_fraction == 1)]
    markers = dict(zip(points.model.unique(), "os^Dvp*X" * 9, strict=False))
    for name, mine in by_clip(points):
        for row in mine.itertuples():
            at = row.threshold * row.learning_rate
            axes.plot(at, evidence.loss_area(row), markers[row.model], ms=3.5, mew=0, alpha=0.6,
                      color=palette[name])  # fmt: skip
    axes.set(xlabel="λ · η of runs clipped at every step",
             ylabel="mean training loss (nats)", title="b  the product of λ and η")  # fmt: skip
    shapes = [
        mpl.lines.Line2D([], [], marker=m, ls="", ms=4, color="0.4", label=model_label(k))
        for k, m in markers.items()
    ]
    if shapes:
        log_scale(axes, "x")
        axes.legend(handles=shapes, fontsize=7, loc="best")
    else:
        nothing(axes, "no run was clipped at every step")


def batch_norm(axes: Axes, cells: pd.DataFrame, palette: Palette) -> None:
    axes.set(xlabel="learning rate η", ylabel="test accuracy (%)", title="c  batch norm")
    models = set(cells.model)
    plain = next((model for model in cells.model if f"{model}_bn" in models), None)
    if not plain:
        nothing(axes, "no net with and without it")
        return
    for model in (plain, f"{plain}_bn"):
        style = "--o" if model == plain else "-s"
        for name, mine in by_clip(cells[cells.model == model]):
            if name in ("no clipping", "λ = 1"):
                mean = 100 * mine.groupby("learning_rate").test_accuracy.mean()
                axes.plot(mean.index, mean, style, ms=3.5, lw=1.2, color=palette[name],
                          label=f"{model_label(model)}, {name}")  # fmt: skip
    at_rates(axes, cells[cells.model.isin([plain, f"{plain}_bn"])])
    axes.legend(fontsize=6.5, loc="best")


def label_noise(axes: Axes, cells: pd.DataFrame, palette: Palette) -> None:
    axes.set(xlabel="exchanged training labels (%)", ylabel="test accuracy (%)",
             title="d  label noise")  # fmt: skip
    noisy = cells[cells.label_noise > 0]
    if noisy.empty:
        nothing(axes, "no exchanged labels")
        return
    same = ["model", "learning_rate", "iterations", "clip", "threshold", "seed"]
    both = cells.merge(noisy[same].drop_duplicates())
    first = both.iloc[0]  # one net, learning rate and T
    for column in ("model", "learning_rate", "iterations"):
        both = both[both[column] == first[column]]
    for name, mine in by_clip(both):
        mean = 100 * mine.groupby("label_noise").test_accuracy.mean()
        axes.plot(100 * mine.label_noise, 100 * mine.test_accuracy, "o", ms=3, mew=0, alpha=0.55,
                  color=palette[name])  # fmt: skip
        axes.plot(100 * mean.index, mean, "-", lw=1.2, color=palette[name], label=name)
    axes.set_title(f"d  label noise ({model_label(first.model)}, T = {first.iterations})")


def at_rates(axes: Axes, cells: pd.DataFrame) -> None:
    """A logarithmic x axis with the learning rates that were tried."""
    rates = sorted(cells.learning_rate.unique())
    axes.set_xscale("log")
    axes.set_xticks(rates, [canonical(rate) for rate in rates])
    axes.minorticks_off()


def nothing(axes: Axes, why: str) -> None:
    axes.text(0.5, 0.5, why, ha="center", color="0.35", transform=axes.transAxes)
    axes.set(xticks=[], yticks=[])

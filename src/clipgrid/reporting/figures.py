"""The figures. Each takes the tidy tables and returns a matplotlib figure; one visual language:
colour is the clip (λ; grey is no clipping), thin lines and dots are seeds, thick ones means.
"""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from clipgrid.judging.statistics import t_interval
from clipgrid.reporting.arms import RUN, arm_names, by_clip, clip_names, clips_in
from clipgrid.study.grid import Clip, canonical
from clipgrid.study.names import clip_name, model_name

WIDTH = 7.0  # inches; two columns of a paper


def style() -> None:
    """Set the look of all figures, and make the files depend on nothing but their data."""
    sns.set_theme(context="paper", style="ticks", palette="colorblind")
    mpl.rcParams |= {
        "figure.constrained_layout.use": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 9,
        "axes.grid": True,
        "grid.color": "0.92",
        "legend.frameon": False,
        "svg.hashsalt": "clipgrid",
        "svg.fonttype": "none",
        "pdf.fonttype": 42,
    }


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write `name`.svg and `name`.pdf, without a date."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})


# ---- names and colours ------------------------------------------------------------------------


def colours(table: pd.DataFrame) -> dict[str, Any]:
    """A colour for each clip in a table, by name, in order; no clipping is grey. The decades of λ
    have the same in every figure."""
    distinct = [c for c in sns.color_palette("colorblind") if len(set(c)) > 1]  # without its grey
    decades = dict(zip((1, 10, 0.1, 100, 0.01), distinct, strict=False))
    others = itertools.cycle(distinct[len(decades) :])

    def colour(clip: Clip) -> Any:
        if clip.observes:
            return (0.35, 0.35, 0.35)
        decade = decades.get(clip.threshold) if clip.kind == "norm" else None
        return decade or next(others)

    return {clip_name(clip): colour(clip) for clip in clips_in(table)}


def empty(words: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure, axes = plt.subplots(figsize=(WIDTH, 0.8))
    axes.text(0.5, 0.5, words, ha="center", va="center", color="0.35")
    axes.axis("off")
    return figure


def panels(names: pd.Series, rows: int = 1, height: float = 2.2, **subplots: Any) -> Any:
    """A figure with a column a name (at most four abreast where there is one row)."""
    arms = list(dict.fromkeys(names))
    if rows == 1:  # as many as needed, equally full
        rows = math.ceil(len(arms) / 4)
        columns = math.ceil(len(arms) / rows)
    else:
        columns = len(arms)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=({1: 3.6, 2: 5.4}.get(columns, WIDTH), height * rows + 0.3),
        squeeze=False,
        **subplots,
    )
    return figure, axes, arms


def legend(figure: Figure) -> None:
    """One legend for all panels, above them."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        found = dict(zip(labels, handles, strict=True)) | found
    handles, labels = list(found.values()), list(found)
    widest = max(map(len, labels), default=1)
    # At 8 points, an inch holds some 16 letters; the line before each label is as long as 6.
    columns = min(len(labels), int(16 * figure.get_figwidth() / (widest + 6)))
    rows = math.ceil(len(labels) / columns)
    figure.set_figheight(figure.get_figheight() + 0.18 * (rows - 1))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, fontsize=8)


# ---- the figures ------------------------------------------------------------------------------


def learning_curves(histories: pd.DataFrame) -> Figure:
    """Training loss (rolling mean) above, validation accuracy below, a column an arm."""
    histories = histories.assign(arm=arm_names(histories, RUN))
    palette = colours(histories)
    window = max(1, int(histories.step.max()) // 50)
    figure, axes, arms = panels(histories.arm, rows=2, height=1.9, sharex="col", sharey="row")
    for column, arm in enumerate(arms):
        loss_axes, accuracy_axes = axes[:, column]
        for name, runs in by_clip(histories[histories.arm == arm]):
            losses = runs.pivot(index="step", columns="seed", values="loss")
            losses = losses.rolling(window, min_periods=1).mean().iloc[:: max(1, window // 5)]
            looks = runs.dropna(subset="validation_accuracy")
            accuracies = looks.pivot(index="step", columns="seed", values="validation_accuracy")
            for one, table in ((loss_axes, losses), (accuracy_axes, 100 * accuracies)):
                one.plot(table.index, table, color=palette[name], lw=0.5, alpha=0.45)
                mean = table.mean(axis=1, skipna=False)
                one.plot(table.index, mean, color=palette[name], lw=1.6, label=name)
        loss_axes.set(title=arm, yscale="log")
        accuracy_axes.set(xlabel="iteration", ylim=(0, 101))
    axes[0, 0].set_ylabel("training loss\n(nats)")
    axes[1, 0].set_ylabel("validation\naccuracy (%)")
    legend(figure)
    return figure


def gradient_norms(histories: pd.DataFrame) -> Figure:
    """The gradient's L2 norm before clipping over the steps, and its thresholds as lines."""
    histories = histories[histories.augmentation == "none"]
    if histories.empty:
        return empty("The study has no run on original images.")
    histories = histories.assign(arm=arm_names(histories, RUN))
    palette = colours(histories)
    window = max(1, int(histories.step.max()) // 50)
    figure, axes, arms = panels(histories.arm, sharey=True)
    for one, arm in zip(axes.flat, arms, strict=False):
        for name, runs in by_clip(histories[histories.arm == arm]):
            norms = runs.pivot(index="step", columns="seed", values="norm").stack()
            norms = norms[np.isfinite(norms)].groupby("step").median()
            spread = norms.rolling(window, min_periods=1)
            smooth = spread.median().iloc[:: max(1, window // 5)]
            one.fill_between(
                smooth.index,
                spread.quantile(0.05).loc[smooth.index],
                spread.quantile(0.95).loc[smooth.index],
                color=palette[name],
                alpha=0.18,
                lw=0,
            )
            one.plot(smooth.index, smooth, color=palette[name], lw=1.3, label=name)
            kind, threshold = runs[["clip", "threshold"]].iloc[0]
            if kind == "norm" and math.isfinite(threshold):
                one.axhline(threshold, color=palette[name], lw=0.9, ls=(0, (4, 2)))
        one.set(title=arm, yscale="log", xlabel="iteration")
    axes[0, 0].set_ylabel("gradient norm before clipping")
    tidy(axes, arms)
    legend(figure)
    return figure


def clip_fraction(cells: pd.DataFrame) -> Figure:
    """Share of steps that were clipped, a row an arm, a column a clip and T."""
    fires = [clip_name(c) for c in clips_in(cells) if not c.observes]
    cells = cells.assign(clip_name=clip_names(cells))
    cells = cells[cells.clip_name.isin(fires) & cells.ema.isna()]
    if cells.empty:
        return empty("The study clips nowhere.")
    cells = cells.assign(
        arm=arm_names(cells, RUN),
        column=cells.clip_name.astype(str) + "\nT = " + cells.iterations.astype(str),
        percent=100 * cells.clip_fraction,
    ).sort_values(["clip_name", "iterations"])
    columns = list(dict.fromkeys(cells.column))
    arms = list(dict.fromkeys(cells.sort_index().arm))
    table = cells.pivot_table(index="arm", columns="column", values="percent").loc[arms, columns]
    figure, axes = plt.subplots(figsize=(WIDTH, 0.32 * len(arms) + 1.1))
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
    )
    axes.set(xlabel="", ylabel="", title="steps clipped (%)")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.tick_params(axis="y", rotation=0)
    return figure


def accuracy_by_iterations(cells: pd.DataFrame) -> Figure:
    """Test accuracy over λ and T for each model: a dot a seed, a bar the mean."""
    cells = cells[cells.ema.isna() & (cells.augmentation == "none")]
    cells = cells.assign(arm=arm_names(cells, RUN))
    return dots_by_clip(cells, "iterations", 100 * cells.test_accuracy, "test accuracy (%)")


def generalization_gap(cells: pd.DataFrame) -> Figure:
    """Test loss minus loss on un-augmented training images, over λ and T."""
    cells = cells[cells.ema.isna() & (cells.augmentation == "none")]
    cells = cells.assign(arm=arm_names(cells, RUN))
    figure = dots_by_clip(cells, "iterations", cells.loss_gap, "test loss - training loss (nats)")
    for axes in figure.axes:
        axes.axhline(0, color="0.6", lw=0.8, zorder=0)
    return figure


def paired_ema(cells: pd.DataFrame) -> Figure:
    """Accuracy of the averaged weights minus that of the raw weights of the same run."""
    cells = cells[cells.augmentation == "none"]
    differences = pair(cells, "ema")
    differences["arm"] = (
        differences.model.map(model_name) + "\ndecay " + differences.ema.map(canonical).astype(str)
    )
    return dots_by_clip(
        differences,
        "iterations",
        100 * differences.difference,
        "averaged - raw weights:\ntest accuracy (points)",
        zero=True,
    )


def paired_augmentation(cells: pd.DataFrame) -> Figure:
    """Accuracy with augmentation minus that without, by seed."""
    differences = pair(cells[cells.ema.isna()], "augmentation")
    differences["arm"] = arm_names(differences, ("model", "optimizer", "iterations"))
    return dots_by_clip(
        differences,
        "augmentation",
        100 * differences.difference,
        "augmented - original images:\ntest accuracy (points)",
        zero=True,
    )


def pair(cells: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Rows with a value on `axis`, each with the `difference` of its test accuracy to that of the
    cell which has none there and is else the same."""
    same = [a for a in (*RUN, "clip", "threshold", "seed", "iterations", "ema") if a != axis]
    none = cells[axis].isna() if axis == "ema" else cells[axis] == "none"
    baseline = cells.loc[none, [*same, "test_accuracy"]]
    merged = cells[~none].merge(baseline, on=same, suffixes=("", "_baseline"))
    merged["difference"] = merged.test_accuracy - merged.test_accuracy_baseline
    return merged


def dots_by_clip(
    cells: pd.DataFrame, x: str, values: pd.Series, label: str, zero: bool = False
) -> Figure:
    """A panel an arm: for each `x` and clip a dot a seed and the mean with its 95% t-interval."""
    cells = cells.assign(value=values)
    if cells.value.isna().all():
        return empty("The study has no finished cells to compare here.")
    palette = colours(cells)
    figure, axes, arms = panels(cells.arm, sharey=True)
    for one, arm in zip(axes.flat, arms, strict=False):
        here = cells[cells.arm == arm]
        positions = {v: i for i, v in enumerate(sorted(here[x].unique()))}
        for k, (name, mine) in enumerate(by_clip(here, list(palette))):
            shift = min(0.25, 0.8 / len(palette)) * (k - (len(palette) - 1) / 2)
            at = mine[x].map(positions) + shift
            one.plot(at, mine.value, "o", ms=3, mew=0, alpha=0.55, color=palette[name])
            label_once = name
            for v, group in mine.groupby(x):
                mean, half, _ = t_interval(group.value)
                one.errorbar(
                    positions[v] + shift,
                    mean,
                    yerr=None if math.isnan(half) else half,
                    fmt="_",
                    ms=9,
                    mew=1.8,
                    elinewidth=0.9,
                    color=palette[name],
                    label=label_once,
                )
                label_once = "_"
        if zero:
            one.axhline(0, color="0.6", lw=0.8, zorder=0)
        one.set(title=arm, xlim=(-0.5, len(positions) - 0.5))
        one.set_xticks(range(len(positions)), [str(v) for v in positions])
        one.set_xlabel("iterations T" if x == "iterations" else "")
        one.grid(axis="x", visible=False)
    fit_to_points(axes, cells.value)
    for one in axes[:, 0]:
        one.set_ylabel(label)
    tidy(axes, arms)
    legend(figure)
    return figure


def fit_to_points(axes: np.ndarray, values: pd.Series) -> None:
    """Scale y to the seeds' own values: intervals of three seeds may run far out of the picture."""
    low, high = values.min(), values.max()
    margin = 0.1 * (high - low) or 1.0
    axes.flat[0].set_ylim(low - margin, high + margin)


def tidy(axes: np.ndarray, arms: Sequence[str]) -> None:
    """Take away the panels that no arm needed."""
    for one in list(axes.flat)[len(arms) :]:
        one.remove()

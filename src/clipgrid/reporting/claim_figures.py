"""The figures that the claims need and the document lacks, in the language of `figures`."""

import math
import textwrap

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from clipgrid.judging.statistics import t_interval
from clipgrid.reporting.arms import by_clip, clip_names
from clipgrid.reporting.figures import WIDTH, colours, empty, legend, panels, tidy
from clipgrid.study.grid import TRANSFORMATIONS, Clip, canonical
from clipgrid.study.names import AUGMENTATIONS, clip_name, model_name


def heat_map(cells: pd.DataFrame) -> Figure:
    """Accuracy over λ and learning rate, a panel a model, at the T that has most learning rates;
    in each square the mean over seeds, below it how many runs failed, if any did."""
    cells = sweep(cells)
    if cells.empty:
        return empty("The study has one learning rate.")
    iterations = cells.iterations.iloc[0]
    models = list(cells.model.unique())
    figure, axes = plt.subplots(1, len(models), figsize=(WIDTH, 2.5), sharey=True, squeeze=False)
    for one, model in zip(axes.flat, models, strict=True):
        mine = cells[cells.model == model]
        square = mine.assign(failed=mine.status != "finished").groupby(
            ["threshold", "learning_rate"]
        )
        percent = 100 * square.test_accuracy.mean()  # of what didn't diverge
        means = percent.fillna(0).unstack().sort_index(ascending=False)
        failed = square.failed.agg(lambda f: f"\n{f.sum()}/{len(f)} †" if f.any() else "")
        words = percent.map("{:.0f}".format).replace("nan", "–") + failed
        sns.heatmap(
            means,
            ax=one,
            cmap="viridis",
            vmin=0,
            vmax=100,
            annot=words.unstack().reindex_like(means).fillna(""),
            fmt="",
            annot_kws={"fontsize": 8, "linespacing": 0.9},
            linewidths=1,
            cbar=False,
        )
        one.set(title=model_name(model), xlabel="learning rate η", ylabel="")
        one.set_xticklabels([canonical(r) for r in means.columns])
        one.set_yticklabels(["none" if t == math.inf else canonical(t) for t in means.index])
        one.tick_params(length=0)
        one.tick_params(axis="y", rotation=0)
        one.grid(visible=False)
    axes[0, 0].set_ylabel("threshold λ")
    figure.suptitle(f"test accuracy (%) at T = {iterations}; † failed runs", fontsize=9)
    return figure


def time_to_target(cells: pd.DataFrame, histories: pd.DataFrame, target: float = 0.7) -> Figure:
    """Steps to a validation accuracy of `target`, over the learning rate: a dot a seed, a line
    their median; runs that never get there lie on the line at the top."""
    runs = sweep(cells)
    if runs.empty:
        return empty("The study has one learning rate.")
    looks = histories[histories.trajectory.isin(runs.trajectory)]
    last = int(runs.iterations.iloc[0])
    looks = looks[(looks.validation_accuracy >= target) & (looks.step <= last)]
    first = looks.groupby("trajectory", observed=True).step.min()
    never = 1.35 * last
    runs = runs.assign(steps=runs.trajectory.map(first).astype(float).fillna(never))
    palette = colours(runs)
    figure, axes, arms = panels(runs.model.map(model_name), sharey=True)
    for one, arm in zip(axes.flat, arms, strict=False):
        here = runs[runs.model.map(model_name) == arm]
        positions = {r: i for i, r in enumerate(sorted(here.learning_rate.unique()))}
        for k, (name, mine) in enumerate(by_clip(here, list(palette))):
            at = mine.learning_rate.map(positions) + 0.13 * (k - (len(palette) - 1) / 2)
            one.plot(at, mine.steps, "o", ms=3.5, mew=0, alpha=0.6, color=palette[name])
            medians = mine.groupby("learning_rate").steps.median()
            middle = [positions[r] + 0.13 * (k - (len(palette) - 1) / 2) for r in medians.index]
            one.plot(middle, medians, lw=1.1, color=palette[name], label=name)
        one.set(title=arm, xlabel="learning rate η", yscale="log", ylim=(None, 1.6 * last))
        one.set_xticks(range(len(positions)), [canonical(r) for r in positions])
        one.axhline(1.15 * last, color="0.6", lw=0.8, ls=":")
        one.grid(axis="x", visible=False)
        ticks = [t for t in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if t <= last]
        one.set_yticks([*ticks, never], [*map(str, ticks), "never"])
        one.yaxis.minorticks_off()
    axes[0, 0].set_ylabel(f"steps to {100 * target:.0f}% on\nvalidation images")
    tidy(axes, arms)
    legend(figure)
    return figure


def matched_gap(cells: pd.DataFrame, histories: pd.DataFrame) -> Figure:
    """Validation loss against training loss as a small training set is learnt, a line a seed: at
    the same training loss the higher line generalises worse."""
    cells = cells[(cells.train_images != "all") & cells.ema.isna()]
    if cells.empty:
        return empty("The study has no run on a part of the training images.")
    looks = histories[histories.trajectory.isin(cells.trajectory)]
    rates = cells.drop_duplicates("trajectory").set_index("trajectory").learning_rate
    rates = looks.trajectory.astype(str).map(rates).map(canonical)
    images = looks.train_images.astype(str)
    looks = looks.assign(
        arm=looks.model.map(model_name).astype(str) + ", " + images + " images, η = " + rates
    )
    palette = colours(looks)
    figure, axes, arms = panels(looks.arm, height=2.4, sharex=True, sharey=True)
    for one, arm in zip(axes.flat, arms, strict=False):
        here = looks[looks.arm == arm]
        for name, mine in by_clip(here, list(palette)):
            label = name
            for _, run in mine.groupby("seed"):
                smooth = run.loss.rolling(50, min_periods=1).mean()
                seen = run.validation_loss.notna()
                one.plot(smooth[seen], run.validation_loss[seen], "-o", ms=1.8, lw=0.8, alpha=0.7,
                         color=palette[name], label=label)  # fmt: skip
                label = "_"
        one.set(title=arm, xscale="log", xlabel="training loss (nats)")
    axes[0, 0].invert_xaxis()  # training goes from left to right
    axes[0, 0].set_ylabel("validation loss (nats)")
    tidy(axes, arms)
    legend(figure)
    return figure


def clip_kinds(cells: pd.DataFrame) -> Figure:
    """Accuracy by kind of clipping, a dot a seed and the mean with its interval; beside each kind
    how often it fired."""
    cells = usual(cells)
    finite = cells[np.isfinite(cells.threshold)]
    kinds = finite[finite["clip"] != "norm"]
    if kinds.empty:
        return empty("The study clips by one kind.")
    # Beside every kind stands the global norm of the same runs that is clipped as often.
    same = ["model", "optimizer", "learning_rate", "iterations"]
    beside = finite[finite["clip"] == "norm"].merge(kinds[same].drop_duplicates())
    near = (beside.clip_fraction - kinds.clip_fraction.median()).abs()
    nearest = near.groupby(beside.threshold).mean().idxmin() if len(beside) else None
    cells = pd.concat([beside[beside.threshold == nearest], kinds], ignore_index=True)
    cells["name"] = clip_names(cells)
    names, palette = list(cells.name.cat.categories), colours(cells)
    figure, axes = plt.subplots(figsize=(5.0, 0.28 * len(names) + 0.7))
    for i, name in enumerate(names):
        mine = cells[cells.name == name]
        percent = 100 * mine.test_accuracy
        interval = t_interval(percent)
        axes.plot(percent, [i] * len(percent), "o", ms=3.5, mew=0, alpha=0.6, color=palette[name])
        half = interval.half_width
        axes.errorbar(interval.mean, i, xerr=None if math.isnan(half) else half, fmt="|", ms=9,
                      mew=1.8, elinewidth=0.9, color=palette[name])  # fmt: skip
    fired = 100 * cells.groupby("name", observed=True).clip_fraction.mean()
    axes.set_yticks(range(len(names)), [f"{n}  ({fired[n]:.0f}% of steps)" for n in names])
    low, high = 100 * cells.test_accuracy.min(), 100 * cells.test_accuracy.max()
    axes.set(
        xlabel="test accuracy (%)",
        xlim=(low - 8, min(101, high + 8)),
        ylim=(len(names) - 0.5, -0.5),
    )
    axes.grid(axis="y", visible=False)
    return figure


def schedule(histories: pd.DataFrame) -> Figure:
    """Training loss under learning rates that fall to 0 at T, and under a constant one."""
    cosine = histories[histories.schedule == "cosine"]
    if cosine.empty:
        return empty("The study has no schedule that depends on T.")
    same = ["model", "optimizer", "clip", "threshold", "augmentation", "seed", "train_images"]
    arms = cosine[[*same, "label_noise"]].drop_duplicates()
    last = int(cosine.step.max())
    first_rate = cosine.learning_rate.max()
    constant = histories[(histories.schedule == "constant") & (histories.step <= last)]
    constant = constant[constant.learning_rate == first_rate].merge(arms)
    ends = cosine.trajectory.astype(str).map(cosine.groupby("trajectory", observed=True).step.max())
    runs = pd.concat(
        [constant.assign(line="constant"), cosine.assign(line="cosine to T = " + ends.astype(str))]
    )
    window = max(1, last // 50)
    figure, axes, models = panels(runs.model.map(model_name), sharey=True)
    # λ is the same in all: colour tells the schedules apart here, with dashes beside it.
    lines = dict(
        zip(sorted(runs.line.unique()), ("-", (0, (1, 1)), (0, (4, 1.5))) * 9, strict=False)
    )
    palette = dict(zip(lines, ("0.35", *sns.color_palette("colorblind")[2:9]), strict=False))
    for one, model in zip(axes.flat, models, strict=False):
        here = runs[runs.model.map(model_name) == model]
        for line, mine in here.groupby("line"):
            loss = mine.pivot(index="step", columns="trajectory", values="loss")
            loss = loss.rolling(window, min_periods=1).mean().iloc[:: max(1, window // 5)]
            one.plot(loss.index, loss, lw=0.4, alpha=0.4, color=palette[line])
            one.plot(loss.index, loss.mean(axis=1), lw=1.5, color=palette[line], ls=lines[line],
                     label=line)  # fmt: skip
        one.set(title=model, yscale="log", xlabel="iteration")
    axes[0, 0].set_ylabel("training loss (nats)")
    tidy(axes, models)
    legend(figure)
    return figure


def transformed(cells: pd.DataFrame) -> Figure:
    """Accuracy on test images as they are and transformed, by augmentation in training."""
    cells = usual(cells, augmentation=False)
    trained = cells.groupby(["model", "optimizer", "learning_rate", "iterations"])
    cells = trained.filter(lambda group: group.augmentation.nunique() > 1)
    if cells.empty:
        return empty("The study has no augmentation.")
    looks = {"as they are": "test", **{f"{name}": name for name in TRANSFORMATIONS}}
    long = pd.concat(
        [
            cells.assign(arm=shown, value=100 * cells[f"{of}_accuracy"])
            for shown, of in looks.items()
        ]
    )
    long["augmentation"] = long.augmentation.map(AUGMENTATIONS)
    palette = colours(long)
    kinds = list(dict.fromkeys(long.augmentation))
    figure, axes, arms = panels(long.arm, height=2.0, sharey=True)
    for one, arm in zip(axes.flat, arms, strict=False):
        here = long[long.arm == arm]
        for k, (name, mine) in enumerate(by_clip(here, list(palette))):
            shift = 0.2 * (k - (len(palette) - 1) / 2)
            at = mine.augmentation.map(kinds.index) + shift
            one.plot(mine.value, at, "o", ms=3, mew=0, alpha=0.55, color=palette[name])
            means = mine.groupby("augmentation").value.mean()
            one.plot(means, [kinds.index(a) + shift for a in means.index], "|", ms=8, mew=1.8,
                     color=palette[name], label=name)  # fmt: skip
        one.set(title=arm, xlim=(0, 101), ylim=(len(kinds) - 0.5, -0.5))
        one.set_yticks(range(len(kinds)), kinds)
        one.grid(axis="y", visible=False)
    for one in axes[-1]:
        one.set_xlabel("test accuracy (%)")
    for row in axes:
        for one in row[1:]:
            one.tick_params(labelleft=False)
    tidy(axes, arms)
    legend(figure)
    return figure


VERDICT_COLOURS = {
    "supported": "#029e73",
    "refuted": "#d55e00",
    "inconclusive": "0.55",
    "ill-posed": "#cc78bc",
    "self-contradicted": "#cc78bc",
    "not comparable": "0.55",
}


def forest(claims: pd.DataFrame) -> Figure:
    """The effect of each claim that was measured, with its 95% interval, by unit; its colour is the
    verdict."""
    measured = claims[claims.effect.notna() & claims.low.notna() & (claims.section != "external")]
    measured = measured[measured.verdict != "not comparable"]
    if measured.empty:
        return empty("The study has no cells that a claim could be measured on.")
    return effects(measured)


def effects(claims: pd.DataFrame) -> Figure:
    """Effects with intervals, a row a claim, a panel a unit."""
    units = [u for u in ("points", "nats", "%") if (claims.unit == u).any()]
    counts = [int((claims.unit == u).sum()) for u in units]
    figure, axes = plt.subplots(
        len(units),
        figsize=(WIDTH, 0.25 * sum(counts) + 0.75 * len(units)),
        height_ratios=[n + 1 for n in counts],
        squeeze=False,
    )
    labels = {"points": "points", "nats": "nats", "%": "percent"}
    for one, unit in zip(axes.flat, units, strict=True):
        rows = claims[claims.unit == unit].reset_index(drop=True)
        for i, row in rows.iterrows():
            colour = VERDICT_COLOURS[row.verdict]
            one.plot([row.low, row.high], [i, i], lw=1.3, color=colour)
            one.plot(row.effect, i, "o", ms=4.5, color=colour)
        names = [
            f"{r.id}  {textwrap.shorten(r.statement, 58, placeholder=' …')}"
            for r in rows.itertuples()
        ]
        one.set_yticks(range(len(rows)), names, parse_math=False)  # of the claims, as they are
        one.set(ylim=(len(rows) - 0.5, -0.5), xlabel=f"effect ({labels[unit]})")
        one.axvline(50 if unit == "%" and (rows.measure.str.startswith("P(")).all() else 0,
                    color="0.6", lw=0.8, zorder=0)  # fmt: skip
        one.grid(axis="y", visible=False)
        one.tick_params(axis="y", length=0)
        wide = max(abs(rows.effect.max()), abs(rows.effect.min())) * 1.6 or 1.0
        one.set_xlim(max(rows.low.min(), -wide) * 1.05, min(rows.high.max(), wide) * 1.05)
    present = [v for v in VERDICT_COLOURS if (claims.verdict == v).any()]
    handles = [
        mpl.lines.Line2D([], [], marker="o", ms=4.5, lw=1.3, color=VERDICT_COLOURS[v], label=v)
        for v in present
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(present), fontsize=8)
    return figure


def external(cells: pd.DataFrame, histories: pd.DataFrame) -> Figure:
    """Published facts: failures over the learning rate; speed over λη; batch norm; label noise."""
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 4.6))
    plain = usual(cells, label_noise=False)
    plain = plain[(plain["clip"] == "norm") & (plain.optimizer == "momentum")]
    clean = plain[plain.label_noise == 0]
    plainest = sweep(cells)
    if plainest.empty:
        plt.close(figure)
        return empty("The study has one learning rate.")
    swept = plainest.iterations.iloc[0]
    clean = clean[clean.iterations == swept]
    palette = colours(clean)

    one = axes[0, 0]
    for name, mine in by_clip(plainest, list(palette)):
        failed = 100 * (mine.status != "finished").groupby(mine.learning_rate).mean()
        one.plot(failed.index, failed, "-o", ms=3.5, lw=1.2, color=palette[name], label=name)
    one.set(xscale="log", xlabel="learning rate η", ylabel="failed runs (%)", ylim=(-4, 104),
            title="a  clipping widens the range of η")  # fmt: skip

    one = axes[0, 1]
    losses = histories[histories.trajectory.isin(plainest.trajectory) & (histories.step <= swept)]
    area = losses.groupby("trajectory", observed=True).loss.mean()
    points = plainest.assign(area=plainest.trajectory.map(area.rename(index=str)).astype(float))
    points = points[np.isfinite(points.threshold) & (points.clip_fraction == 1)]
    markers = dict(zip(points.model.unique(), "os^Dv", strict=False))
    for (model, threshold), mine in points.groupby(["model", "threshold"], sort=False):
        colour = palette[clip_name(Clip("norm", threshold))]
        one.plot(mine.threshold * mine.learning_rate, mine.area, markers[model], ms=3.5, mew=0,
                 alpha=0.6, color=colour)  # fmt: skip
    one.set(xscale="log", xlabel="λ · η of runs clipped at every step",
            ylabel="mean training loss (nats)", title="b  λ and η act as λ · η")  # fmt: skip
    shapes = [mpl.lines.Line2D([], [], marker=m, ls="", ms=4, color="0.4", label=model_name(k))
              for k, m in markers.items()]  # fmt: skip
    one.legend(handles=shapes, fontsize=7, loc="best")

    one = axes[1, 0]
    pairs = [(m, f"{m}_bn") for m in clean.model.unique() if (clean.model == f"{m}_bn").any()]
    for model in (m for pair in pairs[:1] for m in pair):
        normalised = model.endswith("_bn")
        for name, mine in by_clip(clean[clean.model == model]):
            if name not in ("no clipping", "λ = 1"):
                continue
            mean = 100 * mine.groupby("learning_rate").test_accuracy.mean()
            one.plot(mean.index, mean, "-s" if normalised else "--o", ms=3.5, lw=1.2,
                     color=palette[name], label=f"{model_name(model)}, {name}")  # fmt: skip
    one.set(xscale="log", xlabel="learning rate η", ylabel="test accuracy (%)", ylim=(0, 150),
            yticks=range(0, 101, 25), title="c  batch norm does what clipping does")  # fmt: skip
    if pairs:
        one.legend(fontsize=6.5, loc="upper center", ncols=2)
    else:
        one.text(0.5, 0.5, "no net with and without it", ha="center", transform=one.transAxes)

    one = axes[1, 1]
    noisy = plain[plain.label_noise > 0]
    if len(noisy):
        keys = ["model", "learning_rate", "iterations", "clip", "threshold", "seed"]
        both = plain.merge(noisy[keys].drop_duplicates())
        for name, mine in by_clip(both):
            mean = 100 * mine.groupby("label_noise").test_accuracy.mean()
            one.plot(100 * mine.label_noise, 100 * mine.test_accuracy, "o", ms=3, mew=0, alpha=0.55,
                     color=palette.get(name, "0.35"))  # fmt: skip
            one.plot(100 * mean.index, mean, "-", lw=1.2, color=palette.get(name, "0.35"))
        first = both.iloc[0]
        one.set(title=f"d  label noise ({model_name(first.model)}, T = {first.iterations})")
    one.set(xlabel="exchanged training labels (%)", ylabel="test accuracy (%)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8)
    return figure


def sweep(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells of the models that have several learning rates and λ's, at the T at which they have
    most of them."""
    cells = usual(cells)
    cells = cells[(cells["clip"] == "norm") & (cells.optimizer == "momentum")]
    by_model = cells.groupby(["model", "iterations"])
    counts = by_model[["learning_rate", "threshold"]].nunique()
    counts = counts[(counts.learning_rate > 1) & (counts.threshold > 1)].prod(axis=1)
    if counts.empty:
        return cells.iloc[:0]
    iterations = counts.groupby("iterations").sum().idxmax()
    here = counts.xs(iterations, level="iterations")
    models = here[here >= here.max() / 2].index
    return cells[(cells.iterations == iterations) & cells.model.isin(models)]


def usual(cells: pd.DataFrame, augmentation: bool = True, label_noise: bool = True) -> pd.DataFrame:
    """The raw weights of runs on all the original images, at a constant learning rate."""
    return cells[
        cells.ema.isna()
        & (cells.schedule == "constant")
        & (cells.train_images == "all")
        & ((cells.augmentation == "none") | (not augmentation))
        & ((cells.label_noise == 0) | (not label_noise))
    ]

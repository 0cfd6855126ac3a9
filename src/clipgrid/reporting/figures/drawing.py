"""What the figures share: their look and their files, colours, panels, legends, dots with means."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipgrid.lazy import mpl, np, pd, plt, sns
from clipgrid.reporting import text
from clipgrid.reporting.arms import by_clip, clips_in
from clipgrid.study.cells import Clip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    from clipgrid.judging.evidence import Evidence
    from clipgrid.study.parts import Part

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


def exhibit(part: Part, evidence: Evidence) -> Figure:
    """Draw a figure and write it below the study's results, its caption beside it."""
    from clipgrid.study import config

    figure = part.run(evidence)
    stem = evidence.results / "figures" / part.name
    save(figure, stem)
    caption = text.page(
        "caption.html", caption=part.about["caption"], settings=config.settings(evidence.study)
    )
    stem.with_suffix(".rst").write_text(text.as_caption(caption), encoding="utf-8")
    return figure


def heading(part: Part) -> str:
    """What stands above a figure in the notebook, as HTML."""
    return text.page("heading.html", title=part.label, caption=part.about["caption"])


def save(figure: Figure, stem: Path) -> None:
    """Write `stem`.svg and `stem`.pdf, without a date. An empty one says why in the first."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    about = {"Date": None, "Description": getattr(figure, "nothing", None)}
    figure.savefig(stem.with_suffix(".svg"), metadata=about)
    figure.savefig(stem.with_suffix(".pdf"), metadata={"CreationDate": None})


# ---- what is drawn -----------------------------------------------------------------------------


# Told apart from each other, from the decades of λ and from grey.
OTHERS = (
    *("#7a4a12", "#56b4e9", "#001c7f", "#8c0800", "#d9b300", "#006374", "#809f00", "#4b1c63"),
    *("#bf33e6", "#ccbf8c", "#33d933", "#e63373", "#e68073", "#8073e6"),
)


def colours(table: pd.DataFrame) -> dict[str, Any]:
    """A colour for each clip in a table, by name, in order; no clipping is grey. The decades of λ
    have the same in every figure."""
    decades = dict(zip((1, 10, 0.1, 100, 0.01), sns.color_palette("colorblind"), strict=False))
    others = itertools.cycle(OTHERS)

    def colour(clip: Clip) -> Any:
        if clip.observes:
            return (0.35, 0.35, 0.35)
        decade = decades.get(clip.threshold) if clip.kind == "norm" else None
        return decade or next(others)

    return {clip.label: colour(clip) for clip in clips_in(table)}


def training_loss(evidence: Evidence, row: Any) -> pd.Series:
    """The training loss (nats) by step, smoothed, and thinned for drawing."""
    losses = evidence.smoothed(evidence.losses(row))
    by_step = losses.set_axis(range(1, len(losses) + 1))
    return by_step.iloc[:: max(1, evidence.study.training.evaluate_every // 5)]


def mean_and_half_width(values: pd.Series) -> tuple[float, float | None]:
    """The mean over seeds, and the half-width of its 95% t-interval; None of one seed."""
    from clipgrid.judging.statistics import t_interval

    mean, half_width, _ = t_interval(values)
    return mean, None if math.isnan(half_width) else half_width


def log_scale(axes: Axes, which: str) -> None:
    """Make the "x" or "y" axis logarithmic, with plain numbers: 0.3, and not 3 × 10⁻¹."""

    axes.set(**{f"{which}scale": "log"})
    axis = getattr(axes, f"{which}axis")

    class Plain(mpl.ticker.LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            low, high = axis.get_view_interval()
            crowded = high > 5 * low and f"{x:e}"[0] not in "125"
            return f"{x:g}" if super().__call__(x, pos) and not crowded else ""

    axis.set_major_formatter(Plain())
    axis.set_minor_formatter(Plain(minor_thresholds=(2, 0.5)))


# ---- panels and legends ------------------------------------------------------------------------


def empty(words: str) -> Figure:
    """A figure that says why there is nothing to draw: a line in the report."""
    figure, axes = plt.subplots(figsize=(WIDTH, 0.8))
    figure.nothing = words  # type: ignore[attr-defined]  # which `save` writes for the report
    axes.text(0.5, 0.5, words, ha="center", va="center", color="0.35")
    axes.axis("off")
    return figure


def panels(names: pd.Series, rows: int = 1, height: float = 2.2, **subplots: Any) -> Any:
    """(figure, axes, names) with a column a name, and the name above it; at most four abreast where
    there is one row."""
    arms = list(dict.fromkeys(names))
    one_row = rows == 1
    rows = math.ceil(len(arms) / 4) if one_row else rows  # as many as needed, equally full
    columns = math.ceil(len(arms) / rows) if one_row else len(arms)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=({1: 3.6, 2: 5.4}.get(columns, WIDTH), height * rows + 0.3),
        squeeze=False,
        **subplots,
    )
    for one in axes.flat[len(arms) :] if one_row else ():  # that no name needs
        one.remove()
    letters = {1: 50, 2: 38, 3: 32}.get(columns, 24)  # that fit above a panel
    for one, arm in zip(axes.flat, arms, strict=False):
        title = textwrap.fill(arm, letters, replace_whitespace=False)
        as_they_are([one.set_title(title)])
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
    columns = max(1, min(len(labels), int(16 * figure.get_figwidth() / (widest + 6))))
    rows = math.ceil(len(labels) / columns)
    figure.set_figheight(figure.get_figheight() + 0.18 * (rows - 1))
    drawn = figure.legend(handles, labels, loc="outside upper center", ncols=columns, fontsize=8)
    as_they_are(drawn.get_texts())


def as_they_are(texts: Iterable[Text]) -> None:
    """Show labels of parts letter by letter: a $ in them is no mathematics."""
    for each in texts:
        each.set_parse_math(False)


# ---- squares -----------------------------------------------------------------------------------

SQUARE = ["model", "threshold", "learning_rate"]
"""What tells squares apart: a panel a model, a row a λ, a column a learning rate."""


def squares(values: pd.Series, words: pd.Series, title: str, **colour: Any) -> Figure:
    """Values by SQUARE as heat maps with `words` in them; grey where there is no value."""
    from clipgrid.study.axes import model_label
    from clipgrid.study.fields import canonical

    models = list(dict.fromkeys(values.index.get_level_values("model")))
    figure, axes = plt.subplots(1, len(models), figsize=(WIDTH, 2.5), sharey=True, squeeze=False)
    for one, model in zip(axes.flat, models, strict=True):
        table = values[model].unstack().sort_index(ascending=False).sort_index(axis=1)
        written = words[model].unstack().reindex_like(table)
        one.set_facecolor("0.85")
        sns.heatmap(table, ax=one, linewidths=1, cbar=False, **colour)
        for i, j in itertools.product(range(table.shape[0]), range(table.shape[1])):
            if isinstance(said := written.iat[i, j], str):
                dark = luminance(table.iat[i, j], **colour) < 0.45
                one.text(j + 0.5, i + 0.5, said, ha="center", va="center", fontsize=8,
                         linespacing=0.9, color="white" if dark else "0.15")  # fmt: skip
        as_they_are([one.set_title(model_label(model))])
        one.set(xlabel="learning rate η", ylabel="")
        one.set_xticklabels([canonical(r) for r in table.columns])
        one.set_yticklabels(["none" if math.isinf(t) else canonical(t) for t in table.index])
        one.tick_params(length=0)
        one.tick_params(axis="y", rotation=0)
        one.grid(visible=False)
    axes[0, 0].set_ylabel("threshold λ")
    figure.suptitle(title, fontsize=9)
    return figure


def luminance(value: float, cmap: str, vmin: float, vmax: float) -> float:
    """How light a value's colour is, from 0 to 1; that of no value is."""
    if math.isnan(value):
        return 1.0
    red, green, blue, _ = mpl.colormaps[cmap]((value - vmin) / (vmax - vmin))
    return 0.3 * red + 0.59 * green + 0.11 * blue


# ---- dots --------------------------------------------------------------------------------------


def dots_by_clip(
    cells: pd.DataFrame, x: str, values: pd.Series, label: str, zero: bool = False
) -> Figure:
    """A panel an `arm`: for each `x` and clip a dot a seed and the mean with its 95% t-interval."""
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
            means = {positions[v] + shift: group.value for v, group in mine.groupby(x)}
            mean_bars(one, means, color=palette[name], label=name)
        if zero:
            one.axhline(0, color="0.6", lw=0.8, zorder=0)
        one.set(xlim=(-0.5, len(positions) - 0.5))
        one.set_xticks(range(len(positions)), [str(v) for v in positions], parse_math=False)
        one.set_xlabel("iterations T" if x == "iterations" else "")
        one.grid(axis="x", visible=False)
    fit_to_points(axes, cells.value)
    for one in axes[:, 0]:
        one.set_ylabel(label)
    legend(figure)
    return figure


def mean_bars(axes: Axes, groups: dict[float, pd.Series], label: str, **line: Any) -> None:
    """At each x a bar at the mean of its values, with its 95% t-interval."""
    for at, values in groups.items():
        mean, half_width = mean_and_half_width(values)
        axes.errorbar(
            at, mean, yerr=half_width, fmt="_", ms=9, mew=1.8, elinewidth=0.9, label=label, **line
        )
        label = "_"  # one entry in the legend


def fit_to_points(axes: np.ndarray, values: pd.Series) -> None:
    """Scale y to the seeds' own values: intervals of three seeds may run far out of the picture."""
    axes.flat[0].set_ylim(limits(values))


def limits(values: Any, part: float = 0.1) -> tuple[float, float]:
    """The range of the values that are finite, with a margin of a part of it: for an axis."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return 0.0, 1.0
    margin = part * (finite.max() - finite.min()) or 1.0
    return finite.min() - margin, finite.max() + margin

"""The tables: what the article states beside what was measured, as CSV, HTML and LaTeX."""

import math
from pathlib import Path

import pandas as pd

from clipgrid.judging import article
from clipgrid.judging.statistics import Interval, t_interval
from clipgrid.reporting import text
from clipgrid.reporting.arms import ARM, BY_COLUMN, clip_names, in_order, labels
from clipgrid.study import axes
from clipgrid.study.config import Experiment


def experiment_table(cells: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """A row an arm of an experiment: the figures that the article states, and the measured ones.

    Accuracies in percent, losses in nats, means over seeds with the half-width of their 95%
    t-interval. Diverged runs have no accuracy; they are counted and not averaged.
    """
    rows = []
    cells = in_order(cells)
    for arm, group in cells.groupby(list(ARM), dropna=False, sort=False):
        row = dict(zip(ARM, arm, strict=True))
        accuracy = t_interval(100 * group.test_accuracy)
        loss = t_interval(group.test_loss)
        rows.append(
            {
                **row,
                **stated(experiment.section, row),
                "seeds": len(group),
                "test_accuracy": accuracy.mean,
                "test_accuracy_half_width": accuracy.half_width,
                "test_loss": loss.mean,
                "test_loss_half_width": loss.half_width,
                "clip_percent": 100 * group.clip_fraction.mean(),
                "collapsed": int((group.status == "collapsed").sum()),
                "diverged": int((group.status == "diverged").sum()),
            }
        )
    return pd.DataFrame(rows)


def stated(section: str | None, arm: dict) -> dict:
    """What the article states of an arm: accuracy (%), loss and words, as text."""
    said = article.stated()
    ema = "none" if pd.isna(arm["ema"]) else "any"
    for row in said[said.section == section].itertuples():
        if (
            arm["clip"] == "norm"
            and axes.family(arm["model"]) == row.family
            and (pd.isna(row.iterations) or row.iterations == arm["iterations"])
            and (pd.isna(row.threshold) or row.threshold == arm["threshold"])
            and row.ema == ema
            and row.augmentation == arm["augmentation"]
        ):
            figures = {key: getattr(row, key) for key in ("accuracy", "loss", "words")}
            return {f"article_{k}": "" if pd.isna(v) else v for k, v in figures.items()}
    return {"article_accuracy": "not run", "article_loss": "", "article_words": ""}


def display(table: pd.DataFrame) -> pd.DataFrame:
    """The table as it is printed: columns that say the same in each row are left out."""
    numbers = {"learning_rate", "iterations", "train_images", "label_noise"}
    settings = {
        axis.heading: [axis.word(value) for value in table[axis.column]]
        if axis.column in numbers
        else labels(table, axis.column)
        for axis in (BY_COLUMN[column] for column in ARM if column not in ("clip", "threshold"))
    }
    if table.groupby("optimizer").learning_rate.nunique().max() < 2:
        del settings["Learning rate"]  # the optimizer tells it
    measured = {
        "T": settings.pop("T"),
        "Clipping": clip_names(table).astype(str),
        "Article: accuracy (%)": table.article_accuracy,
        "Article: loss": table.article_loss,
        "Test accuracy (%)": [
            plus_minus(Interval(m, h, 0), 1)
            for m, h in zip(table.test_accuracy, table.test_accuracy_half_width, strict=True)
        ],
        "Test loss (nats)": [
            plus_minus(Interval(m, h, 0), 2)
            for m, h in zip(table.test_loss, table.test_loss_half_width, strict=True)
        ],
        "Steps clipped (%)": table.clip_percent.map("{:.1f}".format).replace("nan", "-"),
        "Collapsed": table.collapsed.astype(str) + " of " + table.seeds.astype(str),
        "Diverged": table.diverged.astype(str) + " of " + table.seeds.astype(str),
        "Article, in words": table.article_words,
    }
    return pd.DataFrame(
        {
            name: values
            for name, values in {**settings, **measured}.items()
            if len(set(values)) > 1 or not (name in settings or name.startswith("Article"))
        }
    )


def plus_minus(interval: Interval, digits: int, sign: str = "") -> str:
    """`12.3 ± 0.4`; the mean alone of one seed, `-` of none; `sign` "+" also before gains."""
    if math.isnan(interval.mean):
        return "-"
    mean = f"{interval.mean:{sign}.{digits}f}"
    return mean if math.isnan(interval.half_width) else f"{mean} ± {interval.half_width:.{digits}f}"


def shown_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """What the report shows of each cell, as text."""
    return pd.DataFrame(
        {
            "Cell": cells.cell,
            "Status": cells.status,
            "Test accuracy (%)": (100 * cells.test_accuracy).map("{:.1f}".format),
            "Test loss": cells.test_loss.map("{:.3f}".format),
            "Steps clipped (%)": (100 * cells.clip_fraction).map("{:.1f}".format),
            "Largest norm": cells.norm_max.map("{:.3g}".format),
            "Command": cells.command,
        }
    ).replace("nan", "-")


def cells_page(cells: pd.DataFrame, title: str) -> str:
    """All cells as an HTML page, with a field that filters the rows."""
    return text.page("cells.html", title=title, shown=shown_cells(cells))


def save_latex(
    shown: pd.DataFrame,
    stem: Path,
    title: str,
    columns: str | None = None,
    environment: str = "table",
) -> None:
    """Write a table as `stem`.tex."""
    latex = shown.astype(str).map(text.latex)
    latex.columns = latex.columns.map(text.latex)
    latex.style.hide(axis="index").to_latex(
        stem.with_suffix(".tex"),
        hrules=True,
        caption=text.latex(title),
        label=f"tab:{stem.name}",
        column_format=columns,
        environment=None if environment == "table" else environment,
        position=None if environment != "table" else "htbp",
    )


def save(table: pd.DataFrame, shown: pd.DataFrame, stem: Path, experiment: Experiment) -> None:
    """Write `table` as `stem`.csv, and as it is `shown`, as `stem`.html and `stem`.tex."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(stem.with_suffix(".csv"), index=False)
    title, section = experiment.title, experiment.section
    if section:
        title += f" (section {section}): stated and measured"
    page = text.page("experiment.html", title=title, section=section, shown=shown)
    stem.with_suffix(".html").write_text(page, encoding="utf-8")
    save_latex(shown, stem, title)

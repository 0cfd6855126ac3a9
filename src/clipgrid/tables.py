"""The tables: what the document states beside what was measured, as CSV, HTML and LaTeX."""

import html
import math
from importlib import resources
from pathlib import Path

import pandas as pd

from clipgrid.grid import CLIPS, Clip, canonical
from clipgrid.names import AUGMENTATIONS, OPTIMIZERS, clip_name, model_name
from clipgrid.statistics import Interval, t_interval
from clipgrid.study import Experiment

ARM = [
    *("model", "optimizer", "learning_rate", "augmentation", "ema", "iterations"),
    *("clip", "threshold"),
]

HTML = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 13px/1.45 system-ui, sans-serif; margin: 1.5em; color: #222; }}
table {{ border-collapse: collapse; border-top: 2px solid #222; border-bottom: 2px solid #222; }}
th {{ border-bottom: 1px solid #222; text-align: left; vertical-align: bottom; }}
th, td {{ padding: .3em .6em; }}
td {{ white-space: nowrap; }}
td:last-child {{ white-space: normal; min-width: 12em; }}
td code {{ display: block; min-width: 40em; font-size: .9em; }}
tr:nth-child(even) td {{ background: #f5f5f5; }}
p {{ max-width: 50em; color: #555; }}
</style>
<h1 style="font-size: 1.2em">{title}</h1>
{table}
<p>{note}</p>
</html>
"""


def clips_in(table: pd.DataFrame) -> list[Clip]:
    """The clips among the rows of a table, by kind and threshold; those that only observe last."""
    pairs = table[["clip", "threshold"]].drop_duplicates().itertuples(index=False)
    kinds = list(CLIPS)
    return sorted(
        (Clip(*pair) for pair in pairs),
        key=lambda c: (c.observes, kinds.index(c.kind), c.threshold),
    )


def clip_names(table: pd.DataFrame) -> pd.Series:
    """The name of each row's clip, as a category: ordered as `clips_in` has them."""
    clips = clips_in(table)
    names = pd.MultiIndex.from_frame(table[["clip", "threshold"]]).map(
        {(c.kind, c.threshold): clip_name(c) for c in clips}
    )
    return pd.Series(
        pd.Categorical(names, [clip_name(c) for c in clips], ordered=True), index=table.index
    )


def experiment_table(cells: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """A row an arm of a document experiment: the document's figures and the measured ones.

    Accuracies in percent, losses in nats, means over seeds with the half-width of their 95%
    t-interval. Diverged runs have no accuracy; they are counted and not averaged.
    """
    rows = []
    cells = in_order(cells)
    for arm, group in cells.groupby(ARM, dropna=False, sort=False):
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


def in_order(cells: pd.DataFrame) -> pd.DataFrame:
    """Models, optimizers and augmentations as the study names them, then by T, EMA and λ."""
    ranks = {
        axis: cells[axis].map({v: i for i, v in enumerate(cells[axis].unique())})
        for axis in ("model", "optimizer", "augmentation", "clip")
    }
    order = cells.assign(**ranks).fillna({"ema": 0.0}).sort_values(ARM, kind="stable").index
    return cells.loc[order]


def stated(section: str, arm: dict) -> dict:
    """What the document states of an arm: accuracy (%), loss and words, as text."""
    with resources.files("clipgrid").joinpath("document.csv").open() as file:
        document = pd.read_csv(file, dtype={"section": str, "accuracy": str, "loss": str})
    ema = "none" if pd.isna(arm["ema"]) else "any"
    for row in document[document.section == section].itertuples():
        if (
            arm["clip"] == "norm"
            and arm["model"].startswith(row.family)
            and (pd.isna(row.iterations) or row.iterations == arm["iterations"])
            and (pd.isna(row.threshold) or row.threshold == arm["threshold"])
            and row.ema == ema
            and row.augmentation == arm["augmentation"]
        ):
            said = {key: getattr(row, key) for key in ("accuracy", "loss", "words")}
            return {f"document_{k}": "" if pd.isna(v) else v for k, v in said.items()}
    return {"document_accuracy": "not run", "document_loss": "", "document_words": ""}


def display(table: pd.DataFrame) -> pd.DataFrame:
    """The table as it is printed: columns that say the same in each row are left out."""
    columns = {
        "Model": table.model.map(model_name),
        "Optimizer": table.optimizer.map(OPTIMIZERS),
        "Learning rate": table.learning_rate.map(canonical),
        "Images": table.augmentation.map(AUGMENTATIONS),
        "Average": table.ema.map(lambda e: "raw" if pd.isna(e) else f"EMA {canonical(e)}"),
        "T": table.iterations.map(str),
        "Clipping": clip_names(table).astype(str),
        "Document: accuracy (%)": table.document_accuracy,
        "Document: loss": table.document_loss,
        "Test accuracy (%)": [
            plus_minus(Interval(m, h, 0), 1)
            for m, h in zip(table.test_accuracy, table.test_accuracy_half_width, strict=True)
        ],
        "Test loss (nats)": [
            plus_minus(Interval(m, h, 0), 2)
            for m, h in zip(table.test_loss, table.test_loss_half_width, strict=True)
        ],
        "Steps clipped (%)": table.clip_percent.map("{:.1f}".format),
        "Collapsed": table.collapsed.astype(str) + " of " + table.seeds.astype(str),
        "Diverged": table.diverged.astype(str) + " of " + table.seeds.astype(str),
        "Document, in words": table.document_words,
    }
    if table.groupby("optimizer").learning_rate.nunique().max() < 2:
        del columns["Learning rate"]  # the optimizer tells it
    settings = ("Model", "Optimizer", "Learning rate", "Images", "Average")
    return pd.DataFrame(
        {
            name: values
            for name, values in columns.items()
            if len(set(values)) > 1 or not name.startswith((*settings, "Document"))
        }
    )


def plus_minus(interval: Interval, digits: int, sign: str = "") -> str:
    """`12.3 ± 0.4`; the mean alone of one seed, `-` of none; `sign` "+" also before gains."""
    if math.isnan(interval.mean):
        return "-"
    mean = f"{interval.mean:{sign}.{digits}f}"
    return mean if math.isnan(interval.half_width) else f"{mean} ± {interval.half_width:.{digits}f}"


def cells_page(cells: pd.DataFrame, title: str) -> str:
    """All cells as an HTML page, with a field that filters the rows."""
    shown = pd.DataFrame(
        {
            "Cell": cells.cell,
            "Status": cells.status,
            "Test accuracy (%)": (100 * cells.test_accuracy).map("{:.1f}".format),
            "Test loss": cells.test_loss.map("{:.3f}".format),
            "Steps clipped (%)": (100 * cells.clip_fraction).map("{:.1f}".format),
            "Largest norm": cells.norm_max.map("{:.3g}".format),
            "Command": "<details><summary>show</summary><code>"
            + cells.command.map(html.escape)
            + "</code></details>",
        }
    ).replace("nan", "-")
    table = FILTER + shown.to_html(index=False, border=0, escape=False)
    return HTML.format(title=html.escape(title), table=table, note="")


def files_page(files: list[Path]) -> str:
    """Text files, one below the other, as an HTML page."""
    texts = (f"<h2>{f.name}</h2><pre>{html.escape(f.read_text())}</pre>" for f in files)
    return HTML.format(title="Settings and provenance", table="".join(texts), note="")


FILTER = """<p><input type="search" placeholder="filter, e.g. vgg11 norm1_ T5000" size="40"
oninput="const words = this.value.split(' ');
for (const row of document.querySelectorAll('tbody tr'))
  row.hidden = !words.every(word => row.textContent.includes(word))"></p>
"""


def save(table: pd.DataFrame, shown: pd.DataFrame, stem: Path, title: str, note: str) -> None:
    """Write `table` as `stem`.csv, and as it is `shown`, as `stem`.html and `stem`.tex."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(stem.with_suffix(".csv"), index=False)
    stem.with_suffix(".html").write_text(
        HTML.format(
            title=html.escape(title),
            table=shown.to_html(index=False, border=0),
            note=html.escape(note),
        )
    )
    latex = shown.replace({"≥": r"$\\geq$", "±": r"$\\pm$", "λ": r"$\\lambda$"}, regex=True)
    latex.columns = latex.columns.str.replace("%", r"\%")
    latex.style.hide(axis="index").to_latex(
        stem.with_suffix(".tex"), hrules=True, caption=title, label=f"tab:{stem.name}"
    )

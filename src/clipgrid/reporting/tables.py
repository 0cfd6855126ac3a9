"""The tables: what the document states beside what was measured, as CSV, HTML and LaTeX."""

import math
from pathlib import Path

import pandas as pd

from clipgrid.judging import article
from clipgrid.judging.statistics import Interval, t_interval
from clipgrid.reporting import text
from clipgrid.reporting.arms import ARM, clip_names, in_order
from clipgrid.study.config import Experiment
from clipgrid.study.grid import canonical
from clipgrid.study.names import AUGMENTATIONS, OPTIMIZERS, model_name


def experiment_table(cells: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """A row an arm of a document experiment: the document's figures and the measured ones.

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
    """What the document states of an arm: accuracy (%), loss and words, as text."""
    document = article.stated()
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
        "Schedule": table.schedule,
        "Training images": table.train_images,
        "Label noise": table.label_noise.map(canonical),
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
    settings = (
        *("Model", "Optimizer", "Learning rate", "Images", "Schedule", "Training images"),
        *("Label noise", "Average"),
    )
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
            "Command": cells.command,
        }
    ).replace("nan", "-")
    return text.page("cells.html", title=title, shown=shown)


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


def save(table: pd.DataFrame, shown: pd.DataFrame, stem: Path, title: str, note: str) -> None:
    """Write `table` as `stem`.csv, and as it is `shown`, as `stem`.html and `stem`.tex."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(stem.with_suffix(".csv"), index=False)
    stem.with_suffix(".html").write_text(
        text.page("page.html", title=title, shown=shown, note=note)
    )
    save_latex(shown, stem, title)

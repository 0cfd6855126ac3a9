"""`explorer.html`: all cells of a study, to be filtered, with the curves of their runs. It is one
file that needs no network."""

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import vl_convert
from matplotlib.colors import to_hex

from clipgrid.judging import claims, sums
from clipgrid.judging.evidence import Evidence
from clipgrid.reporting import text
from clipgrid.reporting.arms import clip_names, clips_in, sweep
from clipgrid.reporting.charts import specifications
from clipgrid.reporting.compared import compared
from clipgrid.reporting.figures.drawing import colours
from clipgrid.reporting.report import judged
from clipgrid.study import config
from clipgrid.study.axes import AXES, Axis

POINTS = 60
"""Of a curve, at most."""
FEWEST, BUDGET = 12, 120_000
"""Curves of many runs have fewer points, at least `FEWEST`, so that all have `BUDGET` together."""

NUMBERS = ("learning_rates", "iterations", "label_noise", "seeds")
"""Axes whose values stand below a heading as they are."""
OPEN = ("models", "learning_rates", "seeds")
"""Axes on which the first view has all values."""
MEASURES = {
    "test_accuracy": ("test accuracy (%)", 100),
    "validation_accuracy": ("validation accuracy (%)", 100),
    "train_accuracy": ("training accuracy (%)", 100),
    "accuracy_gap": ("accuracy gap, training less test (points)", 100),
    "test_loss": ("test loss (nats)", 1),
    "train_loss": ("training loss (nats)", 1),
    "loss_gap": ("loss gap, test less training (nats)", 1),
    "clip_fraction": ("steps clipped (%)", 100),
    "norm_median": ("median gradient norm", 1),
    "norm_max": ("largest gradient norm", 1),
    "steps": ("steps trained", 1),
}
"""Columns of cells.csv that a reader can choose, what they are called, and their factor."""
EXPORTS = "window.vegaEmbed = vegaEmbed;"
ALWAYS = ("test_accuracy", "clip_fraction")
LOGARITHMIC = ("test_loss", "train_loss", "norm_median", "norm_max")


def explorer(path: Path) -> None:
    """Write `explorer.html` beside the study at `path`."""
    study, results = config.load(path), path.parent
    evidence = Evidence(study, results)
    cells = evidence.cells
    axes = [*(axis_of(cells, axis) for axis in AXES), statuses(cells)]
    found = measures(cells)
    of_claims = claimed(evidence)
    whole = {
        **{"axes": axes, "measures": found, "clips": clips(cells), "claims": of_claims},
        **{"names": cells.cell.tolist(), "commands": cells.command.tolist()},
        **curves(evidence),
        "charts": specifications(),
    }
    ours = "".join(map(text.source, ("page.js", "explorer-charts.js", "explorer.js")))
    scripts = [library(), ours]
    page = text.page(
        "explorer.html",
        study=study,
        axes=axes,
        start=start(cells),
        measures=found,
        claims=of_claims,
        number=len(cells),
        thinned=whole["points"],
        settings=config.settings(study),
        scripts=scripts,
        hashes=[sha256(script) for script in scripts],
        data=inert(whole),
    )
    (results / "explorer.html").write_text(page, encoding="utf-8")


def inert(whole: Any) -> str:
    """As JSON that can stand in HTML."""
    found = json.dumps(whole, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return found.replace("<", "\\u003c")


@cache
def library() -> str:
    """The JavaScript that draws: Vega, Vega-Lite and Vega-Embed, of altair's version."""
    bundle = vl_convert.javascript_bundle(EXPORTS, alt.SCHEMA_VERSION.rpartition(".")[0])
    return f"(() => {{{bundle}}})();"  # its names are its own


def sha256(script: str) -> str:
    """As a content security policy names a script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


# ---- cells --------------------------------------------------------------------------------------


def axis_of(cells: pd.DataFrame, axis: Axis) -> dict[str, Any]:
    """An axis of the grid: its `words`, what they are called, and `at`, which one each cell has."""
    if axis.name == "clips":
        named = clip_names(cells)
        found = {"words": [c.word for c in clips_in(cells)], "labels": list(named.cat.categories)}
        return {"name": axis.name, "heading": axis.heading, **found, "at": named.cat.codes.tolist()}
    column = cells[axis.column]
    values = column.drop_duplicates()
    if pd.api.types.is_numeric_dtype(values):
        values = values.sort_values(na_position="first")
    words = [axis.word(value) for value in values]
    at = pd.Categorical([axis.word(value) for value in column], words).codes
    return {
        "name": axis.name,
        "heading": axis.heading,
        "words": words,
        "labels": words if axis.name in NUMBERS else [axis.label(word) for word in words],
        "at": at.tolist(),
    }


def statuses(cells: pd.DataFrame) -> dict[str, Any]:
    """How runs ended, as one more axis."""
    words = [s for s in ("finished", "collapsed", "diverged") if (cells.status == s).any()]
    at = pd.Categorical(cells.status, words).codes.tolist()
    return {"name": "status", "heading": "Status", "words": words, "labels": words, "at": at}


def measures(cells: pd.DataFrame) -> list[dict[str, Any]]:
    """What was measured of each cell; null where it has no value. No measure that no cell has, but
    for the two that the first view shows."""
    found = []
    for name, (label, factor) in MEASURES.items():
        values = plain(cells[name] * factor) if name in cells else [None] * len(cells)
        if name in ALWAYS or any(value is not None for value in values):
            found.append(
                {"name": name, "label": label, "log": name in LOGARITHMIC, "values": values}
            )
    return found


def plain(values: Any) -> list[float | None]:
    """To four digits, a zero without a sign; None for what isn't finite."""
    return [float(f"{v:.4g}") + 0.0 if np.isfinite(v) else None for v in np.asarray(values, float)]


def clips(cells: pd.DataFrame) -> list[dict[str, Any]]:
    """The colour of each clip and, where it is one of the gradient's L2 norm, its threshold."""
    palette = colours(cells)
    return [
        {
            "colour": to_hex(palette[clip.label]),
            "threshold": clip.threshold if clip.kind == "norm" and not clip.observes else None,
        }
        for clip in clips_in(cells)
    ]


def start(cells: pd.DataFrame) -> dict[str, set[str]]:
    """By axis the words of the first view: of the cells of the λ × η map, if there is one."""
    first = sweep(cells)
    if first.empty:
        return {}
    return {
        axis.name: {axis.word_in(row) for row in first.itertuples()}
        for axis in AXES
        if axis.name not in OPEN
    }


def claimed(evidence: Evidence) -> list[dict[str, Any]]:
    """Of each claim that compares cells: its statement, and the numbers of these cells."""
    about = judged(evidence.study, evidence.results)
    if not evidence.study.claims:
        return []
    at = {name: i for i, name in enumerate(evidence.cells.cell)}
    said = claims.load(Path(evidence.study.claims))
    behind: dict[str, set[int]] = {}
    for (claim, _), sides in compared(said, evidence, about["findings"]).items():
        behind.setdefault(claim, set()).update(at[n] for _, names in sides for n in names)
    return [
        {"id": row.id, "statement": row.statement, "cells": sorted(behind[row.id])}
        for row in about["claims"].itertuples()
        if behind.get(row.id)
    ]


# ---- curves -------------------------------------------------------------------------------------


def curves(evidence: Evidence) -> dict[str, Any]:
    """Of each run its curves, thinned to so many `points`. A run has `steps`, at which its loss,
    norm and largest norm are those of all steps since the one before, and the share of clipped
    steps is that of all so far; and `looks`, which have an accuracy. Both are numbers of `grids`.
    `runs` says which run each cell is of."""
    names = list(dict.fromkeys(evidence.cells.trajectory))
    points = int(np.clip(BUDGET // len(names), FEWEST, POINTS))
    steps, looks = telemetry(evidence, points)
    grids: dict[tuple[int, ...], int] = {}

    def grid(column: pd.Series) -> int:
        return grids.setdefault(tuple(column.tolist()), len(grids))

    none = steps.iloc[:0], looks.iloc[:0]
    by_run = [dict(tuple(table.groupby("trajectory", observed=True))) for table in (steps, looks)]
    found = []
    for name in names:
        run, looked = (of.get(name, no) for of, no in zip(by_run, none, strict=True))
        columns = {column: plain(run[column]) for column in ("loss", "norm", "largest", "clipped")}
        accuracy = plain(100 * looked.validation_accuracy)
        found.append(
            {**columns, "steps": grid(run.step), "looks": grid(looked.step), "accuracy": accuracy}
        )
    at = {name: i for i, name in enumerate(names)}
    return {
        **{"points": points, "trajectories": names, "curves": found, "grids": list(grids)},
        "runs": [at[name] for name in evidence.cells.trajectory],
    }


def telemetry(evidence: Evidence, points: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two tables, a row a point of a curve: of what each step saw, and of the looks at validation
    images."""
    file = sums.checked(evidence.results, "histories.parquet")
    columns = ["trajectory", "step", "loss", "norm", "clipped", "validation_accuracy"]
    table = pd.read_parquet(file, columns=columns).replace([np.inf, -np.inf], np.nan)
    readouts = np.unique(evidence.cells.iterations)
    step, edge = table.step.to_numpy(), np.empty(len(table), dtype=int)
    for rows in table.groupby("trajectory", observed=True).indices.values():
        edges = thinned(step[rows].max(), points, readouts)
        edge[rows] = edges[np.searchsorted(edges, step[rows])]
    grouped = table.groupby(["trajectory", edge], observed=True)
    steps = pd.DataFrame(
        {
            "loss": grouped.loss.mean(),
            "norm": grouped.norm.median(),
            "largest": grouped.norm.max(),
            "clipped": grouped.clipped.sum(),
        }
    )
    steps = steps.rename_axis(["trajectory", "step"]).reset_index()
    so_far = steps.groupby("trajectory", observed=True).clipped.cumsum()
    steps["clipped"] = 100 * so_far / steps.step
    looks = table.dropna(subset="validation_accuracy")
    each = looks.groupby("trajectory", observed=True).cumcount()
    many = looks.groupby("trajectory", observed=True).step.transform("size")
    # Evenly spaced, counted from the last one; and the first.
    kept = ((many - 1 - each) % np.ceil(many / points) == 0) | (each == 0)
    return steps, looks[kept]


def thinned(n: int, points: int, readouts: np.ndarray) -> np.ndarray:
    """So many of the steps 1 to n, denser at the beginning, with the last one; and the `readouts`
    among them."""
    spread = np.ceil(n * (np.arange(1, points + 1) / points) ** 2).astype(int)
    return np.unique(np.concatenate([spread, readouts[readouts <= n]]))

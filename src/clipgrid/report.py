"""The report's start page: what was asked, what was found, how to read it, what was trained."""

import json
import math
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from clipgrid import study
from clipgrid.grid import canonical
from clipgrid.names import OPTIMIZERS, model_name, threshold_name
from clipgrid.statistics import paired, t_interval
from clipgrid.study import Study
from clipgrid.tables import in_order, plus_minus


def start_page(path: Path, template: Path) -> str:
    """The page, in reStructuredText, for the study at `path` and the tables beside it."""
    s = study.load(path)
    results = path.parent
    cells = pd.read_csv(results / "cells.csv")
    environment = Environment(
        loader=FileSystemLoader(template.parent), undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template.name).render(
        study=s,
        settings=study.settings(s),
        data=json.loads((results / "data.json").read_text()),
        trained=json.loads((results / "trained.json").read_text()),
        thresholds=[threshold_name(t) for t in s.clips],
        arms=arms(cells, s),
        outcomes=outcomes(cells),
        seeds=len(s.seeds),
        duration=duration,
    )


def arms(cells: pd.DataFrame, s: Study) -> list[dict]:
    """Accuracy (%) by λ for each model, optimizer, learning rate and T, of raw weights and
    original images, and the paired difference of the smallest λ to no clipping."""
    cells = cells[cells.ema.isna() & (cells.augmentation == "none")]
    rows = []
    axes = ["model", "optimizer", "learning_rate", "iterations"]
    varies = any(len(o.learning_rates) > 1 for o in s.optimizers.chosen.values())
    for (model, optimizer, rate, iterations), group in in_order(cells).groupby(axes, sort=False):
        by_seed = 100 * group.pivot(index="seed", columns="threshold", values="test_accuracy")
        smallest = min(by_seed.columns)
        difference = (
            plus_minus(paired(by_seed[smallest], by_seed[math.inf]), 1, sign="+")
            if math.inf in by_seed and len(by_seed.columns) > 1
            else "-"
        )
        rows.append(
            {
                "name": f"{model_name(model)}, {OPTIMIZERS[optimizer]}"
                + (f", η = {canonical(rate)}" if varies else ""),
                "iterations": iterations,
                "accuracies": [
                    unbroken(plus_minus(t_interval(by_seed[t]), 1)) if t in by_seed else "-"
                    for t in s.clips
                ],
                "difference": unbroken(difference),
            }
        )
    return rows


def unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def outcomes(cells: pd.DataFrame) -> list[dict]:
    """By λ: share of steps clipped, and the runs that had collapsed or diverged at their end."""
    raw = cells[cells.ema.isna()].sort_values("iterations")
    last = raw.groupby("trajectory").last()
    rows = []
    for threshold, runs in last.groupby("threshold"):
        percent = 100 * runs.clip_fraction
        rows.append(
            {
                "threshold": threshold_name(threshold),
                "clips": threshold < math.inf,
                "percent": f"{100 * runs.steps_clipped.sum() / runs.steps.sum():.1f}",
                "least": f"{percent.min():.1f}",
                "most": f"{percent.max():.1f}",
                "never": int((runs.steps_clipped == 0).sum()),
                "collapsed": int((runs.status == "collapsed").sum()),
                "diverged": int((runs.status == "diverged").sum()),
                "runs": len(runs),
            }
        )
    return rows


def duration(seconds: float) -> str:
    """`95 s`, `12 min`, `3.4 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

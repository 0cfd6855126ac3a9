"""The report's start page: what was asked, what was found, how to read it, what was trained."""

import json
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from clipgrid import study
from clipgrid.grid import canonical
from clipgrid.names import OPTIMIZERS, clip_name, model_name
from clipgrid.statistics import paired, t_interval
from clipgrid.study import Study
from clipgrid.tables import clip_names, clips_in, in_order, plus_minus


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
        clips=[clip_name(c) for c in clips_in(cells)],
        arms=arms(cells, s),
        outcomes=outcomes(cells),
        seeds=len(s.seeds),
        duration=duration,
    )


def arms(cells: pd.DataFrame, s: Study) -> list[dict]:
    """Accuracy (%) by clip for each model, optimizer, learning rate and T, of raw weights and
    original images, and the paired difference of the global norm's smallest λ to no clipping."""
    clips = clips_in(cells)
    by_norm = [c for c in clips if c.kind == "norm" and not c.observes]
    cells = cells.assign(clip=clip_names(cells).astype(str))
    cells = cells[cells.ema.isna() & (cells.augmentation == "none")]
    rows = []
    axes = ["model", "optimizer", "learning_rate", "iterations"]
    varies = any(len(o.learning_rates) > 1 for o in s.optimizers.chosen.values())
    for (model, optimizer, rate, iterations), group in in_order(cells).groupby(axes, sort=False):
        by_seed = 100 * group.pivot(index="seed", columns="clip", values="test_accuracy")
        smallest = next((clip_name(c) for c in by_norm if clip_name(c) in by_seed), None)
        difference = (
            plus_minus(paired(by_seed[smallest], by_seed["no clipping"]), 1, sign="+")
            if smallest and "no clipping" in by_seed
            else "-"
        )
        rows.append(
            {
                "name": f"{model_name(model)}, {OPTIMIZERS[optimizer]}"
                + (f", η = {canonical(rate)}" if varies else ""),
                "iterations": iterations,
                "accuracies": [
                    unbroken(plus_minus(t_interval(by_seed[name]), 1)) if name in by_seed else "-"
                    for name in map(clip_name, clips)
                ],
                "difference": unbroken(difference),
            }
        )
    return rows


def unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def outcomes(cells: pd.DataFrame) -> list[dict]:
    """By clip: share of steps clipped, and the runs that had collapsed or diverged at their end."""
    raw = cells[cells.ema.isna()].sort_values("iterations")
    last = raw.groupby("trajectory").last()
    rows = []
    for clip in clips_in(last):
        runs = last[(last["clip"] == clip.kind) & (last.threshold == clip.threshold)]
        percent = 100 * runs.clip_fraction
        rows.append(
            {
                "clip": clip_name(clip),
                "fires": not clip.observes,
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

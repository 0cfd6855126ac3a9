"""Results of a made-up study, as they lie before its report is written."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from clipgrid.judging import sums
from clipgrid.reporting import figures
from clipgrid.study import config as study

CLAIM = {
    **{"id": "C1", "section": "3.3.1", "statement": "10% of λ_1 & more", "verdict": "refuted"},
    **{"measure": "test_accuracy", "unit": "points", "effect": -1.25, "low": -2.0, "high": -0.5},
    **{"decided_by": "test", "phrase": "抑制过拟合", "p": 0.0001, "n": 5, "source": ""},
    **{"reason": "<why>", "exhibit": "accuracy", "rule": 1},
    **{"how": "", "look": 1, "margin": 0.5, "compared": "λ = 1 less λ = 10", "above": "slower"},
    **{"p_against": 0.2, "p_of_look": 0.02, "model_effect": -1.1, "model_low": -2.2},
    **{"model_high": 0.1, "model_inside": 0.75},
}
KINDS = [
    {"id": "C1", "verdict": "refuted"},
    {"id": "Q1", "decided_by": "figure", "verdict": "not comparable"},
    {"id": "D1", "decided_by": "computation", "verdict": "supported", "unit": "", "measure": ""},
    {"id": "C2", "verdict": "inconclusive", "effect": 0.5, "low": -1.0, "high": 2.0},
    {"id": "E1", "section": "external", "verdict": "supported", "source": "Someone 2020"},
]
"""Changes of CLAIM: a claim of each kind."""
STATED = {
    **{"section": "3.3.1", "kind": "comparative", "statement": "x", "family": "x", "exhibit": "x"},
    "rules": [
        {
            **{"statistic": "Newcombe", "event": "failed", "claim": "more often"},
            **{"cells": {"models": ["alexnet"], "iterations": [500], "augmentations": ["none"]}},
            **{"arm": {"clips": [1]}, "baseline": {"clips": ["inf"]}},
        }
    ],
}
"""A claim, as a file of claims has it."""
TWO_NAMES = {
    **{"alexnet": {"title": "A", "section": "1", "select": [{}]}},
    **{name: {"title": "Own", "select": [{}]} for name in ("schedule", "small-set")},
}
"""Experiments, of which one has a section, and one the name of a figure."""
ABOUT = {
    **{"name": "digits", "source": "scikit-learn", "licence": "CC BY 4.0", "checksum": "0" * 64},
    **{"images": {"train": 9, "validation": 9, "test": 9}, "own_splits": ["test"]},
    **{"unreadable": [], "converted": {}, "classes": list("ab")},
}
TRAINED = {
    **{"cells": 4, "trajectories": 2, "steps_asked": 30, "steps_trained": 20},
    **{"training_seconds": 300.0, "evaluation_seconds": 120.0, "readout_seconds": 60.0},
    **{key: ["x"] for key in ("device", "processor", "python", "torch", "commit")},
}


def write(folder: Path, config: dict, cells: pd.DataFrame, rows=(CLAIM,)) -> study.Study:
    """The study of this config, with these cells and claims, its results in `folder`."""
    s = study.parse(config)
    (folder / "study.json").write_text(study.to_json(s))
    (folder / "data.json").write_text(json.dumps(ABOUT))
    cells.assign(experiments=" ".join(s.experiments)).to_csv(folder / "cells.csv", index=False)
    sums.seal(folder, TRAINED)
    if s.claims:
        content = {
            "article": {"author": "A. N. Author", "asks": "The article states <b>x</b>."},
            "usual": {"ema": ["none"]},
            "claims": {row["id"]: STATED for row in rows} or {"C1": STATED},
        }
        Path(s.claims).write_text(yaml.safe_dump(content))
        table = pd.DataFrame(rows, columns=list(CLAIM))
        for name in ("claims", "findings"):
            table.to_csv(folder / f"{name}.csv", index=False)
        sums.seal(folder, {}, sums.JUDGED)
    for name in ("tables", "figures"):
        (folder / name).mkdir(exist_ok=True)
    for name in [*(part.name for part in figures.of(s)), *(f"{n}-curves" for n in s.pages)]:
        (folder / "figures" / f"{name}.svg").write_text('<svg width="72pt" height="72pt"></svg>')
    return s


def diverged(cells):
    """No step was trained."""
    measures = [c for c in cells if c.endswith(("_accuracy", "_loss", "_gap"))]
    lost = dict.fromkeys([*measures, "norm_max", "clip_fraction"], np.nan)
    return cells.assign(status="diverged", steps=0, steps_clipped=0, **lost)


ANY = {
    "one cell": lambda cells: cells.iloc[:1],
    "one seed": lambda cells: cells[cells.seed == 0],
    "one model": lambda cells: cells[cells.model == "alexnet"],
    "one clip": lambda cells: cells[cells.threshold == 1],
    "no clip": lambda cells: cells[cells.threshold == np.inf],
    "averages alone": lambda cells: cells[cells.ema.notna()],
    "flips alone": lambda cells: cells[cells.augmentation == "flip"],
    "all collapsed": lambda cells: cells.assign(status="collapsed"),
    "all diverged": diverged,
}
"""What of its cells any other study may have."""

"""Made-up studies whose numbers are known: their cells and histories, and verdicts on them."""

import itertools
import json

import numpy as np
import pandas as pd
import yaml

from clipgrid.judging import claims, sums, verdicts
from clipgrid.judging.evidence import Evidence
from clipgrid.study import axes, grid
from clipgrid.study import config as study
from clipgrid.study.cells import runs_of
from clipgrid.study.looks import TRANSFORMATIONS

EVERY = 5  # steps between two looks
T = 20


def nothing(_):
    """As all cells and runs are unless a test says otherwise."""
    return {}


class Bench:
    """Makes studies and judges them."""

    def __init__(self, config, folder):
        self.config, self.folder, self.studies = config, folder, itertools.count()

    def study(self, measured=nothing, curve=nothing, **keys):
        """The evidence of a study of λ = 1, 10, inf and 6 seeds. `measured` tells what differs in a
        cell's row, `curve` what does in a run's history: values at each step, or at each look."""
        config = self.config | {
            "optimizers": {"momentum": {"learning_rates": [0.03]}},
            "clips": [1, 10, "inf"],
            "iterations": [T],
            "ema": ["none"],
            "seeds": list(range(6)),
            "training": {"batch_size": 4, "evaluate_every": EVERY},
            **keys,
        }
        s = study.parse(config)
        cells = grid.cells(s)
        results = self.folder / f"study{next(self.studies)}"
        results.mkdir()
        (results / "study.json").write_text(study.to_json(s))
        about = {"name": "digits", "classes": [str(i) for i in range(10)]}
        (results / "data.json").write_text(json.dumps(about))
        table = pd.DataFrame([{**row(cell), **measured(cell)} for cell in cells])
        table.to_csv(results / "cells.csv", index=False)
        histories = [
            history(run, readouts[-1].iterations, curve(run))
            for run, readouts in runs_of(cells).items()
        ]
        columns = {name: np.concatenate([h[name] for h in histories]) for name in histories[0]}
        pd.DataFrame(columns).to_parquet(results / "histories.parquet", index=False)
        sums.seal(results, {})
        return Evidence(study.load(results / "study.json"), results)

    def judge(self, evidence, families=nothing, **rules):
        """The table of claims, by their ids. All are of one family, unless `families` says."""
        path = self.folder / "claims.yaml"
        statements = {
            key: {
                "section": "1",
                "kind": "comparative",
                "statement": f"Statement {key}",
                "family": families(key) or "clipping",
                "exhibit": "accuracy",
                "rules": of if isinstance(of, list) else [of],
            }
            for key, of in rules.items()
        }
        path.write_text(yaml.safe_dump({"claims": statements}, sort_keys=False))
        table, self.findings = verdicts.judge(claims.load(path), evidence)
        return table.set_index("id", drop=False)

    def verdict(self, evidence, *rules):
        """The row of one claim that has these rules."""
        return self.judge(evidence, Q1=list(rules)).loc["Q1"]


def row(cell):
    """A row of cells.csv: a run that went well."""
    accuracies = ("train", "validation", "test", *TRANSFORMATIONS)
    return {
        "cell": cell.name,
        "trajectory": cell.trajectory.name,
        "experiments": "x",
        **axes.row(cell),
        "status": "finished",
        "diverged_at": None,
        "weights_sha256": cell.name,  # no two runs are clones
        "steps_clipped": 0,
        "clip_fraction": 0.0,
        **{f"{of}_accuracy": 0.5 for of in accuracies},
        **{f"{of}_loss": 1.0 for of in ("train", "validation", "test")},
    }


def history(run, last, curve):
    """The columns of histories.parquet of one run."""
    steps = np.arange(1, last + 1)
    looks = steps % EVERY == 0
    columns = {name: np.asarray(curve.get(name, np.ones(last))) for name in ("loss", "norm")}
    usually = {
        "training_loss": columns["loss"][looks],
        "validation_loss": 1.0,
        "validation_accuracy": 0.5,
    }
    for column, usual in usually.items():
        columns[column] = np.full(last, np.nan)
        columns[column][looks] = curve.get(column, usual)
    return {"trajectory": np.repeat(run.name, last), "step": steps, **columns}


DIVERGED = {
    "status": "diverged",
    "diverged_at": 7,
    "weights_sha256": None,
    **{f"{of}_{what}": None for of in ("train", "validation", "test") for what in
       ("loss", "accuracy")},
    **{f"{of}_accuracy": None for of in TRANSFORMATIONS},
}  # fmt: skip


def clipped_at_1(cell):
    return getattr(cell, "trajectory", cell).clip.threshold == 1

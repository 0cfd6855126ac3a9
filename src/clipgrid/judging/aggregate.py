"""Result files of all cells → the tidy tables that everything else is made from."""

import json
import shlex
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from clipgrid.study import config as study
from clipgrid.study import grid
from clipgrid.study.config import Study

OTHERS = ("augmentation", "schedule", "train_images", "label_noise")
"""What runs have beside model, optimizer, learning rate, clip and seed."""

MEASURES = (
    "status",
    "diverged_at",
    "steps",
    "steps_clipped",
    "clip_fraction",
    "norm_median",
    "norm_max",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "test_loss",
    "test_accuracy",
    *(f"{name}_accuracy" for name in grid.TRANSFORMATIONS),
    "weights_sha256",
)


def aggregate(path: Path) -> None:
    """Write `cells.csv`, `histories.parquet` and `trained.json` beside the study at `path`."""
    s = study.load(path)
    results = path.parent
    cells_table(s, results).to_csv(results / "cells.csv", index=False)
    histories_table(s, results).to_parquet(results / "histories.parquet", index=False)
    summary = json.dumps(trained(s, results), indent=1)
    (results / "trained.json").write_text(summary + "\n")


def cells_table(s: Study, results: Path) -> pd.DataFrame:
    """A row a cell: where it lies in the grid, what was measured, the command that redoes it."""
    members = experiment_members(s)
    rows = []
    for cell in grid.cells(s):
        result = json.loads((results / "cells" / f"{cell.name}.json").read_text())
        rows.append(
            {
                "cell": cell.name,
                "trajectory": cell.trajectory.name,
                "experiments": " ".join(members.get(cell, [])),
                "model": cell.trajectory.model,
                "optimizer": cell.trajectory.optimizer,
                "learning_rate": cell.trajectory.learning_rate,
                "clip": cell.trajectory.clip,
                "threshold": cell.trajectory.threshold,
                "augmentation": cell.trajectory.augmentation,
                "schedule": cell.trajectory.schedule,
                "train_images": cell.trajectory.train_images or "all",
                "label_noise": cell.trajectory.label_noise,
                "seed": cell.trajectory.seed,
                "iterations": cell.readout.iterations,
                "ema": cell.readout.ema,
                **{measure: result.get(measure) for measure in MEASURES},
                "command": command(cell, s.results),
            }
        )
    table = pd.DataFrame(rows)
    # Columns of nothing but None, where every run diverged, are numbers all the same.
    numbers = [measure for measure in MEASURES if measure.endswith(("_loss", "_accuracy", "_max"))]
    table = table.astype({"diverged_at": "Int64"} | dict.fromkeys(numbers, "float64"))
    table["accuracy_gap"] = table.train_accuracy - table.test_accuracy
    table["loss_gap"] = table.test_loss - table.train_loss
    return table


def read_cells(results: Path) -> pd.DataFrame:
    """The table of all cells, as it was written."""
    return pd.read_csv(results / "cells.csv", dtype={"train_images": str})


def of_article(cells: pd.DataFrame, s: Study) -> pd.DataFrame:
    """The rows of the cells' table that belong to an experiment of the article."""
    sections = {name for name, experiment in s.experiments.items() if experiment.section}
    members = cells.experiments.fillna("").str.split()
    return cells[members.map(lambda names: not sections.isdisjoint(names))]


def of_experiment(cells: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of the cells' table that belong to the experiment `name`."""
    return cells[cells.experiments.fillna("").str.split().map(lambda names: name in names)]


def histories_of(cells: pd.DataFrame, histories: pd.DataFrame) -> pd.DataFrame:
    """The histories of the cells' trajectories, up to the last T among the cells of each."""
    last = cells.groupby("trajectory").iterations.max()
    ends = histories.trajectory.astype(str).map(last)
    return histories[histories.step <= ends]


def experiment_members(s: Study) -> dict[grid.Cell, list[str]]:
    """The experiments that each cell belongs to."""
    members: dict[grid.Cell, list[str]] = {}
    for name in s.experiments:
        selected = (grid.select(s, selection) for selection in s.selections(name))
        for cell in dict.fromkeys(cell for cells in selected for cell in cells):
            members.setdefault(cell, []).append(name)
    return members


def command(cell: grid.Cell, results: str) -> str:
    """What a person types to redo one cell from scratch, with no state of an earlier run."""
    return (
        f"python -m clipgrid train {cell.trajectory.flags} --readouts {cell.readout.name}"
        f" --data {shlex.quote(results + '/data.pt')} --out redo --store redo/store"
    )


def histories_table(s: Study, results: Path) -> pd.DataFrame:
    """A row a step of each trajectory: its place in the grid and its telemetry."""
    tables = []
    for trajectory in grid.trajectories(grid.cells(s)):
        table = pd.read_csv(results / "cells" / trajectory.name / "history.csv")
        for axis in reversed(("model", "optimizer", "clip", "threshold", *OTHERS, "seed")):
            table.insert(0, axis, getattr(trajectory, axis))
        table.insert(0, "trajectory", trajectory.name)
        tables.append(table)
    names = ["trajectory", "model", "optimizer", "clip", "augmentation", "schedule"]
    return pd.concat(tables, ignore_index=True).astype(dict.fromkeys(names, "category"))


def trained(s: Study, results: Path) -> dict:
    """Steps asked for against steps trained; by whom, on what, how long."""
    cells = grid.cells(s)
    trajectories = grid.trajectories(cells)
    asked, needed = grid.steps(cells)
    runs = [
        json.loads((results / "cells" / trajectory.name / "run.json").read_text())
        for trajectory in trajectories
    ]
    sessions = [session for run in runs for session in run["sessions"]]

    def distinct(key: str) -> list[str]:
        return sorted({session[key] for session in sessions})

    return {
        "cells": len(cells),
        "trajectories": len(trajectories),
        "steps_asked": asked,
        "steps_needed": needed,
        "steps_trained": sum(session["to"] - session["from"] for session in sessions),
        "training_seconds": total(sessions, "training_seconds"),
        "evaluation_seconds": total(sessions, "evaluation_seconds"),
        "readout_seconds": total(runs, "readout_seconds"),
        **{key: distinct(key) for key in ("device", "processor", "python", "torch", "commit")},
    }


def total(sessions: Iterable[dict], key: str) -> float:
    return round(sum(session[key] for session in sessions), 1)

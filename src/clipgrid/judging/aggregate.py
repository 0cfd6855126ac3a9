"""Result files of all packs → the tidy tables that everything else is made from."""

import shlex
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import pandas as pd

from clipgrid.judging import sums
from clipgrid.study import axes, cells, config, grid, packs
from clipgrid.study.cells import Cell
from clipgrid.study.config import Study
from clipgrid.study.looks import TRANSFORMATIONS

LOSSES = ("train_loss", "validation_loss", "test_loss")
ACCURACIES = (
    *("train_accuracy", "validation_accuracy", "test_accuracy"),
    *(f"{name}_accuracy" for name in TRANSFORMATIONS),
)
MEASURES = (
    *("status", "diverged_at", "steps", "steps_clipped", "clip_fraction"),
    *("norm_median", "norm_max", *LOSSES, *ACCURACIES, "weights_sha256"),
)

TEXTS = (
    *("cell", "trajectory", "experiments", "model", "optimizer", "clip", "augmentation"),
    *("schedule", "objective", "train_images", "status", "weights_sha256", "command"),
)
"""Columns of cells.csv that are text, whatever is in them."""


def aggregate(path: Path) -> None:
    """Write `cells.csv`, `histories.parquet` and `trained.json` beside the study at `path`."""
    study, results = config.load(path), path.parent
    runs = cells.runs_of(grid.cells(study))
    of_study = packs.of_study(study, runs)
    by_pack = [(pack, packs.read_whole(results, pack)) for pack in of_study]
    records = [record for _, of_pack in by_pack for record in of_pack]
    cells_table(study, records).to_csv(results / "cells.csv", index=False)
    contents = (packs.histories(results, *one) for one in by_pack)
    histories_table(runs, contents).to_parquet(results / "histories.parquet", index=False)
    sums.seal(results, trained(runs, records))


def cells_table(study: Study, records: list[dict]) -> pd.DataFrame:
    """A row a cell: where it lies in the grid, what was measured, the command that redoes it."""
    measured = {record["cell"]: record for record in records if "cell" in record}
    table = pd.DataFrame(
        {
            "cell": cell.name,
            "trajectory": cell.trajectory.name,
            "experiments": " ".join(experiments),
            **axes.row(cell),
            **{measure: measured[cell.name].get(measure) for measure in MEASURES},
            "command": command(cell, study),
        }
        for cell, experiments in grid.members(study).items()
    )
    # Columns of nothing but None, where every run diverged, are numbers all the same.
    numbers = dict.fromkeys([*LOSSES, *ACCURACIES, "norm_max"], "float64")
    table = table.astype({"diverged_at": "Int64", **numbers})
    table["accuracy_gap"] = table.train_accuracy - table.test_accuracy
    table["loss_gap"] = table.test_loss - table.train_loss
    return table


def read_cells(results: Path) -> pd.DataFrame:
    """The table of all cells, as it was written: a name such as `null` is a name."""
    return pd.read_csv(
        sums.checked(results, "cells.csv"),
        dtype=dict.fromkeys(TEXTS, "str"),
        keep_default_na=False,
        na_values=[""],
    )


def on_pages(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The rows of the cells' table that belong to an experiment with a page of the report."""
    members = table.experiments.fillna("").str.split()
    return table[members.map(lambda names: not set(study.pages).isdisjoint(names))]


def of_experiment(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of the cells' table that belong to the experiment `name`."""
    return table[table.experiments.fillna("").str.split().map(lambda names: name in names)]


def command(cell: Cell, study: Study) -> str:
    """What a person types to redo one cell from scratch, with no state of an earlier run."""
    flags = {f"--{k.replace('_', '-')}": v for k, v in cell.trajectory.changed.items()}
    words = [str(word) for flag in flags.items() for word in flag]
    if study.extensions:
        words += ["--extensions", *study.extensions]
    words += ["--readouts", cell.readout.name, "--data", f"{study.results}/data.pt"]
    return shlex.join(
        ["python", "-m", "clipgrid", "train", *words, "--out", "redo", "--store", "redo/store"]
    )


def histories_table(runs: cells.Runs, histories: Iterable[bytes]) -> pd.DataFrame:
    """A row a step of each run, from the CSVs of packs: its place in the grid and its telemetry."""
    steps = pd.concat((pd.read_csv(BytesIO(csv)) for csv in histories), ignore_index=True)
    places = [
        {"trajectory": trajectory.name}
        | {
            column: value
            for column, value in axes.row(Cell(trajectory, readouts[-1])).items()
            if column not in ("iterations", "ema", "learning_rate")  # each step has its own
        }
        for trajectory, readouts in runs.items()
    ]
    texts = [column for column, value in places[0].items() if isinstance(value, str)]
    table = pd.DataFrame(places).merge(steps, on="trajectory")
    return table.astype(dict.fromkeys(texts, "category"))


def trained(runs: cells.Runs, records: list[dict]) -> dict:
    """Steps asked for against steps trained; by what code, on what, how long."""
    asked, needed = cells.steps(runs)
    by_name = {record["run"]: record for record in records if "run" in record}
    found = [by_name[trajectory.name] for trajectory in runs]
    sessions = [session for run in found for session in run["sessions"]]

    def distinct(key: str) -> list[str]:
        return sorted({session[key] for session in sessions})

    return {
        "cells": sum(map(len, runs.values())),
        "trajectories": len(runs),
        "steps_asked": asked,
        "steps_needed": needed,
        "steps_trained": sum(session["to"] - session["from"] for session in sessions),
        "training_seconds": total(sessions, "training_seconds"),
        "evaluation_seconds": total(sessions, "evaluation_seconds"),
        "readout_seconds": total(found, "readout_seconds"),
        "code": packs.Pack(runs).code,
        **{key: distinct(key) for key in ("device", "processor", "python", "torch", "commit")},
    }


def total(sessions: Iterable[dict], key: str) -> float:
    return round(sum(session[key] for session in sessions), 1)

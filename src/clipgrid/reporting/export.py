"""Curves and cells of a study, in the files of the dashboards that people have: TensorBoard's event
files, and MLflow's database. They need the extra `export`."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from clipgrid import InputError
from clipgrid.judging.aggregate import ACCURACIES, LOSSES
from clipgrid.judging.evidence import Evidence
from clipgrid.study import axes, config

CURVES = {
    "loss": "loss",
    "gradient_norm": "norm",
    "clip_fraction": "clip_fraction",
    "learning_rate": "learning_rate",
    "look/training_loss": "training_loss",
    "look/validation_loss": "validation_loss",
    "look/validation_accuracy": "validation_accuracy",
}
"""Names in a dashboard, and the columns of a history; clip_fraction is of the steps so far."""
MEASURES = ("clip_fraction", "norm_median", "norm_max", *LOSSES, *ACCURACIES)
Curves = dict[str, tuple[np.ndarray, np.ndarray]]
"""Steps and values of each curve."""


def export(path: Path, to: str, points: int, out: Path | None = None) -> None:
    """Write the study at `path` into the folder `out` for the dashboard `to`: of each run its
    curves, of at most `points` steps each, of each cell its settings and measures. InputError where
    the dashboard's package isn't installed, and for a folder that is there already."""
    write = {"tensorboard": to_tensorboard, "mlflow": to_mlflow}[to]
    evidence = Evidence(config.load(path), path.parent)
    out = out or path.parent / to
    if out.exists():
        raise InputError(f"{out} is there already: remove it, or name another by --out")
    try:
        shown = write(evidence, out, points)
    except ImportError as error:
        raise InputError(
            f"{to} can't be written to ({error}): install the extra, pip install '.[export]' in"
            " clipgrid's folder"
        ) from None
    print(f"{out}: {len(evidence.cells)} cells. To see them: {shown}")


def runs(evidence: Evidence, points: int) -> Iterator[tuple[str, Curves, list[Any]]]:
    """(name, curves, rows of its cells) of each run; it says how far it is."""
    cells = dict(list(evidence.cells.groupby("trajectory", sort=False)))
    histories = evidence.histories.groupby("trajectory", sort=False, observed=True)
    for name, steps in tqdm(histories, unit=" runs", delay=2):
        steps = steps.assign(clip_fraction=steps.clipped.expanding().mean())
        curves = {tag: thinned(steps, column, points) for tag, column in CURVES.items()}
        yield str(name), curves, list(cells[str(name)].itertuples())


def thinned(steps: pd.DataFrame, column: str, points: int) -> tuple[np.ndarray, np.ndarray]:
    """The steps that have a value, or about evenly spaced ones of them, with the first and last."""
    curve = steps[["step", column]].dropna()
    if len(curve) > points:
        curve = curve.iloc[np.linspace(0, len(curve) - 1, points).round().astype(int)]
    return curve.step.to_numpy(), curve[column].to_numpy(dtype=float)


def settings(row: Any) -> dict[str, Any]:
    """Where a cell lies in the grid; numbers as numbers, so that a dashboard can sort by them."""
    found = {column: getattr(row, column) for column in axes.COLUMNS}
    found["ema"] = "none" if np.isnan(row.ema) else row.ema
    return found


def measures(row: Any) -> dict[str, float]:
    """What was measured of a cell; of one that diverged, what there is."""
    found = {name: float(getattr(row, name)) for name in MEASURES}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def readout(row: Any) -> str:
    """`T500_ema0.9`"""
    return row.cell.rpartition("/")[2]


# ---- TensorBoard --------------------------------------------------------------------------------


def to_tensorboard(evidence: Evidence, out: Path, points: int) -> str:
    """A folder for each run, and in it one for each of its cells."""
    from torch.utils.tensorboard import SummaryWriter

    for name, curves, cells in runs(evidence, points):
        with SummaryWriter(str(out / name)) as writer:
            for tag, (steps, values) in curves.items():
                for step, value in zip(steps, values, strict=True):
                    writer.add_scalar(tag, value, int(step))
            for row in cells:
                found = {f"cell/{key}": value for key, value in measures(row).items()}
                writer.add_hparams(
                    settings(row), found, run_name=readout(row), global_step=row.iterations
                )
    return f"tensorboard --logdir {out}"


# ---- MLflow -------------------------------------------------------------------------------------

BATCH = 1000  # values that MLflow takes at once


def to_mlflow(evidence: Evidence, out: Path, points: int) -> str:
    """A database, as MLflow's folders of files are given up. A run of ours is a run there, and its
    cells are runs below it."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param
    from sqlalchemy import Engine, event

    # Thousands of transactions needn't be on the disk one by one: a crash leaves half an export.
    event.listen(Engine, "connect", lambda one, _: one.execute("PRAGMA synchronous = OFF"))
    out.mkdir(parents=True)
    place = f"sqlite:///{out / 'mlflow.db'}"
    client = MlflowClient(place)
    experiment = client.create_experiment(
        evidence.study.title, artifact_location=(out / "artifacts").resolve().as_uri()
    )
    for name, curves, cells in runs(evidence, points):
        run = client.create_run(experiment, run_name=name).info.run_id
        found = [
            Metric(tag, float(value), 0, int(step))
            for tag, (steps, values) in curves.items()
            for step, value in zip(steps, values, strict=True)
        ]
        for start in range(0, len(found), BATCH):
            client.log_batch(run, metrics=found[start : start + BATCH])
        for row in cells:
            tags = {"mlflow.parentRunId": run}
            cell = client.create_run(experiment, run_name=row.cell, tags=tags).info.run_id
            measured = [Metric(k, v, 0, row.iterations) for k, v in measures(row).items()]
            params = [Param(key, str(value)) for key, value in settings(row).items()]
            client.log_batch(cell, metrics=measured, params=params)
            client.set_terminated(cell)
        client.set_terminated(run)
    return f"mlflow ui --backend-store-uri {place}"

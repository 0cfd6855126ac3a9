"""What a study takes, before it is run: cells, runs, steps, jobs, hours, memory, disk; beside the
estimates, where it has been run, what it took. Imports no torch."""

import heapq
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from clipgrid.study import cost, grid
from clipgrid.study.config import Study, load
from clipgrid.study.cost import PROCESSORS, START_SECONDS
from clipgrid.study.grid import Readout, Trajectory

Runs = dict[Trajectory, list[Readout]]
AT_ONCE = (1, 2, 8, 64)  # jobs


def plan(path: Path, job_seconds: float | None = None, store: Path = Path("store")) -> str:
    """The plan of the study in a file, as text, with packs of `job_seconds` if given."""
    s = load(path)
    if job_seconds is not None:
        s = s.model_copy(
            update={"training": s.training.model_copy(update={"job_seconds": job_seconds})}
        )
    runs = grid.trajectories(grid.cells(s))
    processor = PROCESSORS[s.training.device]
    columns = {model: {t: r for t, r in runs.items() if t.model == model} for model in s.models}
    table = pd.DataFrame({name: column(s, some, store) for name, some in columns.items() if some})
    table["all"] = pd.Series(column(s, runs, store))
    table = table.dropna(how="all")
    seconds = [seconds_of_job(s, runs, pack) for pack in packs(s, runs)]
    ends = ", ".join(f"{n}: {makespan(seconds, n) / 3600:.3g} h" for n in AT_ONCE)
    return "\n".join(
        [
            f"{path}: {s.title}",
            "",
            table.map(spelled).to_string(),
            "",
            f"Data: {'a folder, as if it had ' if s.data.name == 'imagefolder' else ''}"
            f"{cost.images_of(s.data):,} images of {s.data.size} px,"
            f" {cost.dataset_bytes(s.data) / 1e9:.3g} GB prepared.",
            f"Runs are packed into jobs of up to {spelled(s.training.job_seconds)} s (training."
            "job_seconds; the profile slurm has its own: plan --job-seconds).",
            f"Until the last job ends, by the number of jobs at once: {ends}.",
            f"Estimates for {s.training.device}: {processor.flops:.3g} floating-point operations"
            f" a second and {processor.layer_seconds:.3g} s a layer and step ({processor.source}).",
        ]
    )


def spelled(x: float) -> str:
    return "-" if pd.isna(x) else f"{x:,.0f}" if x >= 100 or x == int(x) else f"{x:.2g}"


def column(s: Study, runs: Runs, store: Path) -> dict[str, float | None]:
    """The plan of some runs of a study."""
    cells = [grid.Cell(t, readout) for t, readouts in runs.items() for readout in readouts]
    asked, trained = grid.steps(cells)
    seconds = [seconds_of_job(s, runs, pack) for pack in packs(s, runs)]
    memory = [cost.memory_mb(t, readouts, s.data) for t, readouts in runs.items()]
    gpu = max(gpu for _, gpu in memory)
    rows: dict[str, float | None] = {
        "cells": len(cells),
        "runs": len(runs),
        "steps, if each cell were trained alone": asked,
        "steps trained": trained,
        "images trained on, millions": trained * s.training.batch_size / 1e6,
        "jobs": len(seconds),
        "longest job, minutes": max(seconds) / 60,
        "memory of a job, GB": max(host for host, _ in memory) / 1e3,
        "memory of its GPU, GB": gpu / 1e3 if gpu else None,
        f"{s.training.device.upper()} hours": s.training.gpus_per_run
        * total(runs, lambda t, r: cost.seconds(t, r, s.data))
        / 3600,
        "hours as measured": measured_hours(s, runs),
        "disk, GB": total(runs, lambda t, r: cost.disk_bytes(t, r, s.data)) / 1e9,
        "disk as measured, GB": measured_disk(s, runs, store),
    }
    return rows


def packs(s: Study, runs: Runs) -> list[list[Trajectory]]:
    """What each job of a study trains."""
    return grid.packs(runs, lambda t, r: cost.seconds(t, r, s.data), s.training.job_seconds)


def seconds_of_job(s: Study, runs: Runs, pack: Iterable[Trajectory]) -> float:
    """Of the job that trains a pack."""
    return START_SECONDS + sum(cost.seconds(t, runs[t], s.data) for t in pack)


def total(runs: Runs, measure: Callable[[Trajectory, list[Readout]], float]) -> float:
    return sum(measure(t, readouts) for t, readouts in runs.items())


def makespan(seconds: list[float], jobs: int) -> float:
    """When the last of jobs that take so long ends, if the next one starts where one ends, `jobs`
    of them at once (list scheduling, Graham 1966)."""
    free = [0.0] * jobs
    for job in seconds:
        heapq.heapreplace(free, free[0] + job)
    return max(free)


def measured_hours(s: Study, runs: Runs) -> float | None:
    """Of training, evaluating and reading out; None unless all runs are finished."""
    files = [Path(s.results, "cells", t.name, "run.json") for t in runs]
    if not all(file.exists() for file in files):
        return None
    records = [json.loads(file.read_text()) for file in files]
    sessions = [session for record in records for session in record["sessions"]]
    spent = sum(x["training_seconds"] + x["evaluation_seconds"] for x in sessions)
    return (spent + sum(record["readout_seconds"] for record in records)) / 3600


def measured_disk(s: Study, runs: Runs, store: Path) -> float | None:
    """Of the states and results, GB; None unless all runs are finished."""
    if measured_hours(s, runs) is None:
        return None
    checksum = json.loads(Path(s.results, "data.json").read_text())["checksum"]
    folders = [store / grid.digest(t.spec(checksum)) for t in runs]
    folders += [Path(s.results, "cells", t.name) for t in runs]
    files = (file for folder in folders for file in folder.iterdir())
    return sum(file.stat().st_size for file in files) / 1e9

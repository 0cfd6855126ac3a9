"""What a study takes, before it is run: cells, runs, steps, jobs, hours, memory, disk; beside the
estimates, where it has been run, what it took. Imports no torch."""

import heapq
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from clipgrid import printable
from clipgrid.files import read_json
from clipgrid.study import cells, cost, further, grid, packs
from clipgrid.study.cells import Cell, Readout, Runs, Trajectory
from clipgrid.study.config import Study, load
from clipgrid.study.cost import PROCESSORS

AT_ONCE = (1, 2, 8, 64)  # jobs
STORE = Path("store")
Records = dict[Trajectory, dict]


def plan(path: Path, job_seconds: float | None = None) -> str:
    """The plan of the study in a file, as text, with packs of `job_seconds` if given."""
    s = further.extended(load(path))
    if job_seconds is not None:
        s = s.model_copy(
            update={"training": s.training.model_copy(update={"job_seconds": job_seconds})}
        )
    runs = cells.runs_of(grid.cells(s))
    processor = PROCESSORS[s.training.device]
    columns = {
        model: {t: r for t, r in runs.items() if t.model.name == model} for model in s.models
    }
    records = finished(s, runs)
    table = pd.DataFrame({name: column(s, some, records) for name, some in columns.items() if some})
    table["all"] = pd.Series(column(s, runs, records))
    table = table.dropna(how="all")
    seconds = [packs.seconds(pack, s) for pack in packs.of_study(s, runs)]
    ends = ", ".join(f"{n}: {makespan(seconds, n) / 3600:.3g} h" for n in AT_ONCE)
    return "\n".join(
        [
            f"{path}: {printable(s.title)}",
            "",
            table.map(spelled).to_string(),
            "",
            f"Data: {'a folder, as if it had ' if s.data.about['any_number'] else ''}"
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


def column(s: Study, runs: Runs, records: Records) -> dict[str, float | None]:
    """The plan of some runs of a study; `records` are of those that are finished."""
    asked, trained = cells.steps(runs)
    seconds = [packs.seconds(pack, s) for pack in packs.of_study(s, runs)]
    memory = [cost.memory_mb(t, readouts, s.data) for t, readouts in runs.items()]
    gpu = max(gpu for _, gpu in memory)
    rows: dict[str, float | None] = {
        "cells": sum(map(len, runs.values())),
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
        "runs that are trained": len(runs.keys() & records.keys()) if records else None,
        "hours still to go": hours_to_go(s, runs, records),
        "hours as measured": measured_hours(runs, records),
        "disk, GB": total(runs, lambda t, r: cost.disk_bytes(t, r, s.data)) / 1e9,
        "disk as measured, GB": measured_disk(s, runs, records),
    }
    return rows


def total(runs: Runs, measure: Callable[[Trajectory, list[Readout]], float]) -> float:
    return sum(measure(t, readouts) for t, readouts in runs.items())


def makespan(seconds: list[float], jobs: int) -> float:
    """When the last of jobs that take so long ends, if the next one starts where one ends, `jobs`
    of them at once (list scheduling, Graham 1966)."""
    free = [0.0] * jobs
    for job in seconds:
        heapq.heapreplace(free, free[0] + job)
    return max(free)


def hours_to_go(s: Study, runs: Runs, records: Records) -> float | None:
    """By estimate; None where nothing or all is trained."""
    left = {t: r for t, r in runs.items() if t not in records}
    if not left or not records:
        return None
    return s.training.gpus_per_run * total(left, lambda t, r: cost.seconds(t, r, s.data)) / 3600


def measured_hours(runs: Runs, records: Records) -> float | None:
    """Of training, evaluating and reading out; None unless all runs are finished."""
    if not runs.keys() <= records.keys():
        return None
    found = [records[trajectory] for trajectory in runs]
    sessions = [session for record in found for session in record["sessions"]]
    spent = sum(x["training_seconds"] + x["evaluation_seconds"] for x in sessions)
    return (spent + sum(record["readout_seconds"] for record in found)) / 3600


def measured_disk(s: Study, runs: Runs, records: Records) -> float | None:
    """Of the states and results, GB; None unless all runs are finished, and their states there."""
    if not runs.keys() <= records.keys():
        return None
    checksum = read_json(Path(s.results, "data.json"))["checksum"]
    folders = [STORE / cells.digest(t.key(checksum)) for t in runs]
    if not all(folder.is_dir() for folder in folders):
        return None
    files = [file for folder in folders for file in folder.iterdir()]
    names = [pack.name for pack in packs.of_study(s, runs)]
    results = [file for name in names for file in packs.files(Path(s.results), name)]
    return sum(file.stat().st_size for file in (*files, *results) if file.exists()) / 1e9


def finished(s: Study, runs: Runs) -> Records:
    """What is recorded of the runs all of whose cells have a row, with these settings."""
    results = Path(s.results)
    packs_there = [
        pack for pack in packs.of_study(s, runs) if packs.files(results, pack.name)[0].exists()
    ]
    rows = list(packs.read_all(results, packs_there))
    measured = {row["cell"]: row for row in rows if "cell" in row}
    records = {row["run"]: row for row in rows if "run" in row}
    return {
        t: records[t.name]
        for t, readouts in runs.items()
        if all(
            t.model_dump(mode="json").items() <= measured.get(Cell(t, r).name, {}).items()
            for r in readouts
        )
    }

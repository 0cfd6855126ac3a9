"""What a cluster costs: on SLURM's own daemons on this machine, two nodes of a CPU each.

    python benchmarks/slurm.py         # a quarter of an hour; writes benchmarks/results/slurm.json

Needs root and Debian's slurm-wlm and munge, as the tests do. Packed is the profile as it is;
unpacked, a submission for each run.
"""

import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from record import ENVIRONMENT, ROOT, copy_checkout, record, small_study, timed

sys.path.insert(0, str(ROOT / "tests" / "slurm"))
from cluster import Cluster, missing

PROFILE = ("--profile", "slurm")
UNPACKED = ("--config", "training={job_seconds: 0}")


def main() -> None:
    if missing():
        sys.exit(missing())
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder, "c"), cpus=1) as cluster:
        ENVIRONMENT["SLURM_CONF"] = str(cluster.conf)
        figures = {
            "100_runs": hundred_runs(Path(folder), cluster),
            "10000_cells": ten_thousand_cells(Path(folder), cluster),
        }
    record("slurm", figures, "python benchmarks/slurm.py", ("snakemake", "torch"))


def checkout(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir()
    copy_checkout(path)
    return path


def hundred_runs(folder: Path, cluster: Cluster) -> dict:
    """Wall seconds of 100 short runs to their table, how many jobs trained them, what SLURM says
    that a job takes and what the job's command takes of that."""
    figures: dict = {}
    for name, how in {"packed": (), "unpacked": UNPACKED}.items():
        home = checkout(folder, f"hundred-{name}")
        arguments = (*PROFILE, "--configfile", str(small_study(home, 200)), *how)
        timed("snakemake", "results/data.pt", *arguments, cwd=home)
        before = len(cluster.completed())
        seconds = timed("snakemake", "results/cells.csv", *arguments, cwd=home)
        commands = [pd.read_csv(f, sep="\t").s[0] for f in home.glob("results/benchmarks/train/*")]
        jobs = cluster.completed()[before:][: len(commands)]
        figures[name] = {
            "wall_seconds": round(seconds, 1),
            "jobs": len(commands),
            "mean_seconds_of_a_job": round(statistics.mean(jobs), 2),
            "mean_seconds_of_its_command": round(statistics.mean(commands), 2),
        }
    return figures


def ten_thousand_cells(folder: Path, cluster: Cluster) -> dict:
    """Seconds of a dry run, and until all jobs lie in the queue of a cluster that is busy."""
    figures = {}
    for node in cluster.nodes:
        cluster.command("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=full")
    for name, how in {"packed": (), "unpacked": UNPACKED}.items():
        home = checkout(folder, f"many-{name}")
        study = small_study(home, 10_000)
        timed("snakemake", "results/data.pt", "--cores", "1", "--configfile", str(study), cwd=home)
        arguments = (
            "results/cells.csv",
            *PROFILE,
            "--jobs",
            "100000",
            "--configfile",
            str(study),
            *how,
        )
        dry = timed("snakemake", *arguments, "--dry-run", "--quiet", cwd=home)
        queued, seconds = until_all_are_queued(home, arguments, cluster)
        figures[name] = {
            "dry_run_seconds": round(dry, 1),
            "jobs": queued,
            "seconds_until_all_are_queued": round(seconds, 1),
        }
    return figures


def until_all_are_queued(
    home: Path, arguments: tuple[str, ...], cluster: Cluster
) -> tuple[int, float]:
    """How many jobs a study submits while none can start, and after how long the last one is."""
    started = time.perf_counter()
    with (home / "log").open("w") as log:
        master = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=home,
            env=ENVIRONMENT,
            stdout=log,
            stderr=log,
        )
    jobs, seconds = 0, 0.0
    while jobs == 0 or time.perf_counter() - started < seconds + 30:
        time.sleep(1)
        now = sum(state == "PENDING" for state, *_ in cluster.jobs().values())
        if now > jobs:
            jobs, seconds = now, time.perf_counter() - started
    master.send_signal(signal.SIGKILL)
    master.wait()
    cluster.command("scancel", "--user=root")
    return jobs, seconds


if __name__ == "__main__":
    main()

"""Wall time of the default study and where it goes; time of a dry run and a plan as the grid
grows.

    python benchmarks/study.py            # both, about half an hour; writes benchmarks/results/

Runs in a fresh copy of the checkout, so that nothing trained before is taken over.
"""

import argparse
import json
import resource
import statistics
import tempfile
from pathlib import Path

import pandas as pd
from record import copy_checkout, record, small_study, timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=("study", "dry-run"))
    what = parser.parse_args().what
    with tempfile.TemporaryDirectory() as folder:
        copy_checkout(Path(folder))
        if what in (None, "study"):
            record("study", default_study(Path(folder)), "python benchmarks/study.py study")
        if what in (None, "dry-run"):
            record("dry-run", dry_runs(Path(folder)), "python benchmarks/study.py dry-run")


def default_study(checkout: Path) -> dict:
    """Seconds of wall time on two cores, and shares of the two cores' time."""
    cores = 2
    wall = timed("snakemake", "--cores", str(cores), cwd=checkout)
    results = checkout / "results"
    trained = json.loads((results / "trained.json").read_text())

    def jobs(folder: str) -> float:
        return sum(pd.read_csv(f, sep="\t").s.sum() for f in results.glob(f"benchmarks/{folder}"))

    training = trained["training_seconds"]
    evaluation = trained["evaluation_seconds"] + trained["readout_seconds"]
    seconds = {
        "training": training,
        "evaluation": evaluation,
        "starting processes": jobs("train/*.tsv") - training - evaluation,
        "verdicts": jobs("judge.tsv"),
        "notebooks": jobs("notebooks/*.tsv"),
        "report": jobs("report.tsv") + jobs("workflow.tsv"),
    }
    seconds["Snakemake and idle cores"] = cores * wall - sum(seconds.values())
    return {
        "cores": cores,
        "wall_seconds": round(wall, 1),
        "core_seconds": {part: round(s, 1) for part, s in seconds.items()},
        "share_percent": {part: round(100 * s / cores / wall, 1) for part, s in seconds.items()},
        **{k: trained[k] for k in ("cells", "trajectories", "steps_asked", "steps_trained")},
        "asked_per_trained": round(trained["steps_asked"] / trained["steps_trained"], 2),
    }


def dry_runs(checkout: Path) -> dict:
    """Median seconds of three dry runs and three plans of 100 to 100,000 cells, and the most
    memory that one of these processes had."""
    commands = {"dry_run": "snakemake -n --quiet --configfile", "plan": "clipgrid plan"}
    seconds: dict[str, dict[int, float]] = {name: {} for name in commands}
    for cells in (100, 1000, 10_000, 100_000):
        file = small_study(checkout, cells)
        for name, command in commands.items():
            times = [timed(*command.split(), str(file), cwd=checkout) for _ in range(3)]
            seconds[name][cells] = round(statistics.median(times), 2)
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # kB, of one process
    return {"cells_per_trajectory": 2, "seconds": seconds, "largest_GB": round(largest / 1e6, 2)}


if __name__ == "__main__":
    main()

"""Wall time of the default study and where it goes; time of a dry run as the grid grows.

    python benchmarks/study.py            # both, about 15 minutes; writes benchmarks/results/

Runs in a fresh copy of the checkout, so that nothing trained before is taken over.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import yaml

ROOT = Path(__file__).parent.parent
CHECKOUT = ("Snakefile", "config.yaml", "workflow", "src", "notebooks", "report", "envs")
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=("study", "dry-run"))
    what = parser.parse_args().what
    with tempfile.TemporaryDirectory() as folder:
        for name in CHECKOUT:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, Path(folder) / name)
        if what in (None, "study"):
            record("study", default_study(Path(folder)))
        if what in (None, "dry-run"):
            record("dry-run", dry_runs(Path(folder)))


def default_study(checkout: Path) -> dict:
    """Seconds of wall time on two cores, and shares of the two cores' time."""
    cores = 2
    wall = timed(checkout, "--cores", str(cores))
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
        "notebooks": jobs("notebooks/*.tsv"),
        "report": jobs("report.tsv"),
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
    """Median seconds of three dry runs of 100, 1,000 and 10,000 cells."""
    config = yaml.safe_load((checkout / "config.yaml").read_text())
    del config["models"]["vgg11"], config["models"]["resnet18"], config["optimizers"]["rmsprop"]
    config |= {"expand": "product", "experiments": {}, "ema": ["none"], "augmentations": ["none"]}
    config |= {"clips": [0.1, 1, 10, 100, "inf"], "iterations": [500, 1000]}
    medians = {}
    for cells in (100, 1000, 10_000):
        file = checkout / f"{cells}.yaml"
        file.write_text(yaml.safe_dump(config | {"seeds": list(range(cells // 10))}))
        times = [timed(checkout, "-n", "--quiet", "--configfile", str(file)) for _ in range(3)]
        medians[cells] = round(statistics.median(times), 2)
    return {"cells_per_trajectory": 2, "seconds": medians}


def timed(checkout: Path, *arguments: str) -> float:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=checkout,
        env=ENVIRONMENT,
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - started


def record(name: str, figures: dict) -> None:
    git = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    result = {
        "name": name,
        "command": f"python benchmarks/study.py {name}",
        "figures": figures,
        "device": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "versions": {p: version(p) for p in ("snakemake", "torch", "papermill")}
        | {"python": platform.python_version()},
        "commit": commit.strip(),
    }
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(path.read_text())


if __name__ == "__main__":
    main()

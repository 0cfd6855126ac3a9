"""The article's grid as a benchopt benchmark of the fastest of others' loops, against clipgrid.

    pip install benchopt timm            # beside what clipgrid needs itself
    python benchmarks/benchopt_grid.py   # 15 minutes; writes benchmarks/results/benchopt.json

Wants a machine with nothing else to do, and the figures of `peers.py loops`. benchopt has what it
has for that: its cache, and two workers that each keep their process from cell to cell, with one
thread of torch. The cells are those of clip 1; a threshold costs no time. What is timed is the
command, from its start to the table of results. Both are asked twice: the second time nothing has
changed.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import pandas as pd
import peers
from benchopt.results import read_results
from record import ROOT, prepare, record, timed

WORKERS = 2

OBJECTIVE = """
from benchopt import BaseObjective


class Objective(BaseObjective):
    name = "test error"
    sampling_strategy = "run_once"
    parameters = {"model": $models}

    def set_data(self, **data):
        self.data = data

    def get_objective(self):
        return self.data | {"model": self.model}

    def evaluate_result(self, accuracy):
        return {"value": 1 - accuracy}

    def get_one_result(self):
        return {"accuracy": 0.1}
"""

DATASET = """
from benchopt import BaseDataset


class Dataset(BaseDataset):
    name = "digits"
    parameters = {"augmentation": $augmentations}

    def get_data(self):
        return {"file": $file, "augmentation": self.augmentation}
"""

SOLVER = """
import sys
from pathlib import Path

from benchopt import BaseSolver

sys.path.append($benchmarks)
import peers
import torch
from clipgrid import torchvision_on_cpu  # before a peer imports torchvision
from clipgrid.images.data import Dataset


class Solver(BaseSolver):
    name = "momentum, clip 1"
    parameters = {"steps": $iterations, "decay": $ema}

    def set_objective(self, file, augmentation, model):
        self.peer = $peers[model]
        trajectory = peers.trajectory_of(model, augmentation)
        dataset = Dataset.load(Path(file))
        self.job = peers.Job(trajectory, dataset, self.steps, self.decay, workers=0, gate=False)

    def run(self, _):
        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.accuracy = peers.PEERS[self.peer](self.job)

    def get_result(self):
        return {"accuracy": self.accuracy}
"""


def write(benchmark: Path, **values: object) -> None:
    """The files that benchopt wants."""
    for name, text in (
        ("objective.py", OBJECTIVE),
        ("datasets/digits.py", DATASET),
        ("solvers/loop.py", SOLVER),
    ):
        for word, value in values.items():
            text = text.replace(f"${word}", repr(value))
        file = benchmark / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def measure(scale: float, folder: Path, speeds: dict) -> dict:
    """Wall times of the grid with each T divided by `scale`."""
    axes = peers.axes_of_grid(scale) | {"clips": [1]}
    fastest = {model: peers.fastest_peer(model, speeds) for model in peers.MODELS}
    benchmark = folder / "benchmark"
    write(
        benchmark,
        models=list(peers.MODELS),
        augmentations=axes["augmentations"],
        iterations=axes["iterations"],
        ema=[None if decay == "none" else decay for decay in axes["ema"]],
        file=str(prepare(folder)),
        benchmarks=str(ROOT / "benchmarks"),
        peers=fastest,
    )
    table = folder / "results.parquet"
    run = ("run", str(benchmark), "-j", str(WORKERS), "--no-plot", "--seed", "0")
    theirs = [
        timed("benchopt", *run, "--output", str(table.with_stem(f"results{n}")), cwd=folder)
        for n in range(2)
    ]
    errors = read_results(table.with_stem("results0"))["objective_value"]
    checkout = folder / "checkout"
    checkout.mkdir()
    own, trained = peers.clipgrids_grid(axes, checkout)
    again = timed("snakemake", *peers.TARGET, cwd=checkout)
    accuracies = pd.read_csv(checkout / "results" / "cells.csv").test_accuracy
    cells = trained["cells"]
    if len(errors) != cells:
        sys.exit(f"benchopt trained {len(errors)} of {cells} cells")
    return {
        "grid": {"models": list(peers.MODELS), **axes},
        "cells": cells,
        "clipgrid": {
            "wall_seconds": round(own, 1),
            "asked_again_seconds": round(again, 1),
            "steps_trained": trained["steps_trained"],
            "mean_test_accuracy": round(accuracies.mean(), 3),
        },
        "benchopt": {
            "workers": WORKERS,
            "loops": fastest,
            "wall_seconds": round(theirs[0], 1),
            "asked_again_seconds": round(theirs[1], 1),
            "steps_trained": trained["steps_asked"],
            "mean_test_accuracy": round(1 - errors.mean(), 3),
        },
        "clipgrid_is_times_as_fast": round(theirs[0] / own, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", type=float, default=1, help="divide each T by it")
    scale = parser.parse_args().scale
    loops = ROOT / "benchmarks" / "results" / "loops.json"
    if not loops.exists():
        sys.exit("which loop is the fastest? run `python benchmarks/peers.py loops` first")
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(scale, Path(folder), json.loads(loops.read_text())["figures"])
    command = f"python benchmarks/benchopt_grid.py --scale {scale:g}"
    record("benchopt", figures, command, ("benchopt", "timm", "torch", "snakemake"))


if __name__ == "__main__":
    main()

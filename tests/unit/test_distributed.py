"""A run that several processes share, over gloo on CPUs, held against the same run in one."""

import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from trials import MOMENTUM, read

import clipgrid
from clipgrid.study.cells import replace

SOURCE = Path(clipgrid.__file__).parents[1]
SHARED = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
# AlexNet without dropout, of which each process draws its own masks: all else is the same.
SCRIPT = """
import json, sys
from pathlib import Path
from torch import nn
from clipgrid import InputError
from clipgrid.study.cells import Readout, Trajectory
from clipgrid.training import pack
nn.Dropout.forward = lambda self, x: x
settings, readout, data, folder = json.loads(sys.argv[1])
folder = Path(folder)
files = folder / "rows.jsonl", folder / "histories.csv"
try:
    runs = {Trajectory(**settings): [Readout.parse(readout)]}
    pack.train(runs, Path(data), *files, folder / "store")
except InputError as error:
    sys.exit(f"clipgrid: error: {error}")
"""
ALONE = replace(
    MOMENTUM, optimizer="momentum", learning_rate=0.03, clip=2, seed=3, evaluate_every=10
)
TOGETHER = replace(ALONE, gpus_per_run=2)


def start(folder, digits, *launcher, trajectory=ALONE, readout="T20"):
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(SCRIPT)
    arguments = json.dumps([trajectory.changed, readout, str(digits), str(folder)])
    return subprocess.Popen(
        [sys.executable, *launcher, str(folder / "script.py"), arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def train(*arguments, **options):
    process = start(*arguments, **options)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return errors


def trained(folder):
    (run,) = read(folder / "rows.jsonl", folder / "histories.csv").values()
    return run


@pytest.fixture(scope="module")
def alone(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "alone"
    train(folder, digits)
    return folder


@pytest.fixture(scope="module")
def shared(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "shared"
    errors = train(folder, digits, *SHARED, trajectory=TOGETHER)
    assert errors.count("step 20/20") == 1  # the first process speaks for both
    return folder


def test_two_processes_take_the_steps_of_one(alone, shared):
    """To float tolerance: their gradients add up in another order."""
    one, two = (pd.read_csv(folder / "histories.csv") for folder in (alone, shared))
    assert 0 < one.clipped.sum() < 20
    assert two.clipped.tolist() == one.clipped.tolist()
    for column in ("loss", "norm", "coefficient", "validation_loss"):
        assert two[column].to_numpy() == pytest.approx(
            one[column].to_numpy(), rel=1e-4, nan_ok=True
        )


def test_two_processes_read_out_what_one_does(alone, shared):
    one, two = (trained(folder).measures("T20") for folder in (alone, shared))
    assert (one["gpus_per_run"], two["gpus_per_run"]) == (1, 2)
    for split in ("train", "validation", "test"):
        assert two[f"{split}_loss"] == pytest.approx(one[f"{split}_loss"], rel=1e-4)
        assert two[f"{split}_accuracy"] == pytest.approx(one[f"{split}_accuracy"], abs=0.01)


def test_two_processes_that_are_stopped_go_on_to_the_same_bits(shared, digits, tmp_path):
    folder, often = tmp_path / "stopped", replace(TOGETHER, evaluate_every=1)
    process = start(folder, digits, *SHARED, trajectory=often, readout="T2000")
    while not re.match(r"step ([5-9]|\d\d+)/", process.stderr.readline()):
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert errors.count("stopped by SIGTERM") == 1
    (state,) = (folder / "store").glob("*/checkpoint-*.pt")
    steps = torch.load(state, weights_only=True)["content"]["step"]
    assert 5 <= steps < 2000

    goal = {"trajectory": often, "readout": f"T{steps + 3}"}
    train(folder, digits, *SHARED, **goal)
    train(tmp_path / "whole", digits, *SHARED, **goal)
    stopped, whole = trained(folder), trained(tmp_path / "whole")
    assert stopped.results == whole.results
    assert stopped.session_steps == [(0, steps), (steps, steps + 3)]


def test_two_processes_take_over_the_steps_of_an_unclipped_run(digits, tmp_path):
    unclipped, idle = (replace(TOGETHER, clip=threshold) for threshold in (math.inf, 1e6))
    for trajectory in (unclipped, idle):
        train(tmp_path / "run", digits, *SHARED, trajectory=trajectory)
    train(tmp_path / "alone", digits, *SHARED, trajectory=idle)
    taken_over, alone = trained(tmp_path / "run"), trained(tmp_path / "alone")
    assert taken_over.results == alone.results
    assert (taken_over.session_steps, alone.session_steps) == ([], [(0, 20)])


def test_a_run_that_asks_for_more_processes_than_there_are_says_how_to_start_it(digits, tmp_path):
    process = start(tmp_path / "run", digits, trajectory=TOGETHER)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "gpus_per_run: 2 processes share this run, and 1 were started" in errors
    assert "torchrun --nproc-per-node 2" in errors


def test_a_batch_that_they_can_not_share_is_an_error():
    with pytest.raises(ValidationError, match="3 doesn't divide the batch of 8"):
        replace(MOMENTUM, gpus_per_run=3)

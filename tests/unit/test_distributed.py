"""A run that several processes share, over gloo on CPUs, held against the same run in one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

import clipgrid
from clipgrid import InputError
from clipgrid.study.grid import Trajectory

SOURCE = Path(clipgrid.__file__).parents[1]
SHARED = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
# AlexNet without dropout, of which each process draws its own masks: all else is the same.
SCRIPT = """
import sys
from torch import nn
from clipgrid.__main__ import main
nn.Dropout.forward = lambda self, x: x
sys.exit(main(sys.argv[1:]))
"""
SETTINGS = {
    **{"model": "alexnet", "width": 0.125, "optimizer": "momentum", "learning-rate": 0.03},
    **{"threshold": 2, "augmentation": "flip+crop", "seed": 3, "batch-size": 8},
    **{"evaluate-every": 10, "readouts": "T20"},
}


def start(folder, digits, *launcher, **settings):
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(SCRIPT)
    flags = [f"--{k}={v}" for k, v in (SETTINGS | settings).items()]
    flags += [f"--data={digits}", f"--out={folder}", f"--store={folder / 'store'}"]
    return subprocess.Popen(
        [sys.executable, *launcher, str(folder / "script.py"), "train", *flags],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def train(*arguments, **settings):
    process = start(*arguments, **settings)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return errors


@pytest.fixture(scope="module")
def alone(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "alone"
    train(folder, digits)
    return folder


@pytest.fixture(scope="module")
def shared(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "shared"
    errors = train(folder, digits, *SHARED, **{"gpus-per-run": 2})
    assert errors.count("step 20/20") == 1  # the first process speaks for both
    return folder


def test_two_processes_take_the_steps_of_one(alone, shared):
    """To float tolerance: their gradients add up in another order."""
    one, two = (pd.read_csv(folder / "history.csv") for folder in (alone, shared))
    assert 0 < one.clipped.sum() < 20
    assert two.clipped.tolist() == one.clipped.tolist()
    for column in ("loss", "norm", "coefficient", "validation_loss"):
        assert two[column].to_numpy() == pytest.approx(
            one[column].to_numpy(), rel=1e-4, nan_ok=True
        )


def test_two_processes_read_out_what_one_does(alone, shared):
    one, two = (json.loads((folder / "T20.json").read_text()) for folder in (alone, shared))
    assert two.pop("gpus_per_run") == 2
    assert "gpus_per_run" not in one
    for split in ("train", "validation", "test"):
        assert two[f"{split}_loss"] == pytest.approx(one[f"{split}_loss"], rel=1e-4)
        assert two[f"{split}_accuracy"] == pytest.approx(one[f"{split}_accuracy"], abs=0.01)


def test_two_processes_that_are_stopped_go_on_to_the_same_bits(shared, digits, tmp_path):
    folder = tmp_path / "stopped"
    settings = {"gpus-per-run": 2, "readouts": "T2000", "evaluate-every": 1}
    process = start(folder, digits, *SHARED, **settings)
    while "step 5/" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert errors.count("stopped by SIGTERM") == 1
    (state,) = (folder / "store").glob("*/checkpoint-*.pt")
    steps = torch.load(state, weights_only=True)["step"]
    assert 5 <= steps < 2000

    goal = {**settings, "readouts": f"T{steps + 3}"}
    train(folder, digits, *SHARED, **goal)
    train(tmp_path / "whole", digits, *SHARED, **goal)
    results = [
        json.loads((f / f"T{steps + 3}.json").read_text()) for f in (folder, tmp_path / "whole")
    ]
    assert results[0]["weights_sha256"] == results[1]["weights_sha256"]
    sessions = json.loads((folder / "run.json").read_text())["sessions"]
    assert [(x["from"], x["to"]) for x in sessions] == [(0, steps), (steps, steps + 3)]


def test_a_run_that_asks_for_more_processes_than_there_are_says_how_to_start_it(digits, tmp_path):
    process = start(tmp_path / "run", digits, **{"gpus-per-run": 2})
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "gpus_per_run: 2 processes share this run, and 1 were started" in errors
    assert "torchrun --nproc-per-node 2" in errors


def test_a_batch_that_they_can_not_share_is_an_error():
    settings = {"optimizer": "momentum", "learning_rate": 0.03, "threshold": 1.0, "seed": 0}
    with pytest.raises(InputError, match=r"batch_size: 8 can't be divided .* on 3 gpus_per_run"):
        Trajectory("alexnet", augmentation="none", batch_size=8, gpus_per_run=3, **settings)

"""The article's T's, each run in processes of its own: a run to T=1000 that stopped at T=500 and
was taken up by another process is the run that never stopped, bit for bit."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

READOUTS = ("T500", "T1000", "T1000_ema0.99")
MODELS = ("alexnet:width=0.125", "vgg11:width=0.0625", "resnet18:width=0.125")
OPTIMIZERS = {"momentum": 0.03, "rmsprop": 1e-3}  # and their learning rates


class Trained(NamedTuple):
    out: Path
    store: Path

    @property
    def records(self):
        """{readout, or "run": its line}"""
        lines = (self.out / "cells.jsonl").read_text().splitlines()
        names = (json.loads(line).get("cell", "/run").rpartition("/")[2] for line in lines)
        return dict(zip(names, lines, strict=True))

    @property
    def history(self):
        return (self.out / "histories.csv").read_bytes()

    @property
    def sessions(self):
        """[(first step, last step)] of each go at training."""
        sessions = json.loads(self.records["run"])["sessions"]
        return [(session["from"], session["to"]) for session in sessions]

    def state(self, step):
        """The state in the store after that step: every value of it, by its path."""
        (path,) = self.store.glob(f"*/{step:08d}.pt")
        return dict(flat(torch.load(path, weights_only=True)["content"]))


def flat(value, *path):
    """(path, leaf) of all that lies in nested dicts and lists."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in items:
            yield from flat(part, *path, key)
    else:
        yield path, value


@pytest.fixture(scope="module")
def home(new_project, clipgrid, tmp_path_factory):
    """A project with the digits prepared at 8 px."""
    project = new_project(tmp_path_factory.mktemp("resume") / "project")
    run = clipgrid(project, "prepare", "--name", "digits", "--size", 8, "--out", "digits.pt")
    assert run.returncode == 0, run.stdout
    return project


@pytest.fixture(
    scope="module",
    params=[(model, optimizer) for model in MODELS for optimizer in OPTIMIZERS],
    ids=lambda arm: f"{arm[0].partition(':')[0]}-{arm[1]}",
)
def train(request, home, clipgrid):
    """A function that trains one arm in a process of its own, below a folder of that name."""
    model, optimizer = request.param

    def process(name, *readouts):
        folder = home / f"{model.partition(':')[0]}-{optimizer}" / name
        trained = Trained(folder / "out", folder / "store")
        arguments = ["--model", model, "--optimizer", f"{optimizer}:weight_decay=0.0005"]
        arguments += ["--learning-rate", OPTIMIZERS[optimizer], "--clip", 1]
        arguments += ["--augmentation", "flip+crop", "--seed", 0]
        arguments += ["--readouts", *readouts, "--data", "digits.pt"]
        run = clipgrid(home, "train", *arguments, "--out", trained.out, "--store", trained.store)
        assert run.returncode == 0, run.stdout
        return trained

    return process


@pytest.fixture(scope="module")
def straight(train):
    """To T=1000 in one process."""
    return train("straight", *READOUTS)


@pytest.fixture(scope="module")
def in_two_goes(train):
    """To T=500, and from there to T=1000 in another process that shares the store."""
    train("two", "T500", "T500_ema0.99")
    return train("two", *READOUTS)


def test_the_second_process_trains_only_the_steps_after_t_500(in_two_goes):
    assert in_two_goes.sessions == [(0, 500), (500, 1000)]


def test_a_run_taken_up_at_t_500_measures_what_the_straight_run_does(straight, in_two_goes):
    one, two = straight.records, in_two_goes.records
    assert set(one) == set(two) == {*READOUTS, "run"}
    assert {name: two[name] for name in READOUTS} == {name: one[name] for name in READOUTS}


def test_a_run_taken_up_at_t_500_has_the_straight_runs_history(straight, in_two_goes):
    assert straight.history.count(b"\n") == 1 + 1000
    assert in_two_goes.history == straight.history


def test_a_run_taken_up_at_t_500_ends_in_the_straight_runs_state(straight, in_two_goes):
    one, two = straight.state(1000), in_two_goes.state(1000)
    tensors = [path for path, value in one.items() if isinstance(value, torch.Tensor)]
    assert {path[0] for path in tensors} == {"model", "optimizer", "averages", "history"}
    for path in tensors:
        assert two[path].dtype == one[path].dtype
        assert torch.equal(two[path], one[path]), path
    # All that is no tensor is equal too, but for who trained when.
    others = [path for path in one if path not in tensors and path[0] != "sessions"]
    assert {path: two[path] for path in others} == {path: one[path] for path in others}
    assert {path for path in one if path[0] != "sessions"} == {
        path for path in two if path[0] != "sessions"
    }


def test_a_moving_average_never_feeds_back_into_the_training(train, straight):
    plain = train("plain", "T500", "T1000")
    assert plain.records["T1000"] == straight.records["T1000"]
    assert plain.history == straight.history
    averaged, raw = (json.loads(straight.records[name]) for name in reversed(READOUTS[1:]))
    assert averaged["weights_sha256"] != raw["weights_sha256"]

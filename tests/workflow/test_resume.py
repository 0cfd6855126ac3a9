"""The article's T's, each run in processes of its own: a run to T=1000 that stopped at T=500 and
was taken up by another process is the run that never stopped, bit for bit."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

READOUTS = ("T500", "T1000", "T1000_ema0.99")
RESULTS = ("T1000.json", "T1000_ema0.99.json")
MODELS = {"alexnet": 0.125, "vgg11": 0.0625, "resnet18": 0.125}
OPTIMIZERS = {
    "momentum": ("--learning-rate", 0.03, "--momentum", 0.9),
    "rmsprop": ("--learning-rate", 1e-3, "--momentum", 0),
}


class Trained(NamedTuple):
    out: Path
    store: Path

    def read(self, name):
        return (self.out / name).read_bytes()

    @property
    def sessions(self):
        """[(first step, last step)] of each go at training."""
        sessions = json.loads(self.read("run.json"))["sessions"]
        return [(session["from"], session["to"]) for session in sessions]

    def state(self, step):
        """The state in the store after that step: every value of it, by its path."""
        (path,) = self.store.glob(f"*/{step:08d}.pt")
        return dict(flat(torch.load(path, weights_only=True)))


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


@pytest.fixture(scope="module", params=[(m, o) for m in MODELS for o in OPTIMIZERS], ids="-".join)
def train(request, home, clipgrid):
    """A function that trains one arm in a process of its own, below a folder of that name."""
    model, optimizer = request.param

    def process(name, *readouts):
        folder = home / f"{model}-{optimizer}" / name
        trained = Trained(folder / "out", folder / "store")
        arguments = ["--model", model, "--width", MODELS[model]]
        arguments += ["--optimizer", optimizer, *OPTIMIZERS[optimizer], "--weight-decay", 5e-4]
        arguments += ["--threshold", 1, "--augmentation", "flip+crop", "--seed", 0]
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
    for name in (*RESULTS, "T500.json"):
        assert json.loads(in_two_goes.read(name)) == json.loads(straight.read(name))
        assert in_two_goes.read(name) == straight.read(name)


def test_a_run_taken_up_at_t_500_has_the_straight_runs_history(straight, in_two_goes):
    history = straight.read("history.csv")
    assert history.count(b"\n") == 1 + 1000
    assert in_two_goes.read("history.csv") == history


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
    assert plain.read("T1000.json") == straight.read("T1000.json")
    assert plain.read("history.csv") == straight.read("history.csv")
    averaged, raw = (json.loads(straight.read(name)) for name in reversed(RESULTS))
    assert averaged["weights_sha256"] != raw["weights_sha256"]

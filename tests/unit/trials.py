"""Short runs that the tests of the training room share, and what they find."""

import csv
import json
import math
from functools import cache
from typing import NamedTuple

import pytest

from clipgrid.images.data import Dataset
from clipgrid.study import parts
from clipgrid.study.cells import Clip, Readout, Trajectory, digest, replace
from clipgrid.training import pack
from clipgrid.training.loop import advance
from clipgrid.training.run import Run

MOMENTUM = Trajectory(
    model="alexnet:width=0.125",
    optimizer="momentum:weight_decay=0.0005",
    learning_rate=0.01,
    clip=1,
    augmentation="flip+crop",
    seed=0,
    batch_size=8,
    evaluate_every=2,
)
RMSPROP = replace(MOMENTUM, optimizer="rmsprop:weight_decay=0.0005", learning_rate=1e-3)
DIVERGING = replace(MOMENTUM, learning_rate=1e30, clip=math.inf, evaluate_every=100)
KINDS = parts.names("clip_kind")
BY_OPTIMIZER = {
    name: MOMENTUM if name == "momentum" else replace(MOMENTUM, optimizer=name, learning_rate=1e-3)
    for name in parts.names("optimizer")
}
every_kind = pytest.mark.parametrize("kind", KINDS)
every_optimizer = pytest.mark.parametrize("base", BY_OPTIMIZER.values(), ids=BY_OPTIMIZER)


class Firing(NamedTuple):
    """A clip, and the first step of MOMENTUM that it clips, counted from 1."""

    clip: Clip
    step: int


@cache
def firing(kind, data):
    """A threshold at which a kind clips some of MOMENTUM's first 40 steps: found from what it
    compares with it, so that a kind that is new needs no word here."""
    most = parts.find("clip_kind", kind).about["most"]

    def run(threshold):
        clip = Clip.of(kind, threshold)
        run = Run(replace(MOMENTUM, clip=clip, evaluate_every=100), Dataset.load(data), set())
        advance(run, 40)
        return clip, run.history.steps

    _, observed = run(most)
    assert (observed["share"] == 0).all()
    median = observed["observed"].median().item()
    guesses = [most / 2] if most < math.inf else [median * 10.0**-k for k in range(5)]
    for clip, steps in map(run, guesses):
        if fired := (steps["share"] > 0).nonzero().flatten().tolist():
            return Firing(clip, fired[0] + 1)
    return pytest.fail(f"{kind} clips nothing")


def strict_json(text):
    """JSON as its standard has it: no NaN, no Infinity."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


class Trained(NamedTuple):
    """The files of a run."""

    cells: dict  # readout: its line
    run: dict  # who trained which steps, and how long it took: no two times the same
    history: str  # a CSV

    @property
    def results(self):
        """All that is the same whoever trains it."""
        return self.cells, self.history

    @property
    def rows(self):
        """A mapping for each step."""
        rows = csv.DictReader(self.history.splitlines())
        return [{k: v for k, v in row.items() if k != "trajectory"} for row in rows]

    @property
    def sessions(self):
        return self.run["sessions"]

    @property
    def session_steps(self):
        return [(session["from"], session["to"]) for session in self.sessions]

    def measures(self, name):
        return strict_json(self.cells[name])

    def sha(self, name):
        return self.measures(name)["weights_sha256"]


def read(rows, histories):
    """{name of a run: what was trained}, from a pack's files."""
    trained = {}
    cells = {}
    for line in rows.read_text().splitlines():
        record = strict_json(line)
        if "run" in record:
            trained[record["run"]] = cells, record
            cells = {}
        else:
            cells[record["cell"].rpartition("/")[2]] = line
    head, *lines = histories.read_text().splitlines(keepends=True)
    return {
        name: Trained(
            cells, run, "".join([head, *(line for line in lines if line.startswith(f"{name},"))])
        )
        for name, (cells, run) in trained.items()
    }


class Trials:
    """Trains below a folder of this test's own."""

    def __init__(self, digits, folder):
        self.digits, self.folder = digits, folder

    def files(self, at="run"):
        return self.folder / at / "out" / "rows.jsonl", self.folder / at / "out" / "histories.csv"

    def pack(self, runs, at="run", every=60):
        """Train {trajectory: names of readouts} as a pack; what each gave, by name."""
        named = {t: [Readout.parse(name) for name in names] for t, names in runs.items()}
        files = self.files(at)
        pack.train(named, self.digits, *files, self.folder / at / "store", every)
        return read(*files)

    def __call__(self, trajectory, *names, at="run", every=60):
        """Train one trajectory to these readouts."""
        return self.pack({trajectory: names}, at, every)[trajectory.name]

    def store(self, trajectory, at="run"):
        """The folder of what is kept of a trajectory."""
        key = trajectory.key(Dataset.load(self.digits).checksum)
        return self.folder / at / "store" / digest(key)

    def kept(self, trajectory, at="run"):
        return {path.name for path in self.store(trajectory, at).iterdir()}

    def forget_measures(self, trajectory, at="run"):
        """Take the readouts and records from the store, so that its states are needed."""
        for path in self.store(trajectory, at).iterdir():
            if path.suffix == ".json" or path.name.startswith("history-"):
                path.unlink()

"""What is killed and started again ends in the bits of what was never disturbed: a study at random
moments, a trainer by every signal, with torn states in its store and on a full disk."""

import json
import os
import random
import re
import resource
import shutil
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import yaml

DEADLINE = 120  # s, for what takes a few: nothing waits for ever


def sessions(rows):
    """{run: [(first step, last step)] of each go at training}, from a pack's rows."""
    records = (json.loads(line) for line in rows.read_text().splitlines())
    return {
        record["run"]: [(session["from"], session["to"]) for session in record["sessions"]]
        for record in records
        if "run" in record
    }


def results(rows):
    """The lines of a pack's cells: all of its rows but who trained when."""
    return [line for line in rows.read_text().splitlines() if "cell" in json.loads(line)]


def leftovers(store):
    """What a finished run leaves none of."""
    return [path for path in store.rglob("*") if re.search(r"^checkpoint-|\.tmp$", path.name)]


# ---- a study ------------------------------------------------------------------------------------

KILLS = int(os.environ.get("CLIPGRID_KILLS", "10"))
ROUNDS = 2 * KILLS  # at most: some kills come too late, or too early
FIRST = int(os.environ.get("CLIPGRID_FUZZ_FIRST", "0"))
RESULTS = Path("results/killed")
LAST = {"alexnet": 600, "vgg11": 1000, "resnet18": 400}  # some seconds of training
CLIPS = [1, "inf", "autoclip50", "zclip2.5"]
STUDY = {
    "title": "Killed",
    "results": str(RESULTS),
    "data": {"name": "digits", "size": 8},
    "models": {
        "alexnet": {"width": 0.125},
        "vgg11": {"width": 0.0625},
        "resnet18": {"width": 0.125},
    },
    "optimizers": {"momentum": {"learning_rates": [0.03], "weight_decay": 5e-4}},
    "clips": CLIPS,
    "iterations": [100, *sorted(LAST.values())],
    "ema": ["none", 0.99],
    "augmentations": ["flip+crop"],
    "seeds": [0],
    # So often that many a kill hits a process that saves.
    "training": {"checkpoint_every": 0.1, "evaluate_every": 50, "job_seconds": 8},
    "experiments": {
        model: {
            "title": model,
            "section": "1",
            "select": [{"models": [model], "clips": clips, "iterations": [100, LAST[model]]}],
        }
        for model, clips in {"alexnet": CLIPS, "vgg11": CLIPS[2:], "resnet18": CLIPS[::2]}.items()
    },
}
COMMAND = ("--configfile", "killed.yaml", "--cores", 2)
TARGET = (RESULTS / "cells.csv", *COMMAND)


class Killed(NamedTuple):
    projects: list[Path]  # all of them finished; one, unless it was done before the last kill
    power_cuts: int  # that hit a Snakemake at work, and all its jobs
    trainers: int  # that were killed alone


@pytest.fixture(scope="module")
def new_study(new_project, tmp_path_factory):
    """A function that makes a project with the study, of which nothing has been run."""

    def make():
        project = new_project(tmp_path_factory.mktemp("killed") / "project")
        (project / "killed.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
        return project

    return make


@pytest.fixture(scope="module")
def undisturbed(new_study, snakemake):
    project = new_study()
    run = snakemake(project, *TARGET)
    assert run.returncode == 0, run.stdout
    return project


@pytest.fixture(scope="module")
def killed(undisturbed, new_study, start, snakemake):
    """The study, killed at random moments and started again, and left to finish in the end: in
    turn the whole group of processes, as a power cut, and trainers alone, each by itself, upon
    which Snakemake gives up. It begins anew elsewhere should it be done before the last kill."""
    chance = random.Random(FIRST)
    projects, power_cuts, trainers = [new_study()], 0, 0
    for number in range(ROUNDS):
        if power_cuts + trainers >= KILLS:
            break
        project = projects[-1]
        log = project / f"round-{number}.log"
        with log.open("w") as output:
            master = start(project, "snakemake", *TARGET, stdout=output, start_new_session=True)
        try:
            wait_for_a_moment(master, project / "store", chance)
            sent = kill_trainers(master, chance) if number % 2 else 0
        finally:
            kill_all(master)
        said = log.read_text()
        hits = said.count("returned non-zero exit status 137.")
        failures = said.count("Error in rule")
        assert failures == hits <= sent, f"a job failed that nobody killed:\n{said}"
        if master.returncode == -signal.SIGKILL:
            power_cuts += 1
            run = snakemake(project, "--unlock", *COMMAND)
            assert run.returncode == 0, run.stdout
        elif hits:
            assert master.returncode == 1, said
            trainers += hits
        else:
            assert master.returncode == 0, said
            projects.append(new_study())
    run = snakemake(projects[-1], *TARGET)
    assert run.returncode == 0, run.stdout
    return Killed(projects, power_cuts, trainers)


def wait_for_a_moment(master, store, chance):
    """Some come while Snakemake, the data or the trainers start; most while trainers train."""

    def checkpoints():
        return set(store.glob("*/checkpoint-*.pt"))

    if chance.random() < 0.25:
        wait(master, chance.uniform(0, 4))
    else:
        before = checkpoints()
        wait(master, DEADLINE, lambda: checkpoints() - before)
        wait(master, chance.uniform(0, 0.5))


def wait(process, seconds, condition=lambda: False):
    """For so many seconds, or until `condition` holds, or until the process has ended."""
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end and not condition():
        time.sleep(0.01)


def kill_all(master):
    if master.poll() is None:  # not yet reaped: the group's number is its own
        os.killpg(master.pid, signal.SIGKILL)
        master.wait()


def kill_trainers(master, chance):
    """One, and mostly another one, while Snakemake waits for it; how many. Snakemake then ends."""
    sent = 0
    for _ in range(chance.choice([1, 2, 2])):
        wait(master, DEADLINE, lambda: trainers_of(master))
        if running := trainers_of(master):
            with suppress(psutil.NoSuchProcess):
                chance.choice(running).kill()
                sent += 1
        wait(master, chance.uniform(0, 1))
    wait(master, DEADLINE)
    assert master.poll() is not None, "Snakemake doesn't end, though a job of it was killed"
    return sent


def trainers_of(master):
    """The trainers among the processes that descend from this one."""
    trainers = []
    with suppress(psutil.NoSuchProcess):  # which a zombie is too
        for process in psutil.Process(master.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if process.cmdline()[1:4] == ["-m", "clipgrid", "train-pack"]:
                    trainers.append(process)
    return trainers


def runs_of(project):
    """{trajectory: its sessions}"""
    packs = (project / RESULTS / "packs").glob("*.jsonl")
    return {name: run for pack in packs for name, run in sessions(pack).items()}


def test_the_kills_hit_processes_at_work(undisturbed, killed):
    assert killed.power_cuts + killed.trainers >= KILLS, killed
    few = max(1, min(5, KILLS // 4))
    assert min(killed.power_cuts, killed.trainers) >= few, killed
    # Training was cut in pieces: there are more of them than each run has by its T's.
    natural = sum(map(len, runs_of(undisturbed).values()))
    pieces = sum(len(run) for project in killed.projects for run in runs_of(project).values())
    assert pieces - natural * len(killed.projects) >= few, [*map(runs_of, killed.projects)]


def test_a_killed_study_ends_in_the_bits_of_the_undisturbed_one(undisturbed, killed):
    def everything(project):
        folder = project / RESULTS
        rows = {path.name: results(path) for path in folder.glob("packs/*.jsonl")}
        tables = [folder / "cells.csv", *folder.glob("packs/*.csv")]
        return rows | {path.name: path.read_bytes() for path in tables}

    expected = everything(undisturbed)
    cells = [line for name, lines in expected.items() if name.endswith(".jsonl") for line in lines]
    assert len(cells) == 8 * 4
    for project in killed.projects:
        found = everything(project)
        assert set(found) == set(expected)
        assert [name for name in found if found[name] != expected[name]] == []


def test_a_killed_study_leaves_nothing_behind_in_the_store(undisturbed, killed):
    for project in (undisturbed, *killed.projects):
        assert leftovers(project / "store") == []
        files = [p for p in (project / "store").glob("*/*.pt") if p.parent.name != "data"]
        histories = [path for path in files if path.name.startswith("history-")]
        assert (len(histories), len(files)) == (8 * 2, 2 * 8 * 2)


def test_the_sessions_of_a_killed_run_follow_one_another_to_the_last_t(killed):
    for project in killed.projects:
        runs = runs_of(project)
        assert len(runs) == 8
        for name, run in runs.items():
            starts, ends = zip(*run, strict=True)
            assert starts == (0, *ends[:-1]), (name, run)
            assert ends[-1] == LAST[name.partition("_")[0]], (name, run)
            assert all(start < end for start, end in run), (name, run)


# ---- a trainer ----------------------------------------------------------------------------------

READOUTS = ("T100", "T600", "T600_ema0.99")
FLAGS = {
    "--model": "vgg11:width=0.0625",
    "--optimizer": "momentum:weight_decay=0.0005",
    "--learning-rate": 0.03,
    "--clip": "autoclip50",
    "--augmentation": "flip+crop",
    "--evaluate-every": 50,
    "--data": "digits.pt",
}


class Trained(NamedTuple):
    folder: Path
    code: int
    log: str  # stderr

    @property
    def out(self):
        return self.folder / "out"

    @property
    def store(self):
        return self.folder / "store"

    @property
    def sessions(self):
        ((_, run),) = sessions(self.out / "cells.jsonl").items()
        return run

    @property
    def states(self):
        """Files of the store that hold weights."""
        return [path.name for path in self.store.rglob("*.pt") if "history" not in path.name]

    def readout(self, name):
        """What the store keeps of a readout."""
        (path,) = self.store.glob(f"*/{name}.json")
        return json.loads(path.read_text())["content"]["measures"]

    @property
    def checkpoint(self):
        (path,) = self.store.glob("*/checkpoint-*.pt")
        return path

    @property
    def warnings(self):
        return [line for line in self.log.splitlines() if line.startswith("clipgrid: warning: ")]


@pytest.fixture(scope="module")
def home(new_project, clipgrid, tmp_path_factory):
    """A project with the digits prepared at 8 px."""
    project = new_project(tmp_path_factory.mktemp("trainer") / "project")
    run = clipgrid(project, "prepare", "--name", "digits", "--size", 8, "--out", "digits.pt")
    assert run.returncode == 0, run.stdout
    return project


@pytest.fixture(scope="module")
def train(home, start):
    """A function that runs the trainer below a folder of that name. It sends the signal `stop`
    when the trainer reports that it has come to step `at`; no file can grow above `limit` bytes."""

    def process(name, readouts=READOUTS, seed=0, every=60, stop=None, at=50, limit=None):
        folder = home / name
        flags = FLAGS | {"--seed": seed, "--out": folder / "out", "--store": folder / "store"}
        flags |= {"--checkpoint-every": every}
        arguments = [f"{flag}={value}" for flag, value in flags.items()]

        def limit_files():
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        options = {"preexec_fn": limit_files} if limit else {}
        log = ""
        with start(
            home, "clipgrid", "train", *arguments, "--readouts", *readouts, **options
        ) as trainer:
            watchdog = threading.Timer(DEADLINE, trainer.kill)
            watchdog.start()
            for line in trainer.stdout:
                log += line
                if stop and line.startswith(f"step {at}/"):
                    trainer.send_signal(stop)
            watchdog.cancel()
        return Trained(folder, trainer.returncode, log)

    return process


@pytest.fixture(scope="module")
def straight(train):
    """The run that nothing disturbs."""
    run = train("straight")
    assert run.code == 0, run.log
    return run


@pytest.fixture(scope="module")
def stopped(train):
    """A run that was stopped between its T's: it holds the state at T=100 and a checkpoint."""
    run = train("stopped", stop=signal.SIGTERM, at=150)
    assert run.code == 128 + signal.SIGTERM, run.log
    return run


@pytest.fixture
def copy(stopped, request):
    """The stopped run, copied for one test, which trains on below its name."""
    folder = stopped.folder.parent / request.node.name
    return stopped._replace(folder=shutil.copytree(stopped.folder, folder))


def step_of(checkpoint):
    return int(checkpoint.stem.removeprefix("checkpoint-"))


def assert_same_end(run, straight, readouts=READOUTS):
    """This run has ended as the undisturbed one."""
    assert run.code == 0, run.log
    assert {path.name for path in run.out.iterdir()} == {"cells.jsonl", "histories.csv"}
    expected = [
        line
        for line in results(straight.out / "cells.jsonl")
        if json.loads(line)["cell"].rpartition("/")[2] in readouts
    ]
    assert len(expected) == len(readouts)
    assert results(run.out / "cells.jsonl") == expected, run.log
    histories = [(one.out / "histories.csv").read_bytes() for one in (run, straight)]
    assert histories[0] == histories[1]
    assert leftovers(run.store) == []


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_a_signal_stops_a_run_at_a_step_from_which_the_next_one_goes_on(train, straight, name):
    number, readouts = signal.Signals[name], READOUTS[1:]
    run = train(name, readouts, stop=number)
    assert run.code == 128 + number, run.log
    said = re.search(rf"^stopped by {name}; step (\d+) is saved$", run.log, re.MULTILINE)
    assert said, run.log
    step = int(said[1])
    assert [path.name for path in run.store.glob("*/*")] == [f"checkpoint-{step:08d}.pt"]
    assert not run.out.exists() or list(run.out.iterdir()) == []

    run = train(name, readouts)
    assert_same_end(run, straight, readouts)
    assert run.sessions == [(0, step), (step, 600)]
    assert int(re.search(r"^step (\d+)/600 ", run.log, re.MULTILINE)[1]) > step


def test_a_stopped_run_keeps_what_it_measured_at_an_earlier_t(stopped, straight):
    assert 100 < step_of(stopped.checkpoint) < 600
    assert stopped.readout("T100") == straight.readout("T100")


def test_states_that_are_none_are_passed_over_for_an_older_one(train, straight, copy, home):
    """Half a file, an empty one as power cuts leave them, a file of something else, and a state
    of another spec."""
    stray = train("stray", seed=1, stop=signal.SIGTERM)
    assert stray.code == 128 + signal.SIGTERM, stray.log
    torn, step = copy.checkpoint, step_of(copy.checkpoint)
    empty, other, foreign = (torn.with_name(f"checkpoint-{step + i:08d}.pt") for i in range(1, 4))
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    empty.touch()
    shutil.copy(home / "digits.pt", other)
    shutil.copy(stray.checkpoint, foreign)

    run = train(copy.folder.name)
    assert_same_end(run, straight)
    for path in (torn, empty, other, foreign):
        warning = f"clipgrid: warning: passing over {path}, not a state of this run: "
        assert any(line.startswith(warning) for line in run.warnings), run.log
    assert run.sessions == [(0, 100), (100, 600)]


def test_what_a_killed_process_left_half_written_is_ignored_and_removed(train, straight, copy):
    step = step_of(copy.checkpoint)
    half = copy.checkpoint.read_bytes()[: copy.checkpoint.stat().st_size // 2]
    for name in ("checkpoint-00000100.123.tmp", f"checkpoint-{step + 9:08d}.123.tmp"):
        (copy.checkpoint.parent / name).write_bytes(half)

    run = train(copy.folder.name)
    assert_same_end(run, straight)
    assert run.warnings == []
    assert run.sessions == [(0, 100), (100, step), (step, 600)]


def test_a_disk_too_full_for_states_is_warned_of_and_changes_no_result(train, straight):
    run = train("no-states", every=0.2, limit=500_000)
    assert_same_end(run, straight)
    assert run.states == []
    written = re.findall(r"/([^/]+)\.pt can't be written; is the ", "\n".join(run.warnings))
    assert len(written) == len(run.warnings)
    assert [name for name in written if name.isdigit()] == ["00000100", "00000600"]
    assert [name for name in written if name.startswith("checkpoint-")], run.log
    assert run.sessions == [(0, 100), (100, 600)]


def test_a_signal_on_a_full_disk_does_not_claim_that_the_run_is_saved(train):
    run = train("not-saved", stop=signal.SIGTERM, limit=500_000)
    assert run.code == 128 + signal.SIGTERM, run.log
    assert re.search(r"^stopped by SIGTERM; step \d+ could not be saved$", run.log, re.MULTILINE)
    assert leftovers(run.store) == []


def test_a_disk_too_full_for_results_is_an_error_and_the_next_run_ends_well(train, straight):
    run = train("no-results", limit=8_000)
    assert run.code == 1, run.log
    assert "Traceback" not in run.log
    assert len(re.findall(r"^clipgrid: error: .", run.log, re.MULTILINE)) == 1, run.log
    last = run.log.splitlines()[-1]
    assert last.startswith("clipgrid: error: ")
    assert "histories.csv" in last
    assert not (run.out / "cells.jsonl").exists()
    assert run.states == []

    run = train("no-results")
    assert_same_end(run, straight)

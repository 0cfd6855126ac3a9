"""The line that tells how a study gets on."""

import logging
import os
import time
from pathlib import Path

import pytest

from clipgrid.study import cells, config, grid, packs
from clipgrid.study.watch import Training, Watch

NAME = "alexnet_momentum_lr0.03_{}_none_seed{}"


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return config.parse(
        {
            "title": "Small \x1b[31m",
            "results": "results",
            "data": {"name": "digits", "size": 8},
            "models": {"alexnet": {"width": 0.125}},
            "optimizers": {"momentum": {"learning_rates": [0.03]}},
            "clips": [1, "inf"],
            "iterations": [100, 400],
            "seeds": [0, 1],
            "training": {"job_seconds": 0},  # a pack a run
        }
    )


@pytest.fixture
def watch(study, monkeypatch):
    monkeypatch.setattr(Watch, "run", lambda self: None)  # the test itself looks
    return Watch(study, packs.of_study(study, cells.runs_of(grid.cells(study))), cores=2)


def says(watch, event, **values):
    record = logging.LogRecord("snakemake", logging.INFO, "", 0, "", (), None)
    record.__dict__.update(event=event, **values)
    watch.handle(record)


def write_log(study, name, text):
    log = Path(study.results, "logs", "train", f"{name}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(text)
    return log


def test_the_share_counts_steps_and_not_jobs(study, watch, capsys):
    one, other = NAME.format("norm1", 0), NAME.format("norminf", 1)
    watch.start({one, other})
    said = capsys.readouterr().err
    assert "Small \\x1b[31m\n4 runs, 1,600 steps of training; less than 1 min of it left\n" in said
    assert watch.done()[0] == 800  # two packs were there
    says(watch, "job_info", jobid=7, rule_name="train", wildcards={"pack": one})
    write_log(
        study, one, f"run 1 of 1: {one}\nstep 50/400  loss 2.3\nwarning: x\nstep 200/400  loss 1\n"
    )
    watch.look()
    assert watch.done()[0] == 1000
    assert watch.line().startswith("62% of the training is done  ")
    assert watch.line().endswith(f" left  {one}")
    says(watch, "job_info", jobid=8, rule_name="experiment", wildcards={"experiment": "vgg"})
    assert watch.line().endswith(f" left  {one}, experiment vgg")
    says(watch, "job_finished", job_id=7)
    watch.look()
    assert watch.line().startswith("75% of the training is done  ")
    assert watch.line().endswith("left  experiment vgg")
    says(watch, "job_error", jobid=8)
    assert watch.line().endswith("left  ")


def test_a_log_of_an_earlier_session_counts_nothing(study, watch):
    one = NAME.format("norm1", 0)
    log = write_log(study, one, f"run 1 of 1: {one}\nstep 300/400\n")
    os.utime(log, (time.time() - 100, time.time() - 100))
    watch.start({one})
    says(watch, "job_info", jobid=7, rule_name="train", wildcards={"pack": one})
    watch.look()
    assert watch.done()[0] == 1200


def test_of_a_pack_runs_that_are_past_count_whole(study):
    (pack,) = packs.pack(cells.runs_of(grid.cells(study)), lambda t, r: 1.0, 100.0)
    first, second, third = [t.name for t in pack.runs][:3]
    training = Training(pack, study)
    training.read(f"run 1 of 4: {first}\nstep 400/400\nrun 2 of 4: {second}\nrun 3 of 4: {third}\n")
    assert training.steps_done == 800
    training.read("something that has no step")
    assert training.steps_done == 0


def test_the_time_left_follows_what_was_measured(study, watch, monkeypatch):
    monkeypatch.setattr("clipgrid.study.watch.SETTLED", 0.0)
    names = [pack.name for pack in watch.of]
    watch.start(set(names))
    by_estimate = watch.left()
    watch.packs[names[0]].finish()
    watch.busy = 40 * 60.0  # that one took forty minutes
    assert by_estimate == "less than 1 min of it left"
    assert watch.left() == "about 60 min of it left"  # three more, two at a time

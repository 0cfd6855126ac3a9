"""Studies at the edge of what a study can be: where an axis has one value, where no run survives,
where the article's experiments are not asked for. Each must come out as a report all the same."""

import json
import re
import shlex

import pandas as pd
import pytest
import yaml

SMALLEST = {
    "title": "The smallest study",
    "results": "results",
    "data": {"size": 8},
    "models": {"alexnet": {"width": 0.125}},
    "optimizers": {"momentum": {"learning_rates": [0.03]}},
    "clips": ["inf"],
    "iterations": [1],
    "ema": ["none"],
    "augmentations": ["none"],
    "seeds": [7],
    "experiments": {"only": {"title": "Only", "section": "1", "select": [{}]}},
}


def cell_of(rows, name):
    """The line of a cell."""
    (line,) = [x for x in rows.read_text().splitlines() if json.loads(x).get("cell") == name]
    return line


def momentum(*learning_rates):
    return {"momentum": {"learning_rates": list(learning_rates)}}


@pytest.fixture
def run(project, snakemake):
    """A function: run the smallest study with these changes to its end; its cells by name."""

    def run_study(**changes):
        config = SMALLEST | changes
        (project / "study.yaml").write_text(yaml.safe_dump(config))
        done = snakemake(project, "--cores", 2, "--configfile", "study.yaml")
        assert done.returncode == 0, done.stdout
        results = project / config["results"]
        assert (results / "report.html").stat().st_size > 0
        return pd.read_csv(results / "cells.csv").set_index("cell")

    return run_study


def test_a_study_of_a_single_cell_has_a_report_in_a_folder_with_a_space(run, project, clipgrid):
    cells = run(results="my results")
    name = "alexnet_momentum_lr0.03_norminf_none_seed7/T1"
    assert list(cells.index) == [name]
    assert (project / "my results" / "notebooks" / "only.html").exists()

    redo = clipgrid(project, *shlex.split(cells.command[name])[3:])
    assert redo.returncode == 0, redo.stdout
    row, history = (project / "my results" / "packs").iterdir()
    (row, history) = sorted((row, history), key=lambda path: path.suffix == ".csv")
    assert cell_of(project / "redo" / "cells.jsonl", name) == cell_of(row, name)
    assert (project / "redo" / "histories.csv").read_text() == history.read_text()


def test_a_study_without_unclipped_raw_or_original_arms_has_a_report(run):
    cells = run(clips=[1], ema=[0.9], augmentations=["flip"], seeds=[0, 1])
    assert list(cells.ema) == [0.9, 0.9]
    assert list(cells.augmentation) == ["flip", "flip"]


def test_a_study_whose_every_run_diverges_has_a_report(run):
    cells = run(optimizers=momentum(1e30), clips=[1, "inf"], iterations=[9], ema=["none", 0.9])
    assert set(cells.status) == {"diverged"}
    assert cells.test_accuracy.isna().all()
    assert (cells.diverged_at == cells.steps).all()


def test_a_study_without_experiments_of_which_some_runs_diverge_has_a_report(run, project):
    cells = run(experiments={}, optimizers=momentum(0.03, 1e30), iterations=[9])
    assert list(cells.learning_rate) == [0.03, 1e30]
    assert list(cells.status == "diverged") == [False, True]
    assert list(cells.test_accuracy.isna()) == [False, True]
    assert not (project / "results" / "claims.csv").exists()


def test_who_silences_the_rules_sees_how_far_the_training_is(project, snakemake):
    (project / "study.yaml").write_text(yaml.safe_dump(SMALLEST))
    asked = ("--cores", 2, "--quiet", "rules", "host", "--configfile", "study.yaml")
    done = snakemake(project, *asked)
    assert done.returncode == 0, done.stdout
    profile, title, size, *lines = filter(None, done.stdout.splitlines())
    assert "profile" in profile
    assert title == "The smallest study"
    assert size == "1 run, 1 steps of training; less than 1 min of it left"
    assert all(re.match(r"(0|100)% of the training is done  ", line) for line in lines)
    again = snakemake(project, *asked)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout
    assert "% of" not in again.stdout

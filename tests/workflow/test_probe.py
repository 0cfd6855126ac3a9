"""`clipgrid probe`, as a person types it: from a model that was not written for clipgrid to a
sentence of advice."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from clipgrid.__main__ import main
from clipgrid.reporting.probe import study_of

NET = """
import torch


class Tiny(torch.nn.Module):
    def __init__(self, num_classes=10, image_size=8, in_channels=1):
        super().__init__()
        self.layer = torch.nn.Linear(in_channels * image_size**2, num_classes)

    def forward(self, images):
        return self.layer(images.flatten(1))
"""
ASKED = ("--images", "digits", "--size", 8, "--learning-rates", "0.01,0.1", "--steps", 20)
ASKED = (*ASKED, "--seeds", 2, "--cores", 2)


@pytest.fixture(scope="module")
def probed(new_project, clipgrid, tmp_path_factory):
    project = new_project(tmp_path_factory.mktemp("probe") / "project")
    (project / "net.py").write_text(NET)
    return project, clipgrid(project, "probe", project / "net.py:Tiny", *ASKED)


def test_it_ends_in_advice_and_leaves_a_study(probed, snakemake, job_stats):
    project, run = probed
    assert run.returncode == 0, run.stdout
    assert run.stdout.startswith("8 runs of 20 steps, half of them clipped: about 1 min on 2 cores")
    assert "The results go to results/probe-net-Tiny.\n" in run.stdout
    assert "tiny, momentum" in run.stdout
    assert "tune η, and clip as an insurance" in run.stdout
    assert "layer.weight (" in run.stdout
    results = project / "results" / "probe-net-Tiny"
    assert (results / "probe.svg").stat().st_size > 5000
    study = json.loads(results.with_suffix(".yaml").read_text())
    assert study["title"] == "Which threshold for net.py:Tiny?"
    cells = pd.read_csv(results / "cells.csv")
    assert len(cells) == 8
    assert cells.steps_clipped.sum() > 0
    again = snakemake(project, "-n", "--configfile", "results/probe-net-Tiny.yaml")
    assert "train" not in job_stats(again.stdout)


def test_a_question_never_takes_the_place_of_another_or_of_a_study_that_was_added_to(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    asked = {"images": "digits", "size": 8, "optimizer": "adam", "learning_rates": [0.1]}
    asked |= {"steps": 500, "seeds": 3, "batch_size": 32}
    mine = study_of("alexnet", "results/probe-alexnet", **asked)
    file = Path("results/probe-alexnet.yaml")
    file.parent.mkdir()

    def ask(*more):
        words = ("--size", "8", "--optimizer", "adam", "--learning-rates", "0.1", "--dry-run")
        code = main(["probe", "alexnet", *words, *more])
        return code, "".join(capsys.readouterr())

    for clips in (["inf"], [2.0, "inf"]):
        file.write_text(json.dumps(mine | {"clips": clips}))
        assert "The results go to results/probe-alexnet.\n" in ask()[1]
    for there, unlike in (
        (mine | {"seeds": [7], "looks": [3]}, "seeds, looks"),
        (mine | {"clips": [3, 2.0, "inf"]}, "clips"),
        ("mine: x", "its form"),
    ):
        file.write_text(whole := json.dumps(there))
        code, said = ask()
        assert code == 0
        assert re.search(r"The results go to results/probe-alexnet-[0-9a-f]{6}\.\n", said)
        code, said = ask("--out", "results/probe-alexnet")
        assert code == 1
        assert f"was changed since: it differs in {unlike}. Name another folder by --out" in said
        _, said = ask("--out", "results/probe-alexnet", "--optimizer", "adamv")
        assert "did you mean adam?" in said
        assert file.read_text() == whole


def test_a_study_that_has_been_run_is_asked_by_its_file(probed, clipgrid):
    project, run = probed
    asked = clipgrid(project, "probe", "results/probe-net-Tiny.yaml")
    assert asked.returncode == 0, asked.stdout
    advice = next(line for line in run.stdout.splitlines() if "insurance" in line)
    assert advice in asked.stdout


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_table_of_a_clipper_is_enough_for_its_norms(kind, clipgrid, project):
    table = pd.DataFrame({"step": range(1, 101), "norm": [x / 10 for x in range(1, 101)]})
    file = project / f"norms.{kind}"
    table.to_csv(file, index=False) if kind == "csv" else table.to_parquet(file)
    asked = clipgrid(project, "probe", file.name)
    assert asked.returncode == 0, asked.stdout
    assert "λ = 9 clips one step in ten." in asked.stdout
    assert (project / "norms.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("absent.py:Net",), "there is no file"),
        (("net.py:Absent",), "there is no Absent in net.py"),
        (("resnet19",), "did you mean resnet"),
        (("net.py",), "net.py has Tiny; a class is net.py:Tiny to the probe"),
        (("alexnet", "--images", "nowhere"), "no folder nowhere, and no data set of that name; K"),
        (("alexnet", "--images", "digit"), "no data set of that name; did you mean digits?"),
        (("alexnet", "--optimizer", "adamx"), "did you mean adam"),
        (("alexnet", "--learning-rates", "0.1,x"), "must be numbers above 0"),
        (("alexnet", "--learning-rates", "-1"), "must be numbers above 0"),
        (("studies/smoke.yaml",), "run the study first"),
        (("absent.yaml",), "absent.yaml can't be read"),
        (("absent.csv",), "is no table of a Clipper"),
        (("claims.csv",), "is no table of a Clipper"),
    ],
)
def test_what_can_not_be_probed_is_one_error_before_anything_trains(
    arguments, named, project, monkeypatch, capsys
):
    monkeypatch.chdir(project)
    (project / "net.py").write_text(NET)
    (project / "claims.csv").write_text("id,verdict\nC1,refuted\n")
    try:
        code = main(["probe", *arguments])
    except SystemExit as stopped:  # of argparse
        code = stopped.code
    assert code in (1, 2)
    said = capsys.readouterr().err
    assert said.count("error: ") == 1
    assert named in said
    assert not (project / "store").exists()

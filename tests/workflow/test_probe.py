"""`clipgrid probe`, as a person types it: from a model that was not written for clipgrid to a
sentence of advice."""

import pandas as pd
import pytest

from clipgrid.__main__ import main

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
    return project, clipgrid(project, "probe", "net.py:Tiny", *ASKED)


def test_it_ends_in_advice_and_leaves_a_study(probed, snakemake, job_stats):
    project, run = probed
    assert run.returncode == 0, run.stdout
    assert run.stdout.startswith("8 runs of 20 steps, half of them clipped: about 1 min on 2 cores")
    assert "tiny, momentum" in run.stdout
    assert "tune η, and clip as an insurance" in run.stdout
    assert "layer.weight (" in run.stdout
    results = project / "results" / "probe-net-py-Tiny"
    assert (results / "probe.svg").stat().st_size > 5000
    cells = pd.read_csv(results / "cells.csv")
    assert len(cells) == 8
    assert cells.steps_clipped.sum() > 0
    again = snakemake(project, "-n", "--configfile", "results/probe-net-py-Tiny.yaml")
    assert "train" not in job_stats(again.stdout)


def test_a_study_that_was_added_to_is_not_overwritten(probed, clipgrid):
    project, _ = probed
    file = project / "results" / "probe-net-py-Tiny.yaml"
    whole = file.read_text()
    assert clipgrid(project, "probe", "net.py:Tiny", *ASKED, "--dry-run").returncode == 0
    for changed in (
        whole.replace("0.1\n", "0.1, 0.3\n"),
        whole.replace('"inf"', '3, "inf"'),
        "mine: x",
    ):
        assert changed != whole
        file.write_text(changed)
        refused = clipgrid(project, "probe", "net.py:Tiny", *ASKED)
        assert refused.returncode == 1
        assert "was changed since" in refused.stdout
        assert file.read_text() == changed
    file.write_text(whole)


def test_a_study_that_has_been_run_is_asked_by_its_file(probed, clipgrid):
    project, run = probed
    asked = clipgrid(project, "probe", "results/probe-net-py-Tiny.yaml")
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
        (("alexnet", "--images", "nowhere"), "nowhere"),
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

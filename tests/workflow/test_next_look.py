"""A study at its first look, and on to the next ones: what is open trains more seeds, nothing else
does, and what was fixed at the first look stays."""

import pandas as pd
import pytest
import yaml

RULE = {
    **{"statistic": "paired t", "measure": "loss_area", "claim": "same", "margin": "0.001 nats"},
    "cells": {"models": ["alexnet"], "learning_rates": [0.03]},
    **{"arm": {"clips": [0.01]}, "baseline": {"clips": ["inf"]}},
}
CLAIM = {"section": "1", "kind": "comparative", "family": "clipping", "exhibit": "only"}
STUDY = {
    "title": "Looks",
    "data": {"size": 8},
    "models": {"alexnet": {"width": 0.125}},
    "optimizers": {"momentum": {"learning_rates": [0.03]}},
    "clips": [0.01, 1, "inf"],
    "iterations": [4],
    "seeds": [3, 4],
    "looks": [2, 4],
    "claims": "mine.yaml",
    "experiments": {"only": {"title": "Only", "section": "1", "select": [{}]}},
}


@pytest.fixture
def study(project):
    claims = {
        "Q1": {**CLAIM, "statement": "Open.", "rules": [RULE]},
        "Q2": {
            **{**CLAIM, "statement": "Not to be shown."},
            "rules": [{**RULE, "cells": {"models": ["vgg"]}}],
        },
    }
    (project / "mine.yaml").write_text(yaml.safe_dump({"claims": claims}))
    (project / "study.yaml").write_text(yaml.safe_dump(STUDY))
    return project


def test_an_open_claim_goes_on_to_the_next_look(study, snakemake, clipgrid, job_stats):
    run = ("--cores", 2, "--configfile", "study.yaml")
    early = clipgrid(study, "next-look", "study.yaml")
    assert early.returncode == 1
    assert "take the first look" in early.stdout
    assert snakemake(study, *run).returncode == 0
    first = pd.read_csv(study / "results" / "cells.csv").set_index("cell")

    said = clipgrid(study, "next-look", "study.yaml")
    assert said.returncode == 0, said.stdout
    assert "Look 2 of 2, at 4 seeds: 1 claims are open" in said.stdout
    assert "4 runs to train, 16 steps" in said.stdout
    done = snakemake(study, *run)
    assert done.returncode == 0, done.stdout
    second = pd.read_csv(study / "results" / "cells.csv").set_index("cell")
    assert set(second.index) - set(first.index) == {
        f"alexnet_momentum_lr0.03_norm{clip}_none_seed{seed}/T4"
        for clip in ("0.01", "inf")
        for seed in (5, 6)
    }
    pd.testing.assert_frame_equal(second.loc[first.index], first)
    verdicts = pd.read_csv(study / "results" / "claims.csv").set_index("id")
    assert (verdicts.look["Q1"], verdicts.n["Q1"]) == (2, 4)
    assert job_stats(snakemake(study, "-n", *run).stdout) == {}

    assert "No claim is open" in clipgrid(study, "next-look", "study.yaml").stdout
    with (study / "mine.yaml").open("a") as claims:
        claims.write("# a change\n")
    changed = snakemake(study, "-n", *run)
    assert changed.returncode == 1
    assert "claims: not as they were at the first look" in changed.stdout
    assert "Traceback" not in changed.stdout

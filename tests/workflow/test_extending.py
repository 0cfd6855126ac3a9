"""A part of one's own comes by the same door as ours: each example of docs/extending.md is one file
outside of the package, runs through the real Snakemake, and orphans no state that is there."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from clipgrid.study import packs

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
RESULTS = Path("results/own")
PLAIN = {
    "title": "Parts of one's own",
    "results": str(RESULTS),
    "data": {"name": "digits", "size": 8},
    "models": {"alexnet": {"width": 0.125}},
    "optimizers": {"momentum": {"learning_rates": [0.03]}},
    "clips": [1],
    "iterations": [4],
    "augmentations": ["none"],
    "schedules": ["constant"],
    "objectives": ["cross-entropy"],
    "seeds": [0],
    "training": {"evaluate_every": 2},
}
# What a study names of each example; the column of cells.csv that then has its name.
USES = {
    "model": ({"models": {"alexnet": {"width": 0.125}, "lenet5": {}}}, "model", "lenet5"),
    "clip_kind": ({"clips": [1, "relative1.05:warm_up=2"]}, "clip", "relative:warm_up=2"),
    "optimizer": (
        {"optimizers": PLAIN["optimizers"] | {"lion": {"learning_rates": [1e-3]}}},
        *("optimizer", "lion"),
    ),
    "objective": ({"objectives": ["cross-entropy", "focal:gamma=1"]}, "objective", "focal:gamma=1"),
    "augmentation": ({"augmentations": ["none", "flip+cutout"]}, "augmentation", "flip+cutout"),
    "schedule": ({"schedules": ["constant", "linear"]}, "schedule", "linear"),
}


def run(project, snakemake, config, *targets):
    """Run a study to these targets, and say what was printed."""
    (project / "own.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    done = snakemake(project, *targets, "--cores", 2, "--configfile", "own.yaml")
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def plain(new_project, tmp_path_factory, snakemake):
    """A project with a finished study of our parts alone."""
    project = new_project(tmp_path_factory.mktemp("own") / "project")
    run(project, snakemake, PLAIN, RESULTS / "cells.csv")
    return project


@pytest.fixture
def project(plain, tmp_path):
    return shutil.copytree(plain, tmp_path / "project", symlinks=True)


def take(project, *names):
    """Put examples into a folder of the project; the study's `extensions`."""
    (project / "mine").mkdir()
    return [shutil.copy(EXAMPLES / f"{n}.py", project / "mine" / f"{n}.py") and f"mine/{n}.py"
            for n in names]  # fmt: skip


def sessions(project):
    """{run: who trained it when, and how long it took}: the same only of the same training."""
    files = (project / RESULTS / "packs").glob("*.jsonl")
    records = [record for file in files for record in packs.read(file)]
    return {record["run"]: record["sessions"] for record in records if "run" in record}


@pytest.mark.parametrize("kind", USES)
def test_a_part_in_one_file_is_trained_beside_ours_and_retrains_nothing(
    kind, project, plain, snakemake
):
    changes, column, name = USES[kind]
    config = PLAIN | changes | {"extensions": take(project, kind)}
    run(project, snakemake, config, RESULTS / "cells.csv")
    cells = pd.read_csv(project / RESULTS / "cells.csv")
    assert list(cells[column] == name) == [False, True]
    assert cells.test_accuracy.notna().all()
    (known,) = sessions(plain)
    assert sessions(project)[known] == sessions(plain)[known]
    assert len(sessions(project)) == 2
    # A redone cell is told where the part lies.
    assert f"--extensions mine/{kind}.py" in cells.command[1]


def test_a_part_whose_code_changes_is_trained_anew_and_the_others_are_not(project, snakemake):
    config = PLAIN | USES["clip_kind"][0] | {"extensions": take(project, "clip_kind")}
    run(project, snakemake, config, RESULTS / "cells.csv")
    before, cells = sessions(project), pd.read_csv(project / RESULTS / "cells.csv")
    file = project / "mine" / "clip_kind.py"
    text = file.read_text()

    file.write_text(text.replace('label="relative', 'label="Relative') + "\n# A comment.\n")
    assert "Nothing to be done" in run(project, snakemake, config, RESULTS / "cells.csv")

    assert "threshold * average" in text
    file.write_text(text.replace("threshold * average", "0.1 * threshold * average"))
    run(project, snakemake, config, RESULTS / "cells.csv")
    after, again = sessions(project), pd.read_csv(project / RESULTS / "cells.csv")
    own = next(name for name in before if "relative" in name)
    assert after[own] != before[own]
    assert {n: s for n, s in after.items() if n != own} == {
        n: s for n, s in before.items() if n != own
    }
    assert list(again.weights_sha256 == cells.weights_sha256) == [True, False]


def test_a_data_set_in_one_file_is_prepared_and_trained_on(project, snakemake):
    config = PLAIN | {"extensions": take(project, "dataset"), "results": "results/shuffled"}
    config["data"] = {"name": "shuffled-digits", "size": 8}
    run(project, snakemake, config, "results/shuffled/cells.csv")
    about = json.loads((project / "results/shuffled/data.json").read_text())
    assert about["name"] == "shuffled-digits"
    assert sum(about["images"].values()) == 1797


def test_all_examples_together_make_a_report(new_project, tmp_path, snakemake):
    """Claims and figures of one's own too: docs/examples/study.yaml, as the manual runs it."""
    project = new_project(tmp_path / "project")
    shutil.copytree(EXAMPLES, project / "docs" / "examples")
    done = snakemake(project, "--cores", 2, "--configfile", "docs/examples/study.yaml")
    assert done.returncode == 0, done.stdout
    results = project / yaml.safe_load((EXAMPLES / "study.yaml").read_text())["results"]
    claims = pd.read_csv(results / "claims.csv").set_index("id")
    assert list(claims.index) == ["M1", "M2"]
    assert claims.verdict["M2"] == "refuted"
    assert "<svg" in (results / "figures" / "accuracy-by-share.svg").read_text()
    report = (results / "report.html").read_text()
    for shown in ("figure-accuracy-by-share", "Accuracy, by how often clipping fires"):
        assert shown in report


def test_a_published_experiment_is_judged_by_claims_of_its_own(project, snakemake):
    """studies/label-noise, on digits as large as MNIST's, for eight steps."""
    folder = project / "studies" / "label-noise"
    config = yaml.safe_load((folder / "study.yaml").read_text())
    config |= {"data": {"name": "digits", "size": 28}, "iterations": [8], "seeds": [0, 1]}
    claims = (folder / "claims.yaml").read_text()
    assert claims.count("[37500]") == 3
    (folder / "claims.yaml").write_text(claims.replace("[37500]", "[8]"))
    run(project, snakemake, config, "results/label-noise/claims.csv")
    cells = pd.read_csv(project / "results/label-noise/cells.csv")
    assert len(cells) == 8
    assert set(cells.model + cells.optimizer + cells.schedule) == {"lenet5adamexponential"}
    found = pd.read_csv(project / "results/label-noise/claims.csv")
    assert list(found.verdict) == ["inconclusive"] * 3
    assert list(found.n) == [2] * 3


@pytest.mark.parametrize("kind", [*USES, "dataset", "figure", "computation"])
def test_each_example_is_one_file_that_names_nothing_of_a_private_kind(kind):
    text = (EXAMPLES / f"{kind}.py").read_text()
    assert "import _" not in text
    assert len(text.splitlines()) < 60

"""What a reader makes of the project without changing it: a study of a model of its own on a folder
of images, and another paper. Each runs here with fewer steps, by the commands that it names."""

import json
import subprocess
import sys

import pandas as pd
import yaml


def smaller(project, file, **changes):
    """The study with these changes, written beside it; the options that name it."""
    config = yaml.safe_load((project / file).read_text())
    config["training"]["evaluate_every"] = 2
    (project / "smaller.yaml").write_text(yaml.safe_dump(config | changes))
    return "--cores", 2, "--configfile", "smaller.yaml"


def test_a_vision_transformer_is_trained_on_a_folder_of_images(project, snakemake):
    folder = project / "data" / "own-model"
    script = project / "studies/own-model/make_images.py"
    subprocess.run([sys.executable, script, folder], check=True)
    optimizers = {"adamw": {"learning_rates": [1e-3, 1e-2], "weight_decay": 0.05}}
    options = smaller(
        project,
        "studies/own-model/study.yaml",
        **{"optimizers": optimizers, "clips": [1, "inf"], "iterations": [2, 4], "seeds": [0]},
    )
    done = snakemake(project, *options)
    assert done.returncode == 0, done.stdout
    results = project / "results/own-model"
    about = json.loads((results / "data.json").read_text())
    assert about["classes"] == [f"digit-{n}" for n in range(10)]
    assert sum(about["images"].values()) == 1797
    (checked,) = json.loads((results / "parts/model-tiny-vit.json").read_text())
    assert checked["part"] == "model tiny-vit"
    cells = pd.read_csv(results / "cells.csv")
    assert list(cells.model.unique()) == ["tiny-vit"]
    assert (cells.status != "diverged").all()
    assert len(cells) == 8
    report = (results / "report.html").read_text()
    assert "Does a small vision transformer need clipping?" in report
    assert "Tiny ViT" in (results / "tables/vit.html").read_text() + report


def test_another_paper_is_made_of_four_files(project, snakemake):
    options = smaller(
        project, "examples/label-smoothing/study.yaml", iterations=[4], seeds=[0, 1, 2]
    )
    done = snakemake(project, *options)
    assert done.returncode == 0, done.stdout
    results = project / "results/label-smoothing"
    cells = pd.read_csv(results / "cells.csv")
    assert sorted(cells.objective.unique()) == [
        *("cross-entropy", "smoothed:epsilon=0.1", "smoothed:epsilon=0.3")
    ]
    assert len(cells) == 18
    claims = pd.read_csv(results / "claims.csv").set_index("id")
    assert list(claims.index) == ["S1", "S2", "S3", "S4", "S5"]
    assert claims.verdict["S5"] == "supported"
    assert "smoothed labels (epsilon=0.1) less cross-entropy" in claims.reason["S1"]
    report = " ".join((results / "report.html").read_text().split())
    abstract = report.partition('<section id="claims">')[0]
    assert "5 statements were checked." in abstract
    assert "Is that so where images are few?" in abstract
    assert abstract.count("<tr><td>") == 6, abstract  # arms
    assert "clipping" not in abstract.partition("<main>")[2]
    figures = {path.stem for path in (results / "figures").glob("*.svg")}
    assert figures == {"accuracy-by-smoothing", "forest", "smoothing-curves"}

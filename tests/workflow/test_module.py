"""Another project takes the workflow as a module: from the package that is installed, and with a
study that is a part of its own config."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SNAKEFILE = """
import clipgrid


configfile: "config.yaml"


module clipping:
    snakefile:
        clipgrid.snakefile()
    config:
        config["clipping"]


use rule * from clipping as clipping_*


rule count:
    default_target: True
    input:
        config["clipping"]["results"] + "/cells.csv",
    output:
        "count.txt",
    shell:
        "wc -l < {input} > {output}"
"""
CONFIG = {
    "ours": {"whatever": 1},
    "clipping": {
        "title": "A part of another project",
        "results": "results/clipping",
        "data": {"name": "digits", "size": 8},
        "models": {"alexnet": {"width": 0.125}},
        "optimizers": {"momentum": {"learning_rates": [0.03]}},
        "clips": [1, "inf"],
        "iterations": [2],
        "seeds": [0],
    },
}


@pytest.fixture(scope="module")
def installed(new_project, tmp_path_factory):
    """A folder in which the package lies as pip installs it, and no checkout."""
    folder = tmp_path_factory.mktemp("installed")
    checkout = new_project(folder / "checkout")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout / name)
    try:  # else pip fetches it
        isolated = int(version("setuptools").partition(".")[0]) < 77
    except PackageNotFoundError:
        isolated = True
    options = ["--quiet", "--no-deps", *["--no-build-isolation"] * (not isolated)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *options]
    subprocess.run([*pip, "--target", folder / "packages", checkout], check=True)
    shutil.rmtree(checkout)
    return folder / "packages"


@pytest.fixture
def run(installed, tmp_path):
    """A function: snakemake in a project of a few lines, with this config."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)

    def snakemake(config, *arguments):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(installed)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return snakemake


def test_another_project_uses_a_studys_results_and_report(run, tmp_path):
    done = run(CONFIG, "count", "clipping_all")
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "count.txt").read_text().split() == ["3"]
    cells = pd.read_csv(tmp_path / "results/clipping/cells.csv")
    assert list(cells.threshold) == [1, float("inf")]
    assert "A part of another project" in (tmp_path / "results/clipping/report.html").read_text()


def test_a_fault_of_its_config_is_one_error(run, tmp_path):
    wrong = {**CONFIG, "clipping": CONFIG["clipping"] | {"clips": [0]}}
    done = run(wrong, "-n")
    assert done.returncode != 0
    heading = "clipgrid: error: the module's config can't be run; 1 fault:"
    assert f"{heading}\n  clips[0]: must be above 0" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (tmp_path / "results").exists()

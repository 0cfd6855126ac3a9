"""What the tests of whole studies share: a project to run in, and the commands that a person would
type; the smoke study, run to its end once."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

# Tests that a shell starts in the background would ignore Ctrl-C, and so would what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
PARTS = (
    "Snakefile",
    "config.yaml",
    "claims.yaml",
    "profiles",
    "slurm",
    "workflow",
    "src",
    "notebooks",
    "report",
    "envs",
    "studies",
    "examples",
)


def copy_project(target: Path) -> Path:
    """A project at `target` of which nothing has been run."""
    target.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, target / part, ignore=ignored)
        else:
            shutil.copy2(ROOT / part, target / part)
    return target


def start_module(
    project: Path, module: str, *arguments: object, **options: Any
) -> subprocess.Popen[str]:
    """`python -m module …` in the project, under way; stdout and stderr are one text."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=project,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(project / "src")},
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **options},
    )


def run_module(project: Path, module: str, *arguments: object) -> subprocess.CompletedProcess:
    """`python -m module …` in the project, ended: exit code, and stdout and stderr as one text."""
    with start_module(project, module, *arguments) as process:
        output, _ = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def count_jobs(dry_run: str) -> dict[str, int]:
    """The first `Job stats` table of a dry run: {rule: count}. Empty where nothing is to be done.

    Its lines are `job count`, a rule of dashes, the jobs, and their total.
    """
    table = re.search(r"^Job stats:\n.*\n-.*\n((?:\S+ +\d+\n)+)", dry_run, re.MULTILINE)
    rows = [line.split() for line in table[1].splitlines()] if table else []
    return {rule: int(count) for rule, count in rows if rule != "total"}


@pytest.fixture(scope="session")
def new_project():
    return copy_project


@pytest.fixture
def project(tmp_path):
    """A project of this test's own, of which nothing has been run."""
    return copy_project(tmp_path / "project")


@pytest.fixture(scope="session")
def start():
    return start_module


@pytest.fixture(scope="session")
def snakemake():
    return lambda project, *arguments: run_module(project, "snakemake", *arguments)


@pytest.fixture(scope="session")
def clipgrid():
    return lambda project, *arguments: run_module(project, "clipgrid", *arguments)


@pytest.fixture(scope="session")
def job_stats():
    return count_jobs


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory, worker_id):
    """A project in which the one command ran the smoke study, and what it printed. Run once for
    all workers: the first that asks does it, the others wait. Only to be read."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder if worker_id == "master" else folder.parent) / "smoke"
    project, record = folder / "project", folder / "run.json"
    with FileLock(f"{folder}.lock"):
        if not record.exists():
            folder.mkdir()
            copy_project(project)
            study = ("--configfile", "studies/smoke.yaml")
            run = run_module(project, "snakemake", "--cores", 2, *study)
            record.write_text(json.dumps([run.args, run.returncode, run.stdout]))
    return project, subprocess.CompletedProcess(*json.loads(record.read_text()))


@pytest.fixture(scope="session")
def finished(smoke_run):
    """The project with its finished study. Tests read it; those that run jobs take a copy."""
    project, run = smoke_run
    assert run.returncode == 0, run.stdout
    return project


@pytest.fixture(scope="session")
def browser():
    """The system's Chromium, without a network."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        pytest.fail(
            "The report is tested in Chromium, and none was found: apt install chromium"
            f" (looked for {', '.join(CHROMIUM)} on the PATH)",
            pytrace=False,
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND"],
        )
        yield browser
        browser.close()

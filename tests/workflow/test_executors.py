"""Where jobs run: by another executor of Snakemake's, as no rule knows of SLURM; on one GPU."""

import re

SUBMIT = """#!/bin/sh
# A queue that starts each job at once, in the background.
nohup "$1" > /dev/null 2>&1 &
echo $!
"""


def test_jobs_submitted_by_a_command_make_the_same_tables(project, snakemake, smoke_run):
    script = project / "submit.sh"
    script.write_text(SUBMIT)
    script.chmod(0o755)
    how = ("--executor", "cluster-generic", "--cluster-generic-submit-cmd", script, "--jobs", 2)
    table = "results/smoke/cells.csv"
    run = snakemake(project, table, *how, "--configfile", "studies/smoke.yaml")
    assert run.returncode == 0, run.stdout
    assert "with external jobid" in run.stdout
    assert (project / table).read_text() == (smoke_run[0] / table).read_text()


def test_on_one_machine_gpu_jobs_take_turns(project, snakemake):
    how = ("--configfile", "studies/smoke.yaml", "--config", "training={device: cuda}")
    prepared = ("results/smoke/data.pt", "results/smoke/study.json")
    assert snakemake(project, *prepared, "--cores", 4, *how).returncode == 0
    run = snakemake(project, "results/smoke/cells.csv", "--cores", 4, "--keep-going", *how)
    # Here they fail, for there is no GPU.
    assert run.returncode == 1
    assert run.stdout.count("runs failed: device: torch finds no CUDA device here") == 4
    assert re.findall(r"Execute (\d+) jobs", run.stdout) == ["1"] * 4

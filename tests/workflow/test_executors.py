"""The same rules through another of Snakemake's executors: nothing in them knows of SLURM."""

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

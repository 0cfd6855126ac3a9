# The study, its grid, and where things lie. All that needs thought is in src/clipgrid.

import os
import shlex
import sys
from collections import defaultdict
from math import ceil
from pathlib import Path

from snakemake.exceptions import WorkflowError

# Relative, so that a checkout that is moved makes nothing anew.
ROOT = Path(
    os.path.relpath(workflow.current_basedir.get_path_or_uri(secret_free=True))
).parent.parent
SRC = (ROOT / "src").resolve()
sys.path.insert(0, str(SRC))
# Jobs run the code that lies here, whatever their environment has installed.
shell.prefix(f"export PYTHONPATH={shlex.quote(str(SRC))}; ".replace("{", "{{").replace("}", "}}"))

from clipgrid.judging import claims
from clipgrid.reporting import text
from clipgrid.study import cost, grid, config as study

# A config file on the command line replaces config.yaml: one file is one study.
if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


try:
    for file in workflow.configfiles:
        study.read(Path(file))
    STUDY = study.parse(config, ", ".join(map(str, workflow.configfiles)))
    claims.load(Path(STUDY.claims))
except study.StudyError as error:
    raise WorkflowError(str(error))

files = workflow.storage_settings
if files.default_storage_provider or "input-output" not in map(str, files.shared_fs_usage):
    raise WorkflowError(
        "clipgrid's jobs must share this folder: a run's states and checkpoints go to store/, which"
        " no rule declares, so that no storage plugin would carry them. Give the jobs a shared file"
        " system or volume, and leave out --shared-fs-usage and --default-storage-provider."
    )

RESULTS = STUDY.results
SETTINGS = text.label(study.settings(STUDY))
CELLS = grid.cells(STUDY)
RUNS = grid.trajectories(CELLS)


def run_seconds(trajectory, readouts):
    return cost.seconds(trajectory, readouts, STUDY.data)


# What each job trains, by the name of its first run; and by the endings of the names and the readouts
# of a pack, which make a rule, what the names of its packs begin with.
PACKS = {pack[0].name: pack for pack in grid.packs(RUNS, run_seconds, STUDY.training.job_seconds)}
BY_ENDS = defaultdict(list)
for pack in PACKS.values():
    beginning = grid.beginning(pack)
    ends = [(t.name.removeprefix(beginning), *(readout.name for readout in RUNS[t])) for t in pack]
    BY_ENDS[tuple(ends)].append(beginning)


# What starts a run's processes: torchrun, where they are several.
PYTHON = "python"
if STUDY.training.gpus_per_run > 1:
    PYTHON = f"torchrun --standalone --nproc-per-node {STUDY.training.gpus_per_run}"


def pack_minutes(pack):
    """The time that a job asks for: three times the estimate, as processors differ."""
    estimate = cost.START_SECONDS + sum(run_seconds(t, RUNS[t]) for t in pack)
    return 5 + ceil(3 * estimate / 60)


def pack_memory_mb(pack):
    return max(cost.memory_mb(t, RUNS[t], STUDY.data)[0] for t in pack)


def failed():
    """(what, log, its last line) of the data, and of each pack, that were tried and lack results."""
    log = Path(RESULTS, "logs", "prepare_data.log")
    if log.exists() and not Path(RESULTS, "data.pt").exists():
        yield "prepared", log, (log.read_text().splitlines() or [""])[-1]
    for name, pack in PACKS.items():
        log = Path(RESULTS, "logs", "train", f"{name}.log")
        # A run writes this file last.
        if log.exists() and not all(
            Path(RESULTS, "cells", t.name, "run.json").exists() for t in pack
        ):
            yield "trained", log, (log.read_text().splitlines() or [""])[-1]


# What the jobs ask for that read the histories of all runs. That they need no GPU must be said where
# a site's profile names a type of GPU.
ANALYSIS = {
    "mem_mb": cost.analysis_mb(sum(readouts[-1].iterations for readouts in RUNS.values())),
    "runtime": 30,
    "gpu": 0,
}


# On one machine GPU jobs wait for each other (profiles/default says how many there are); on a
# cluster each gets its own.
resource_scopes:
    gpu="local",


# Those of the document have a page each.
DOCUMENTED = [name for name, experiment in STUDY.experiments.items() if experiment.section]


def section(wildcards):
    """The report's category of an experiment: the document's section and title."""
    experiment = STUDY.experiments[wildcards.experiment]
    return text.label(f"2 Section {experiment.section}, {experiment.title}")

# The study, its grid, and where things lie. All that needs thought is in src/clipgrid.

import os
import shlex
import sys
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
path = shlex.quote(str(SRC)) + "${PYTHONPATH:+:$PYTHONPATH}"
shell.prefix(f"export PYTHONPATH={path}; ".replace("{", "{{").replace("}", "}}"))

from clipgrid.judging import claims
from clipgrid.reporting import figures, text
from clipgrid.study import cells, config as study, cost, further, grid, packs, parts

# A config file on the command line replaces config.yaml: one file is one study.
if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


try:
    for file in workflow.configfiles:
        study.read(Path(file))
    STUDY = further.extended(study.parse(config, ", ".join(map(str, workflow.configfiles))))
    CLAIMS = claims.load(Path(STUDY.claims)) if STUDY.claims else None
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
RUNS = cells.runs_of(grid.cells(STUDY))
# The experiments with a page of their own.
PAGES = list(STUDY.pages)
if taken := {"cells", "settings", "claims", "external", "checklist", "judgements", "study"} & set(
    PAGES
):
    raise WorkflowError(
        f"experiments.{min(taken)}: the report has a page of this name already; choose another"
    )


# What each job trains, by name.
PACKS = {pack.name: pack for pack in packs.of_study(STUDY, RUNS)}


# What starts a run's processes: torchrun, where they are several.
PYTHON = "python"
if STUDY.training.gpus_per_run > 1:
    PYTHON = f"torchrun --standalone --nproc-per-node {STUDY.training.gpus_per_run}"


def pack_minutes(pack):
    """The time that a job asks for: three times the estimate, as processors differ."""
    return 5 + ceil(3 * packs.seconds(pack, STUDY) / 60)


def pack_memory_mb(pack):
    return max(cost.memory_mb(t, r, STUDY.data)[0] for t, r in pack.runs.items())


def failed():
    """(what, log, its last line) of the data, and of each pack, that were tried and lack results."""
    tried = [("prepared", "prepare_data", Path(RESULTS, "data.pt"))]
    tried += [("trained", f"train/{name}", packs.files(Path(RESULTS), name)[0]) for name in PACKS]
    for what, log, result in tried:
        log = Path(RESULTS, "logs", f"{log}.log")
        if log.exists() and not result.exists():
            yield what, log, (log.read_text().splitlines() or [""])[-1]


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


def section(wildcards):
    """The report's category of an experiment: the article's section and title."""
    experiment = STUDY.experiments[wildcards.experiment]
    of_article = f"Section {experiment.section}, " if experiment.section else ""
    return text.label(f"2 {of_article}{experiment.title}")


def table_label(wildcards):
    of_article = STUDY.experiments[wildcards.experiment].section
    return {"exhibit": "1 Stated and measured" if of_article else "1 Measured"}


def run_notebook(*parameters):
    """The command that executes a notebook: into the log, so that one that fails leaves its
    traceback there."""
    return (
        "( papermill {input.notebook:q} {log.notebook:q} -k python3 --no-progress-bar"
        f" -r results {{params.results:q}} {' '.join(parameters)}"
        " && cp {log.notebook:q} {output.notebook:q}"
        ' && jupyter nbconvert --to html --output-dir "$(dirname {output.page:q})" {output.notebook:q}'
        " --HTMLExporter.mathjax_url= --HTMLExporter.require_js_url= --HTMLExporter.jquery_url="
        " ) 2> {log.text:q}"
    )

# The study, its grid, and where things lie. All that needs thought is in src/clipgrid.

import logging
import os
import re
import shlex
import signal
import sys
from math import ceil
from pathlib import Path

from snakemake.common import NOTHING_TO_BE_DONE_MSG
from snakemake.logging import ColorizingTextHandler, logger
from snakemake.settings.enums import Quietness

# Relative, so that a checkout that is moved makes nothing anew.
ROOT = Path(
    os.path.relpath(workflow.current_basedir.get_path_or_uri(secret_free=True))
).parent.parent
# The code lies in src/ of a checkout; where it is installed, this folder lies in the package.
SRC = next(
    folder.resolve()
    for folder in (ROOT / "src", ROOT.parent.parent)
    if (folder / "clipgrid").is_dir()
)
# Another project may take this workflow as a module: its `config` is then the study.
AS_MODULE = not workflow.modifier.is_main_snakefile()


def refuse(error):
    """End with this error alone: of an exception Snakemake would say where it came from."""
    sys.exit(f"clipgrid: error: {error}")


# PYTHONPATH splits at a colon, and Snakemake takes {word} for a wildcard.
for folder, signs in ((SRC, "[:{}]"), (Path.cwd(), "[{}]")):
    if re.search(signs, str(folder)):
        refuse(
            f"{folder} has a colon or a brace in its path, which PYTHONPATH or Snakemake takes for"
            " something else; move this folder to another place"
        )

# Jobs run the code that lies here, whatever their environment has installed.
if not AS_MODULE:
    sys.path.insert(0, str(SRC))
    path = shlex.quote(str(SRC)) + "${PYTHONPATH:+:$PYTHONPATH}"
    shell.prefix(f"export PYTHONPATH={path}; ".replace("{", "{{").replace("}", "}}"))

from clipgrid import InputError
from clipgrid.judging import claims
from clipgrid.reporting import exhibits, figures, text
from clipgrid.study import cells, config as study, cost, further, grid, packs, parts, trials, watch

# Before Snakemake reads it, whose errors are others.
try:
    for file in [] if AS_MODULE else workflow.configfiles or ["config.yaml"]:
        if not isinstance(content := study.read(Path(file)), dict):
            study.parse(content, str(file))
except InputError as error:
    refuse(error)

# A config file on the command line replaces config.yaml: one file is one study.
if not AS_MODULE and not workflow.overwrite_configfiles:

    configfile: "config.yaml"


try:
    named = "the module's config" if AS_MODULE else ", ".join(map(str, workflow.configfiles))
    STUDY = further.extended(study.parse(config, named))
    CLAIMS = exhibits.claims_of(STUDY)
    if STUDY.start_page:
        text.own(STUDY.start_page)
    RUNS = cells.runs_of(grid.cells(STUDY))
    # What each job trains, by name.
    PACKS = {pack.name: pack for pack in packs.of_study(STUDY, RUNS)}
    # What tries each part that isn't ours before runs with it are trained, by name.
    TRIALS = trials.of(RUNS)
except (InputError, OSError) as error:
    refuse(error)

files = workflow.storage_settings
if files.default_storage_provider or "input-output" not in map(str, files.shared_fs_usage):
    refuse(
        "clipgrid's jobs must share this folder: a run's states and checkpoints go to store/, which"
        " no rule declares, so that no storage plugin would carry them. Give the jobs a shared file"
        " system or volume, and leave out --shared-fs-usage and --default-storage-provider."
    )

RESULTS = STUDY.results
SETTINGS = text.label(study.settings(STUDY))
# The experiments with a page of their own.
PAGES = list(STUDY.pages)


# What starts a run's processes: torchrun, where they are several.
PYTHON = "python"
if STUDY.training.gpus_per_run > 1:
    PYTHON = f"torchrun --standalone --nproc-per-node {STUDY.training.gpus_per_run}"


# Who silences Snakemake's rules, as `make paper` does, sees our progress in the place of its own.
WATCH = None
silent = {Quietness.RULES, Quietness.PROGRESS} & set(workflow.output_settings.quiet or ())


def is_for_a_person(record):
    return record.levelno > logging.INFO or record.msg == NOTHING_TO_BE_DONE_MSG


if silent == {Quietness.RULES} and workflow.is_main_process and not (workflow.dryrun or AS_MODULE):
    WATCH = watch.Watch(STUDY, PACKS.values(), workflow.resource_settings.cores or 1)
    logger.addHandler(WATCH)
    for handler in logger.handlers:
        if type(handler) is ColorizingTextHandler:
            handler.addFilter(is_for_a_person)


def pack_minutes(pack):
    """The time that a job asks for: three times the estimate, as processors differ."""
    return 5 + ceil(3 * packs.seconds(pack, STUDY) / 60)


def pack_memory_mb(pack):
    return max(cost.memory_mb(t, r, STUDY.data)[0] for t, r in pack.runs.items())


def begun():
    """(what, log, its time) of the data, the checks of parts, and each pack, that were begun and
    lack results."""
    jobs = [("prepared", "prepare_data", Path(RESULTS, "data.pt"))]
    jobs += [("sound", f"parts/{name}", Path(RESULTS, "parts", f"{name}.json")) for name in TRIALS]
    jobs += [("trained", f"train/{name}", packs.files(Path(RESULTS), name)[0]) for name in PACKS]
    for what, log, result in jobs:
        log = Path(RESULTS, "logs", f"{log}.log")
        if log.exists() and not result.exists():
            yield what, log, log.stat().st_mtime_ns


BEFORE_US = []  # what was begun before this session


def failed():
    """(what, log, its last line) of what was begun in this session and lacks results."""
    for what, log, time in begun():
        if (what, log, time) not in BEFORE_US:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            yield what, log, (lines or [""])[-1]


STOPPED = []


def stop(number, frame):
    """At Ctrl-C the jobs save and end, which is no error of theirs. Snakemake waits for them."""
    if WATCH:
        WATCH.ended.set()
    if not STOPPED:
        os.write(2, b"\nclipgrid: stopped; the same command goes on from here\n")
        logger.addFilter(lambda record: record.levelno < logging.ERROR)
    STOPPED.append(128 + number)
    sys.exit(128 + number)


# Not where it is ignored, as by what a script starts in the background.
if workflow.is_main_process and not AS_MODULE and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, stop)


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
        # What only sets up stands in the notebook, and not on the page that one reads.
        " --TagRemovePreprocessor.enabled=True"
        " --TagRemovePreprocessor.remove_input_tags=setup"
        " --TagRemovePreprocessor.remove_input_tags=parameters"
        " --TagRemovePreprocessor.remove_input_tags=injected-parameters"
        " ) 2> {log.text:q}"
    )

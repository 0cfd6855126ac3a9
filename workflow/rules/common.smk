# The study, its grid, and where things lie. All that needs thought is in src/clipgrid.

import os
import shlex
import sys
from collections import defaultdict
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

from clipgrid import claims, grid, study

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

RESULTS = STUDY.results
SETTINGS = study.settings(STUDY)
CELLS = grid.cells(STUDY)
TRAJECTORIES = grid.trajectories(CELLS)
BY_NAME = {trajectory.name: trajectory for trajectory in TRAJECTORIES}

# Trajectories that are looked at after the same T's and decays make files of the same names.
BY_READOUTS = defaultdict(list)
for trajectory, readouts in TRAJECTORIES.items():
    BY_READOUTS[tuple(readout.name for readout in readouts)].append(trajectory)


# Those of the document have a page each.
DOCUMENTED = [name for name, experiment in STUDY.experiments.items() if experiment.section]


def section(wildcards):
    """The report's category of an experiment: the document's section and title."""
    experiment = STUDY.experiments[wildcards.experiment]
    return f"2 Section {experiment.section}: {experiment.title}"

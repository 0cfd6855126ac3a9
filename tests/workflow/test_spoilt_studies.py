"""Studies that chance has spoilt, through the real `snakemake`: what can't be run is said without a
traceback, and nothing else fails."""

import pytest
import yaml
from spoilt import FIRST, MANY, example

from clipgrid.judging import claims
from clipgrid.study import config
from clipgrid.study.faults import StudyError


def is_sound(path, project):
    try:
        study = config.load(path)
        if study.claims:
            claims.load(project / study.claims)
    except StudyError:
        return False
    return True


@pytest.mark.parametrize("number", range(FIRST, FIRST + max(1, MANY // 300)))
@pytest.mark.parametrize("what", ["a study", "the text of a study"])
def test_a_spoilt_study_is_planned_or_refused_without_a_traceback(
    what, number, project, snakemake, monkeypatch
):
    monkeypatch.chdir(project)
    _, content = example(what, number)
    file = project / ("config.yaml" if number % 2 else "mine.yaml")
    file.write_text(content if "text" in what else yaml.safe_dump(content), encoding="utf-8")
    named = () if number % 2 else ("--configfile", file.name)
    run = snakemake(project, "-n", "--quiet", *named)
    assert "Traceback" not in run.stdout
    assert (run.returncode == 0) == is_sound(file, project), run.stdout

"""What a claim can name as its exhibit, and the claims of a study, each of which names one."""

import difflib
from pathlib import Path

from clipgrid.judging import claims
from clipgrid.judging.claims import Claims
from clipgrid.reporting import figures
from clipgrid.study.config import Study
from clipgrid.study.faults import StudyError, listed, suggest

ALIKE = 0.8  # of 1; "alexnte" and "alexnet" are at 0.86, "resnet" and "alexnet" at 0.62


def names(study: Study) -> list[str]:
    """Of the exhibits of a study's report: tables of experiments, that of the claims, figures."""
    return sorted({*study.pages, "claims", *(part.name for part in figures.of(study))})


def claims_of(study: Study) -> Claims | None:
    """The claims of a study, if it has any. StudyError where they can't be judged, and where one's
    exhibit is but for a letter or two one of the report's. (Of many studies that share a file of
    claims, some lack an exhibit.)"""
    if study.claims is None:
        return None
    found, known = claims.load(Path(study.claims)), names(study)
    faults = [
        (
            f"claims.{key}.exhibit",
            f"the report has no {claim.exhibit!r}; {suggest(claim.exhibit, known)}",
        )
        for key, claim in found.claims.items()
        if claim.exhibit not in known
        and difflib.get_close_matches(claim.exhibit, known, cutoff=ALIKE)
    ]
    if faults:
        raise StudyError(listed(faults, f"the claims in {study.claims} can't be shown"))
    return found

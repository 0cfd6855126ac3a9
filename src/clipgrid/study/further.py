"""The looks of a study: with more seeds where claims are open, as a file beside its results says.
`next-look` writes it; it is the stamp of what was fixed when the first look was taken."""

import hashlib
import json
from pathlib import Path
from typing import Any

from clipgrid.study.config import Selected, Study
from clipgrid.study.faults import StudyError, listed


def file(study: Study) -> Path:
    return Path(study.results, "look.json")


def stamp(study: Study) -> dict[str, Any]:
    """What must not change between looks: these, their first seeds, the rules and families."""
    assert study.claims
    claims = hashlib.sha256(Path(study.claims).read_bytes()).hexdigest()
    return {"looks": study.looks, "seeds": study.values("seeds"), "claims": claims}


def seeds(study: Study, look: int) -> list[int]:
    """The seeds of a look, counted from 1: those of the study, and the numbers that follow."""
    assert study.looks
    given = study.values("seeds")
    more = study.looks[look - 1] - len(given)
    return [*given, *range(max(given) + 1, max(given) + 1 + more)]


def extended(study: Study) -> Study:
    """The study with the cells that open claims go on with. StudyError where what was fixed at its
    first look was changed since."""
    if not study.looks or not file(study).exists():
        return study
    kept = json.loads(file(study).read_text())
    why = (
        f"not as they were at look {kept['look'] - 1}: what is fixed no more confirms nothing. Put"
        f" it back, or begin anew with seeds that nobody has seen, and without {file(study)}"
    )
    faults = [(key, why) for key, value in stamp(study).items() if value != kept["stamp"][key]]
    if faults:
        raise StudyError(listed(faults, "the study can't go on"))
    further = [Selected.model_validate(selection) for selection in kept["further"]]
    return study.model_copy(update={"further": further})

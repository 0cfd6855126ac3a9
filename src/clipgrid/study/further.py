"""The looks of a study: what was fixed at the first one, and which cells have more seeds since.
Both stand in `look.json` beside the results: `judge` writes it at the first look, `next-look` then.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from clipgrid.files import aside
from clipgrid.study.config import Selected, Study
from clipgrid.study.faults import StudyError, listed


def file(study: Study) -> Path:
    return Path(study.results, "look.json")


def stamp(study: Study) -> dict[str, Any]:
    """What must not change between looks: these, their first seeds, the rules and families."""
    claims = Path(study.claims) if study.claims else None
    digest = hashlib.sha256(claims.read_bytes()).hexdigest() if claims and claims.exists() else None
    return {"looks": study.looks, "seeds": study.values("seeds"), "claims": digest}


def seeds(study: Study, look: int) -> list[int]:
    """The seeds of a look, counted from 1: those of the study, and the numbers that follow."""
    assert study.looks
    given = study.values("seeds")
    more = study.looks[look - 1] - len(given)
    return [*given, *range(max(given) + 1, max(given) + 1 + more)]


def freeze(study: Study) -> None:
    """Keep what is fixed from the first look on."""
    if study.looks and not file(study).exists():
        write(study, look=1, selections=[])


def write(study: Study, look: int, selections: list[dict[str, Any]]) -> None:
    kept = {"look": look, "stamp": stamp(study), "further": selections}
    with aside(file(study), "w") as text:
        text.write(json.dumps(kept, indent=1) + "\n")


def extended(study: Study) -> Study:
    """The study with the cells that open claims go on with. StudyError where what was fixed at its
    first look was changed since, and for a file that can't be read."""
    path = file(study)
    if not path.exists():
        return study
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        frozen, look = kept["stamp"], kept["look"]
        further = [Selected.model_validate(selection) for selection in kept["further"]]
        changed = [key for key, value in stamp(study).items() if value != frozen[key]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = (
            f"can't be read ({type(error).__name__}): delete it, and go from look to look again;"
            " what is trained is found in store/"
        )
        raise StudyError(listed([(str(path), why)], "the study can't go on")) from None
    if changed:
        why = (
            f"not as they were at the first look (the study is at look {look}): what is fixed no"
            " more confirms nothing. Put it back, or begin anew with seeds that nobody has seen,"
            f" and without {path}"
        )
        raise StudyError(listed([(key, why) for key in changed], "the study can't go on"))
    return study.model_copy(update={"further": further})

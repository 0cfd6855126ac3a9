"""The pages of the report that the rules write: cells and settings; verdicts; the start page, the
checklist and the LaTeX document of all tables."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from clipgrid.judging import claims
from clipgrid.judging.aggregate import read_cells
from clipgrid.judging.evidence import Evidence
from clipgrid.judging.verdicts import judge as judge_claims
from clipgrid.judging.verdicts import read_claims
from clipgrid.reporting import tables, text, verdicts
from clipgrid.reporting.checklist import checklist
from clipgrid.reporting.start_page import start_page
from clipgrid.study import config
from clipgrid.study.config import Study


def cells_pages(path: Path) -> None:
    """Write the pages of the report that show all cells and all settings of the study at `path`."""
    results = path.parent
    cells = read_cells(results)
    pages = results / "tables"
    pages.mkdir(exist_ok=True)
    (pages / "cells.html").write_text(tables.cells_page(cells, f"All {len(cells)} cells"))
    files = [results / name for name in ("study.json", "data.json", "trained.json")]
    settings = text.page("files.html", title="Settings and provenance", files=files)
    (pages / "settings.html").write_text(settings)


def judge(path: Path, claims_file: Path) -> None:
    """Write `claims.csv` beside the study at `path`, and below `tables/` the claims and the
    published facts, as HTML and LaTeX."""
    study, results = config.load(path), path.parent
    table = judge_claims(claims.load(claims_file), Evidence(study, results))
    table.to_csv(results / "claims.csv", index=False, float_format="%.6g")
    (results / "tables").mkdir(exist_ok=True)
    about = {"claims_file": claims_file.name, "sha256": claims.digest(claims_file)}
    external = table.section == "external"
    title = "The claims, judged"
    verdicts.save(table[~external], results / "tables" / "claims", title, **about)
    title = "External validation: published facts, tried here"
    verdicts.save(table[external], results / "tables" / "external", title, **about)


def pages(path: Path) -> None:
    """Write beside the study at `path` `workflow.rst`, the start page, and `tables.tex`, a LaTeX
    document of all tables; below `tables/` the reproducibility checklist."""
    study, results = config.load(path), path.parent
    evidence = Evidence(study, results)
    about = judged(study, results), json.loads((results / "trained.json").read_text())
    (results / "workflow.rst").write_text(start_page(evidence, *about))
    (results / "tables" / "checklist.html").write_text(checklist(evidence, *about))
    names = [*study.pages, *(["claims", "external"] if study.claims else [])]
    document = text.page("tables.tex", title=text.latex(study.title), names=names)
    (results / "tables.tex").write_text(document)


def judged(study: Study, results: Path) -> dict[str, Any]:
    """What the pages say of the claims: their table, their file and its checksum, the article."""
    if not study.claims:
        none = pd.DataFrame(columns=["section", "exhibit", "reason", "decided_by"], dtype=str)
        return {"claims": none, "claims_file": "", "sha256": "", "article": None}
    file = Path(study.claims)
    return {
        "claims": read_claims(results),
        "claims_file": file.name,
        "sha256": claims.digest(file),
        "article": claims.load(file).article,
    }

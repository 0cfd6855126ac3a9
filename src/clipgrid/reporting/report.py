"""What the rules write of a study: pages of its cells and settings; verdicts; the checklist and the
LaTeX document of all tables; and the report, which has all of it."""

from pathlib import Path
from typing import Any

import pandas as pd

from clipgrid.judging import claims, sums
from clipgrid.judging.aggregate import read_cells
from clipgrid.judging.evidence import Evidence
from clipgrid.judging.sequential import Plan
from clipgrid.judging.verdicts import ALPHA, NUMBERS, read_claims, typed
from clipgrid.judging.verdicts import judge as judge_claims
from clipgrid.reporting import tables, text, verdicts
from clipgrid.reporting.checklist import checklist
from clipgrid.reporting.one_page import one_page
from clipgrid.study import config, further
from clipgrid.study.config import Study


def cells_pages(path: Path) -> None:
    """Write the pages of the report that show all cells and all settings of the study at `path`."""
    results = path.parent
    cells = read_cells(results)
    pages = results / "tables"
    pages.mkdir(exist_ok=True)
    page = tables.cells_page(cells, f"All {len(cells)} cells")
    (pages / "cells.html").write_text(page, encoding="utf-8")
    settings = files_page(results)
    (pages / "settings.html").write_text(settings, encoding="utf-8")


def files_page(results: Path, layout: str = "page.html") -> str:
    """The files that say what was run, as they are."""
    files = [results / name for name in ("study.json", "data.json", "trained.json")]
    return text.page("files.html", layout=layout, title="Settings and provenance", files=files)


def judge(path: Path, claims_file: Path) -> None:
    """Write `claims.csv` and `findings.csv` beside the study at `path`, and their checksums; below
    `tables/` the claims and the published facts, as HTML and LaTeX."""
    study, results = config.load(path), path.parent
    further.freeze(study)
    file = claims.load(claims_file)
    table, findings = judge_claims(file, Evidence(study, results))
    for name, one in (("claims", table), ("findings", findings)):
        one.to_csv(results / f"{name}.csv", index=False, float_format="%.6g")
    sums.seal(results, {}, sums.JUDGED)
    (results / "tables").mkdir(exist_ok=True)
    about = {
        "claims_file": claims_file.name,
        "sha256": claims.digest(claims_file),
        "frozen": file.frozen,
        "looks": looks(study, table),
    }
    external = table.section == "external"
    title = "The claims, judged"
    verdicts.save(table[~external], findings, results / "tables" / "claims", title, **about)
    title = "External validation: published facts, tried here"
    verdicts.save(table[external], findings, results / "tables" / "external", title, **about)
    if file.frozen and file.frozen.before:
        page = verdicts.judgements(table, Path(file.frozen.before))
        (results / "tables" / "judgements.html").write_text(page, encoding="utf-8")


def looks(study: Study, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Of each look of the plan: its seeds, the part of the level that is spent by then, the p below
    which it decides, and whether it has been taken. None where all seeds are looked at once."""
    if not study.looks:
        return []
    plan = Plan(tuple(study.looks))
    each = zip(study.looks, plan.spent(ALPHA), plan.nominal(ALPHA), strict=True)
    return [
        {
            "seeds": n,
            "spent": f"{100 * spent:.2g}" if spent > 1e-5 else "less than 0.001",
            "p": f"{p:.2g}",
            "taken": (table.look > k).any(),
        }
        for k, (n, spent, p) in enumerate(each)
    ]


def pages(path: Path) -> None:
    """Write beside the study at `path` `tables.tex`, a LaTeX document of all tables, and
    `workflow.rst`, what Snakemake's own report opens with; below `tables/` the checklist."""
    study, results = config.load(path), path.parent
    evidence = Evidence(study, results)
    start = text.page("workflow.html", title=study.title)
    (results / "workflow.rst").write_text(text.as_caption(start), encoding="utf-8")
    page = checklist(evidence, judged(study, results), sums.summary(results))
    (results / "tables" / "checklist.html").write_text(page, encoding="utf-8")
    names = [*study.pages, *(["claims", "external"] if study.claims else [])]
    document = text.page("tables.tex", title=text.latex(study.title), names=names)
    (results / "tables.tex").write_text(document, encoding="utf-8")


def report(path: Path) -> None:
    """Write `report.html` beside the study at `path`, of the figures and tables that lie there."""
    study, results = config.load(path), path.parent
    evidence = Evidence(study, results)
    about, trained, bare = judged(study, results), sums.summary(results), "bare.html"
    before = about["frozen"] and about["frozen"].before
    fragments = {
        "checklist": checklist(evidence, about, trained, bare),
        "files": files_page(results, bare),
        "judgements": verdicts.judgements(about["claims"], Path(before), bare) if before else "",
    }
    page = one_page(evidence, about, trained, fragments)
    (results / "report.html").write_text(page, encoding="utf-8")


def judged(study: Study, results: Path) -> dict[str, Any]:
    """What the pages say of the claims: their tables, their file and its checksum, the article."""
    if not study.claims:
        columns = ["id", "section", "exhibit", "reason", "decided_by", "verdict", *NUMBERS]
        none = typed(pd.DataFrame(columns=columns, dtype=str))
        return {
            **{"claims": none, "findings": none, "claims_file": "", "sha256": ""},
            **{"article": None, "frozen": None, "looks": []},
        }
    file, table = Path(study.claims), read_claims(results)
    said = claims.load(file)
    return {
        "claims": table,
        "findings": read_claims(results, "findings"),
        "claims_file": file.name,
        "sha256": claims.digest(file),
        "article": said.article,
        "frozen": said.frozen,
        "looks": looks(study, table),
    }

"""The pages of the report that the rules write: cells and settings, verdicts and checklist."""

from pathlib import Path

from clipgrid.judging import claims
from clipgrid.judging.aggregate import read_cells
from clipgrid.judging.evidence import Evidence
from clipgrid.judging.verdicts import judge as judged
from clipgrid.reporting import tables, text, verdicts
from clipgrid.reporting.checklist import checklist
from clipgrid.study import config


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
    """Write `claims.csv` beside the study at `path`, and below `tables/` the claims as HTML and
    LaTeX, the published facts likewise, the reproducibility checklist, and a LaTeX document of
    all tables."""
    study, results = config.load(path), path.parent
    table = judged(claims.load(claims_file), Evidence(study, results))
    table.to_csv(results / "claims.csv", index=False, float_format="%.6g")
    pages = results / "tables"
    pages.mkdir(exist_ok=True)
    sha256 = claims.digest(claims_file)
    external = table.section == "external"
    about = {"claims_file": claims_file.name, "sha256": sha256}
    verdicts.save(table[~external], pages / "claims", "The article's claims, judged", **about)
    title = "External validation: published facts, tried here"
    verdicts.save(table[external], pages / "external", title, **about)
    (pages / "checklist.html").write_text(checklist(study, results, table, sha256))
    names = [*(n for n, e in study.experiments.items() if e.section), "claims", "external"]
    document = text.page("tables.tex", title=text.latex(study.title), names=names)
    (pages / "all.tex").write_text(document)

"""No link of a report leads nowhere: those of each study that comes with clipgrid, from made-up
results, against the files that its run would make."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from clipgrid.judging import claims, sums
from clipgrid.reporting import figures, report
from clipgrid.study import axes, grid
from clipgrid.study import config as study

ROOT = Path(__file__).parents[2]
STUDIES = ["config.yaml", *(f"studies/{p.name}" for p in sorted((ROOT / "studies").glob("*.yaml")))]
MEASURED = {
    **{"status": "finished", "steps": 1, "steps_clipped": 0, "clip_fraction": 0.0},
    **{"test_accuracy": 0.5, "validation_accuracy": 0.5, "test_loss": 1.0},
    **{"norm_max": 1.0, "command": ""},
}
JUDGED = {
    **{"verdict": "inconclusive", "how": "", "reason": "", "decided_by": "test", "look": 1, "n": 0},
    **dict.fromkeys(("measure", "unit", "compared", "above", "source", "phrase"), ""),
    **dict.fromkeys(("effect", "low", "high", "margin", "p", "p_of_look", "p_against"), None),
    **dict.fromkeys(("model_effect", "model_low", "model_high", "model_inside"), None),
    "rule": 1,
}
DATA = {
    **{"name": "x", "source": "x", "licence": "x", "checksum": "0"},
    **{"images": {"train": 1, "validation": 1, "test": 1}, "own_splits": []},
    **{"unreadable": [], "converted": {}, "classes": ["a", "b"]},
}
TRAINED = {
    **{"cells": 1, "trajectories": 1, "steps_asked": 1, "steps_trained": 1},
    **{"training_seconds": 1.0, "evaluation_seconds": 1.0, "readout_seconds": 1.0},
    **{key: ["x"] for key in ("device", "processor", "python", "torch", "commit")},
}


def make_up(s, results):
    """Results of a study, as they lie before its pages are written: all cells, all claims."""
    for name in ("tables", "figures"):
        (results / name).mkdir()
    for name in [*(part.name for part in figures.of(s)), *(f"{n}-curves" for n in s.pages)]:
        (results / "figures" / f"{name}.svg").write_text("<svg></svg>")
    (results / "study.json").write_text(study.to_json(s))
    (results / "data.json").write_text(json.dumps(DATA))
    cells = [
        {
            **{"cell": cell.name, "trajectory": cell.trajectory.name, **axes.row(cell)},
            **{"experiments": " ".join(experiments), **MEASURED},
        }
        for cell, experiments in grid.members(s).items()
    ]
    pd.DataFrame(cells).to_csv(results / "cells.csv", index=False)
    sums.seal(results, TRAINED)
    if s.claims:
        rows = [
            {**JUDGED, "id": key, "exhibit": c.exhibit, "section": c.section, "statement": "x"}
            for key, c in claims.load(Path(s.claims)).claims.items()
        ]
        for name in ("claims", "findings"):
            pd.DataFrame(rows).to_csv(results / f"{name}.csv", index=False)
        sums.seal(results, {}, sums.JUDGED)


@pytest.fixture(scope="module")
def project(new_project, tmp_path_factory):
    return new_project(tmp_path_factory.mktemp("links") / "project")


@pytest.mark.parametrize("path", STUDIES)
def test_each_link_of_a_studys_report_leads_to_a_file_of_it(
    path, project, snakemake, tmp_path, monkeypatch
):
    monkeypatch.chdir(ROOT)
    s = study.load(Path(path))
    make_up(s, tmp_path)
    report.pages(tmp_path / "study.json")
    report.report(tmp_path / "study.json")

    run = snakemake(project, "--dry-run", "--configfile", path)
    assert run.returncode == 0, run.stdout
    made = re.findall(r"^    output: (.*)$", run.stdout, re.MULTILINE)
    made = {name for names in made for name in names.split(", ")}

    page = BeautifulSoup((tmp_path / "report.html").read_text(), "html.parser")
    links = {a["href"] for a in page("a") if not a["href"].startswith("#verdict=")}
    ids = {f"#{tag['id']}" for tag in page(id=True)}
    assert len(links & ids) > 5
    files = {link if link[0] == "#" else f"{s.results}/{link.split('#')[0]}" for link in links}
    assert files <= ids | made
    tables = re.findall(r"\\input{(.*?)}", (tmp_path / "tables.tex").read_text())
    assert tables
    assert {f"{s.results}/{name}" for name in tables} - made == set()

"""`report.html`: the abstract, each claim with what is behind it, every exhibit, all cells. It is a
file that needs no network and nothing beside it."""

import base64
import hashlib
import html
import json
import re
import shlex
from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd

from clipgrid.judging import aggregate, claims
from clipgrid.judging.evidence import Evidence
from clipgrid.judging.rules import Computation
from clipgrid.reporting import figures, tables, text, verdicts
from clipgrid.reporting.abstract import abstract
from clipgrid.reporting.arms import clips_in, reported, sweep
from clipgrid.reporting.compared import Sides, compared
from clipgrid.reporting.figures import learning_curves
from clipgrid.reporting.overview import arms, computing, outcomes, weights_and_images
from clipgrid.study import config, parts
from clipgrid.study.config import Study

ENLARGED = 1.4

Exhibits = dict[str, dict[str, Any]]
"""By name: an `id` to link to, a title, and of figures a caption, the image as a data URI and, of
one where nothing is drawn, why."""


def one_page(
    evidence: Evidence,
    judged: dict[str, Any],
    trained: dict[str, Any],
    fragments: dict[str, str],
) -> str:
    """The page. `judged` is what `report.judged` gives, `fragments` are parts of it as HTML."""
    study, table, findings = evidence.study, judged["claims"], judged["findings"]
    external = table.section == "external"
    own, facts = verdicts.by_decision(table[~external]), verdicts.by_decision(table[external])
    cells = reported(evidence)
    said = claims.load(Path(study.claims)) if study.claims else None
    sides = compared(said, evidence, findings) if said else {}
    drawn = images(evidence)
    experiments = of_experiments(evidence)
    names = ["accuracy" if sweep(evidence.cells).empty else "heat-map", *drawn]
    main = next((drawn[n] for n in names if n in drawn and not drawn[n]["nothing"]), None)
    by_category = defaultdict(list)
    for part in figures.of(study):
        if drawn[part.name] is not main:
            by_category[part.about["category"]].append(drawn[part.name])
    for chapter in by_category.values():
        chapter.sort(key=lambda one: bool(one["nothing"]))  # which come last
    script = text.source("page.js") + text.source("report.js")
    ours = "report.html"
    return text.page(
        text.own(study.start_page) if study.start_page else ours,
        base=ours,
        **judged | {"claims": own},
        **fragments,
        study=study,
        number=int((~external).sum()),
        facts=facts,
        all_verdicts=verdicts.tally(table),
        found=abstract(evidence, table[~external], judged["looks"]),
        main=main,
        effects=by_category.pop(figures.VERDICTS, []),
        external=by_category.pop(figures.EXTERNAL, []),
        chapters=by_category,
        experiments=experiments,
        exhibits={**{one["name"]: one for one in experiments}, **drawn},
        rules=rules(findings, sides, said),
        judging=command_to_judge(study),
        sections=[e.section for e in study.experiments.values() if e.section],
        settings=config.settings(study),
        data=evidence.about,
        data_label=parts.find("dataset", study.data.name).label,
        outcomes=outcomes(cells),
        clips=[c.label for c in clips_in(cells)],
        arms=arms(cells),
        weights_and_images=weights_and_images(cells),
        trained=trained,
        computing=computing(trained),
        effect=verdicts.effect,
        cells_data=data(evidence.cells, findings, sides),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def images(evidence: Evidence) -> Exhibits:
    """The figures of a study."""
    return {
        part.name: {
            "id": f"figure-{part.name}",
            "title": part.label,
            "caption": part.about["caption"],
            **image(evidence.results / "figures" / f"{part.name}.svg"),
        }
        for part in figures.of(evidence.study)
    }


def of_experiments(evidence: Evidence) -> list[dict[str, Any]]:
    """The experiments with a page: what one finds of each in the report."""
    found = []
    for name, experiment in evidence.study.pages.items():
        cells = aggregate.of_experiment(evidence.cells, name)
        section = f"Section {experiment.section}: " if experiment.section else ""
        found.append(
            {
                "name": name,
                "id": f"section-{name}",
                "title": section + experiment.title,
                "table": tables.display(tables.experiment_table(cells, experiment)),
                "notebook": f"notebooks/{name}.html",
                "curves": {
                    "id": f"curves-{name}",
                    "title": "Learning curves",
                    "caption": learning_curves.CAPTION,
                    **image(evidence.results / "figures" / f"{name}-curves.svg"),
                },
            }
        )
    return found


def command_to_judge(study: Study) -> str:
    """What a person types to have all verdicts computed again."""
    files = ["--study", f"{study.results}/study.json", "--claims", str(study.claims)]
    return shlex.join(["python", "-m", "clipgrid", "judge", *files])


def image(file: Path) -> dict[str, Any]:
    """A figure as a data URI; its width on a screen, which is larger than on paper; why nothing is
    drawn, where nothing is."""
    svg = file.read_bytes()
    found = re.search(rb'width="([0-9.]+)pt"', svg)
    why = re.search(rb"<dc:description>(.*?)</dc:description>", svg, re.DOTALL)
    return {
        "source": "data:image/svg+xml;base64," + base64.b64encode(svg).decode(),
        "width": round(ENLARGED * 4 / 3 * float(found[1])) if found else "",
        "nothing": html.unescape(why[1].decode()) if why else "",
    }


def rules(
    findings: pd.DataFrame, sides: dict[tuple[str, int], Sides], said: claims.Claims | None
) -> dict[str, list[dict[str, Any]]]:
    """By claim what each of its rules found, in words; the name of one that is a computation; how
    many cells one compared."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in findings.itertuples():
        assert said  # that there are findings
        rule = said.claims[row.id].rules[row.rule - 1]
        found[row.id].append(
            {
                "number": row.rule,
                "found": verdicts.found(row),
                "reason": row.reason,
                "computation": rule.name if isinstance(rule, Computation) else "",
                "sides": [(words, len(cells)) for words, cells in sides[row.id, row.rule]],
            }
        )
    return found


def data(cells: pd.DataFrame, findings: pd.DataFrame, sides: dict[tuple[str, int], Sides]) -> str:
    """What the page's script reads, as JSON that can stand in HTML: all cells as rows of text, and
    by claim, rule and side the numbers of the rows that were compared."""
    shown = tables.shown_cells(cells)
    at = {name: i for i, name in enumerate(cells.cell)}
    numbers: dict[str, dict[int, list[list[int]]]] = defaultdict(dict)
    for (claim, rule), found in sides.items():
        numbers[claim][rule] = [[at[name] for name in names] for _, names in found]
    whole = {
        "columns": list(shown.columns),
        "cells": shown.to_numpy().tolist(),
        "compared": numbers,
    }
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")

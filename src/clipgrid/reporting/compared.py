"""The cells behind each claim: those that its rules compared, at the look that judged them."""

from functools import cache
from typing import Any

import pandas as pd

from clipgrid.judging.claims import Claims
from clipgrid.judging.evidence import Evidence
from clipgrid.judging.rules import Contrast, Decides, Never, Paired, Stated
from clipgrid.judging.strata import Lookup, Missing
from clipgrid.judging.verdicts import seeds_that_judge
from clipgrid.judging.wording import names

Sides = list[tuple[str, list[str]]]
"""What is compared, in words, and the names of its cells."""


def compared(
    claims: Claims, evidence: Evidence, findings: pd.DataFrame
) -> dict[tuple[str, int], Sides]:
    """By claim and number of a rule (from 1) the cells that it looked at. A computation, which
    chooses its own, has none here, and neither has a rule whose cells the study lacks."""
    seeds = seeds_that_judge(claims, evidence)
    looks = evidence.study.looks or [len(seeds)]
    usual = claims.usual.words

    @cache  # a few looks serve all rules
    def lookup(n: int | None) -> Lookup:
        return Lookup(evidence, usual, None if n is None else seeds[:n])

    found = {}
    for row in findings.itertuples():
        rule = claims.claims[row.id].rules[row.rule - 1]
        if not isinstance(rule, Contrast):
            found[row.id, row.rule] = sides(lookup(None), rule)
        elif pd.isna(row.look):  # no seed judges
            found[row.id, row.rule] = []
        else:
            found[row.id, row.rule] = sides(lookup(looks[row.look - 1]), rule)
    return found


def sides(lookup: Lookup, rule: Decides) -> Sides:
    """The cells of a rule's arm and baseline, or those that it counts or measures."""
    try:
        if isinstance(rule, Contrast):
            gain = isinstance(rule, Paired) and rule.gain
            found = [one for end in (["start", "end"] if gain else [""])
                     for one in lookup.pairs(rule, end)]  # fmt: skip
            return [
                (
                    names(getattr(rule, side).words, unsaid=False),
                    cells(row for one in found for row in getattr(one, side).values()),
                )
                for side in ("arm", "baseline")
            ]
        if isinstance(rule, Never | Stated):
            return [(names(rule.cells.words, unsaid=False), cells(lookup.cells(rule.cells.words)))]
    except Missing:
        return []
    return []


def cells(rows: Any) -> list[str]:
    return list(dict.fromkeys(row.cell for row in rows))

"""Findings → a verdict on each claim, by its own rules and nothing else."""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clipgrid import InputError
from clipgrid.judging import statistics, sums
from clipgrid.judging.claims import Claim, Claims
from clipgrid.judging.evidence import Evidence
from clipgrid.judging.findings import Finding, find
from clipgrid.judging.hypotheses import REFUTED, Tests, outcome
from clipgrid.judging.rules import Contrast, Rule
from clipgrid.judging.sequential import Plan
from clipgrid.judging.strata import Lookup
from clipgrid.judging.wording import listed

ALPHA = 0.05
NUMBERS = {
    **dict.fromkeys(("margin", "effect", "low", "high", "p_of_look"), "float64"),
    **dict.fromkeys(("p", "p_against"), "float64"),
    **dict.fromkeys(("sign_flip_p", "cohens_d", "seeds_from", "seeds_to"), "float64"),
    **dict.fromkeys(("model_effect", "model_low", "model_high", "model_inside"), "float64"),
    **{"n": "int64", "look": "Int64", "rule": "int64"},
}
"""The columns of claims.csv and findings.csv that aren't text."""
VERDICTS = (
    *("supported", "partly", "depends", "refuted", "no effect that matters", "inconclusive"),
    *("ill-posed", "self-contradicted", "not applicable", "not comparable"),
)
FINAL = ("ill-posed", "self-contradicted")  # of one rule, of the claim: nothing changes it
ASIDE = (
    "not applicable",
    "not comparable",
)  # of a rule that says nothing of the claim's other half


@dataclass(eq=False)
class Judged:
    """A rule on its way through the looks: the p's that it has so far, as levels of the whole plan,
    and what was found at the latest look, until one decided."""

    rule: Rule
    family: str
    finding: Finding = field(default_factory=Finding)
    look: int | None = None
    levels: Tests = field(default_factory=dict)
    adjusted: Tests = field(default_factory=dict)
    verdict: str = "inconclusive"
    how: str = ""

    @property
    def p(self) -> float:
        return self.adjusted.get("support", math.nan)

    @property
    def p_against(self) -> float:
        against = [p for name, p in self.adjusted.items() if name in (*REFUTED, "within")]
        return min(against, default=math.nan)


def judge(claims: Claims, evidence: Evidence) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row a claim, in the file's order; and a row a rule, of each claim the one that decided
    first."""
    seeds = seeds_that_judge(claims, evidence)
    judged = {
        key: [Judged(rule, claim.family) for rule in claim.rules]
        for key, claim in claims.claims.items()
    }
    every = [one for rules in judged.values() for one in rules]
    at_the_looks(every, evidence, claims.usual.words, seeds)
    lookup = Lookup(evidence, claims.usual.words)
    for one in every:
        if not isinstance(one.rule, Contrast):
            one.finding = find(lookup, one.rule)
            one.verdict = one.finding.verdict
    for key, rules in judged.items():
        if unknown := {one.verdict for one in rules} - set(VERDICTS):
            known = ", ".join(VERDICTS)
            raise InputError(f"claims.{key}: {unknown.pop()!r} is no verdict. Known: {known}")
    tables = [list(rows(key, claims.claims[key], rules)) for key, rules in judged.items()]
    findings = pd.DataFrame([row for table in tables for row in table])
    first = pd.DataFrame([table[0] for table in tables])
    whole = pd.DataFrame(
        [of_claim(key, claims.claims[key], rules) for key, rules in judged.items()]
    )
    shown = first.drop(columns=["id", "rule", "verdict", "how", "reason"])
    return typed(whole.join(shown)), typed(findings)


def seeds_that_judge(claims: Claims, evidence: Evidence) -> list[int]:
    """The seeds that have run and hadn't been looked at when the rules were fixed, in the order in
    which looks take them."""
    there, seen = evidence.cells.seed.unique().tolist(), claims.seen(evidence.about["name"])
    first = evidence.study.values("seeds")
    return [k for k in [*first, *sorted(set(there) - set(first))] if k in there and k not in seen]


def at_the_looks(
    every: list[Judged], evidence: Evidence, usual: dict[str, list[str]], seeds: list[int]
) -> None:
    """Judge the rules that compare cells at each look that there are seeds for; one that is decided
    stays so. Without seeds, there is one thing to say of all."""
    tested = [one for one in every if isinstance(one.rule, Contrast)]
    plan = Plan(tuple(evidence.study.looks or [max(1, len(seeds))]))
    if not seeds:
        nothing = "Its seeds were looked at before the rules were fixed, so they confirm nothing. "
        for one in tested:
            one.finding = Finding(verdict="inconclusive", reason=nothing)
    looks = [n for n in plan.looks if n <= len(seeds)] or ([len(seeds)] if seeds else [])
    for k, n in enumerate(looks):
        lookup = Lookup(evidence, usual, seeds[:n])
        open_ones = [one for one in tested if one.verdict == "inconclusive"]
        for one in open_ones:
            finding = find(lookup, one.rule)
            apart = len(lookup.choosing) if one.rule.tuned else 0
            if k and finding.n and finding.pairs < n - apart:
                continue  # its cells haven't come to this look
            one.finding, one.look = finding, k + 1
            if finding.verdict:
                one.verdict = finding.verdict
                continue
            of_rule = Plan(tuple(look - apart for look in plan.looks))
            for name, p in finding.tests.items():
                level = float(of_rule.level(p, k))
                one.levels[name] = float(np.fmin(level, one.levels.get(name, math.nan)))
        correct(tested)
        for one in open_ones:
            if not one.finding.verdict:
                shown = {name for name, p in one.adjusted.items() if p < ALPHA}
                one.verdict, one.how = outcome(shown)


def correct(tested: list[Judged]) -> None:
    """Holm's correction within each family, of each thing that may be shown."""
    families = defaultdict(list)
    for one in tested:
        for name in one.levels:
            families[one.family, name].append(one)
    for (_, name), members in families.items():
        levels = statistics.holm([one.levels[name] for one in members])
        for one, level in zip(members, levels, strict=True):
            one.adjusted[name] = float(level)


# ---- a claim, of its rules -----------------------------------------------------------------------


def verdict_of(verdicts: list[str]) -> str:
    """The verdict on a statement, of those on its rules, which are its halves."""
    for final in FINAL:
        if final in verdicts:
            return final
    known = [v for v in verdicts if v not in ASIDE]
    if not known:
        return verdicts[0]
    for open_one in ("inconclusive", "depends"):
        if open_one in known:
            return open_one
    fails = [v for v in known if v in ("refuted", "no effect that matters")]
    if len(fails) == len(known):
        return "refuted" if "refuted" in fails else fails[0]
    whole = len(known) == len(verdicts) and set(known) == {"supported"}
    return "supported" if whole else "partly"


def deciding(verdict: str, rules: list[Judged]) -> Judged:
    """The rule that a claim's verdict rests on."""
    tested = [one for one in rules if not math.isnan(one.p)]
    if verdict == "supported" and tested:
        return max(tested, key=lambda one: one.p)
    if verdict == "refuted":
        refuting = [one for one in rules if one.verdict == verdict]
        return min(refuting, key=lambda one: -1.0 if math.isnan(one.p_against) else one.p_against)
    wanted = [verdict, "refuted", "no effect that matters", "supported"]
    return min(rules, key=lambda one: [*wanted, one.verdict].index(one.verdict))


def of_claim(key: str, claim: Claim, rules: list[Judged]) -> dict[str, Any]:
    """What a claim's row of claims.csv begins with."""
    verdict = verdict_of([one.verdict for one in rules])
    first = deciding(verdict, rules)
    reasons = [explained(one) for one in (first, *(r for r in rules if r is not first))]
    return {
        "id": key,
        "section": claim.section,
        "phrase": claim.phrase or "",
        "kind": claim.kind,
        "family": claim.family,
        "statement": claim.statement,
        "verdict": verdict,
        "how": first.how if verdict == first.verdict else halves(rules),
        "exhibit": claim.exhibit,
        "source": claim.source or "",
        "reason": "".join(dict.fromkeys(reasons)).strip(),
    }


def halves(rules: list[Judged]) -> str:
    """How many rules have which verdict."""
    each = [one.verdict for one in rules]
    return "of its rules " + listed([f"{each.count(v)} {v}" for v in VERDICTS if v in each])


def explained(one: Judged) -> str:
    """A rule's reason, with how its verdict came about, and of an undecided one what would help."""
    finding, how = one.finding, one.how
    if one.verdict in ("depends", "refuted") and finding.where and how != REFUTED["opposite"]:
        return f"{how[0].upper()}{how[1:]}: {finding.where}. " + finding.reason
    if one.verdict != "inconclusive" or finding.verdict:
        return finding.reason
    if finding.n == 1:
        return "There is one seed, so nothing is known about the spread. " + finding.reason
    if math.isnan(finding.seeds[0]):
        return finding.reason
    low, high = (f"{n:,.0f}" if n < 10_000 else "more than 10,000" for n in finding.seeds)
    return f"One look would take {low} to {high} seeds, as far as these can tell. " + finding.reason


def rows(key: str, claim: Claim, rules: list[Judged]) -> Iterator[dict[str, Any]]:
    """Rows of findings.csv."""
    first = deciding(verdict_of([one.verdict for one in rules]), rules)
    for one in sorted(rules, key=lambda one: one is not first):
        found, model = one.finding, one.finding.model()
        yield {
            "id": key,
            "rule": rules.index(one) + 1,
            "verdict": one.verdict,
            "how": one.how,
            "decided_by": one.rule.decided_by,
            "look": one.look,
            "measure": found.measure,
            "compared": found.compared,
            "above": found.above,
            "unit": found.unit,
            "margin": found.margin,
            "effect": found.effect,
            "low": found.low,
            "high": found.high,
            "p_of_look": found.tests.get("support", math.nan),
            "p": one.p,
            "p_against": one.p_against,
            "n": found.n,
            "sign_flip_p": statistics.sign_flip(found.values),
            "cohens_d": statistics.cohens_d(found.values),
            "seeds_from": found.seeds[0],
            "seeds_to": found.seeds[1],
            "model_effect": model.estimate,
            "model_low": model.low,
            "model_high": model.high,
            "model_inside": model.inside,
            "reason": explained(one).strip(),
        }


# ---- the tables ----------------------------------------------------------------------------------


def typed(table: pd.DataFrame) -> pd.DataFrame:
    return table.astype({name: kind for name, kind in NUMBERS.items() if name in table})


def read_claims(results: Path, name: str = "claims") -> pd.DataFrame:
    """claims.csv, or findings.csv, as it was written: a statement such as `None` is text."""
    return pd.read_csv(
        sums.checked(results, f"{name}.csv"),
        dtype=defaultdict(lambda: "str", NUMBERS),
        keep_default_na=False,
        na_values={name: [""] for name in NUMBERS},
    )

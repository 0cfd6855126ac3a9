"""Findings → a verdict on each claim, by its own rules and nothing else."""

import math
from collections import defaultdict
from pathlib import Path

import pandas as pd

from clipgrid import InputError
from clipgrid.judging import statistics
from clipgrid.judging.claims import Claim, Claims
from clipgrid.judging.evidence import Evidence
from clipgrid.judging.findings import Finding, find
from clipgrid.judging.strata import Lookup

ALPHA = 0.05
NUMBERS = {
    **dict.fromkeys(("effect", "low", "high", "p", "p_against"), "float64"),
    **dict.fromkeys(("sign_flip_p", "cohens_d", "superiority"), "float64"),
    **{"n": "int64", "seeds_needed": "Int64"},
}
"""The columns of claims.csv that aren't text."""
VERDICTS = (
    "supported",
    "refuted",
    "inconclusive",
    "ill-posed",
    "self-contradicted",
    "not comparable",
)


def judge(claims: Claims, evidence: Evidence) -> pd.DataFrame:
    """A row a claim, in the file's order."""
    lookup = Lookup(evidence, claims.usual.words)
    families = defaultdict(list)
    for key, claim in claims.claims.items():
        families[claim.family].append(key)
    findings = {
        key: [find(lookup, rule, ALPHA / len(families[claim.family])) for rule in claim.rules]
        for key, claim in claims.claims.items()
    }
    for key, found in findings.items():
        if unknown := {f.verdict for f in found} - {"", *VERDICTS}:
            known = ", ".join(VERDICTS)
            raise InputError(f"claims.{key}: {unknown.pop()!r} is no verdict. Known: {known}")
    support = {key: weakest(found) for key, found in findings.items()}
    against = {key: strongest(found) for key, found in findings.items()}
    for keys in families.values():
        for p in (support, against):
            p |= dict(zip(keys, statistics.holm([p[key] for key in keys]).tolist(), strict=True))
    rows = [
        row(key, claim, findings[key], support[key], against[key])
        for key, claim in claims.claims.items()
    ]
    return pd.DataFrame(rows).astype(NUMBERS)


def read_claims(results: Path) -> pd.DataFrame:
    """claims.csv as it was written: a statement such as `None` is text."""
    return pd.read_csv(
        results / "claims.csv",
        dtype=defaultdict(lambda: "str", NUMBERS),
        keep_default_na=False,
        na_values={name: [""] for name in NUMBERS},
    )


def weakest(found: list[Finding]) -> float:
    """The p for all of several rules: the largest, of those that are tested; NaN where one should
    be and wasn't, or the claim's verdict needs no p."""
    p_values = [f.support for f in found if f.verdict != "supported"]
    untested = not p_values or any(map(math.isnan, p_values))
    return math.nan if untested else max(p_values)


def strongest(found: list[Finding]) -> float:
    """The p against one of several rules, by Bonferroni; those that weren't tested say nothing."""
    tested = [f.against for f in found if not math.isnan(f.against)]
    final = any(f.verdict in VERDICTS[3:] for f in found)
    return math.nan if final or not tested else min(len(tested) * min(tested), 1.0)


def deciding(verdict: str, found: list[Finding]) -> Finding:
    """The finding that a claim's verdict rests on, among those of its rules."""
    tested = [f for f in found if not f.verdict]
    fixed = [f for f in found if f.verdict == verdict]
    if verdict == "inconclusive":
        undecided = [f for f in found if f in fixed or (f in tested and not f.support < ALPHA)]
        if undecided:
            return undecided[0]
    elif fixed and not (verdict == "supported" and tested):
        return fixed[0]
    elif verdict == "refuted":
        return min((f for f in tested if not math.isnan(f.against)), key=lambda f: f.against)
    return max(tested, key=lambda f: f.support)


def row(key: str, claim: Claim, found: list[Finding], support: float, against: float) -> dict:
    """A row of claims.csv."""
    fixed = [f.verdict for f in found]
    final = [v for v in VERDICTS[3:] if v in fixed]  # what no p changes
    if final:
        verdict = final[0]
    elif "refuted" in fixed or against < ALPHA:
        verdict = "refuted"
    elif set(fixed) == {"supported"} or ("inconclusive" not in fixed and support < ALPHA):
        verdict = "supported"
    else:
        verdict = "inconclusive"
    shown = deciding(verdict, found)
    reason = "".join(dict.fromkeys(f.reason for f in found))
    needed = None
    if verdict == "refuted" and shown.counterexample:
        reason = f"It doesn't hold in general: {shown.counterexample}. " + reason
    elif verdict == "inconclusive":
        tested = [f for f in found if not f.verdict]
        undecided = [f for f in tested if not f.support < ALPHA] or tested
        if any(f.n == 1 for f in tested):
            reason = "There is one seed, so nothing is known about the spread. " + reason
        elif undecided and all(f.seeds_needed for f in undecided):
            needed = max(f.seeds_needed or 0 for f in undecided)
            reason = (
                f"If effect and spread stay as they are, about {needed} seeds decide. " + reason
            )
    return {
        "id": key,
        "section": claim.section,
        "phrase": claim.phrase or "",
        "kind": claim.kind,
        "family": claim.family,
        "statement": claim.statement,
        "verdict": verdict,
        "decided_by": claim.rules[found.index(shown)].decided_by,
        "measure": shown.measure,
        "unit": shown.unit,
        "effect": shown.effect,
        "low": shown.low,
        "high": shown.high,
        "p": support,
        "p_against": against,
        "n": shown.n,
        "sign_flip_p": shown.sign_flip_p,
        "cohens_d": shown.cohens_d,
        "superiority": shown.superiority,
        "seeds_needed": needed,
        "exhibit": claim.exhibit,
        "source": claim.source or "",
        "reason": reason.strip(),
    }

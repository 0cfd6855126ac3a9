"""What a rule says of a difference ("higher", "not lower", "same", …) as hypotheses, each with its
p, and what follows from those that are shown. All p's are two-sided."""

import math
from collections.abc import Sequence

import numpy as np

from clipgrid.judging import statistics
from clipgrid.judging.statistics import above, below, seed_values, tost

Tests = dict[str, float]
"""The p's of what may be shown: `support`, that the statement holds; `opposite`, that its opposite
does; `small`, that there is less than the smallest difference that matters; `within`, that there is
none either way; `elsewhere`, that it fails in one stratum, by more than that difference; `there`,
that it holds in one by as much; `fails`, that the arm's runs fail more often."""


def of_difference(
    claim: str, margin: float, table: np.ndarray, nets: Sequence[str], somewhere: bool = False
) -> Tests:
    """Of a statement about differences [strata, seeds], NaN where there is none; `nets` are those
    of the strata.

    In general, "higher" and "different" are said of the mean over strata, and have to hold without
    any one of the nets too; one stratum with the opposite of "higher", beyond the margin, speaks
    against it. "not lower" and "same" are said of each stratum. `somewhere`: of at least one, by
    more than the margin.
    """
    if claim in ("lower", "not higher"):
        flipped = {"lower": "higher", "not higher": "not lower"}[claim]
        return of_difference(flipped, margin, -table, nets, somewhere)
    mean, strata = seed_values(table), [row[~np.isnan(row)] for row in table]
    if somewhere:
        p = {
            "support": any_of([above(row, margin) for row in strata]),
            "opposite": max(below(row, 0) for row in strata),
            "small": max(below(row, margin) for row in strata),
            "within": max(tost(row, margin) for row in strata),
        }
        return {name: two_sided(value) for name, value in p.items()}
    of_mean, of_strata = (
        one_sided(claim, margin, mean),
        [one_sided(claim, margin, s) for s in strata],
    )
    if claim in ("not lower", "same"):
        support = max(p["holds"] for p in of_strata)
    else:
        table = np.asarray(table)
        without = [table[[net != one for one in nets]] for net in dict.fromkeys(nets)]
        parts = [mean] if len(without) < 2 else [mean, *map(seed_values, without)]
        support = max(one_sided(claim, margin, part)["holds"] for part in parts)
    p = {name: of_mean[name] for name in ("opposite", "small", "within") if name in of_mean}
    if len(strata) > 1 and claim != "different":
        p["elsewhere"] = any_of([s["beyond"] for s in of_strata])
        p["there"] = any_of([s["there"] for s in of_strata])
        p = {name: 2 * value for name, value in p.items()}  # what speaks against it is two tests
    return {name: two_sided(value) for name, value in {"support": support, **p}.items()}


def one_sided(claim: str, margin: float, values: np.ndarray) -> Tests:
    """The p's of one mean."""
    differs = min(above(values, margin), below(values, -margin))  # either side will do
    within = tost(values, margin)
    lower = below(values, -margin)
    match claim:
        case "higher":
            small, opposite = below(values, margin), below(values, 0)
            p = {"holds": above(values, 0), "opposite": opposite, "small": small, "within": within}
            return p | {"beyond": lower, "there": above(values, margin)}
        case "not lower":
            holds = above(values, -margin)
            return {"holds": holds, "opposite": lower, "beyond": lower, "there": holds}
        case "same":
            return {"holds": within, "opposite": differs, "beyond": differs, "there": within}
    return {"holds": differs, "within": within}


def any_of(p_values: list[float]) -> float:
    """The p that one of several hypotheses at least is shown: Holm's first step."""
    return min(len(p_values) * min(p_values), 1.0)


def of_score(effect: statistics.Effect, sign: int) -> Tests:
    """Of a statement that says on which side of even an effect lies."""
    agrees = sign * effect.estimate
    p = effect.p
    if math.isnan(p) or not agrees:
        return {"support": p, "opposite": p}
    return {"support": p if agrees > 0 else 1.0, "opposite": p if agrees < 0 else 1.0}


def two_sided(p: float) -> float:
    return min(2 * p, 1.0)  # in this order, NaN stays NaN


def outcome(shown: set[str]) -> tuple[str, str]:
    """The verdict, where so much is shown, and how it came about."""
    if "elsewhere" in shown and shown & {"support", "there"}:
        return "depends", "it holds in some places and fails in others"
    if "within" in shown or {"support", "small"} <= shown:
        return "no effect that matters", ""
    if "support" in shown:
        return ("partly", "its runs fail more often") if "fails" in shown else ("supported", "")
    for name, how in REFUTED.items():
        if name in shown:
            return "refuted", how
    return "inconclusive", "its runs fail more often" if "fails" in shown else ""


REFUTED = {
    "opposite": "the opposite is so",
    "small": "the effect is too small to matter, or opposite",
    "elsewhere": "it fails somewhere",
}
"""Of what refutes a statement, how it does."""

"""What each statistic finds: a rule and the cells that it compares → a finding."""

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from clipgrid.judging import statistics, wording
from clipgrid.judging.evidence import Evidence
from clipgrid.judging.hypotheses import evidence_for, opposed, seeds_needed, two_sided
from clipgrid.judging.measures import UNITS
from clipgrid.judging.rules import Computation, Never, Paired, Rates, Rule, Sooner, Stated
from clipgrid.judging.strata import Lookup, Missing, Stratum, cells_of, shared_seeds
from clipgrid.lazy import torch
from clipgrid.study import parts


@dataclass(frozen=True)
class Finding:
    """What one rule found.

    `effect` to `high` in `unit`; `support` and `against` are the p's of the evidence for the
    statement and against it, NaN where nothing was tested; `verdict` is one that no p decides.
    """

    measure: str = ""
    unit: str = ""
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    support: float = math.nan
    against: float = math.nan
    n: int = 0
    sign_flip_p: float = math.nan
    cohens_d: float = math.nan
    superiority: float = math.nan
    seeds_needed: int | None = None
    counterexample: str = ""
    verdict: str = ""
    reason: str = ""


def find(lookup: Lookup, rule: Rule, alpha: float) -> Finding:
    """What a rule finds in the study; where it has no such cells, a finding that says so. Seeds
    are counted that would decide at `alpha`."""
    try:
        match rule:
            case Paired():
                return paired(lookup, rule, alpha)
            case Sooner():
                return sooner(lookup, rule)
            case Rates():
                return rates(lookup, rule)
            case Never():
                return never(lookup, rule)
            case Stated():
                return stated(lookup, rule)
        return computed(lookup.evidence, rule)
    except Missing as missing:
        return Finding(verdict="inconclusive", reason=str(missing))


def paired(lookup: Lookup, rule: Paired, alpha: float) -> Finding:
    """The mean over strata of the differences of each seed, tested over seeds."""
    ends = {"end": 1, "start": -1} if rule.gain else {"": 1}
    parts = [(sign, lookup.pairs(rule, end)) for end, sign in ends.items()]
    found, every = parts[0][1], [stratum for _, part in parts for stratum in part]
    table, superiority = differences(lookup.evidence, rule, parts, shared_seeds(every))
    # Runs that have no training loss in common can't be matched: the reason counts their seeds.
    kept = ~np.isnan(table).any(0)
    unmatched, table = int((~kept).sum()), table[:, kept]
    if not kept.any():
        raise Missing("No two runs of these arms have a training loss in common. ")
    unit, margin, means = UNITS[rule.measure], rule.margin[0], table.mean(0)
    estimate = statistics.paired_t(means)
    support, against = evidence_for(rule.claim, margin, means)
    counterexample = ""
    if len(table) > 1:
        # One stratum that does the opposite refutes what is said in general: either is evidence.
        each = statistics.holm([opposed(rule.claim, margin, row) for row in table])
        worst = int(np.argmin(each))
        if each[worst] < against:
            effect = wording.signed(table[worst].mean(), unit)
            counterexample = f"the difference is {effect} with {found[worst].name}"
        against = two_sided(min(against, each[worst]))
    return Finding(
        measure=rule.measure,
        unit=unit,
        effect=estimate.estimate,
        low=estimate.low,
        high=estimate.high,
        support=support,
        against=against,
        n=estimate.n,
        sign_flip_p=statistics.sign_flip(means),
        cohens_d=statistics.cohens_d(means),
        superiority=superiority,
        seeds_needed=seeds_needed(rule.claim, margin, means, alpha),
        counterexample=counterexample,
        reason=f"{wording.comparison(rule, found)}:"
        f" {wording.described(rule, estimate, unit)}. "
        + wording.spread(found, table, unit)
        + (
            f"With {unmatched} seeds the runs have no training loss in common. "
            if unmatched
            else ""
        )
        + wording.failures(cells_of(every, "arm"), cells_of(every, "baseline")),
    )


def differences(
    evidence: Evidence, rule: Paired, parts: list[tuple[int, list[Stratum]]], seeds: list[str]
) -> tuple[np.ndarray, float]:
    """What the arm has more than the baseline [strata, seeds], and how probably it has more
    (P(arm > baseline), of means over strata). NaN where two runs can't be matched, or nothing but
    the difference is known."""

    def table(of: Any) -> np.ndarray:
        """`of` a stratum and a seed; of a gain, what it has more at the end than at the start."""
        each = [sign * np.array([[of(s, k) for k in seeds] for s in part]) for sign, part in parts]
        return np.sum(each, axis=0)

    if rule.measure == "gap_at_matched_loss":
        return table(lambda s, k: evidence.matched_gap(s.arm[k], s.baseline[k])), math.nan
    arms = table(lambda s, k: evidence.measure(rule.measure, s.arm[k], rule.steps))
    baselines = table(lambda s, k: evidence.measure(rule.measure, s.baseline[k], rule.steps))
    superiority = statistics.probability_superior(arms.mean(0), baselines.mean(0))
    return arms - baselines, superiority


def sooner(lookup: Lookup, rule: Sooner) -> Finding:
    """Whether the arm reaches the target first, over all pairs of runs that share a seed."""
    found, target = lookup.pairs(rule), rule.target[0]
    steps = np.array(
        [
            [lookup.evidence.steps_to(side[seed], target) for side in (f.arm, f.baseline)]
            for f in found
            for seed in f.arm
            if seed in f.baseline
        ]
    )
    if not len(steps):
        raise Missing("No seed has run in both arms. ")
    wins = statistics.signed(steps[:, 1], steps[:, 0])  # fewer steps are a win
    if rule.claim == "later":
        wins = -wins
    test = statistics.sign_test(wins)
    support, against = (test.p, 1.0) if wins.mean() > 0 else (1.0, test.p)
    missed = np.isinf(steps).sum(0)
    return Finding(
        measure=f"P({rule.claim})",
        unit="%",
        effect=100 * test.estimate,
        low=100 * test.low,
        high=100 * test.high,
        support=support,
        against=against,
        n=test.n,
        reason=f"{wording.comparison(rule, found)}: the first reaches {target:g}% of the validation"
        f" images {rule.claim} in {(wins > 0).sum()} of {len(steps)} pairs of runs, and"
        f" {'later' if rule.claim == 'sooner' else 'sooner'} in {(wins < 0).sum()}. The first never"
        f" reaches it in {missed[0]} pairs, the second in {missed[1]}. ",
    )


def rates(lookup: Lookup, rule: Rates) -> Finding:
    """The difference of two rates, over runs."""
    found = lookup.pairs(rule)
    (k1, n1), (k2, n2) = (
        (sum(lookup.evidence.happened(rule.event, row) for row in runs), len(runs))
        for runs in (cells_of(found, "arm"), cells_of(found, "baseline"))
    )
    test = statistics.proportion_difference(k1, n1, k2, n2)
    direction = 1 if rule.claim == "more often" else -1
    agrees = direction * test.estimate
    return Finding(
        measure=f"runs that {rule.event}" if rule.event != "clipped" else "runs clipped",
        unit="points",
        effect=100 * test.estimate,
        low=100 * test.low,
        high=100 * test.high,
        support=test.p if agrees > 0 else 1.0,
        against=test.p if agrees < 0 else 1.0,
        n=test.n,
        reason=f"{wording.comparison(rule, found)}: {k1} of {n1} runs"
        f" {wording.HAPPENED[rule.event]}, against {k2} of {n2}. ",
    )


def never(lookup: Lookup, rule: Never) -> Finding:
    """The rate of what is said never to happen, over runs."""
    rows = lookup.cells(rule.cells.words)
    happened = [lookup.evidence.happened(rule.event, row) for row in rows]
    rate = statistics.proportion(sum(happened), len(happened))
    shares = [100 * row.clip_fraction for row in rows]
    return Finding(
        measure=f"runs {rule.event}",
        unit="%",
        effect=100 * rate.estimate,
        low=100 * rate.low,
        high=100 * rate.high,
        n=rate.n,
        verdict="refuted" if any(happened) else "inconclusive",
        reason=f"{sum(happened)} of {len(happened)} runs {wording.HAPPENED[rule.event]}"
        + (
            f", each at {min(shares):.1f}% to {max(shares):.1f}% of its steps. "
            if rule.event == "clipped"
            else ". "
        ),
    )


def stated(lookup: Lookup, rule: Stated) -> Finding:
    """What is measured here where the article has a figure of other images: means over cells
    within a seed, as the seed is the unit."""
    by_seed = defaultdict(list)
    for row in lookup.cells(rule.cells.words):
        by_seed[row.seed].append(lookup.evidence.measure(rule.measure, row))
    interval = statistics.t_interval([float(np.mean(values)) for values in by_seed.values()])
    images = lookup.evidence.about["name"]
    why = f"is of ImageNet and what is measured here of {images}"
    if images == "imagenet":
        why = (
            "comes without batch size, learning rate and seeds, which decide what is measured here"
        )
    return Finding(
        measure=rule.measure,
        unit="%" if UNITS[rule.measure] == "points" else UNITS[rule.measure],
        effect=interval.mean,
        low=interval.mean - interval.half_width,
        high=interval.mean + interval.half_width,
        n=interval.n,
        verdict="not comparable",
        reason=f"The article's {rule.figure} {why}, so they can't be compared. ",
    )


def computed(evidence: Evidence, rule: Computation) -> Finding:
    """What a computation finds. It draws random numbers without leaving a trace."""
    with torch.random.fork_rng(devices=[]):
        answer = parts.find("computation", rule.name).run(evidence)
    return Finding(
        measure=answer.measure,
        unit=answer.unit,
        effect=answer.value,
        verdict=answer.verdict,
        reason=answer.reason.rstrip() + " ",
    )

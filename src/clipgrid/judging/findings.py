"""What each statistic finds: a rule and the cells that it compares → a finding."""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from clipgrid.judging import hierarchical, statistics, wording
from clipgrid.judging.evidence import Evidence, failed
from clipgrid.judging.hypotheses import Tests, any_of, of_difference, of_score
from clipgrid.judging.measures import UNITS, above_0
from clipgrid.judging.rules import Computation, Contrast, Never, Paired, Rates, Rule, Sooner, Stated
from clipgrid.judging.strata import Lookup, Missing, NotApplicable, Stratum, shared_seeds
from clipgrid.lazy import torch
from clipgrid.study import parts

FEWEST = 0.5  # of a stratum's seeds that must have trained in both arms for these to be compared
Table = np.ndarray  # [strata, seeds]


@dataclass(frozen=True)
class Finding:
    """What one rule found.

    `effect` to `high`, in `unit`, are of `compared`, whose sign `above` explains. `tests` are the
    p's of what may be shown, as of one look alone; `verdict` is one that no p decides. `n` seeds
    count, with these `values`, of the `pairs` that ran in both arms; `seeds` says with how many the
    test would decide, from and to. `model` fits the secondary analysis.
    """

    measure: str = ""
    compared: str = ""
    above: str = ""
    unit: str = ""
    margin: float = math.nan
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    pairs: int = 0
    values: tuple[float, ...] = ()
    seeds: tuple[float, float] = (math.nan, math.nan)
    model: Callable[[], hierarchical.Model] = hierarchical.Model
    tests: Tests = field(default_factory=dict)
    where: str = ""
    verdict: str = ""
    reason: str = ""


def find(lookup: Lookup, rule: Rule) -> Finding:
    """What a rule finds in the cells; where there are no such cells, a finding that says so."""
    try:
        match rule:
            case Paired():
                return paired(lookup, rule)
            case Sooner():
                return sooner(lookup, rule)
            case Rates():
                return rates(lookup, rule)
            case Never():
                return never(lookup, rule)
            case Stated():
                return stated(lookup, rule)
        return computed(lookup.evidence, rule)
    except NotApplicable as why:
        return Finding(verdict="not applicable", reason=str(why))
    except Missing as missing:
        return Finding(verdict="inconclusive", reason=str(missing))


# ---- arms against arms ---------------------------------------------------------------------------


class Compared(NamedTuple):
    """What a rule compares: `every` stratum, at both ends of a gain, and tables [strata, seeds]."""

    strata: list[Stratum]
    every: list[Stratum]
    differences: Table  # NaN where two runs can't be matched
    failed: Table  # whether a run of the pair did
    more_failures: Table  # of the arm than of the baseline
    left_out: str


def compare(lookup: Lookup, rule: Paired) -> Compared:
    ends = {"end": 1, "start": -1} if rule.gain else {"": 1}
    at_ends = {end: lookup.pairs(rule, end) for end in ends}
    at, left_out = comparable(at_ends[next(iter(ends))], idle=bool(rule.gain))
    at_ends = {end: [part[i] for i in at] for end, part in at_ends.items()}
    every = [stratum for part in at_ends.values() for stratum in part]
    seeds = shared_seeds(every)

    def table(of: Callable[[Any, Any], float], signs: bool = True) -> Table:
        """`of` arm and baseline; of a gain, what it has more at the end than at the start."""
        each = [
            (ends[end] if signs else 1)
            * np.array([[of(one.arm[k], one.baseline[k]) for k in seeds] for one in part])
            for end, part in at_ends.items()
        ]
        return np.sum(each, axis=0)

    return Compared(
        at_ends[next(iter(ends))],
        every,
        table(lambda arm, baseline: difference(lookup.evidence, rule, arm, baseline)),
        table(lambda arm, baseline: failed(arm) or failed(baseline), signs=False) > 0,
        table(lambda arm, baseline: failed(arm) - float(failed(baseline))),
        left_out,
    )


def paired(lookup: Lookup, rule: Paired) -> Finding:
    """The difference among the seeds that trained in both arms, and whose runs fail more often."""
    found, every, differences, any_failed, more_failures, left_out = compare(lookup, rule)
    trained_alone = rule.measure != "loss_area"
    unmatched = int((np.isnan(differences) & ~any_failed).sum())
    kept = np.where(any_failed, np.nan, differences) if trained_alone else differences
    counts, seeds = (~np.isnan(kept)).sum(axis=1), kept.shape[1]
    alive = (counts >= FEWEST * seeds) & (counts >= min(2, seeds))
    compared, fails = wording.comparison(rule, found), wording.failures(every)
    if not alive.any():
        why = "have a training loss in common" if unmatched else "trained in both arms"
        raise Missing(f"{compared}: too few seeds {why}. {fails}")
    strata, kept = [one for one, lives in zip(found, alive, strict=True) if lives], kept[alive]
    unit, margin, values = UNITS[rule.measure], rule.margin[0], statistics.seed_values(kept)
    estimate = statistics.paired_t(values)
    somewhere, nets = rule.holds == "somewhere", [one.net for one in strata]
    tests = of_difference(rule.claim, margin, kept, nets, somewhere)
    if trained_alone and suffers(rule):
        by_seed = more_failures.mean(axis=0)
        tests["fails"] = statistics.sign_flip(by_seed) if by_seed.mean() > 0 else 1.0
    edges = sorted({edge for one in strata for edge in one.edges})
    return Finding(
        measure=rule.measure,
        compared=compared,
        above=above_0(rule.measure),
        unit=unit,
        margin=margin,
        effect=estimate.estimate,
        low=estimate.low,
        high=estimate.high,
        n=estimate.n,
        pairs=seeds,
        values=tuple(values),
        seeds=seeds_to_decide(rule.claim, margin, values),
        model=partial(hierarchical.fit, kept, strata, margin),
        tests=tests,
        where=wording.where(strata, kept, unit),
        verdict="inconclusive" if edges else "",
        reason=wording.edges(edges)
        + f"{compared}: {wording.described(rule, estimate, unit)}. "
        + wording.spread(strata, kept, unit)
        + left_out
        + wording.dead([one.name for one, lives in zip(found, alive, strict=True) if not lives])
        + wording.unmatched(unmatched)
        + fails
        + (wording.sensitivity(differences, estimate, unit) if fails and trained_alone else ""),
    )


def difference(evidence: Evidence, rule: Paired, arm: Any, baseline: Any) -> float:
    """What the arm has more than the baseline; NaN where two runs can't be matched."""
    if rule.measure == "gap_at_matched_loss":
        return evidence.matched_gap(arm, baseline)
    first, second = (evidence.measure(rule.measure, row, rule.steps) for row in (arm, baseline))
    return first - second


def comparable(found: list[Stratum], idle: bool = False) -> tuple[list[int], str]:
    """The strata in which the images stay what they are and, unless `idle` ones are taken too, arm
    and baseline aren't clones; and what is said of the others. NotApplicable where none is left."""
    spoilt = [i for i, one in enumerate(found) if one.spoilt]
    clones = [i for i, one in enumerate(found) if not idle and i not in spoilt and one.idle]
    at = [i for i in range(len(found)) if i not in {*spoilt, *clones}]
    said = wording.spoilt([found[i].name for i in spoilt], alone=len(spoilt) == len(found))
    said += wording.idle([found[i].name for i in clones], alone=len(clones) == len(found))
    if not at:
        raise NotApplicable(said)
    return at, said


def suffers(rule: Paired) -> bool:
    """Whether a statement that the arm is no worse would suffer if its runs failed more often."""
    better, no_worse = "higher", "not lower"
    if not rule.measure.endswith("accuracy"):
        better, no_worse = "lower", "not higher"
    return rule.claim in (better, no_worse, "same")


def seeds_to_decide(claim: str, margin: float, values: np.ndarray) -> tuple[float, float]:
    """With how many seeds one of the bounds in question would be told from the mean."""
    bounds = {
        "higher": (0.0, margin),
        "lower": (0.0, -margin),
        "not lower": (-margin,),
        "not higher": (margin,),
    }.get(claim, (-margin, margin))
    each = [statistics.seeds_to_decide(values, bound) for bound in bounds]
    # Of "higher", the bound that is told first decides; of "same", both have to be.
    pick = min if claim in ("higher", "lower") else max
    return pick(low for low, _ in each), pick(high for _, high in each)


def sooner(lookup: Lookup, rule: Sooner) -> Finding:
    """Whether the arm reaches the target first: a seed's score is its wins less its defeats."""
    found, left_out = of_contrast(lookup, rule)
    target, seeds = rule.target[0], shared_seeds(found)
    steps = np.array(
        [
            [
                [lookup.evidence.steps_to(side[k], target) for side in (s.arm, s.baseline)]
                for k in seeds
            ]
            for s in found
        ]
    )
    wins = statistics.signed(steps[..., 1], steps[..., 0])  # fewer steps are a win
    if rule.claim == "later":
        wins = -wins
    effect = statistics.mean_score(wins.mean(axis=0))
    missed = np.isinf(steps).sum(axis=(0, 1))
    return Finding(
        measure=f"P({rule.claim})",
        compared=wording.comparison(rule, found),
        above=f"{rule.claim} more often than not",
        unit="%",
        effect=100 * effect.estimate,
        low=100 * effect.low,
        high=100 * effect.high,
        n=effect.n,
        pairs=len(seeds),
        tests=of_score(effect._replace(estimate=effect.estimate - 0.5), 1),
        reason=f"{wording.comparison(rule, found)}: the first reaches {target:g}% of the validation"
        f" images {rule.claim} in {(wins > 0).sum()} of {wins.size} pairs of runs, and"
        f" {'later' if rule.claim == 'sooner' else 'sooner'} in {(wins < 0).sum()}. The first never"
        f" reaches it in {missed[0]} pairs, the second in {missed[1]}. {left_out}",
    )


def rates(lookup: Lookup, rule: Rates) -> Finding:
    """The difference of two rates, of which each seed has its own."""
    found, left_out = of_contrast(lookup, rule)
    seeds, happened = shared_seeds(found), lookup.evidence.happened
    arm, baseline = (
        np.array([[happened(rule.event, getattr(s, side)[k]) for k in seeds] for s in found])
        for side in ("arm", "baseline")
    )
    sign = 1 if rule.claim == "more often" else -1
    tests: Tests = {}
    if rule.holds == "somewhere":
        each = [statistics.rate_difference(a, b) for a, b in zip(arm, baseline, strict=True)]
        of_each = [of_score(one, sign) for one in each]
        tests["support"] = any_of([p["support"] for p in of_each])
        tests["opposite"] = max(p["opposite"] for p in of_each)
    effect = statistics.rate_difference(arm.mean(axis=0), baseline.mean(axis=0))
    (first, n), (second, m) = wording.counts(found, partial(happened, rule.event))
    return Finding(
        measure=f"runs that {rule.event}" if rule.event != "clipped" else "runs clipped",
        compared=wording.comparison(rule, found),
        above="more often",
        unit="points",
        effect=100 * effect.estimate,
        low=100 * effect.low,
        high=100 * effect.high,
        n=effect.n,
        pairs=len(seeds),
        tests=tests or of_score(effect, sign),
        reason=f"{wording.comparison(rule, found)}: {first} of {n} runs"
        f" {wording.HAPPENED[rule.event]}, against {second} of {m}."
        f" {wording.per_stratum(found, arm, baseline)}{left_out}",
    )


def of_contrast(lookup: Lookup, rule: Contrast) -> tuple[list[Stratum], str]:
    """The strata of a rule that can be compared, and what is said of the others."""
    found = lookup.pairs(rule)
    at, left_out = comparable(found)
    return [found[i] for i in at], left_out


# ---- what isn't tested ---------------------------------------------------------------------------


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
            f": from {min(shares):.1f}% to {max(shares):.1f}% of the steps of a run. "
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

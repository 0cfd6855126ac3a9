"""Cells, histories and claims → a verdict on each claim, by its own rules and nothing else."""

import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from clipgrid.judging import aggregate, statistics
from clipgrid.judging.claims import (
    UNITS,
    Claim,
    Claims,
    Computation,
    Contrast,
    Never,
    Paired,
    Rates,
    Rule,
    Sooner,
    Stated,
)
from clipgrid.study.config import Study, spelled
from clipgrid.study.grid import AXES, Clip, family
from clipgrid.study.names import value_name

ALPHA = 0.05
VERDICTS = (
    "supported",
    "refuted",
    "inconclusive",
    "ill-posed",
    "self-contradicted",
    "not comparable",
)
COLUMNS = dict(zip(AXES, ("model", "optimizer", "learning_rate", "clip", "iterations", "ema",
                          "augmentation", "schedule", "train_images", "label_noise", "seed"),
                   strict=True))  # fmt: skip
"""The column of cells.csv that holds an axis."""


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


class Missing(Exception):
    """A rule asks for what the study doesn't have; the message is a sentence."""


class Stratum(NamedTuple):
    """Cells that agree in all but the arm and the seed: rows of cells.csv by seed."""

    name: str
    arm: dict[str, Any]
    baseline: dict[str, Any]


class Evidence:
    """The cells of a study, and what can be measured of them."""

    def __init__(self, s: Study, results: Path) -> None:
        self.study, self.results = s, results
        self.cells = aggregate.read_cells(results)
        self.about = json.loads((results / "data.json").read_text())
        self.classes = len(self.about["classes"])
        clips = [Clip(*pair) for pair in zip(self.cells["clip"], self.cells.threshold, strict=True)]
        values = {
            axis: clips if axis == "clips" else self.cells[column]
            for axis, column in COLUMNS.items()
        }
        self.words = pd.DataFrame(
            {axis: [word(axis, v) for v in column] for axis, column in values.items()}
        )
        self.kinds = {  # a value on these axes is also found by its kind
            "models": self.cells.model.map(family),
            "clips": pd.Series([clip.kind for clip in clips]),
        }
        self.rows = list(self.cells.itertuples())

    @cached_property
    def histories(self) -> dict[str, pd.DataFrame]:
        """The history of each trajectory."""
        columns = ["trajectory", "step", "loss", "validation_loss", "validation_accuracy"]
        table = pd.read_parquet(self.results / "histories.parquet", columns=columns)
        return {str(name): h for name, h in table.groupby("trajectory", observed=True)}

    def find(self, selection: dict[str, list[str]]) -> "pd.Series[bool]":
        """Which cells have, on each axis named, one of the values given, as words."""
        found = pd.Series(True, self.words.index)
        for axis, values in selection.items():
            here = self.words[axis].isin(values)
            found &= here | self.kinds[axis].isin(values) if axis in self.kinds else here
        return found

    def resolved(self, selection: dict[str, list[str]]) -> dict[str, list[str]]:
        """`selection` with each family of models as those of its models that have such cells."""
        if "models" not in selection:
            return selection
        there = self.words.models[self.find(selection)].unique()
        models = [
            model
            for value in selection["models"]
            for model in [m for m in there if value in (m, family(m))] or [value]
        ]
        return {**selection, "models": list(dict.fromkeys(models))}

    def rows_of(self, selection: dict[str, list[str]]) -> list[Any]:
        """The cells found. Missing where there is none."""
        found = np.flatnonzero(self.find(selection))
        if not len(found):
            raise lacking(selection)
        return [self.rows[i] for i in found]

    def by_seed(self, selection: dict[str, str]) -> dict[str, Any]:
        """The cells of one arm: {seed: row}. Missing where there is none."""
        found = self.find({axis: [value] for axis, value in selection.items()})
        if not found.any():
            raise lacking({axis: [value] for axis, value in selection.items()})
        rows = {self.words.seeds[i]: self.rows[i] for i in np.flatnonzero(found)}
        if len(rows) < found.sum():  # several clips of one kind, or models of one family
            axis = next(axis for axis in self.kinds if self.words[axis][found].nunique() > 1)
            several = ", ".join(self.words[axis][found].unique())
            raise Missing(f"{selection[axis]} is more than one {axis[:-1]} here: {several}. ")
        return rows

    # ---- measures of a cell; a diverged run counts as one that guesses -------------------------

    def measure(self, name: str, row: Any, steps: int | None = None) -> float:
        """A measure of a cell, in its unit of claims.UNITS."""
        match name:
            case "log_test_loss":
                return 100 * math.log(self.loss(row, "test"))
            case "accuracy_gap":
                return self.accuracy(row, "train") - self.accuracy(row, "test")
            case "loss_gap":
                return self.loss(row, "test") - self.loss(row, "train")
            case "loss_area":
                last = min(steps or row.iterations, row.iterations)
                losses = np.full(last, np.nan)
                trained = self.histories[row.trajectory].loss.to_numpy()[:last]
                losses[: len(trained)] = trained
                return statistics.loss_area(losses, self.guessing)
        of, _, what = name.rpartition("_")
        return self.accuracy(row, of) if what == "accuracy" else self.loss(row, of)

    @property
    def guessing(self) -> float:
        """The loss of a model that guesses, nats."""
        return math.log(self.classes)

    def accuracy(self, row: Any, of: str) -> float:
        """In percent."""
        value = getattr(row, f"{of}_accuracy")
        return 100 / self.classes if math.isnan(value) else 100 * value

    def loss(self, row: Any, of: str) -> float:
        """In nats."""
        value = getattr(row, f"{of}_loss")
        return self.guessing if math.isnan(value) else value

    def steps_to(self, target: float, row: Any) -> float:
        """Steps until a look at the validation images found `target` percent; infinite if none."""
        looks = self.looks(row)
        return statistics.steps_to_target(looks.step, 100 * looks.validation_accuracy, target)

    def matched_gap(self, arm: Any, baseline: Any) -> float:
        """Of two runs: the difference of their generalisation gaps at the same training loss."""
        curves = [
            curve
            for looks in (self.looks(arm), self.looks(baseline))
            for curve in (looks.loss, looks.validation_loss)
        ]
        return statistics.gap_at_matched_loss(*curves)

    def looks(self, row: Any) -> pd.DataFrame:
        """The learning curve up to T: a row a look; training losses are means since the last."""
        history = self.histories[row.trajectory]
        history = history[history.step <= row.iterations]
        every = self.study.training.evaluate_every
        means = history.loss.rolling(every, min_periods=1).mean()
        return history.assign(loss=means).dropna(subset="validation_accuracy")

    def happened(self, event: str, row: Any) -> bool:
        """Whether a run met an event by T: it `failed` (collapsed or diverged), `exploded` (a
        loss that wasn't finite, or was above three times that of guessing), was `clipped`."""
        match event:
            case "failed":
                return row.status != "finished"
            case "clipped":
                return row.steps_clipped > 0
        history = self.histories[row.trajectory]
        losses = history.loss[history.step <= row.iterations]
        return row.status == "diverged" or bool((losses > 3 * self.guessing).any())


def word(axis: str, value: Any) -> str:
    """A value on an axis, as one would write it in the config."""
    if isinstance(value, float) and math.isnan(value):
        value = None
    return spelled(value, axis)


def words(axes: dict[str, list[Any]]) -> dict[str, list[str]]:
    return {axis: [word(axis, v) for v in values] for axis, values in axes.items()}


def names(selection: dict[str, list[str]], unsaid: bool = True) -> str:
    """Values on axes, for a sentence; with `unsaid`, what goes without saying is left out."""
    said = {
        axis: " or ".join(value_name(axis, v) for v in selection[axis])
        for axis in AXES
        if axis in selection and not (unsaid and selection[axis] == [WITHOUT_SAYING.get(axis)])
    }
    return ", ".join(said.values())


def lacking(selection: dict[str, list[str]]) -> Missing:
    return Missing(f"This study has no cell with {names(selection)}. ")


WITHOUT_SAYING = {
    "optimizers": "momentum",
    "ema": "none",
    "augmentations": "none",
    "schedules": "constant",
    "train_images": "all",
    "label_noise": "0",
}


# ---- from a rule to pairs of arms -------------------------------------------------------------


def strata(
    evidence: Evidence, usual: dict[str, list[str]], rule: Contrast, free: Iterable[str] = ()
) -> Iterator[tuple[dict[str, str], dict[str, str], dict[str, str]]]:
    """(stratum, arm, baseline) for every combination that the rule names, each as axis → word.

    An axis that neither rule nor usual values name has all that the study has; those in `free`
    are left out.
    """
    own = words(rule.cells.axes)
    arms, baseline = words(rule.arm.axes), words(rule.baseline.axes)
    fixed = evidence.resolved(
        {axis: v for axis, v in {**usual, **own}.items() if axis not in {*arms, *free}}
    )
    resolved = evidence.resolved({**fixed, **arms})
    arms = {axis: resolved[axis] for axis in arms}
    open_axes = set(AXES) - {*fixed, *arms, *free, "seeds"}
    found = evidence.words[evidence.find(fixed)]
    # As tuples: a table of no columns has a row for each cell all the same.
    free_axes = sorted(open_axes)
    there = dict.fromkeys(found[free_axes].itertuples(index=False, name=None))
    for values, others in itertools.product(itertools.product(*fixed.values()), there):
        stratum = dict(zip((*fixed, *free_axes), (*values, *others), strict=True))
        for arm in itertools.product(*arms.values()):
            yield (
                stratum,
                dict(zip(arms, arm, strict=True)),
                {axis: baseline[axis][0] for axis in arms},
            )


def pairs(
    evidence: Evidence, usual: dict[str, list[str]], rule: Contrast, gain: str = ""
) -> list[Stratum]:
    """The cells of each stratum of a rule. With `gain`, those at `start` or `end` of its gain."""
    tuned = isinstance(rule, Paired) and rule.learning_rate == "tuned"
    free = ["learning_rates"] if tuned else []
    ends: dict[str, str] = {}
    if isinstance(rule, Paired) and rule.gain and gain:
        axes = words(getattr(rule.gain, gain).axes)
        ends = {axis: values[0] for axis, values in axes.items()}
    every = list(strata(evidence, usual, rule, [*free, *ends]))
    if not every:
        raise lacking({**usual, **words(rule.cells.axes)})
    seen = [{**stratum, **arm} for stratum, arm, _ in every]
    varying = [a for a in seen[0] if len({s[a] for s in seen}) > 1]
    rates = words(rule.cells.axes).get("learning_rates", [])
    found = []
    for stratum, arm, baseline in every:
        name = ", ".join(value_name(a, {**stratum, **arm}[a]) for a in varying)
        sides = []
        for side in (arm, baseline):
            cells = {**stratum, **side, **ends}
            if tuned:
                cells["learning_rates"] = best_rate(evidence, cells, rates)
            sides.append(evidence.by_seed(cells))
        found.append(Stratum(name, *sides))
    return found


def best_rate(evidence: Evidence, cells: dict[str, str], rates: list[str]) -> str:
    """The learning rate with the highest mean accuracy on the validation images."""

    def score(rate: str) -> float:
        rows = evidence.by_seed({**cells, "learning_rates": rate}).values()
        return float(np.mean([evidence.accuracy(row, "validation") for row in rows]))

    return max(rates, key=score)


def shared_seeds(found: list[Stratum]) -> list[str]:
    """The seeds that every stratum has in both arms. Missing where there is none."""
    seeds = [s for s in found[0].arm if all(s in side for f in found for side in f[1:])]
    if not seeds:
        raise Missing("No seed has run in all arms. ")
    return seeds


# ---- what each statistic finds ----------------------------------------------------------------


def paired(evidence: Evidence, usual: dict[str, list[str]], rule: Paired, alpha: float) -> Finding:
    """The mean over strata of the differences of each seed, tested over seeds."""
    if rule.gain:
        parts = [
            (1, pairs(evidence, usual, rule, "end")),
            (-1, pairs(evidence, usual, rule, "start")),
        ]
    else:
        parts = [(1, pairs(evidence, usual, rule))]
    found = parts[0][1]
    seeds = shared_seeds([stratum for _, part in parts for stratum in part])

    def of(row: Any) -> float:
        return evidence.measure(rule.measure, row, rule.steps)

    table = np.zeros((len(found), len(seeds)))  # differences
    arms, baselines = np.zeros_like(table), np.zeros_like(table)
    for sign, part in parts:
        for i, (_, arm, baseline) in enumerate(part):
            for k, seed in enumerate(seeds):
                if rule.measure == "gap_at_matched_loss":
                    table[i, k] += sign * evidence.matched_gap(arm[seed], baseline[seed])
                else:
                    arms[i, k] += sign * of(arm[seed])
                    baselines[i, k] += sign * of(baseline[seed])
    matched = rule.measure == "gap_at_matched_loss"
    if not matched:
        table = arms - baselines
    # Runs that have no training loss in common can't be matched: the reason counts their seeds.
    kept = ~np.isnan(table).any(0)
    unmatched = int((~kept).sum())
    table, unit, margin = table[:, kept], UNITS[rule.measure], rule.margin[0]
    if not kept.any():
        raise Missing("No two runs of these arms have a training loss in common. ")
    differences = table.mean(0)
    estimate = statistics.paired_t(differences)
    support, against = evidence_for(rule.claim, margin, differences)
    counterexample = ""
    if len(table) > 1:
        # One stratum that does the opposite refutes what is said in general: either is evidence.
        each = statistics.holm([opposed(rule.claim, margin, row) for row in table])
        worst = int(np.argmin(each))
        if each[worst] < against:
            counterexample = f"{found[worst].name}: {signed(table[worst].mean(), unit)}"
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
        sign_flip_p=statistics.sign_flip(differences),
        cohens_d=statistics.cohens_d(differences),
        superiority=math.nan
        if matched
        else statistics.probability_superior(arms.mean(0), baselines.mean(0)),
        seeds_needed=seeds_needed(rule.claim, margin, differences, alpha),
        counterexample=counterexample,
        reason=f"{comparison(rule, found)}: {described(rule.measure, estimate, unit)}. "
        + spread(found, table, unit)
        + (f"{unmatched} seeds have no training loss in common. " if unmatched else "")
        + failures([stratum for _, part in parts for stratum in part]),
    )


def seeds_needed(claim: str, margin: float, differences: np.ndarray, alpha: float) -> int | None:
    """With how many seeds a mean and a spread like these would decide at `alpha`; None where no
    number that can be had would. At least one more than there are."""
    bounds = {
        "higher": (0.0, margin),
        "lower": (0.0, -margin),
        "not lower": (-margin,),
        "not higher": (margin,),
    }.get(claim, (-margin, margin))
    needed = [statistics.seeds_to_decide(differences, bound, alpha) for bound in bounds]
    if claim in ("higher", "lower"):  # the bound that is told first decides; else all must be
        n = min((n for n in needed if n), default=None)
    else:
        n = None if None in needed else max(n for n in needed if n)
    return n and max(n, len(differences) + 1)


def evidence_for(claim: str, margin: float, differences: np.ndarray) -> tuple[float, float]:
    """The two-sided p's for a statement about the mean of `differences`, and against it.

    "higher" is tested against 0, and refuted by what is shown to be less than the margin. "not
    lower", "same" and "different" are tested against the margin (non-inferiority, equivalence).
    """
    if claim in ("lower", "not higher"):
        flipped = {"lower": "higher", "not higher": "not lower"}[claim]
        return evidence_for(flipped, margin, -differences)
    above, below = statistics.above, statistics.below
    same = statistics.tost(differences, margin)
    # Either side will do, but not both at once: twice the smaller.
    different = 2 * min(above(differences, margin), below(differences, -margin))
    one_sided = {
        "higher": (above(differences, 0), below(differences, margin)),
        "not lower": (above(differences, -margin), below(differences, -margin)),
        "same": (same, different / 2),
        "different": (different / 2, same),
    }[claim]
    support, against = map(two_sided, one_sided)
    return support, against


def two_sided(p: float) -> float:
    return min(2 * p, 1.0)  # in this order, NaN stays NaN


def opposed(claim: str, margin: float, differences: np.ndarray) -> float:
    """The two-sided p that the mean is the opposite of what a statement says: for "higher", that
    it is lower by more than nothing; of the others, what speaks against them."""
    if claim in ("higher", "lower"):
        sign = 1 if claim == "higher" else -1
        return two_sided(statistics.below(sign * differences, 0))
    return evidence_for(claim, margin, differences)[1]


def sooner(evidence: Evidence, usual: dict[str, list[str]], rule: Sooner) -> Finding:
    """Whether the arm reaches the target first, over all pairs of runs that share a seed."""
    found = pairs(evidence, usual, rule)
    target = rule.target[0]
    steps = np.array(
        [
            [evidence.steps_to(target, side[seed]) for side in (f.arm, f.baseline)]
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
    one_sided = (test.p, 1.0) if wins.mean() > 0 else (1.0, test.p)
    missed = np.isinf(steps).sum(0)
    return Finding(
        measure=f"P({rule.claim})",
        unit="%",
        effect=100 * test.estimate,
        low=100 * test.low,
        high=100 * test.high,
        support=one_sided[0],
        against=one_sided[1],
        n=test.n,
        reason=f"{comparison(rule, found)}: {rule.claim} at {target:g}% of the validation images in"
        f" {(wins > 0).sum()} of {len(steps)} pairs of runs, the other way round in"
        f" {(wins < 0).sum()}; never there: {missed[0]} and {missed[1]}. ",
    )


def rates(evidence: Evidence, usual: dict[str, list[str]], rule: Rates) -> Finding:
    """The difference of two rates, over runs."""
    found = pairs(evidence, usual, rule)
    (k1, n1), (k2, n2) = (
        (sum(evidence.happened(rule.event, row) for row in runs), len(runs))
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
        reason=f"{comparison(rule, found)}: {k1} of {n1} runs {rule.event}, against {k2} of {n2}. ",
    )


def never(evidence: Evidence, usual: dict[str, list[str]], rule: Never) -> Finding:
    """The rate of what is said never to happen, over runs."""
    rows = evidence.rows_of({**usual, **words(rule.cells.axes)})
    happened = [evidence.happened(rule.event, row) for row in rows]
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
        reason=f"{sum(happened)} of {len(happened)} runs {rule.event}"
        + (
            f"; of their steps {min(shares):.1f}% to {max(shares):.1f}%. "
            if rule.event == "clipped"
            else ". "
        ),
    )


def stated(evidence: Evidence, usual: dict[str, list[str]], rule: Stated) -> Finding:
    """What is measured here where the article has a figure of other images: means over cells
    within a seed, as the seed is the unit."""
    by_seed = defaultdict(list)
    for row in evidence.rows_of({**usual, **words(rule.cells.axes)}):
        by_seed[row.seed].append(evidence.measure(rule.measure, row))
    interval = statistics.t_interval([float(np.mean(values)) for values in by_seed.values()])
    return Finding(
        measure=rule.measure,
        unit="%" if UNITS[rule.measure] == "points" else UNITS[rule.measure],
        effect=interval.mean,
        low=interval.mean - interval.half_width,
        high=interval.mean + interval.half_width,
        n=interval.n,
        verdict="not comparable",
        reason=f"The article's {rule.figure}, of ImageNet, can't be compared with this one"
        + (
            ": it comes without batch size, learning rate and seeds. "
            if evidence.about["name"] == "imagenet"
            else f", of {evidence.about['name']}. "
        ),
    )


def computed(evidence: Evidence, rule: Computation) -> Finding:
    import torch

    from clipgrid.judging import computations

    with torch.random.fork_rng(devices=[]):
        holds = computations.COMPUTATIONS[rule.name](evidence)
    return Finding(
        measure=holds.measure,
        unit=holds.unit,
        effect=holds.value,
        verdict=holds.verdict,
        reason=holds.reason.rstrip() + " ",
    )


def find(
    evidence: Evidence, usual: dict[str, list[str]], rule: Rule, alpha: float = ALPHA
) -> Finding:
    """What a rule finds in the study; where it has no such cells, a finding that says so. Seeds
    are counted that would decide at `alpha`."""
    try:
        match rule:
            case Paired():
                return paired(evidence, usual, rule, alpha)
            case Sooner():
                return sooner(evidence, usual, rule)
            case Rates():
                return rates(evidence, usual, rule)
            case Never():
                return never(evidence, usual, rule)
            case Stated():
                return stated(evidence, usual, rule)
        return computed(evidence, rule)
    except Missing as missing:
        return Finding(verdict="inconclusive", reason=str(missing))


# ---- the verdict ------------------------------------------------------------------------------


def judge(claims: Claims, evidence: Evidence) -> pd.DataFrame:
    """A row a claim, in the file's order."""
    usual = words(claims.usual.axes)
    families = defaultdict(list)
    for key, claim in claims.claims.items():
        families[claim.family].append(key)
    findings = {
        key: [find(evidence, usual, r, ALPHA / len(families[claim.family])) for r in claim.rules]
        for key, claim in claims.claims.items()
    }
    support = {key: weakest(found) for key, found in findings.items()}
    against = {key: strongest(found) for key, found in findings.items()}
    for keys in families.values():
        for p in (support, against):
            p |= dict(zip(keys, statistics.holm([p[key] for key in keys]).tolist(), strict=True))
    rows = [
        row(key, claim, findings[key], support[key], against[key])
        for key, claim in claims.claims.items()
    ]
    return pd.DataFrame(rows).astype({"seeds_needed": "Int64"})


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
        reason = f"Not in general: {shown.counterexample}. " + reason
    elif verdict == "inconclusive":
        tested = [f for f in found if not f.verdict]
        undecided = [f for f in tested if not f.support < ALPHA] or tested
        if any(f.n == 1 for f in tested):
            reason = "One seed: nothing can be said about the spread. " + reason
        elif undecided and all(f.seeds_needed for f in undecided):
            needed = max(f.seeds_needed or 0 for f in undecided)
            reason = f"With effect and spread as found, some {needed} seeds would decide. " + reason
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


def signed(x: float, unit: str) -> str:
    return f"{x:+.{DIGITS[unit]}f} {unit}"


DIGITS = {"points": 1, "%": 1, "nats": 3, "steps": 0}


def comparison(rule: Contrast, found: list[Stratum]) -> str:
    """`λ = 1 against no clipping`; of families, the models that were compared."""

    def of(side: str) -> str:
        selection = words(getattr(rule, side).axes)
        if "models" in selection:
            selection["models"] = list(dict.fromkeys(row.model for row in cells_of(found, side)))
        return names(selection, unsaid=False)

    arm, baseline = of("arm"), of("baseline")
    where = (
        ", at the best learning rate of each"
        if getattr(rule, "learning_rate", "") == "tuned"
        else ""
    )
    return f"{arm} against {baseline}{where}"


def described(measure: str, effect: statistics.Effect, unit: str) -> str:
    """`test accuracy +1.2 [0.3, 2.1] points`."""
    low, high = (f"{x:.{DIGITS[unit]}f}" for x in (effect.low, effect.high))
    interval = "" if math.isnan(effect.low) else f" [{low}, {high}]"
    return f"{measure.replace('_', ' ')} {effect.estimate:+.{DIGITS[unit]}f}{interval} {unit}"


def spread(found: list[Stratum], table: np.ndarray, unit: str) -> str:
    """The range of effects over strata, in a sentence; nothing where there is one stratum."""
    means = table.mean(1)
    if len(means) < 2:
        return ""
    low, high = int(means.argmin()), int(means.argmax())
    return (
        f"From {signed(means[low], unit)} ({found[low].name}) to {signed(means[high], unit)}"
        f" ({found[high].name}). "
    )


def cells_of(found: list[Stratum], side: str) -> list[Any]:
    """The cells of one side of all strata, each once."""
    rows = {row.cell: row for stratum in found for row in getattr(stratum, side).values()}
    return list(rows.values())


def failures(found: list[Stratum]) -> str:
    """How many runs of each arm had failed, in a sentence; nothing where none had."""
    arm, baseline = (cells_of(found, side) for side in ("arm", "baseline"))
    failed = [sum(row.status != "finished" for row in rows) for rows in (arm, baseline)]
    if not any(failed):
        return ""
    return f"Failed: {failed[0]} of {len(arm)} runs, against {failed[1]} of {len(baseline)}. "

"""The rules for λ that are tried, and how they are scored. A rule is what a person does who has one
seed and may train BUDGET times. Each rule may look at the validation images alone; it is scored by
the test images of other seeds, which have another split.

The runs exist already: a task has all of them, of each learning rate, clip and seed. So a λ that a
rule computes is rounded to the next one of the grid, whose steps are about threefold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

BUDGET = 7  # trainings: as many as there are learning rates
NONE = "inf"
MARGIN = 0.5  # points of test accuracy that a rule must gain to be worth it
DRAWS = 100  # of the rule that draws


@dataclass(frozen=True)
class Run:
    """A training that has been done. Accuracies are in percent, and that of a guess where it
    diverged."""

    rate: int  # place among the learning rates
    clip: str
    validation: float
    test: float
    failed: bool  # diverged or collapsed
    share: float  # of the steps that were clipped
    norms: np.ndarray  # of the gradients, those that are finite


Runs = Mapping[tuple[int, str], Run]
"""Of one task and seed: all runs, by rate and clip."""


class Bench:
    """Where a rule trains: it counts."""

    def __init__(self, runs: Runs, random: np.random.Generator) -> None:
        self.runs, self.random = runs, random
        self.tried: dict[tuple[int, str], Run] = {}
        self.rates = sorted({rate for rate, _ in runs})
        clips = {clip for _, clip in runs}
        self.limits = sorted(float(c) for c in clips if c[0].isdigit())

    def train(self, rate: int, clip: str = NONE) -> Run:
        if (rate, clip) not in self.tried and not self.left:
            raise ValueError(f"more than {BUDGET} trainings")
        return self.tried.setdefault((rate, clip), self.runs[rate, clip])

    @property
    def left(self) -> int:
        return BUDGET - len(self.tried)

    def best(self, clip: str | None = None, most: float = 1) -> Run:
        """Of what was trained, with this clip where one is given, the best by validation images;
        the smaller rate of equal ones. Not where more than `most` of the steps were clipped."""
        runs = [r for r in self.tried.values() if clip in (None, r.clip) and r.share <= most]
        return max(runs, key=lambda run: (not run.failed, run.validation, -run.rate))

    def pilot(self) -> Run:
        """The unclipped run at the largest rate that trains, found by halving: of seven rates, in
        three trainings. Where none trains, that at the smallest."""
        low, high = 0, len(self.rates)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.train(middle).failed else (middle + 1, high)
        return self.train(max(0, low - 1))

    def limit(self, run: Run, q: float, times: float = 1) -> str:
        """The λ of the grid that is nearest to a percentile of a run's norms, or a multiple of
        it."""
        wanted = times * np.percentile(run.norms, q) if len(run.norms) else 0
        if not wanted > 0:
            return NONE
        return f"{min(self.limits, key=lambda limit: abs(math.log(limit / wanted))):g}"

    def climb(self, clip: str, start: int, most: float = 1) -> None:
        """With what is left, train at the untried rate that is next to the best one so far, the
        larger first; where all failed, the smaller. None is at or above a rate at which more than
        `most` of the steps were clipped."""
        self.train(start, clip)
        while self.left:
            mine = [run for run in self.tried.values() if run.clip == clip]
            bound = min((run.rate for run in mine if run.share > most), default=math.inf)
            best = self.best(clip)
            here, way = min(best.rate, bound), 1 if best.failed else -1
            untried = [r for r in self.rates if (r, clip) not in self.tried and r < bound]
            if not untried:
                break
            self.train(min(untried, key=lambda rate: (abs(rate - here), way * rate)), clip)


Rule = Callable[[Bench], tuple[int, str]]
RULES: dict[str, tuple[str, Rule]] = {}
"""By name: what the rule says, and the rule, which gives the rate and the clip that it chooses."""


def rule(name: str, says: str) -> Callable[[Rule], Rule]:
    def declare(choose: Rule) -> Rule:
        RULES[name] = (says, choose)
        return choose

    return declare


def chosen(run: Run) -> tuple[int, str]:
    return run.rate, run.clip


for name, clip, says in (
    ("none", NONE, "No clipping: tune η."),
    ("1", "1", "λ = 1: tune η."),
    ("autoclip", "autoclip10", "AutoClip at the 10th percentile: tune η."),
    ("agc", "agc0.01", "AGC at 0.01: tune η."),
):

    @rule(name, says)
    def at_all_rates(bench: Bench, clip: str = clip) -> tuple[int, str]:
        for rate in bench.rates:
            bench.train(rate, clip)
        return chosen(bench.best())


for name, q, times, says in (
    ("p10", 10, 1, "the 10th percentile"),
    ("p50", 50, 1, "the median"),
    ("p90", 90, 1, "the 90th percentile"),
    ("3 medians", 50, 3, "three times the median"),
):

    @rule(name, f"λ is {says} of the norms at the largest η that trains; then tune η.")
    def at_percentile(bench: Bench, q: float = q, times: float = times) -> tuple[int, str]:
        pilot = bench.pilot()
        if (limit := bench.limit(pilot, q, times)) != NONE:
            bench.climb(limit, pilot.rate)
        return chosen(bench.best())


@rule("playbook", "As p90, but at no η at which more than half of the steps are clipped.")
def playbook(bench: Bench) -> tuple[int, str]:
    pilot = bench.pilot()
    if (limit := bench.limit(pilot, 90)) != NONE:
        bench.climb(limit, pilot.rate, most=0.5)
    return chosen(bench.best(most=0.5))


@rule("probe", "As `clipgrid probe`: three η, each without clipping and with λ as of p90.")
def probe(bench: Bench) -> tuple[int, str]:
    middle = len(bench.rates) // 2
    free = [bench.train(rate) for rate in (middle - 1, middle, middle + 1)]
    pilot = max((run for run in free if not run.failed), key=lambda r: r.rate, default=free[0])
    if (limit := bench.limit(pilot, 90)) != NONE:
        for run in free:
            bench.train(run.rate, limit)
    best = bench.best()
    bench.climb(best.clip, best.rate)
    return chosen(bench.best())


@rule("insurance", "Tune η without clipping; then clip at the 99th percentile of its norms.")
def insurance(bench: Bench) -> tuple[int, str]:
    for rate in bench.rates:
        bench.train(rate)
    best = bench.best()
    return best.rate, bench.limit(best, 99)


@rule("random", "Random search over η and λ at once.")
def at_random(bench: Bench) -> tuple[int, str]:
    places = [(rate, f"{limit:g}") for rate in bench.rates for limit in bench.limits]
    for place in bench.random.permutation(len(places))[:BUDGET]:
        bench.train(*places[place])
    return chosen(bench.best())


# ---- scores -------------------------------------------------------------------------------------


def oracle(task: Mapping[int, Runs], seed: int, clips: Callable[[str], bool]) -> Run:
    """The run of this seed at the rate and clip that are best, by the mean validation accuracy, of
    all other seeds."""
    others = [runs for other, runs in task.items() if other != seed]
    places = [place for place in task[seed] if clips(place[1])]
    best = max(places, key=lambda place: np.mean([runs[place].validation for runs in others]))
    return task[seed][best]


def scores(task: Mapping[int, Runs]) -> pd.DataFrame:
    """A row for each rule on one task: its score, the mean test accuracy (%) of the runs at what it
    chooses by one seed, of each other seed; how much of the oracle's it lacks (its regret, in
    points); the share of those runs that failed (%); what it chose by each seed."""
    bounds = {
        "oracle": [oracle(task, seed, lambda clip: True) for seed in task],
        "oracle, unclipped": [oracle(task, seed, lambda clip: clip == NONE) for seed in task],
    }
    rows = {
        name: {
            "score": np.mean([run.test for run in runs]),
            "failed": 100 * np.mean([run.failed for run in runs]),
            "trainings": sum(map(len, task.values())),
            "chosen": " ".join(f"{run.rate}:{run.clip}" for run in runs),
        }
        for name, runs in bounds.items()
    }
    for name, (_, choose) in RULES.items():
        found, trainings, places = [], [], []
        for seed, runs in task.items():
            random = np.random.default_rng(seed)
            for _ in range(DRAWS if name == "random" else 1):
                bench = Bench(runs, random)
                place = choose(bench)
                found += [others[place] for other, others in task.items() if other != seed]
                trainings.append(len(bench.tried))
            places.append("{}:{}".format(*place))
        rows[name] = {
            "score": np.mean([run.test for run in found]),
            "failed": 100 * np.mean([run.failed for run in found]),
            "trainings": max(trainings),
            "chosen": " ".join(places) if name != "random" else "",
        }
    table = pd.DataFrame(rows).T.rename_axis("rule").reset_index()
    table = table.astype({"score": float, "failed": float, "trainings": int})
    table["regret"] = table.score[0] - table.score
    return table


def summary(regrets: pd.DataFrame) -> pd.DataFrame:
    """A row for each rule, over tasks (the unit): mean and worst regret, share of the tasks within
    a point of the oracle, failures; and what it gains over tuning η without clipping: mean, median,
    a 95% bootstrap interval of the mean, the p-values of exact sign flips and of Wilcoxon's
    test."""
    wide = regrets.pivot(index="task", columns="rule", values="regret")
    failed = regrets.groupby("rule").failed.mean()
    rows = {}
    for name in [*RULES, "oracle, unclipped"]:
        regret, gain = wide[name], wide["none"] - wide[name]
        low, high = interval(gain)
        rows[name] = {
            "tasks": len(regret),
            "regret": regret.mean(),
            "worst": regret.max(),
            "within a point": (regret <= 1).mean(),
            "failed": failed[name],
            "gain": gain.mean(),
            "median gain": gain.median(),
            "low": low,
            "high": high,
            "sign flips": p_value(gain),
            "wilcoxon": stats.wilcoxon(gain).pvalue if gain.any() else 1.0,
            "gain over 1": (wide["1"] - regret).mean(),
        }
    return pd.DataFrame(rows).T.rename_axis("rule")


def interval(gain: pd.Series) -> tuple[float, float]:
    """Of the mean over tasks: 95%, by the bootstrap's percentiles."""
    if not gain.nunique() > 1:
        return gain.mean(), gain.mean()
    return stats.bootstrap(
        (gain,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval


def p_value(gain: pd.Series) -> float:
    """Two-sided, of all sign flips."""
    return stats.permutation_test(
        (gain,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=False
    ).pvalue


def winner(table: pd.DataFrame) -> str:
    """The rule of least mean regret, but for those that all others are compared with."""
    return table.regret.drop(["none", "oracle, unclipped"]).idxmin()


def beats(name: str, every: pd.DataFrame, held_out: pd.DataFrame) -> bool:
    """Whether a rule is worth more than tuning η: over all tasks it gains MARGIN or more over no
    clipping, by an interval above 0 and a sign-flip test at 5% (a single task can't do it alone),
    and MARGIN over λ = 1 (unless it is that); and it gains on the tasks that were held out."""
    mine = every.loc[name]
    over_one = name == "1" or mine["gain over 1"] >= MARGIN
    sure = mine.gain >= MARGIN and mine.low > 0 and mine["sign flips"] < 0.05 and over_one
    return bool(sure and held_out.gain[name] > 0)

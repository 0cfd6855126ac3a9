"""Statistics over seeds. The unit is the seed; nothing that isn't a number is averaged over.

`differences` are between two arms: one a seed, paired by seed. Every p is two-sided unless its
function says otherwise. An input that isn't a number is a ValueError in all tests, effect sizes
and `seeds_to_decide`, and so is an infinite one where a mean is taken.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

EXACT_FLIPS = 20  # seeds up to which all 2^n sign flips are gone through
RANDOM_FLIPS = 99_999  # as many as are drawn beyond


class Interval(NamedTuple):
    """A mean over `n` seeds and the half-width of its 95% t-interval (NaN for one seed)."""

    mean: float
    half_width: float
    n: int


def t_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Mean and t-interval of `values`, those that are NaN (diverged runs) left out and not counted.

    Of differences between paired arms this is the paired t-interval.
    """
    finite = np.asarray(values, dtype=float)
    finite = finite[~np.isnan(finite)]
    n = len(finite)
    if n == 0:
        return Interval(np.nan, np.nan, 0)
    if n == 1:
        return Interval(float(finite[0]), np.nan, 1)
    half_width = stats.t.ppf((1 + level) / 2, n - 1) * stats.sem(finite)
    return Interval(float(finite.mean()), float(half_width), n)


class Effect(NamedTuple):
    """An estimate, its 95% interval, the p of there being no effect, and the n it rests on."""

    estimate: float
    low: float
    high: float
    p: float
    n: int


def paired_t(differences: ArrayLike, level: float = 0.95) -> Effect:
    """The mean of `differences` with its t-interval, and the p of the paired t-test against 0.

    No seed: all NaN. One seed: no interval and no p. Where all seeds differ by the same (to
    rounding) there is no t: the interval is that one value, and p that of `sign_flip`, so 1 where
    all are 0.
    """
    values = _numbers(differences)
    n = len(values)
    if n == 0:
        return Effect(math.nan, math.nan, math.nan, math.nan, 0)
    mean = float(values.mean())
    if n == 1:
        return Effect(mean, math.nan, math.nan, math.nan, 1)
    if np.ptp(values) <= _rounding(values):
        return Effect(mean, mean, mean, sign_flip(values), n)
    test = stats.ttest_1samp(values, 0)
    low, high = test.confidence_interval(level)
    return Effect(mean, float(low), float(high), float(test.pvalue), n)


def sign_flip(differences: ArrayLike) -> float:
    """The p of the paired randomisation test of the mean (Fisher 1935): how many of the ways to
    swap the arms within seeds part their means at least as far.

    All 2^n ways up to 20 seeds that differ; beyond, 99,999 drawn with a fixed seed. NaN for no
    seed.
    """
    every = _numbers(differences)
    values = every[every != 0]  # to swap a seed that doesn't differ changes nothing
    n = len(values)
    if n < 2:  # too few for scipy: any way parts as far
        return 1.0 if len(every) else math.nan

    def size(flipped: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return np.abs(flipped.mean(axis=axis)).round(12)  # ways that tie do so despite rounding

    test = stats.permutation_test(
        (values / np.abs(values).max(),),
        size,
        permutation_type="samples",
        alternative="greater",
        n_resamples=np.inf if n <= EXACT_FLIPS else RANDOM_FLIPS,
        batch=2**14,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def signed(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """The sign of `a` - `b`, pair by pair: 1, 0 or -1. Two equal infinities tie."""
    a, b = _numbers(a, infinite=True), _numbers(b, infinite=True)
    return np.subtract(a > b, a < b, dtype=float)


def mean_score(scores: ArrayLike) -> Effect:
    """The mean of a score in [-1, 1] a seed, such as the share of strata in which the arm came
    first less that in which it came last, as a share of 1: (1 + mean) / 2.

    The p is `sign_flip`'s, the interval Clopper and Pearson's for so many of as many seeds: exact
    where a seed has one stratum, and cautious where it is a mean of several. None: all NaN.
    """
    values = _numbers(scores)
    n = len(values)
    if n == 0:
        return Effect(math.nan, math.nan, math.nan, math.nan, 0)
    share = float((1 + values.mean()) / 2)
    low, high = proportion_confint(share * n, n, method="beta")
    return Effect(share, float(low), float(high), sign_flip(values), n)


def above(differences: ArrayLike, bound: float) -> float:
    """The p of the one-sided t-test that the mean is above `bound`; null: it isn't.

    NaN for fewer than two seeds. Where all seeds differ by the same: 0.5^n if that is above
    `bound`, else 1.
    """
    values = _numbers(differences)
    if len(values) < 2:
        return math.nan
    if np.ptp(values) <= _rounding(values):
        return 0.5 ** len(values) if values.mean() - bound > _rounding(values) else 1.0
    t = (values.mean() - bound) / (values.std(ddof=1) / math.sqrt(len(values)))
    return float(special.stdtr(len(values) - 1, -t))


def below(differences: ArrayLike, bound: float) -> float:
    """The p of the one-sided t-test that the mean is below `bound`; else as `above`."""
    return above(-_numbers(differences), -bound)


def tost(differences: ArrayLike, margin: float) -> float:
    """The p of two one-sided t-tests that the mean is within ±`margin` (Schuirmann 1987); null: it
    isn't. NaN for fewer than two seeds; ValueError for a margin that isn't above 0."""
    if not margin > 0:
        raise ValueError(f"margin: must be above 0, not {margin}")
    return max(above(differences, -margin), below(differences, margin))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """`p_values` adjusted for being a family (Holm 1979). Those that are NaN stay so and aren't
    counted."""
    adjusted = np.array(p_values, dtype=float)  # statsmodels' collects garbage at each call
    order = np.argsort(adjusted)[: (~np.isnan(adjusted)).sum()]
    steps = adjusted[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def proportion(k: int, n: int) -> Effect:
    """`k` of `n` with the Clopper-Pearson interval; no p. All NaN for n = 0."""
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no proportion")
    if n == 0:
        return Effect(math.nan, math.nan, math.nan, math.nan, 0)
    low, high = proportion_confint(k, n, method="beta")
    return Effect(k / n, float(low), float(high), math.nan, n)


def rate_difference(arm: ArrayLike, baseline: ArrayLike) -> Effect:
    """The difference of two rates, of which each seed has its own in both arms (0 or 1 of one run,
    a share of several): `arm` less `baseline`, seed by seed.

    The p is `sign_flip`'s: exact, paired and stratified, however runs of one seed hang together.
    The interval is Newcombe's hybrid score interval (1998, method 10) for two rates of as many
    independent seeds: cautious, as arms are paired and a seed's rate may be of several runs.
    """
    first, second = _numbers(arm), _numbers(baseline)
    n = len(first)
    if n == 0:
        return Effect(math.nan, math.nan, math.nan, math.nan, 0)
    low, high = confint_proportions_2indep(
        first.sum(), n, second.sum(), n, method="newcomb", compare="diff"
    )
    return Effect(
        float((first - second).mean()), float(low), float(high), sign_flip(first - second), n
    )


def cohens_d(differences: ArrayLike) -> float:
    """Cohen's d_z: the mean of `differences` in their standard deviations.

    NaN for fewer than two seeds. Where all seeds differ by the same: infinite, or 0 for 0.
    """
    values = _numbers(differences)
    if len(values) < 2:
        return math.nan
    mean = float(values.mean())
    if np.ptp(values) <= _rounding(values):
        return math.copysign(math.inf, mean) if mean else 0.0
    return mean / float(values.std(ddof=1))


def loss_area(losses: ArrayLike, cap: float) -> float:
    """The area under the curve of `losses` (nats), one a step, over its length: their mean, each
    at most `cap`, which also stands for what isn't finite. NaN for no step.

    ln K, the loss of guessing among K classes, is the cap to take.
    """
    values = np.nan_to_num(np.asarray(losses, dtype=float), nan=cap, posinf=cap, neginf=cap)
    return float(np.minimum(values, cap).mean()) if values.size else math.nan


def steps_to_target(steps: ArrayLike, values: ArrayLike, target: float) -> float:
    """The first of `steps` whose value is at least `target`; infinity if none is. A value that is
    NaN isn't."""
    reached = np.asarray(steps, dtype=float)[np.asarray(values, dtype=float) >= target]
    return float(reached[0]) if reached.size else math.inf


def gap_at_matched_loss(
    train_a: ArrayLike, validation_a: ArrayLike, train_b: ArrayLike, validation_b: ArrayLike
) -> float:
    """The generalisation gap (validation loss - training loss, nats) of run a less that of run b,
    both at the same training loss: the lowest that both reached.

    Each run is two curves over the same looks. It is read where its training loss first comes
    down to that level, on the line between the looks before and after. Looks at which either
    curve isn't finite are left out. NaN where a run has no look left, or its first one lies below
    the level already.
    """
    curves = []
    for train, validation in ((train_a, validation_a), (train_b, validation_b)):
        looks = np.array([train, validation], dtype=float)
        curves.append(looks[:, np.isfinite(looks).all(axis=0)])
    if not all(curve.size for curve in curves):
        return math.nan
    level = max(train.min() for train, _ in curves)
    a, b = (_validation_at(level, train, validation) for train, validation in curves)
    return a - b  # the training losses are the same


def seeds_to_decide(
    differences: ArrayLike, bound: float = 0.0, alpha: float = 0.05, power: float = 0.8
) -> tuple[float, float]:
    """With how many seeds a two-sided test at `alpha` would have `power` to tell the mean from
    `bound`: from and to, as mean and spread are known no better than these `differences` tell them
    (the middle 90% of what they leave open, by the normal model without prior knowledge; by the
    normal approximation of the test). To infinity, where the mean may be `bound`.

    NaN for fewer than two seeds, and where all seeds differ by the same.
    """
    values = _numbers(differences)
    n = len(values)
    if n < 2 or np.ptp(values) <= _rounding(values):
        return math.nan, math.nan
    draws = np.random.default_rng(0)
    spread = values.std(ddof=1) * np.sqrt((n - 1) / draws.chisquare(n - 1, 10_000))
    mean = values.mean() + spread / math.sqrt(n) * draws.standard_normal(10_000)
    z = stats.norm.isf(alpha / 2) + stats.norm.ppf(power)
    low, high = np.quantile(2 + (z * spread / (mean - bound)) ** 2, [0.05, 0.95])
    return float(low), float(high)


def seed_values(table: ArrayLike) -> NDArray[np.float64]:
    """Of a table [strata, seeds], in which what is NaN isn't known, a value a seed, whose mean is
    the mean over strata of their means. In a full table it is the seed's mean; else it is the
    jackknife's pseudo-value (Tukey 1958), which leaves the whole seed out. Seeds of which nothing
    is known have none. ValueError where a stratum has fewer than two."""
    table = np.asarray(table, dtype=float)
    table = table[:, ~np.isnan(table).all(axis=0)]
    known = ~np.isnan(table)
    counts = known.sum(axis=1, keepdims=True)
    n = table.shape[1]
    if n == 1 and known.all():
        return table.mean(axis=0)
    if counts.size == 0 or counts.min() < 2:
        raise ValueError(f"not two seeds in each stratum: {counts.ravel()}")
    values = np.where(known, table, 0.0)
    sums = values.sum(axis=1, keepdims=True)
    without = (sums - values) / (counts - known)
    return n * (sums / counts).mean() - (n - 1) * without.mean(axis=0)


def _numbers(values: ArrayLike, infinite: bool = False) -> NDArray[np.float64]:
    """`values` as an array; ValueError where one is NaN or, unless they may be, infinite."""
    numbers = np.asarray(values, dtype=float)
    if np.isnan(numbers).any() or not (infinite or np.isfinite(numbers).all()):
        raise ValueError(f"not all are {'' if infinite else 'finite '}numbers: {numbers}")
    return numbers


def _rounding(values: NDArray[np.float64]) -> float:
    """How far `values` may lie apart and yet count as equal: 0.3 - 0.2 isn't 0.2 - 0.1."""
    return 1e-9 * float(np.abs(values).max())


def _validation_at(
    level: float, train: NDArray[np.float64], validation: NDArray[np.float64]
) -> float:
    """The validation loss where the training loss first comes down to `level`, which it reaches;
    NaN where it starts below."""
    i = int(np.argmax(train <= level))
    if i == 0:
        return float(validation[0]) if train[0] == level else math.nan
    return float(np.interp(level, train[[i, i - 1]], validation[[i, i - 1]]))

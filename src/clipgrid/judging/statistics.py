"""Statistics over seeds. The unit is the seed; nothing that isn't a number is averaged over.

`differences` are between two arms: one a seed, paired by seed. Every p is two-sided unless its
function says otherwise. An input that isn't a number is a ValueError in all tests, effect sizes
and `seeds_to_decide`, and so is an infinite one where a mean is taken.
"""

import bisect
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
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


def paired(arm: ArrayLike, baseline: ArrayLike) -> Interval:
    """The paired t-interval of `arm` - `baseline`, seed by seed in the same order."""
    return t_interval(np.asarray(arm, dtype=float) - np.asarray(baseline, dtype=float))


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

    All 2^n ways up to 20 seeds; beyond, 99,999 drawn with a fixed seed. NaN for no seed.
    """
    values = _numbers(differences)
    n = len(values)
    if n < 2:  # too few for scipy; one seed parts the arms as far either way
        return 1.0 if n else math.nan

    def size(flipped: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return np.abs(flipped.mean(axis=axis)).round(12)  # ways that tie do so despite rounding

    test = stats.permutation_test(
        (values / (np.abs(values).max() or 1),),
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


def sign_test(differences: ArrayLike) -> Effect:
    """How often a difference is above 0, and the p of the sign test; only the signs count.

    Estimate: the share of differences above 0, those of 0 counted half. Interval and p rest on
    the differences other than 0 alone: the Clopper-Pearson interval of the share above 0 among
    them, widened to hold the estimate where many zeros draw it out, and the binomial p of a
    half. Where all are 0 there is no interval and p is 1. n counts all; none: all NaN.
    """
    signs = np.sign(_numbers(differences, infinite=True))
    n = len(signs)
    if n == 0:
        return Effect(math.nan, math.nan, math.nan, math.nan, 0)
    estimate = float((1 + signs.mean()) / 2)
    above_0, untied = int((signs > 0).sum()), int((signs != 0).sum())
    if untied == 0:
        return Effect(estimate, math.nan, math.nan, 1.0, n)
    share = proportion(above_0, untied)
    p = float(stats.binomtest(above_0, untied).pvalue)
    return Effect(estimate, min(share.low, estimate), max(share.high, estimate), p, n)


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
    return float(stats.ttest_1samp(values, bound, alternative="greater").pvalue)


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
    adjusted = np.array(p_values, dtype=float)
    known = ~np.isnan(adjusted)
    adjusted[known] = multipletests(adjusted[known], method="holm")[1]
    return adjusted


def proportion(k: int, n: int) -> Effect:
    """`k` of `n` with the Clopper-Pearson interval; no p. All NaN for n = 0."""
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no proportion")
    if n == 0:
        return Effect(math.nan, math.nan, math.nan, math.nan, 0)
    low, high = proportion_confint(k, n, method="beta")
    return Effect(k / n, float(low), float(high), math.nan, n)


def proportion_difference(k1: int, n1: int, k2: int, n2: int) -> Effect:
    """`k1` of `n1` less `k2` of `n2`, two independent proportions, with Newcombe's hybrid score
    interval (1998, method 10) and the p of Fisher's exact test. n is of both together.

    All NaN where either n is 0.
    """
    first, second = proportion(k1, n1), proportion(k2, n2)
    if not (n1 and n2):
        return Effect(math.nan, math.nan, math.nan, math.nan, n1 + n2)
    low, high = confint_proportions_2indep(k1, n1, k2, n2, method="newcomb", compare="diff")
    p = stats.fisher_exact([[k1, n1 - k1], [k2, n2 - k2]]).pvalue
    return Effect(first.estimate - second.estimate, float(low), float(high), float(p), n1 + n2)


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


def probability_superior(a: ArrayLike, b: ArrayLike) -> float:
    """P(A > B) + P(A = B) / 2 over all pairs of one of `a` and one of `b`, which may be infinite:
    the common-language effect size (Vargha and Delaney 2000). NaN where either is empty."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if not (a.size and b.size):
        return math.nan
    return float((1 + signed(a[:, np.newaxis], b).mean()) / 2)


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
    differences: ArrayLike,
    bound: float = 0.0,
    alpha: float = 0.05,
    power: float = 0.8,
    most: int = 10_000,
) -> int | None:
    """The fewest seeds, 2 or more, with which a two-sided paired t-test at `alpha` has `power` to
    tell the mean from `bound`, if mean and spread are as in `differences`.

    None where that is above `most`, for fewer than two seeds, and where the mean is `bound`.
    Where all seeds differ by the same: as many as `sign_flip` needs for a p of `alpha`.
    """
    values = _numbers(differences)
    if len(values) < 2 or abs(values.mean() - bound) <= _rounding(values):
        return None
    if np.ptp(values) <= _rounding(values):
        n = max(2, math.ceil(1 - math.log2(alpha)))
    else:
        d = abs(values.mean() - bound) / values.std(ddof=1)

        def enough(n: int) -> bool:
            # The tail on the other side adds nothing that counts, and scipy often has NaN for it;
            # for this one only far beyond a power of 1.
            return not TTestPower().power(d, n, alpha / 2, alternative="larger") < power

        n = 2 + bisect.bisect_left(range(2, most + 1), True, key=enough)
    return n if n <= most else None


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

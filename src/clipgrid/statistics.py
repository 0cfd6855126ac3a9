"""Statistics over seeds. The unit is the seed; nothing that isn't a number is averaged over."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


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

"""Looks at a growing number of seeds, fixed beforehand, and what of the level each may spend."""

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize
from scipy.stats import norm

NODES, WEIGHTS = np.polynomial.legendre.leggauss(60)
LEVELS = np.logspace(-14, math.log10(0.999), 60)  # at which boundaries are computed


@dataclass(frozen=True)
class Plan:
    """A group-sequential design: the numbers of seeds at which one looks."""

    looks: tuple[int, ...]

    def spent(self, alpha: float) -> NDArray[np.float64]:
        """The part of a two-sided level that is spent up to each look: O'Brien and Fleming's way
        as a spending function (Lan and DeMets 1983), for each side."""
        return 4 * norm.sf(norm.isf(alpha / 4) / np.sqrt(self.fractions))

    def boundaries(self, alpha: float) -> NDArray[np.float64]:
        """The |z| from which each look decides, of a statistic whose increments between looks are
        independent and normal (Armitage, McPherson and Rowe 1969)."""
        t = self.fractions
        spent = np.diff(self.spent(alpha), prepend=0)
        ends = [norm.isf(spent[0] / 2) * math.sqrt(t[0])]
        # Of a process that no look has stopped: where it may be, and how probably, times weights.
        at = ends[0] * NODES
        mass = ends[0] * WEIGHTS * norm.pdf(at, scale=math.sqrt(t[0]))
        for k in range(1, len(t)):
            sd = math.sqrt(t[k] - t[k - 1])
            ends.append(end_of(at, mass, sd, spent[k], 30 * math.sqrt(t[k])))
            here = ends[k] * NODES
            mass = ends[k] * WEIGHTS * (norm.pdf(here[:, None], at, sd) @ mass)
            at = here
        return np.array(ends) / np.sqrt(t)

    def nominal(self, alpha: float) -> NDArray[np.float64]:
        """The two-sided p below which each look decides."""
        return 2 * norm.sf(self.boundaries(alpha))

    def level(self, p: ArrayLike, look: int) -> NDArray[np.float64]:
        """At which level of the whole plan a p of this look (the first is 0) would just decide.
        The least of a hypothesis over the looks is its sequential p (Liu and Anderson 2008)."""
        p = np.asarray(p, dtype=float)
        if len(self.looks) == 1:
            return p
        levels = np.append(np.log(LEVELS), 0.0)
        nominal = np.append(np.log(_table(self)[:, look]), 0.0)
        with np.errstate(divide="ignore"):
            return np.exp(np.interp(np.log(p), nominal, levels))

    @property
    def fractions(self) -> NDArray[np.float64]:
        """The part of all seeds that each look has."""
        return np.array(self.looks) / self.looks[-1]


def end_of(
    at: NDArray[np.float64], mass: NDArray[np.float64], sd: float, spent: float, most: float
) -> float:
    """From where on a step of this standard deviation is stopped so often."""

    def excess(end: float) -> float:
        beyond = norm.sf((end - at) / sd) + norm.cdf((-end - at) / sd)
        return math.log(max(mass @ beyond, 1e-300) / spent)

    return float(optimize.brentq(excess, 1e-9, most))


@functools.cache
def _table(plan: Plan) -> NDArray[np.float64]:
    """Nominal p's [levels, looks]."""
    return np.array([plan.nominal(alpha) for alpha in LEVELS])

"""The secondary analysis: a mixed model of differences over nets, learning rates and seeds. It
stands beside a verdict and decides none."""

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import norm

if TYPE_CHECKING:
    from clipgrid.judging.strata import Stratum


class Model(NamedTuple):
    """The mean over nets and learning rates like these, its 95% interval, and the probability that
    it lies inside the region of practical equivalence: within the margin, either way."""

    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    inside: float = math.nan


def fit(table: np.ndarray, strata: "Sequence[Stratum]", margin: float) -> Model:
    """Of differences [strata, seeds], NaN where there is none, with a random effect for each net,
    each learning rate and each seed (restricted maximum likelihood). All NaN where there is
    one stratum, or no such model can be fitted."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    seeds = range(table.shape[1])
    rows = [
        {"difference": table[i, k], "net": one.net, "rate": one.rate, "seed": k}
        for i, one in enumerate(strata)
        for k in seeds
    ]
    data = pd.DataFrame(rows).dropna().assign(all=1)
    factors = [name for name in ("net", "rate", "seed") if data[name].nunique() > 1]
    if len(strata) < 2 or "seed" not in factors or not data.difference.std() > 0:
        return Model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a variance of 0 lies at the edge of what can be
        try:
            model = MixedLM.from_formula(
                "difference ~ 1",
                data=data,
                groups="all",
                vc_formula={name: f"0 + C({name})" for name in factors},
            ).fit()
            mean, error = float(model.params["Intercept"]), float(model.bse["Intercept"])
        except (np.linalg.LinAlgError, ValueError):
            return Model()
    if not (math.isfinite(error) and error > 0):
        return Model()
    reach = norm.isf(0.025) * error
    inside = norm.cdf((margin - mean) / error) - norm.cdf((-margin - mean) / error)
    return Model(mean, mean - reach, mean + reach, float(inside))

"""What short runs of a net say about its threshold: which learning rates train, how large gradients
are, what share of the steps a λ would clip; and one sentence of advice.

The threshold is the tuning playbook's (Godbole et al. 2023): the 90th percentile of the norms of
unclipped runs, here at the largest rate at which all of them train. What such rules gained on
twelve tasks is in docs/which-lambda.md, and in `FOUND`.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from clipgrid.judging.evidence import failed

PERCENTILE = 90  # of the norms, for the threshold
ALWAYS = 5  # the percentile below which λ clips nearly every step
STAGES = 10  # equal parts of the training
ADAPTIVE = ("rmsprop", "adam", "adamw")  # optimizers that divide by the gradient's own scale
FOUND = (
    "On twelve small tasks a λ at the 90th percentile gained 0.4 points over tuning η alone (-0.1"
    " to 0.9), λ = 1 gained 1.1 (0.4 to 1.9), and AGC 3.4 (0.8 to 6.3), most of it on plain nets"
    " that hardly trained otherwise: try agc0.01."
)
"""What studies/which-lambda found."""


@dataclass(frozen=True)
class Pilots:
    """The cells of one net and one optimizer at their last T, with and without clipping, and all
    `norms` (columns learning_rate, step, norm) of those without. Of norms alone no `optimizer` is
    known."""

    cells: pd.DataFrame
    norms: pd.DataFrame
    optimizer: str = ""

    @property
    def threshold(self) -> float:
        """The λ to try, to two digits; NaN where no norm is finite."""
        return float(f"{percentile(self.at(self.rate), PERCENTILE):.2g}")

    @property
    def tried(self) -> float:
        """The λ of the clipped runs with which most are saved, and of several such the one nearest
        to the λ to try; ∞ where there are none."""
        without = self.rates()

        def merit(limit: float) -> tuple[float, float]:
            saved = (without.failed - self.rates(limit).failed).sum()  # at the rates that both have
            far = abs(math.log(limit / self.threshold)) if self.threshold > 0 else 0.0
            return saved, -far

        limits = [x for x in self.cells.threshold.unique() if math.isfinite(x)]
        return max(limits, key=merit, default=math.inf)

    @property
    def rate(self) -> float:
        """The largest learning rate at which all unclipped runs trained; where there is none, the
        smallest; of norms alone, that which they have."""
        if self.cells.empty:
            return float(self.norms.learning_rate.iloc[0])
        table = self.rates()
        trained = table.index[table.failed == 0]
        return float(max(trained) if len(trained) else min(table.index))

    def at(self, rate: float) -> pd.Series:
        """The finite norms at a learning rate."""
        norms = self.norms.norm[self.norms.learning_rate == rate]
        return norms[np.isfinite(norms)]

    def rates(self, threshold: float = math.inf) -> pd.DataFrame:
        """A row for each learning rate: how many runs with this λ there were and how many of them
        failed, and the mean validation accuracy (%) of those that trained."""
        mine = self.cells[self.cells.threshold == threshold]
        mine = mine.assign(failed=failed(mine), accuracy=100 * mine.validation_accuracy)
        mine["accuracy"] = mine.accuracy.where(~mine.failed)
        by_rate = mine.groupby("learning_rate")
        return by_rate.agg(
            runs=("failed", "size"), failed=("failed", "sum"), accuracy=("accuracy", "mean")
        )

    def shares(self) -> pd.DataFrame:
        """The share of steps (%) that would be clipped, for λ in steps of 1, 2, 5 (rows) at each
        learning rate (columns), of unclipped runs that go on unclipped."""
        finite = self.norms[np.isfinite(self.norms.norm) & (self.norms.norm > 0)]
        if finite.empty:
            return pd.DataFrame()
        low, high = (percentile(finite.norm, q) for q in (1, 100))
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ladder = [m * 10.0**d for d in decades for m in (1, 2, 5)]
        ladder = [x for x in ladder if low / 2.5 <= x <= high * 2.5]
        by_rate = finite.groupby("learning_rate").norm
        shares = {rate: [100 * (norms > x).mean() for x in ladder] for rate, norms in by_rate}
        return pd.DataFrame(shares, index=pd.Index(ladder, name="λ"))

    def drift(self) -> pd.DataFrame:
        """The median norm in each tenth of the training (rows), at each learning rate."""
        stage = 1 + (self.norms.step - 1) * STAGES // self.norms.step.max()
        by_stage = self.norms.assign(stage=stage).groupby(["stage", "learning_rate"]).norm
        return by_stage.median().unstack()

    def table(self) -> pd.DataFrame:
        """A column for each learning rate, as text; of norms alone, a row for each λ."""
        if self.cells.empty:
            return self.shares().map("{:.0f}".format).set_axis(["steps clipped (%)"], axis=1)
        limit, without = self.tried, self.rates()
        clipped = self.rates(limit).reindex(without.index)
        sides = {"unclipped": without, f"λ = {limit:g}": clipped}
        if math.isinf(limit):
            del sides[f"λ = {limit:g}"]
        columns = {
            f"{what}, {how}": [told(row) for row in table.itertuples()]
            for what, told in (("failed", failures), ("validation accuracy (%)", accuracy))
            for how, table in sides.items()
        }
        norms = [self.at(rate) for rate in without.index]
        columns["median norm"] = [shown(percentile(n, 50)) for n in norms]
        columns[f"steps above {self.threshold:g} (%)"] = [
            f"{100 * (n > self.threshold).mean():.0f}" for n in norms
        ]
        return pd.DataFrame(columns, index=[f"η = {rate:g}" for rate in without.index]).T

    # ---- in words --------------------------------------------------------------------------------

    def spread(self) -> str:
        """How the norms are spread at the rate that the threshold is of."""
        norms = self.at(self.rate)
        if norms.empty:
            return "No gradient was finite."
        low, half, nine, most, end = (shown(percentile(norms, q)) for q in (10, 50, 90, 99, 100))
        stages = self.drift()[self.rate]
        at = "" if self.cells.empty else f"at η = {self.rate:g} "
        return (
            f"Of the norms {at}one in ten is below {low}, half are below {half}, nine in"
            f" ten below {nine}, 99 in a hundred below {most}, and the largest is {end}. Their"
            f" median goes from {shown(stages.iloc[0])} in the first tenth of the training to"
            f" {shown(stages.iloc[-1])} in the last. A λ below {shown(percentile(norms, ALWAYS))}"
            f" clips nearly every step there: {self.always}."
        )

    @property
    def always(self) -> str:
        """What a λ is that clips every step."""
        if self.optimizer == "momentum":
            return "that is a learning rate"
        if self.optimizer in ADAPTIVE:
            return (
                f"its value hardly matters, as {self.optimizer} divides by the gradient's own scale"
            )
        return "under SGD that is a learning rate; under Adam its value hardly matters"

    def advice(self) -> str:
        """What to do, in one sentence, and the best accuracies."""
        if self.cells.empty:
            return (
                f"λ = {self.threshold:g} clips one step in ten. Whether that helps, only runs with"
                " and without it can say: give the probe the model and the images."
            )
        without, limit = self.rates(), self.tried
        clipped = self.rates(limit).reindex(without.index)
        both = without.join(clipped.add_suffix("_clipped")).dropna(subset="runs_clipped")
        if (without.failed == without.runs).all() and (both.failed_clipped == both.runs).all():
            tried = "" if math.isinf(limit) else f", or with λ = {limit:g}"
            return f"No run trained without clipping{tried}: try other learning rates."
        if math.isinf(limit):
            said = f"No clipped run was tried: λ = {self.threshold:g} would clip one step in ten."
            return f"{said} {best(without, clipped)}"
        share = 100 * (self.at(self.rate) > limit).mean()
        always = f" ({self.always})" if share > 100 - ALWAYS else ""
        fires = f"λ = {limit:g} clips {share:.0f}% of the steps at η = {self.rate:g}{always}"
        needed = both[(2 * both.failed >= both.runs) & (both.failed_clipped == 0)]
        fewer, lost = both[both.failed_clipped < both.failed], both[both.failed > 0]
        if len(needed):
            said = f"{fires}; {failures_at(needed)[0]} you need it: {failures_at(needed)[1]}."
        elif len(fewer):
            said = f"{fires}; fewer runs fail with it: {' '.join(failures_at(fewer))}."
        elif len(lost):
            said = f"{fires}, and saves no run: {' '.join(failures_at(lost))}. Tune η."
        else:
            said = f"No run failed without clipping ({fires}): tune η, and clip as an insurance."
            said = f"{said} {FOUND}"
        return f"{said} {best(without, clipped)}"


def failures_at(both: pd.DataFrame) -> tuple[str, str]:
    """The first of these rates, and how many runs failed there."""
    row = both.iloc[0]
    unclipped = f"{row.failed:.0f} of {row.runs:.0f} unclipped runs failed"
    return (
        f"at η = {row.name:g}",
        f"{unclipped}, and {row.failed_clipped:.0f} of {row.runs_clipped:.0f} clipped ones",
    )


def best(without: pd.DataFrame, clipped: pd.DataFrame) -> str:
    """The best rates by validation images, of those at which no run failed, and whether they lie at
    the grid's edge."""
    said = []
    for table, how in ((without, "without clipping"), (clipped, "with it")):
        sound = table.accuracy[table.failed == 0]
        if sound.notna().any():
            rate = sound.idxmax()
            edge = {table.index.max(): "largest", table.index.min(): "smallest"}.get(rate, "")
            at_edge = f", the {edge} tried" if edge and len(table) > 1 else ""
            said.append(f"{table.accuracy[rate]:.1f}% {how} (η = {rate:g}{at_edge})")
    if not said:
        return "Some runs fail at each of these rates: try smaller ones."
    return f"Where no run fails, the best validation accuracy is {' and '.join(said)}."


def failures(row: Any) -> str:
    return "-" if math.isnan(row.runs) else f"{row.failed:.0f} of {row.runs:.0f}"


def accuracy(row: Any) -> str:
    return "-" if math.isnan(row.accuracy) else f"{row.accuracy:.1f}"


def shown(norm: float) -> str:
    """Two digits, without an exponent where that is longer."""
    return f"{norm:.2g}" if not 100 <= norm < 10_000 else f"{norm:.0f}"


def percentile(values: pd.Series, q: float) -> float:
    return float(np.percentile(values, q)) if len(values) else math.nan


USUAL = {
    **{"augmentation": "none", "schedule": "constant", "objective": "cross-entropy"},
    **{"train_images": "all", "label_noise": 0.0},
}
"""What goes without saying of a run."""


def of_study(cells: pd.DataFrame, histories: pd.DataFrame) -> dict[str, Pilots]:
    """The pilots in a study's tables, by what they train: raw weights, no clipping or by norm, at
    the T that has most learning rates."""
    cells = cells[cells.ema.isna() & ((cells["clip"] == "norm") | np.isinf(cells.threshold))]
    found = {}
    for (model, optimizer, *words), mine in cells.groupby(["model", "optimizer", *USUAL]):
        rates = mine.groupby("iterations").learning_rate.nunique().iloc[::-1]
        mine = mine[mine.iterations == rates.idxmax()].assign(last=lambda table: table.iterations)
        free = mine.loc[np.isinf(mine.threshold), ["trajectory", "learning_rate", "last"]]
        steps = histories[histories.trajectory.isin(free.trajectory)]
        steps = steps[["trajectory", "step", "norm"]].astype({"trajectory": "str"})
        norms = steps.merge(free, on="trajectory")
        norms = norms[norms.step <= norms["last"]].drop(columns=["trajectory", "last"])
        if len(norms):
            others = zip(words, USUAL.items(), strict=True)
            said = [
                f"{name.replace('_', ' ')} {word}"
                for word, (name, usual) in others
                if word != usual
            ]
            found[", ".join([model, optimizer, *said])] = Pilots(mine, norms, optimizer)
    return found

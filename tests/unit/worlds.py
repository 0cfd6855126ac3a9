"""Made-up worlds in which the effects are known, for the whole ledger of claims: what is judged
there can be told right from wrong."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from clipgrid.judging import claims
from clipgrid.judging.evidence import Evidence
from clipgrid.judging.findings import comparable
from clipgrid.judging.rules import Contrast, Paired, Rates
from clipgrid.judging.strata import Lookup, Missing
from clipgrid.judging.verdicts import Judged, at_the_looks
from clipgrid.study import axes, config, grid

ROOT = Path(__file__).parents[2]
POINT = {"points": 1.0, "nats": -0.03, "%": -3.0}  # what a point of accuracy is, in other units
SPREAD = 1.4  # points, of a run over seeds: of paired differences it is 2


@dataclass(frozen=True)
class World:
    """`effect`: points that clipping at 1 or less, an average, an augmentation, more steps each
    bring, λ = 10 half of it. `collapse`: how probably an unclipped run does. `shared`: how much of
    a run's noise the runs of its seed with the same clip have in common. `idle`: λ = 10 never
    fires."""

    effect: float = 0.0
    collapse: float = 0.0
    shared: float = 0.0
    idle: bool = False

    def gain(self, row) -> float:
        of_clip = {math.inf: 0.0, 10.0: 0.0 if self.idle else 0.5}.get(row.threshold, 1.0)
        averaged, augmented = not pd.isna(row.ema), row.augmentation != "none"
        return self.effect * (of_clip + averaged + augmented + math.log(row.iterations / 500))

    def fails(self, row) -> float:
        return self.collapse * (math.isinf(row.threshold) or (self.idle and row.threshold == 10))


class Simulated(Evidence):
    """The evidence of the default study in a world, with `seeds` seeds, drawn anew by `draw`."""

    def __init__(self, world: World, seeds: int) -> None:
        study = config.load(ROOT / "config.yaml")
        first = study.values("seeds")[0]
        study = study.model_copy(update={"seeds": list(range(first, first + seeds))})
        super().__init__(study, ROOT)
        self.world, self.cells = world, pd.DataFrame()
        self.plain = pd.DataFrame(
            [
                {"cell": cell.name, "trajectory": cell.trajectory.name, **axes.row(cell)}
                for cell in grid.cells(study)
            ]
        )
        rows = list(self.plain.itertuples())
        self.gains = np.array([world.gain(row) for row in rows])
        self.risk = np.array([world.fails(row) for row in rows])
        clipped = self.plain["clip"] + self.plain.threshold.astype(str)
        twins = clipped.replace("norm10.0", "norminf") if world.idle else clipped
        names = self.plain.cell
        if world.idle:
            names = names.str.replace("_norm10_", "_norminf_")
        self.run = pd.factorize(names)[0]  # clones are one
        self.group = pd.factorize(twins + self.plain.seed.astype(str))[0]

    def draw(self, draws: np.random.Generator) -> None:
        n, world = self.run.max() + 1, self.world
        own, common = draws.normal(size=n), draws.normal(size=self.group.max() + 1)
        noise = math.sqrt(1 - world.shared) * own[self.run]
        noise += math.sqrt(world.shared) * common[self.group]
        failed = draws.random(n)[self.run] < self.risk
        self.points = dict(zip(self.plain.cell, self.gains + SPREAD * noise, strict=True))
        self.cells = self.plain.assign(
            status=np.where(failed, "collapsed", "finished"),
            diverged_at=np.nan,
            weights_sha256=self.run.astype(str),
            steps_clipped=1,
        )

    @cached_property
    def about(self):
        return {"name": "digits", "classes": [str(i) for i in range(10)]}

    def accuracy(self, row, of):
        return 10.0 if row.status == "collapsed" else 80 + self.points[row.cell]

    def measure(self, name, row, steps=None):
        if name == "loss_area":
            return 1 + POINT["nats"] * self.points[row.cell]
        scale = {"log_test_loss": POINT["%"], "loss_gap": POINT["nats"]}.get(name)
        return self.accuracy(row, "") if scale is None else scale * self.points[row.cell]

    def matched_gap(self, arm, baseline):
        return POINT["nats"] * (self.points[arm.cell] - self.points[baseline.cell])

    def steps_to(self, row, target):
        return 1000 - self.points[row.cell]

    def happened(self, event, row):
        return row.status == "collapsed"


class Ledger:
    """The shipped claims' tested rules, and what is true of each in a world."""

    def __init__(self, world: World, seeds: int) -> None:
        self.file = claims.load(ROOT / "claims.yaml")
        self.evidence = Simulated(world, seeds)
        self.evidence.draw(np.random.default_rng(0))
        self.evidence.cells["status"] = "finished"
        lookup = Lookup(self.evidence, self.file.usual.words)
        self.rules = [
            (claim.family, rule, truth)
            for claim in self.file.claims.values()
            for rule in claim.rules
            if isinstance(rule, Contrast) and (truth := self.truth(lookup, rule)) is not None
        ]

    def truth(self, lookup: Lookup, rule: Contrast) -> np.ndarray | None:
        """The true effect in each stratum; None where there is nothing to compare."""
        ends = {"end": 1, "start": -1} if isinstance(rule, Paired) and rule.gain else {"": 1}
        world, whole = self.evidence.world, 0.0
        try:
            for end, sign in ends.items():
                found = lookup.pairs(rule, end)
                at, _ = comparable(found, idle=len(ends) > 1)
                of = world.fails if isinstance(rule, Rates) else world.gain
                pairs = [
                    [next(iter(s.values())) for s in (found[i].arm, found[i].baseline)] for i in at
                ]
                whole = whole + sign * np.array([of(arm) - of(base) for arm, base in pairs])
        except Missing:
            return None
        if not isinstance(rule, Paired):
            return whole * (-1 if getattr(rule, "claim", "") in ("less often", "later") else 1)
        return whole * POINT[rule.margin[1]]

    def judged(self, draws: np.random.Generator, seeds: int) -> list[Judged]:
        """The rules, judged at all looks that so many seeds allow."""
        self.evidence.draw(draws)
        every = [Judged(rule, family) for family, rule, _ in self.rules]
        usual, given = self.file.usual.words, self.evidence.study.values("seeds")
        at_the_looks(every, self.evidence, usual, given[:seeds])
        return every


def false(rule: Contrast, truth: np.ndarray, verdict: str, how: str) -> bool:
    """Whether a verdict says what isn't so."""
    mean = truth.mean()
    if not isinstance(rule, Paired):
        if getattr(rule, "holds", "") == "somewhere":
            mean = truth.max()
        return (verdict == "supported" and mean <= 0) or (verdict == "refuted" and mean >= 0)
    claim, m = rule.claim, rule.margin[0]
    if claim in ("lower", "not higher"):
        claim, truth = {"lower": "higher", "not higher": "not lower"}[claim], -truth
        mean = -mean
    if rule.holds == "somewhere":
        mean = truth.max()
    holds = {
        "higher": mean > m if rule.holds == "somewhere" else mean > 0,
        "not lower": truth.min() > -m,
        "same": np.abs(truth).max() < m,
        "different": abs(mean) > m,
    }[claim]
    match verdict:
        case "supported" | "partly":
            return not holds
        case "depends":
            return not (truth.min() < -m < m < truth.max())
        case "no effect that matters":
            return abs(mean) >= m
        case "refuted":
            somewhere = truth.min() < -m or (claim == "same" and np.abs(truth).max() > m)
            opposite = {"higher": mean < 0, "not lower": mean < -m, "same": abs(mean) > m}
            if "small" in how:
                return mean >= m
            return not (opposite.get(claim, False) or ("somewhere" in how and somewhere))
    return False

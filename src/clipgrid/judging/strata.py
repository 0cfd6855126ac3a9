"""From a rule to the cells that it compares: strata, each with the two arms, paired by seed."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from clipgrid.judging.evidence import Evidence
from clipgrid.judging.rules import Contrast, Paired
from clipgrid.judging.wording import lacking, names
from clipgrid.study import axes, parts
from clipgrid.study.axes import AXES, family

Words = dict[str, list[str]]
"""Values on axes, as one writes them in a config."""


class Missing(Exception):
    """A rule asks for what the study doesn't have; the message is a sentence."""


class NotApplicable(Missing):
    """What a rule asks for can't be shown by this study."""


class Stratum(NamedTuple):
    """Cells that agree in all but the arm and the seed: rows of cells.csv by seed."""

    name: str
    arm: dict[str, Any]
    baseline: dict[str, Any]
    spoilt: bool = False  # whether an arm's augmentation makes other classes of the images
    edges: tuple[str, ...] = ()  # arms whose best learning rate is the first or last of the grid

    @property
    def net(self) -> str:
        return next(iter(self.arm.values())).model

    @property
    def rate(self) -> float:
        return next(iter(self.arm.values())).learning_rate

    @property
    def idle(self) -> bool:
        """Whether the arm's runs are those of the baseline, bit for bit: clones."""
        pairs = [(self.arm[k], self.baseline[k]) for k in self.arm if k in self.baseline]
        return bool(pairs) and all(clones(a, b) for a, b in pairs)


class Lookup:
    """The cells of a study that have these seeds, or any, found by the words for their values.
    `usual` is what a rule takes on an axis that it doesn't name."""

    def __init__(
        self, evidence: Evidence, usual: Words, seeds: Sequence[int] | None = None
    ) -> None:
        self.evidence, self.usual = evidence, usual
        cells = evidence.cells
        if seeds is not None:
            cells = cells[cells.seed.isin(seeds)].reset_index(drop=True)
        known = sorted(cells.seed.unique()) if seeds is None else seeds
        first_look = (evidence.study.looks or [len(known)])[0]
        # If seeds that judge had a hand in the rate, their results would hang together.
        self.choosing = [str(seed) for seed in known[: first_look // 2]]
        self.rows = list(cells.itertuples())
        self.words = pd.DataFrame({axis.name: words_of(cells, axis) for axis in AXES})
        self.asked: dict[tuple[str, tuple[str, ...]], np.ndarray] = {}
        self.index: dict[tuple, dict[str, Any]] = {}  # of the words but the seed's: row by seed
        for row, (*words, seed) in zip(self.rows, self.words.itertuples(index=False), strict=True):
            self.index.setdefault(tuple(words), {})[seed] = row
        # A value on these axes is also found by its kind, whatever the kind's settings.
        bare = cells["clip"].str.partition(":")[0]
        self.kinds = {"models": cells.model.map(family), "clips": bare}

    def find(self, selection: Words) -> np.ndarray:
        """Which cells have, on each axis named, one of the values given."""
        found = np.ones(len(self.rows), dtype=bool)
        for axis, values in selection.items():
            found &= self.having(axis, tuple(values))
        return found

    def having(self, axis: str, values: tuple[str, ...]) -> np.ndarray:
        """Which cells have one of these values on an axis; rules ask for the same ones."""
        if (axis, values) not in self.asked:
            found = self.words[axis].isin(values)
            if axis in self.kinds:
                found |= self.kinds[axis].isin(values)
            self.asked[axis, values] = found.to_numpy()
        return self.asked[axis, values]

    def cells(self, selection: Words) -> list[Any]:
        """The cells found, with what is usual on other axes. Missing where there is none."""
        found = np.flatnonzero(self.find({**self.usual, **selection}))
        if not len(found):
            raise Missing(lacking({**self.usual, **selection}))
        return [self.rows[i] for i in found]

    def by_seed(self, selection: dict[str, str]) -> dict[str, Any]:
        """The cells of one arm: {seed: row}. Missing where there is none."""
        if rows := self.index.get(tuple(selection.get(axis) for axis in axes.NAMES[:-1])):
            return rows
        wanted = {axis: [value] for axis, value in selection.items()}
        found = self.find(wanted)
        if not found.any():
            raise Missing(lacking(wanted))
        rows = {self.words.seeds[i]: self.rows[i] for i in np.flatnonzero(found)}
        if len(rows) < found.sum():  # several clips of one kind, or models of one family
            axis = next(axis for axis in self.kinds if self.words[axis][found].nunique() > 1)
            several = ", ".join(self.words[axis][found].unique())
            raise Missing(
                f"{selection[axis]} stands for more than one {axis[:-1]} here: {several}. "
            )
        return rows

    def resolved(self, selection: Words) -> Words:
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

    def combinations(
        self, rule: Contrast, free: Iterable[str]
    ) -> Iterator[tuple[dict[str, str], dict[str, str], dict[str, str]]]:
        """(stratum, arm, baseline) for every combination that a rule names, each as axis → word.

        An axis that neither rule nor usual values name has all that the study has; those in `free`
        are left out.
        """
        arms, baseline = rule.arm.words, rule.baseline.words
        named = {**self.usual, **rule.cells.words}
        fixed = self.resolved({a: v for a, v in named.items() if a not in {*arms, *free}})
        resolved = self.resolved({**fixed, **arms})
        arms = {axis: resolved[axis] for axis in arms}
        open_axes = sorted(set(axes.NAMES) - {*fixed, *arms, *free, "seeds"})
        found = self.words[self.find(fixed)]
        # As tuples: a table of no columns has a row for each cell all the same.
        there = dict.fromkeys(found[open_axes].itertuples(index=False, name=None))
        for values, others in itertools.product(itertools.product(*fixed.values()), there):
            stratum = dict(zip((*fixed, *open_axes), (*values, *others), strict=True))
            for arm in itertools.product(*arms.values()):
                yield (
                    stratum,
                    dict(zip(arms, arm, strict=True)),
                    {axis: baseline[axis][0] for axis in arms},
                )

    def pairs(self, rule: Contrast, gain: str = "") -> list[Stratum]:
        """The cells of each stratum of a rule. With `gain`, those at `start` or `end` of its gain.
        Missing where a stratum lacks an arm."""
        ends: dict[str, str] = {}
        if isinstance(rule, Paired) and rule.gain and gain:
            ends = {axis: word for axis, [word] in getattr(rule.gain, gain).words.items()}
        every = list(self.combinations(rule, [*(["learning_rates"] if rule.tuned else []), *ends]))
        if not every:
            raise Missing(lacking({**self.usual, **rule.cells.words}))
        seen = [{**stratum, **arm} for stratum, arm, _ in every]
        varying = [axis for axis in seen[0] if len({s[axis] for s in seen}) > 1]
        rates = sorted(rule.cells.words.get("learning_rates", []), key=float)
        changing = parts.find("dataset", self.evidence.study.data.name).about["changed_by"]
        found = []
        for stratum, arm, baseline in every:
            name = ", ".join(axes.label(axis, {**stratum, **arm}[axis]) for axis in varying)
            sides, edges = [], []
            for side in (arm, baseline):
                cells = {**stratum, **side, **ends}
                if rule.tuned:
                    rows, best = self.at_best_rate(cells, rates)
                    if best in (rates[0], rates[-1]):
                        label = axes.label("learning_rates", best)
                        arms = {axis: [word] for axis, word in side.items()}
                        edges.append(f"{label} of {names(arms, unsaid=False)}")
                else:
                    rows = self.by_seed(cells)
                sides.append(rows)
            words = [{**stratum, **side}.get("augmentations", "") for side in (arm, baseline)]
            spoilt = any(part in changing for word in words for part in word.split("+"))
            found.append(Stratum(name, sides[0], sides[1], spoilt, tuple(edges)))
        return found

    def at_best_rate(self, cells: dict[str, str], rates: list[str]) -> tuple[dict[str, Any], str]:
        """The cells of the seeds that judge, at the learning rate that is best for those that
        choose, by mean accuracy on the validation images; and that rate."""
        by_rate = {rate: self.by_seed({**cells, "learning_rates": rate}) for rate in rates}
        seeds = [k for k in by_rate[rates[0]] if all(k in rows for rows in by_rate.values())]
        choosing = [k for k in seeds if k in self.choosing]
        if not choosing or len(choosing) == len(seeds):
            raise Missing(
                "Too few seeds have run at all learning rates to choose one and to judge. "
            )

        def score(rate: str) -> float:
            return sum(self.evidence.accuracy(by_rate[rate][k], "validation") for k in choosing)

        best = max(rates, key=score)
        return {k: by_rate[best][k] for k in seeds if k not in choosing}, best


def words_of(cells: pd.DataFrame, axis: axes.Axis) -> list[str]:
    """The word of each row on an axis; each value is spelled once."""
    values = cells[list(axis.columns)].astype(object)
    first = values.drop_duplicates()
    spelled = pd.Series([axis.word_in(row) for row in first.itertuples()], first.index)
    groups = values.groupby(list(axis.columns), dropna=False, sort=False).ngroup()
    return spelled.to_numpy()[groups.to_numpy()].tolist()


def clones(a: Any, b: Any) -> bool:
    """Whether two runs ended with the same weights, bit for bit, or diverged at the same step of
    which none was clipped."""
    if a.weights_sha256 == b.weights_sha256:
        return True
    diverged = a.status == b.status == "diverged" and a.diverged_at == b.diverged_at
    return diverged and not (a.steps_clipped or b.steps_clipped)


def shared_seeds(found: list[Stratum]) -> list[str]:
    """The seeds that every stratum has in both arms. Missing where there is none."""
    seeds = [
        s for s in found[0].arm if all(s in side for f in found for side in (f.arm, f.baseline))
    ]
    if not seeds:
        raise Missing("No seed has run in all arms. ")
    return seeds

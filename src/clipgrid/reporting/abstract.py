"""The abstract of the report: what λ does to accuracy here, on what that depends, and what was
decided. It is computed from the cells and the verdicts; where nothing is decided it says so."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from clipgrid.judging.evidence import Evidence, failed
from clipgrid.judging.statistics import t_interval
from clipgrid.judging.verdicts import ALPHA
from clipgrid.judging.wording import listed
from clipgrid.reporting.arms import labels, not_usual, sweep, usual
from clipgrid.reporting.verdicts import OPEN, tally
from clipgrid.study.axes import BY_NAME
from clipgrid.study.fields import canonical


def abstract(
    evidence: Evidence, claims: pd.DataFrame, looks: list[dict[str, Any]]
) -> dict[str, str]:
    """What was `measured`, and what was `decided` of the claims of the study (without published
    facts). `looks` is what `report.looks` gives."""
    return {
        "measured": " ".join(effect(evidence)),
        "decided": " ".join(decided(claims, looks)) if len(claims) else "",
    }


# ---- what was decided --------------------------------------------------------------------------


def decided(claims: pd.DataFrame, looks: list[dict[str, Any]]) -> Iterator[str]:
    tested = claims[claims.decided_by == "test"]
    if tested.empty:
        yield "None of the statements was tested on trained nets."
    else:
        yield from of_the_tested(tested, looks)
    untested = tally(claims[claims.decided_by == "computation"])
    if final := [f"{n} {verdict}" for verdict, n in untested.items() if verdict not in OPEN]:
        yield f"Definitions, arithmetic and counts decide more: {listed(final)}."


def of_the_tested(tested: pd.DataFrame, looks: list[dict[str, Any]]) -> Iterator[str]:
    counted = tally(tested)
    final = [f"{n} {verdict}" for verdict, n in counted.items() if verdict not in OPEN]
    still = counted.get("inconclusive", 0)
    aside = sum(n for verdict, n in counted.items() if verdict in OPEN) - still
    rest = [f"{still} {'stays' if still == 1 else 'stay'} open"] if still else []
    rest += [f"{aside} can't be shown on these images"] if aside else []
    number = f"Of {len(tested)} statement{'s' * (len(tested) > 1)} tested on trained nets"
    if final:
        yield f"{number}, {listed([*final, *rest])}."
    else:
        yield f"{number}, none is decided: {listed(rest)}."
    taken = [look for look in looks if look["taken"]]
    if still and taken:
        last = len(taken)
        yield (
            f"This is look {last} of {len(looks)}, with {taken[-1]['seeds']} of up to"
            f" {looks[-1]['seeds']} seeds. The looks share a level of {100 * ALPHA:g}%, and this"
            f" one decides only where p is below {taken[-1]['p']}."
        )


# ---- what λ does -------------------------------------------------------------------------------

MATTERS = 0.5
"""Points of accuracy: a smaller difference is called none."""


class Effects(NamedTuple):
    """What a λ changes beside no clipping: mean differences of the test accuracy, paired by seed
    (points), by model (rows) and learning rate (columns), and the half-widths of their 95%
    t-intervals, over how many seeds, the fewest and the most; how many pairs of runs there are, and
    how many runs failed with it and without."""

    clip: str
    place: str  # the T, and what else doesn't go without saying
    seeds: tuple[int, int]
    points: pd.DataFrame
    half_widths: pd.Series
    pairs: int
    failed: int
    failed_without: int


def effects(cells: pd.DataFrame) -> Effects | None:
    """Of λ = 1, or else the smallest; at the T and with the optimizer that most cells have, of
    several T's at the largest. None where no cell with a λ has its twin without."""
    swept = sweep(cells)
    if swept.empty:
        plain = usual(cells)
        plain = plain[plain["clip"] == "norm"]
        sizes = plain.groupby(["optimizer", "iterations"]).iterations.transform("size")
        most = plain[sizes == sizes.max()].nlargest(1, "iterations")
        swept = plain.merge(most[["optimizer", "iterations"]])
    finite = sorted(swept.threshold[np.isfinite(swept.threshold)].unique())
    threshold = 1.0 if 1.0 in finite else min(finite, default=math.nan)
    without = swept[np.isinf(swept.threshold)]
    same = ["model", "learning_rate", "seed"]
    pairs = swept[swept.threshold == threshold].merge(without, on=same, suffixes=("", "_without"))
    if pairs.empty:
        return None
    points = 100 * (pairs.test_accuracy - pairs.test_accuracy_without)
    places = [labels(pairs, "model"), pairs.learning_rate]
    settings = points.groupby(places, sort=False)
    seeds = settings.size()
    return Effects(
        clip=f"λ = {canonical(threshold)}",
        place=f"after T = {pairs.iterations.iloc[0]} steps{not_usual(pairs)}",
        seeds=(int(seeds.min()), int(seeds.max())),
        points=settings.mean().unstack(),
        half_widths=settings.agg(lambda these: t_interval(these).half_width),
        pairs=len(pairs),
        failed=int(failed(pairs).sum()),
        failed_without=int((pairs.status_without != "finished").sum()),
    )


def effect(evidence: Evidence) -> Iterator[str]:
    found = effects(evidence.cells)
    if found is None:
        yield "No run with a λ has its twin without clipping, so what λ does can't be told here."
        return
    fails = (
        f"{found.failed} of {found.pairs} runs failed with it, and {found.failed_without} of"
        f" {found.pairs} without"
    )
    each = found.points.stack().dropna()
    if each.empty:
        yield f"No pair of runs with {found.clip} and without clipping has an accuracy; {fails}."
        return
    fewest, most = found.seeds
    seeds = f"{most}" if fewest == most else f"{fewest} to {most}"
    seeds = f"means over {seeds} seeds with 95% intervals" if most > 1 else "one seed"
    least, largest = (with_half_width(each, found.half_widths, f) for f in ("idxmin", "idxmax"))
    change = f"{least} points"
    if len(each) > 1:
        change = (
            f"{least} to {largest} points; the median of its {len(each)} settings is"
            f" {signed(each.median())}"
        )
    yield (
        f"Against no clipping, {found.clip} changed the test accuracy by {change}"
        f" ({seeds}, {found.place})."
    )
    yield depends(found.points)
    yield f"{fails[0].upper()}{fails[1:]}."


def with_half_width(means: pd.Series, half_widths: pd.Series, which: str) -> str:
    """The mean at the place that `which` finds; of one seed, without the ±."""
    place = getattr(means, which)()
    mean, half = signed(means[place]), half_widths[place]
    return mean if math.isnan(half) else f"{mean} ± {half:.1f}"


def signed(points: float) -> str:
    """With a digit after the point; a zero has no minus."""
    return f"{round(points, 1) + 0.0:+.1f}"


def depends(points: pd.DataFrame) -> str:
    """On what the differences depend: the learning rate, the net."""
    rate = BY_NAME["learning_rates"].label
    by_rate = points.mean().dropna().rename(lambda value: rate(canonical(value)))
    by_net = points.mean(axis=1).dropna()
    much: list[str] = []
    hardly: list[str] = []
    unknown: list[str] = []
    for what, at, means in (("learning rate", "at", by_rate), ("net", "for", by_net)):
        if len(means) < 2:
            unknown.append(f"One {what} was tried, so nothing is known of others.")
            continue
        low, high = means.idxmin(), means[::-1].idxmax()  # two, also where all are the same
        between = f"{signed(means.min())} {at} {low}, {signed(means.max())} {at} {high}"
        found = much if means.max() - means.min() >= MATTERS else hardly
        found.append(f"on the {what} ({between})")
    depends = [f"That depends {' and '.join(much)}."] if much else []
    depends += [f"It hardly depends {' and '.join(hardly)}."] if hardly else []
    return " ".join([*depends, *unknown])

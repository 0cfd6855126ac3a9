"""What was found, in words. A sentence ends with a full stop and a space: others may follow."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from clipgrid.judging.evidence import failed
from clipgrid.judging.measures import DIGITS
from clipgrid.judging.rules import Contrast, Paired
from clipgrid.judging.statistics import Effect, paired_t, seed_values
from clipgrid.study.axes import AXES

if TYPE_CHECKING:
    from clipgrid.judging.strata import Stratum

HAPPENED = {"failed": "failed", "exploded": "exploded", "clipped": "were clipped"}
"""What a run did that met an event."""


LACKING = "This study has no cell with"


def names(selection: dict[str, list[str]], unsaid: bool = True) -> str:
    """Values on axes, for a sentence; with `unsaid`, what goes without saying is left out."""
    said = [
        " or ".join(map(axis.label, selection[axis.name]))
        for axis in AXES
        if axis.name in selection and not (unsaid and selection[axis.name] == [axis.unsaid])
    ]
    return ", ".join(said)


def lacking(selection: dict[str, list[str]]) -> str:
    """That the study has no such cells."""
    return f"{LACKING} {names(selection)}. "


def listed(words: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def signed(x: float, unit: str) -> str:
    """`+1.2 points`."""
    return f"{x:+.{DIGITS[unit]}f} {unit}"


# ---- what was compared ---------------------------------------------------------------------------


def comparison(rule: Contrast, found: "list[Stratum]") -> str:
    """`λ = 1 less no clipping`; of families, the models that were compared."""

    def of(side: str) -> str:
        selection = getattr(rule, side).words
        if "models" in selection:
            rows = [row for stratum in found for row in getattr(stratum, side).values()]
            selection["models"] = list(dict.fromkeys(row.model for row in rows))
        return names(selection, unsaid=False)

    where = ", each at its best learning rate" if rule.tuned else ""
    return f"{of('arm')} less {of('baseline')}{where}"


def described(rule: Paired, effect: Effect, unit: str) -> str:
    """`test accuracy +1.2 [0.3, 2.1] points`."""
    measure = rule.measure.replace("_", " ")
    if rule.gain:
        start, end = (names(side.words, unsaid=False) for side in (rule.gain.start, rule.gain.end))
        measure = f"gain of {measure} from {start} to {end}"
    return f"{measure} {interval(effect, unit)}"


def interval(effect: Effect, unit: str) -> str:
    """`+1.2 [0.3, 2.1] points`."""
    low, high = (f"{x:.{DIGITS[unit]}f}" for x in (effect.low, effect.high))
    shown = "" if math.isnan(effect.low) else f" [{low}, {high}]"
    return f"{effect.estimate:+.{DIGITS[unit]}f}{shown} {unit}"


# ---- strata --------------------------------------------------------------------------------------


def spread(found: "list[Stratum]", table: np.ndarray, unit: str) -> str:
    """The range of effects over strata; nothing where there is one stratum."""
    means = np.nanmean(table, axis=1)
    if len(means) < 2:
        return ""
    low, high = int(means.argmin()), int(means.argmax())
    return (
        f"It ranges from {signed(means[low], unit)} ({found[low].name})"
        f" to {signed(means[high], unit)} ({found[high].name}). "
    )


def where(found: "list[Stratum]", table: np.ndarray, unit: str) -> str:
    """Each stratum's effect, from the lowest to the highest; nothing where there is one stratum."""
    means = np.nanmean(table, axis=1)
    if len(means) < 2:
        return ""
    return "; ".join(f"{signed(means[i], unit)} with {found[i].name}" for i in means.argsort())


def idle(left_out: list[str], alone: bool) -> str:
    """That the arms of some strata are clones; `alone`, of all."""
    if alone:
        return (
            "Each run of the arm is the baseline's, bit for bit: no step was clipped, so that there"
            " is nothing to compare. "
        )
    return left(left_out, "no step was clipped there and the runs are the baseline's bit for bit")


def spoilt(left_out: list[str], alone: bool) -> str:
    """That augmentations make other classes of the images; `alone`, in all strata."""
    if alone:
        return "These images don't keep their class when they are so augmented: it takes others. "
    return left(left_out, "these images don't keep their class then")


def left(out: list[str], why: str) -> str:
    return f"Left out, as {why}: {listed(out)}. " if out else ""


def dead(left_out: list[str]) -> str:
    """That hardly any run of some strata trained."""
    return left(left_out, "fewer than half of the seeds trained in both arms")


def unmatched(pairs: int) -> str:
    """That some pairs of runs never had the same training loss."""
    return f"In {pairs} pairs the runs have no training loss in common. " if pairs else ""


def edges(at: list[str]) -> str:
    """That the best learning rate lies at an edge of the grid."""
    if not at:
        return ""
    return f"Undecided, as the best learning rate is the grid's first or last: {listed(at)}. "


def per_stratum(found: "list[Stratum]", arm: np.ndarray, baseline: np.ndarray) -> str:
    """How often it happened in each stratum in which it did; nothing where there is one stratum."""
    if len(found) < 2:
        return ""
    counts = zip(found, arm.sum(axis=1), baseline.sum(axis=1), strict=True)
    told = [f"{s.name}: {a} against {b}" for s, a, b in counts if a or b]
    return f"By stratum: {'; '.join(told)}. " if told else ""


# ---- runs that failed ----------------------------------------------------------------------------


def counts(every: "list[Stratum]", happened: Callable[[Any], bool]) -> list[tuple[int, int]]:
    """Of the cells of the arm, and of those of the baseline, to how many it happened, and how many
    there are; each is counted once."""
    rows = (
        {row.cell: row for stratum in every for row in getattr(stratum, side).values()}
        for side in ("arm", "baseline")
    )
    return [(sum(map(happened, some.values())), len(some)) for some in rows]


def failures(every: "list[Stratum]") -> str:
    """How many of the cells of each arm had failed; nothing where none had."""
    (first, n), (second, m) = counts(every, failed)
    return f"{first} of {n} runs failed, against {second} of {m}. " if first or second else ""


def sensitivity(differences: np.ndarray, among_trained: Effect, unit: str) -> str:
    """What comes out where a failed run counts as one that guesses."""
    try:
        counted = paired_t(seed_values(differences))
    except ValueError:
        return ""
    against = "; the sign is another" if counted.estimate * among_trained.estimate < 0 else ""
    return f"With failed runs as runs that guess it is {interval(counted, unit)}{against}. "

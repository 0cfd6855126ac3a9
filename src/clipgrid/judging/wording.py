"""What was found, in words. A sentence ends with a full stop and a space: others may follow."""

import math
from typing import TYPE_CHECKING

import numpy as np

from clipgrid.judging.evidence import failed
from clipgrid.judging.measures import DIGITS
from clipgrid.judging.rules import Contrast, Paired
from clipgrid.judging.statistics import Effect
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


def signed(x: float, unit: str) -> str:
    """`+1.2 points`."""
    return f"{x:+.{DIGITS[unit]}f} {unit}"


def comparison(rule: Contrast, found: "list[Stratum]") -> str:
    """`λ = 1 against no clipping`; of families, the models that were compared."""

    def of(side: str) -> str:
        selection = getattr(rule, side).words
        if "models" in selection:
            rows = [row for stratum in found for row in getattr(stratum, side).values()]
            selection["models"] = list(dict.fromkeys(row.model for row in rows))
        return names(selection, unsaid=False)

    tuned = isinstance(rule, Paired) and rule.learning_rate == "tuned"
    where = ", at the best learning rate of each" if tuned else ""
    return f"{of('arm')} against {of('baseline')}{where}"


def described(rule: Paired, effect: Effect, unit: str) -> str:
    """`the test accuracy differs by +1.2 [0.3, 2.1] points`."""
    low, high = (f"{x:.{DIGITS[unit]}f}" for x in (effect.low, effect.high))
    interval = "" if math.isnan(effect.low) else f" [{low}, {high}]"
    measure = rule.measure.replace("_", " ")
    if rule.gain:
        start, end = (names(side.words, unsaid=False) for side in (rule.gain.start, rule.gain.end))
        measure = f"gain of {measure} from {start} to {end}"
    return f"the {measure} differs by {effect.estimate:+.{DIGITS[unit]}f}{interval} {unit}"


def spread(found: "list[Stratum]", table: np.ndarray, unit: str) -> str:
    """The range of effects over strata; nothing where there is one stratum."""
    means = table.mean(1)
    if len(means) < 2:
        return ""
    low, high = int(means.argmin()), int(means.argmax())
    return (
        f"It ranges from {signed(means[low], unit)} ({found[low].name})"
        f" to {signed(means[high], unit)} ({found[high].name}). "
    )


def failures(arm: list, baseline: list) -> str:
    """How many of the cells of each arm had failed; nothing where none had."""
    first, second = (sum(map(failed, rows)) for rows in (arm, baseline))
    if not (first or second):
        return ""
    return f"{first} of {len(arm)} runs failed, against {second} of {len(baseline)}. "

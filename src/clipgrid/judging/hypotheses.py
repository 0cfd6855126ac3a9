"""What a rule says of a mean ("higher", "not lower", "same", …) as hypotheses: the p's for it and
against it, and how many seeds would decide. All p's are two-sided."""

import numpy as np

from clipgrid.judging import statistics


def evidence_for(claim: str, margin: float, differences: np.ndarray) -> tuple[float, float]:
    """The p's for a statement about the mean of `differences`, and against it.

    "higher" is tested against 0, and refuted by what is shown to be less than the margin. "not
    lower", "same" and "different" are tested against the margin (non-inferiority, equivalence).
    """
    if claim in ("lower", "not higher"):
        flipped = {"lower": "higher", "not higher": "not lower"}[claim]
        return evidence_for(flipped, margin, -differences)
    above, below = statistics.above, statistics.below
    same = statistics.tost(differences, margin)
    # Either side will do, but not both at once: twice the smaller.
    different = 2 * min(above(differences, margin), below(differences, -margin))
    one_sided = {
        "higher": (above(differences, 0), below(differences, margin)),
        "not lower": (above(differences, -margin), below(differences, -margin)),
        "same": (same, different / 2),
        "different": (different / 2, same),
    }[claim]
    support, against = map(two_sided, one_sided)
    return support, against


def opposed(claim: str, margin: float, differences: np.ndarray) -> float:
    """The p that the mean is the opposite of what a statement says: for "higher", that it is lower
    by more than nothing; of the others, what speaks against them."""
    if claim in ("higher", "lower"):
        sign = 1 if claim == "higher" else -1
        return two_sided(statistics.below(sign * differences, 0))
    return evidence_for(claim, margin, differences)[1]


def two_sided(p: float) -> float:
    return min(2 * p, 1.0)  # in this order, NaN stays NaN


def seeds_needed(claim: str, margin: float, differences: np.ndarray, alpha: float) -> int | None:
    """With how many seeds a mean and a spread like these would decide at `alpha`; None where no
    number that can be had would. At least one more than there are."""
    bounds = {
        "higher": (0.0, margin),
        "lower": (0.0, -margin),
        "not lower": (-margin,),
        "not higher": (margin,),
    }.get(claim, (-margin, margin))
    needed = [statistics.seeds_to_decide(differences, bound, alpha) for bound in bounds]
    if claim in ("higher", "lower"):  # the bound that is told first decides; else all must be
        n = min((n for n in needed if n), default=None)
    else:
        n = None if None in needed else max(n for n in needed if n)
    return n and max(n, len(differences) + 1)

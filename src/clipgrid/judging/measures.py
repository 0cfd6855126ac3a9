"""What can be measured of a cell, and what may happen to a run: names and units alone. `evidence`
says how each is measured."""

from clipgrid.study.looks import TRANSFORMATIONS

UNITS = {
    **{f"{of}_accuracy": "points" for of in ("train", "validation", "test", *TRANSFORMATIONS)},
    **{f"{of}_loss": "nats" for of in ("train", "validation", "test")},
    "log_test_loss": "%",
    "accuracy_gap": "points",
    "loss_gap": "nats",
    "gap_at_matched_loss": "nats",
    "loss_area": "nats",
}
"""Measures of a cell and their units."""

DIGITS = {"points": 1, "%": 1, "nats": 3, "steps": 0}
"""Decimals that a unit is printed with."""

EVENTS = ("failed", "exploded", "clipped")
"""What may happen to a run."""


def above_0(measure: str) -> str:
    """What a difference of a measure says where it is above 0."""
    if measure == "loss_area":
        return "slower"
    if "gap" in measure:
        return "a larger gap"
    return "more accurate" if measure.endswith("accuracy") else "a higher loss"

"""What a computation returns."""

import math
from collections.abc import Collection
from typing import NamedTuple


class Answer(NamedTuple):
    """A verdict, why, and the number that it rests on, if there is one."""

    verdict: str
    reason: str
    value: float = math.nan
    measure: str = ""
    unit: str = ""


def decided(holds: bool, *rest: object) -> Answer:
    """The answer where a statement either holds or doesn't."""
    return Answer("supported" if holds else "refuted", *rest)  # type: ignore[arg-type]


def in_part(hold: Collection[bool], *rest: object) -> Answer:
    """The answer where a statement says several things, or one thing of several cases."""
    verdict = "supported" if all(hold) else "partly" if any(hold) else "refuted"
    return Answer(verdict, *rest)  # type: ignore[arg-type]

"""What a computation returns."""

import math
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

"""Schedules: factors of the learning rate."""

import math

from clipgrid.study.parts import schedule


@schedule("constant", label="constant learning rate", ends=False)
def constant(step: int, steps: int) -> float:
    """The same learning rate at all steps."""
    return 1.0


@schedule("cosine", label="cosine learning rate", ends=True)
def cosine(step: int, steps: int) -> float:
    """Half a cosine from the learning rate to 0 (Loshchilov, Hutter 2017, without restarts)."""
    return (1 + math.cos(math.pi * step / steps)) / 2

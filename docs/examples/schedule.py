"""The learning rate falls in a straight line."""

from clipgrid.study.parts import schedule


@schedule("linear", label="linear learning rate", ends=True)
def linear(step: int, steps: int) -> float:
    """A straight line from the learning rate to 0 at T."""
    return 1 - step / steps

"""clipgrid: an article on gradient clipping, re-run on every cell of its grid and judged."""

__version__ = "0.1.0"


class InputError(ValueError):
    """What was asked for can't be done; the message is for the person who asked."""

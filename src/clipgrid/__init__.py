"""clipgrid: an article on gradient clipping, re-run on every cell of its grid and judged."""

__version__ = "0.1.0"

"""Two tables: what the article states of its runs, and what others have published of its nets."""

from __future__ import annotations

from importlib import resources

from clipgrid.lazy import pd


def stated() -> pd.DataFrame:
    """A row an arm of the article: section, axes, accuracy (%) and loss as the article words them,
    and what it says beside them."""
    with resources.files("clipgrid.judging").joinpath("article.csv").open() as file:
        return pd.read_csv(file, dtype=dict.fromkeys(("section", "accuracy", "loss"), str))


def published() -> pd.DataFrame:
    """A row an architecture: its accuracies on ImageNet (%), its optimizer, and the source."""
    with resources.files("clipgrid.judging").joinpath("published.csv").open() as file:
        return pd.read_csv(file).set_index("model")

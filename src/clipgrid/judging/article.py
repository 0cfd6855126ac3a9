"""Two tables: what the article states of its runs, and what others have published of its nets."""

from __future__ import annotations

from pathlib import Path

from clipgrid.lazy import pd


def stated() -> pd.DataFrame:
    """A row an arm of the article: section, axes, accuracy (%) and loss as the article words them,
    and what it says beside them."""
    dtypes = dict.fromkeys(("section", "accuracy", "loss"), str)
    return pd.read_csv(Path(__file__).with_name("article.csv"), dtype=dtypes)


def published() -> pd.DataFrame:
    """A row an architecture: its accuracies on ImageNet (%), its optimizer, and the source."""
    return pd.read_csv(Path(__file__).with_name("published.csv")).set_index("model")

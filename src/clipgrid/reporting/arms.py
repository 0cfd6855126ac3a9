"""Cells by arm and clip: which are shown, in which order, and what rows of tables and panels of
figures are called."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from clipgrid.lazy import pd
from clipgrid.study import parts
from clipgrid.study.axes import AXES, BY_NAME
from clipgrid.study.cells import Clip

if TYPE_CHECKING:
    from clipgrid.judging.evidence import Evidence

RUN = tuple(
    axis.column for axis in AXES if axis.name not in ("clips", "iterations", "ema", "seeds")
)
"""What tells runs apart, beside clip and seed."""
ARM = (*RUN, "ema", "iterations", "clip", "threshold")
"""What tells cells apart, beside the seed: the order of a table's rows."""
BY_COLUMN = {axis.column: axis for axis in AXES}


def reported(evidence: Evidence) -> pd.DataFrame:
    """The cells that the report's table of arms and the figures across the study show: those of
    experiments that have a page."""
    from clipgrid.judging.aggregate import on_pages

    return on_pages(evidence.cells, evidence.study)


def labels(table: pd.DataFrame, column: str) -> pd.Series:
    """How sentences call the values in a column of an axis (of clips: see `clip_names`)."""
    axis = BY_COLUMN[column]
    called = {value: axis.label(axis.word(value)) for value in table[column].unique()}
    return table[column].map(called).astype(str)


def in_order(cells: pd.DataFrame) -> pd.DataFrame:
    """Models, optimizers and augmentations as the study names them, then by T, EMA and λ."""
    ranks = {
        axis: cells[axis].map({v: i for i, v in enumerate(cells[axis].unique())})
        for axis in ("model", "optimizer", "augmentation", "clip")
    }
    order = cells.assign(**ranks).fillna({"ema": 0.0}).sort_values(list(ARM), kind="stable").index
    return cells.loc[order]


def clips_in(table: pd.DataFrame) -> list[Clip]:
    """The clips among the rows of a table, by kind and threshold; those that only observe last."""
    pairs = table[["clip", "threshold"]].drop_duplicates().itertuples(index=False)
    kinds = parts.names("clip_kind")
    return sorted(
        (Clip.of(*pair) for pair in pairs),
        key=lambda c: (c.observes, kinds.index(c.choice.name), c.kind, c.threshold),
    )


def clip_names(table: pd.DataFrame) -> pd.Series:
    """The name of each row's clip, as a category: ordered as `clips_in` has them."""
    clips = clips_in(table)
    names = pd.MultiIndex.from_frame(table[["clip", "threshold"]]).map(
        {(c.kind, c.threshold): c.label for c in clips}
    )
    return pd.Series(
        pd.Categorical(names, [c.label for c in clips], ordered=True), index=table.index
    )


def by_clip(table: pd.DataFrame, names: Iterable[str] = ()) -> Any:
    """(name, rows) of each clip in the table, or of these clips, in order."""
    clip = clip_names(table)
    return [(name, table[clip == name]) for name in names or clip.cat.categories]


def arm_names(table: pd.DataFrame, columns: Sequence[str] = RUN) -> pd.Series:
    """A title for each row from those of `columns` that vary within the table (or the first)."""
    varying = [column for column in columns if table[column].nunique() > 1] or [columns[0]]
    # The learning rate belongs to the optimizer: it needs naming only where it varies within one.
    if table.groupby("optimizer").learning_rate.nunique().max() < 2:
        varying = [column for column in varying if column != "learning_rate"] or [columns[0]]
    joined = labels(table, varying[0])
    for column in varying[1:]:
        axis = BY_COLUMN[column]
        said = table[column].map(lambda value, axis=axis: axis.word(value) != axis.unsaid)
        joined = joined + (", " + labels(table, column)).where(said.astype(bool), "")
    return joined


# ---- which cells a figure compares -------------------------------------------------------------


def longest(cells: pd.DataFrame) -> pd.DataFrame:
    """A row a run, in the order of the table: that of its largest T."""
    last = cells.groupby("trajectory", sort=False).iterations.idxmax()
    return cells.loc[last]


def originals(cells: pd.DataFrame) -> pd.DataFrame:
    """The raw weights of runs on the original images, each as in `usual_on`."""
    return usual_on(cells, ["ema", "augmentations"])


def usual(cells: pd.DataFrame, but: str = "") -> pd.DataFrame:
    """The raw weights of runs on all the original images, by cross-entropy at a constant rate, each
    as in `usual_on`; with any value on the axis `but`."""
    return usual_on(cells, [name for name in USUAL if name != but])


USUAL = [axis.name for axis in AXES if axis.unsaid and axis.name != "optimizers"]


def usual_on(cells: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """The cells with what goes without saying on these axes, one axis after the other; where no
    cell is left that has it, with what most of them have there."""
    for axis in (BY_NAME[name] for name in names):
        column = cells[axis.column]
        words = column.map({value: axis.word(value) for value in column.unique()})
        has = words == axis.unsaid
        cells = cells[has if has.any() else words.isin(words.value_counts().index[:1])]
    return cells


def not_usual(cells: pd.DataFrame) -> str:
    """What `usual` cells have in the place of what goes without saying, in words: `, EMA 0.9`."""
    first = [(BY_NAME[name], BY_NAME[name].word_in(cells.iloc[0])) for name in USUAL]
    return "".join(f", {axis.label(word)}" for axis, word in first if word != axis.unsaid)


def sweep(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells of the models that have several learning rates and λ's, with the optimizer and at
    the T at which they have most of them; of several T's, at the largest."""
    cells = usual(cells)
    cells = cells[cells["clip"] == "norm"]
    by_model = cells.groupby(["optimizer", "iterations", "model"])
    counts = by_model[["learning_rate", "threshold"]].nunique()
    counts = counts[(counts.learning_rate > 1) & (counts.threshold > 1)].prod(axis=1)
    if counts.empty:
        return cells.iloc[:0]
    places = counts.groupby(["optimizer", "iterations"]).sum()
    most = places.index[places == places.max()]
    optimizer, iterations = max(most, key=lambda place: place[1])
    here = counts[optimizer, iterations]
    models = here[here >= here.max() / 2].index
    cells = cells[(cells.optimizer == optimizer) & (cells.iterations == iterations)]
    return cells[cells.model.isin(models)]


def pairs(cells: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Rows with a value on `axis`, each with the `difference` of its test accuracy to that of the
    cell which has none there and is else the same."""
    same = [a for a in (*ARM, "seed") if a != axis]
    none = cells[axis].isna() if axis == "ema" else cells[axis] == "none"
    baseline = cells.loc[none, [*same, "test_accuracy"]]
    merged = cells[~none].merge(baseline, on=same, suffixes=("", "_baseline"))
    merged["difference"] = merged.test_accuracy - merged.test_accuracy_baseline
    return merged

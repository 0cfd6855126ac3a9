"""Cells by arm and clip: which are shown, in which order, and what rows of tables and panels of
figures are called."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from clipgrid.judging.aggregate import of_article
from clipgrid.study.config import Study
from clipgrid.study.grid import CLIPS, Clip, canonical
from clipgrid.study.names import AUGMENTATIONS, OPTIMIZERS, clip_name, model_name

RUN = (
    *("model", "optimizer", "augmentation", "schedule", "train_images", "label_noise"),
    "learning_rate",
)
"""What tells runs apart, beside clip and seed."""
ARM = (
    *("model", "optimizer", "learning_rate", "augmentation", "schedule", "train_images"),
    *("label_noise", "ema", "iterations", "clip", "threshold"),
)
"""What tells cells apart, beside the seed: the order of a table's rows."""
USUAL = ("none", "constant", "all", "0", "0.0")
"""What goes without saying in a title."""


def reported(cells: pd.DataFrame, s: Study) -> pd.DataFrame:
    """The cells that the start page and the figures across the study show: those of the article's
    experiments; all, in a study that has none of them."""
    has_any = any(experiment.section for experiment in s.experiments.values())
    return of_article(cells, s) if has_any else cells


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
    kinds = list(CLIPS)
    return sorted(
        (Clip(*pair) for pair in pairs),
        key=lambda c: (c.observes, kinds.index(c.kind), c.threshold),
    )


def clip_names(table: pd.DataFrame) -> pd.Series:
    """The name of each row's clip, as a category: ordered as `clips_in` has them."""
    clips = clips_in(table)
    names = pd.MultiIndex.from_frame(table[["clip", "threshold"]]).map(
        {(c.kind, c.threshold): clip_name(c) for c in clips}
    )
    return pd.Series(
        pd.Categorical(names, [clip_name(c) for c in clips], ordered=True), index=table.index
    )


def by_clip(table: pd.DataFrame, names: Iterable[str] = ()) -> Any:
    """(name, rows) of each clip in the table, or of these clips, in order."""
    clip = clip_names(table)
    return [(name, table[clip == name]) for name in names or clip.cat.categories]


def arm_names(table: pd.DataFrame, axes: Sequence[str]) -> pd.Series:
    """A title for each row from those of `axes` that vary within the table (or all, if none)."""
    if "step" in table:  # of a history: a cosine schedule starts from the rate that names it
        first = table.groupby("trajectory", observed=True).learning_rate.transform("max")
        table = table.assign(learning_rate=first)
    names = {
        "model": table.model.map(model_name),
        "optimizer": table.optimizer.map(OPTIMIZERS),
        "augmentation": table.augmentation.map(AUGMENTATIONS),
        "schedule": table.schedule,
        "train_images": table.train_images.astype(str) + " images",
        "label_noise": "label noise " + table.label_noise.astype(str),
        "learning_rate": table.learning_rate.map(lambda x: f"η = {canonical(x)}"),
        "iterations": table.get("iterations", pd.Series(0, table.index)).map("T = {}".format),
    }
    varying = [axis for axis in axes if table[axis].nunique() > 1] or [axes[0]]
    # The learning rate belongs to the optimizer: it needs naming only where it varies within one.
    if table.groupby("optimizer", observed=True).learning_rate.nunique().max() < 2:
        varying = [axis for axis in varying if axis != "learning_rate"] or [axes[0]]
    joined = names[varying[0]].astype(str)
    for axis in varying[1:]:
        named = ", " + names[axis].astype(str)
        joined = joined + named.where(~table[axis].astype(str).isin(USUAL), "")
    return joined

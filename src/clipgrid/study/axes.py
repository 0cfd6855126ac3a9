"""The axes of the grid, in one table: what a value is, where it stands in cells.csv, how it is
written and read, and what goes without saying. A word is a value as a config spells it."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clipgrid import InputError
from clipgrid.study import parts
from clipgrid.study.cells import (
    AnyAugmentation,
    AnyClip,
    AnyObjective,
    AnySchedule,
    Augmentation,
    Cell,
    Clip,
)
from clipgrid.study.fields import (
    Decay,
    Iterations,
    Positive,
    Seed,
    Share,
    TrainImages,
    spelled,
)


@dataclass(frozen=True)
class Axis:
    """`kind` is the type of a value, `of` gives that of a cell; `label` names a word in a
    sentence."""

    name: str  # in a config
    heading: str  # of a table's column
    help: str
    kind: Any
    of: Callable[[Cell], Any]
    label: Callable[[str], str]
    columns: tuple[str, ...]  # of cells.csv
    unsaid: str = ""  # the word that goes without saying
    default: Any = None  # the values of a study that doesn't name it; None: it must
    own_key: bool = True  # a list of its own in a study; models and optimizers are mappings there

    @property
    def column(self) -> str:
        return self.columns[0]

    def word(self, value: Any) -> str:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return self.unsaid
        return value.word if isinstance(value, Clip) else spelled(value)

    def row(self, cell: Cell) -> dict[str, Any]:
        """What a cell has in this axis's columns."""
        value = self.of(cell)
        if isinstance(value, Clip):
            return dict(zip(self.columns, (value.kind, value.threshold), strict=True))
        if value is None or isinstance(value, int | float):
            return {self.column: value if self.name != "train_images" else self.word(value)}
        return {self.column: self.word(value)}

    def word_in(self, row: Any) -> str:
        """The word of a row of cells.csv, as a named tuple or a mapping's `getattr`."""
        values = [getattr(row, column) for column in self.columns]
        return self.word(Clip.of(*values) if len(values) == 2 else values[0])


def part_label(kind: str) -> Callable[[str], str]:
    def label(word: str) -> str:
        try:
            choice = parts.parse(kind, word)
        except InputError:
            return word
        settings = str(choice).partition(":")[2].replace(":", ", ")
        return f"{choice.label} ({settings})" if settings else choice.label

    return label


def model_label(word: str) -> str:
    """`vgg11_bn` → `VGG-11 (BN)`; of a family, `vgg_bn` → `VGG (BN)`."""
    for name in parts.names("model"):
        part = parts.find("model", name)
        if word == name:
            return part.label
        if word == part.about["family"]:
            return re.sub(r"-?\d+", "", part.label)
    return part_label("model")(word)


def family(model: str) -> str:
    """The word by which claims name a model among others."""
    return parts.find("model", model).about["family"]


def clip_label(word: str) -> str:
    """Of another kind than the global norm the word: the kind's label has a comma, as lists do."""
    try:
        clip = Clip.read(word)
    except ValueError:  # a kind of clipping, without its threshold
        return word
    return clip.label if clip.kind == "norm" or clip.observes else word


AXES = (
    Axis(
        "models", "Model", "Networks.", str,
        lambda c: c.trajectory.model.name, model_label, ("model",), own_key=False,
    ),
    Axis(
        "optimizers", "Optimizer", "Optimizers.", str,
        lambda c: c.trajectory.optimizer.name, part_label("optimizer"), ("optimizer",), "momentum",
        own_key=False,
    ),
    Axis(
        "learning_rates", "Learning rate", "Learning rates.", Positive,
        lambda c: c.trajectory.learning_rate, "η = {}".format, ("learning_rate",), own_key=False,
    ),
    Axis(
        "clips", "Clipping",
        "Thresholds of the gradient's global L2 norm (inf is no clipping), or other kinds, each"
        " before its threshold, as in agc0.01.",
        AnyClip, lambda c: c.trajectory.clip, clip_label, ("clip", "threshold"),
    ),
    Axis(
        "iterations", "T", "Iterations after which the weights are looked at.", Iterations,
        lambda c: c.readout.iterations, "T = {}".format, ("iterations",),
    ),
    Axis(
        "ema", "Average", "None, and decays of moving averages of the weights.", Decay,
        lambda c: c.readout.ema,
        lambda word: "raw weights" if word == "none" else f"EMA {word}", ("ema",), "none", (None,),
    ),
    Axis(
        "augmentations", "Images", "Augmentations of the training images, as in flip+crop.",
        AnyAugmentation, lambda c: c.trajectory.augmentation,
        lambda word: Augmentation.read(word).label, ("augmentation",), "none", ("none",),
    ),
    Axis(
        "schedules", "Schedule",
        "Schedules of the learning rate; one that depends on T trains each T by itself.",
        AnySchedule, lambda c: c.trajectory.schedule, part_label("schedule"), ("schedule",),
        "constant", ("constant",),
    ),
    Axis(
        "objectives", "Objective", "What training minimises.", AnyObjective,
        lambda c: c.trajectory.objective, part_label("objective"), ("objective",), "cross-entropy",
        ("cross-entropy",),
    ),
    Axis(
        "train_images", "Training images", "All, or numbers of training images, drawn by the seed.",
        TrainImages, lambda c: c.trajectory.train_images, "{} training images".format,
        ("train_images",), "all", (None,),
    ),
    Axis(
        "label_noise", "Label noise",
        "Shares of the training labels that are exchanged for another class's.", Share,
        lambda c: c.trajectory.label_noise, "label noise {}".format, ("label_noise",), "0", (0.0,),
    ),
    Axis(
        "seeds", "Seed", "Seeds; arms with one seed share split, weights, batches, augmentation.",
        Seed, lambda c: c.trajectory.seed, "seed {}".format, ("seed",),
    ),
)  # fmt: skip
BY_NAME = {axis.name: axis for axis in AXES}
NAMES = tuple(BY_NAME)
COLUMNS = tuple(column for axis in AXES for column in axis.columns)
"""The columns of cells.csv that say where a cell lies in the grid."""


def row(cell: Cell) -> dict[str, Any]:
    """What a cell has in the columns of the axes."""
    return {column: value for axis in AXES for column, value in axis.row(cell).items()}


def label(axis: str, word: str) -> str:
    """A word on an axis, for sentences and labels."""
    return BY_NAME[axis].label(word)

"""Cells, trajectories, readouts: the points of the grid, their names and their keys in the store.

A *trajectory* is everything that decides a sequence of weights. A *readout* is a look at it: after
T iterations, at the raw weights or at a moving average of them. A *cell* is one of each.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator, model_validator
from pydantic_core import core_schema

from clipgrid.study import parts
from clipgrid.study.fields import (
    NUMBER,
    BatchSize,
    Count,
    Iterations,
    Positive,
    Seed,
    Settings,
    Share,
    Steps,
    TrainImages,
    canonical,
    fault,
    meant_clip,
    number,
    shown,
)
from clipgrid.study.parts import Choice

TRAINER_VERSION = 5
"""Raise it when the loop's numbers change: every trajectory is then trained anew. (What parts do is
in the key by itself.)"""


# ---- values on the axes ----------------------------------------------------------------------


@dataclass(frozen=True)
class Clip:
    """A kind of clipping, with its settings, and its threshold."""

    choice: Choice
    threshold: float

    @classmethod
    def read(cls, value: Any) -> "Clip":
        """A number is the threshold of the global L2 norm; `agc0.01` names a kind and its
        threshold, `agc0.01:eps=0.1` a setting too. ValueError for what is none."""
        value = number(value)
        if isinstance(value, Clip):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return cls.of("norm", float(value))
        kinds = parts.names("clip_kind")
        longest_first = "|".join(sorted(map(re.escape, kinds), key=len, reverse=True))
        match = re.fullmatch(f"({longest_first})({NUMBER})(:.*)?", str(value), re.IGNORECASE)
        if not match:
            raise ValueError(f"{shown(value)} is no clip: {meant_clip(str(value), kinds)}")
        settings = match[5] or ""
        return cls.of(match[1].lower() + settings, number(match[2]))

    @classmethod
    def of(cls, kind: str, threshold: float) -> "Clip":
        """ValueError for a threshold that can't be."""
        choice = parts.parse("clip_kind", kind)
        most = choice.part.about["most"]
        if not 0 < threshold <= most:
            limit = "" if most == math.inf else f" and at most {canonical(most)}"
            raise ValueError(f"must be above 0{limit}, not {canonical(threshold)}")
        return cls(choice, float(threshold))

    @property
    def kind(self) -> str:
        """With its settings: `agc:eps=0.1`."""
        return str(self.choice)

    @property
    def observes(self) -> bool:
        """Whether it never fires, and only records."""
        return self.threshold == self.choice.part.about["most"]

    def __str__(self) -> str:
        """`norm1`, `agc0.01:eps=0.1`."""
        name, _, settings = self.kind.partition(":")
        return f"{name}{canonical(self.threshold)}" + (f":{settings}" if settings else "")

    @property
    def word(self) -> str:
        """As a config has it: the number alone of the global L2 norm."""
        return canonical(self.threshold) if self.kind == "norm" else str(self)

    @property
    def label(self) -> str:
        if self.observes:
            return "no clipping" if self.kind == "norm" else f"no clipping ({self.kind})"
        settings = self.kind.partition(":")[2].replace(":", ", ")
        label = self.choice.label.format(canonical(self.threshold))
        return f"{label} ({settings})" if settings else label


@dataclass(frozen=True)
class Augmentation:
    """Augmentations, one after another; none of them are the images as they are."""

    choices: tuple[Choice, ...] = ()

    @classmethod
    def read(cls, value: Any) -> "Augmentation":
        """`flip+crop`; `none`. ValueError for what is none."""
        if isinstance(value, Augmentation):
            return value
        if value in (None, "none"):
            return cls()
        return cls(tuple(parts.parse("augmentation", name) for name in str(value).split("+")))

    def __str__(self) -> str:
        return "+".join(map(str, self.choices)) or "none"

    @property
    def label(self) -> str:
        return " and ".join(choice.label for choice in self.choices) or "original images"


@dataclass(frozen=True)
class Readout:
    """The weights after T `iterations`: the raw ones, or their moving average of decay `ema`."""

    iterations: int
    ema: float | None = None

    @property
    def name(self) -> str:
        ema = "" if self.ema is None else f"_ema{canonical(self.ema)}"
        return f"T{self.iterations}{ema}"

    @classmethod
    def parse(cls, name: str) -> "Readout":
        """The inverse of `name`; ValueError on anything else."""
        try:
            iterations, _, ema = name.removeprefix("T").partition("_ema")
            readout = cls(int(iterations), float(ema) if ema else None)
        except ValueError:
            readout = cls(0)
        sound = readout.iterations > 0 and (readout.ema is None or 0 < readout.ema < 1)
        if not sound or readout.name != name:
            raise ValueError(f"{shown(name)} is not a readout: T500, or T500_ema0.999")
        return readout


@dataclass(frozen=True)
class Text:
    """Tells editors what a value looks like: a pattern, made when they ask, as parts may be
    added."""

    pattern: Callable[[], str]
    numbers: bool = False

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        text = {"type": "string", "pattern": f"^({self.pattern()})$"}
        positive = {"type": "number", "exclusiveMinimum": 0}
        return {"anyOf": [positive, text]} if self.numbers else text


def any_of(kind: str) -> str:
    """A pattern for the names of a kind of parts, and their settings."""
    return f"({'|'.join(map(re.escape, parts.names(kind)))})(:[^+]+)?"


@dataclass(frozen=True)
class PartOf:
    """Reads a part of this kind with its settings from `name:setting=value`."""

    kind: str

    def read(self, value: Any) -> Choice:
        return value if isinstance(value, Choice) else parts.parse(self.kind, str(value))

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(
            self.read, serialization=core_schema.to_string_ser_schema()
        )

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^({any_of(self.kind)})$"}


AnyClip = Annotated[
    Clip,
    PlainValidator(Clip.read),
    Text(lambda: f"({'|'.join(parts.names('clip_kind'))})?({NUMBER})(:.*)?", numbers=True),
    PlainSerializer(lambda c: c.threshold if c.word[0].isdigit() else c.word),
]
AnyAugmentation = Annotated[
    Augmentation,
    PlainValidator(Augmentation.read),
    Text(lambda: rf"none|{any_of('augmentation')}(\+{any_of('augmentation')})*"),
    PlainSerializer(str),
]
AnySchedule = Annotated[Choice, PartOf("schedule")]
AnyObjective = Annotated[Choice, PartOf("objective")]


# ---- trajectories ---------------------------------------------------------------------------


class Training(Settings):
    """What all trajectories of a study share."""

    batch_size: BatchSize = 32
    """Images a step."""
    accumulation_steps: Count = 1
    """Parts in which a batch goes through the model; clipping sees the sum of their gradients."""
    ema_warmup: Count = 10
    """Averages have the decay min(d, (1+t)/(ema_warmup+t)) at step t; 1 is no warm-up."""
    evaluate_every: Iterations = 100
    """Steps between two points of the learning curves."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Of the forward pass: IEEE float32; on GPUs TF32; bfloat16 by autocast. Weights, gradients and
    clipping stay float32."""
    compile: Literal["none", "default", "reduce-overhead"] = "none"
    """Mode of torch.compile; reduce-overhead is CUDA graphs."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to train."""
    gpus_per_run: Count = 1
    """GPUs that share every batch of a run; above 1 for runs that one takes too long for."""

    @model_validator(mode="after")
    def settings_fit_together(self) -> "Training":
        ways = self.accumulation_steps * self.gpus_per_run
        if self.batch_size % ways:
            key = "accumulation_steps" if self.accumulation_steps > 1 else "gpus_per_run"
            raise fault(key, f"{canonical(ways)} doesn't divide the batch of {self.batch_size}")
        if self.compile == "reduce-overhead" and self.accumulation_steps > 1:
            right = "with accumulation_steps above 1, take default"
            raise fault(
                "compile", f"a CUDA graph's output is overwritten by the next part: {right}"
            )
        if self.precision == "tf32" and self.device == "cpu":
            raise fault("precision", "tf32 is of GPUs; a CPU has float32 or bfloat16")
        return self


class Trajectory(Training):
    """Everything that decides the sequence of weights, the data's own content aside.

    The fields are also the flags of `python -m clipgrid train`. pydantic's ValidationError for a
    value that can't be trained with.
    """

    model: Annotated[Choice, PartOf("model")]
    """Network, with its settings: vgg11:width=0.0625."""
    optimizer: Annotated[Choice, PartOf("optimizer")]
    """Optimizer, with its settings: momentum:weight_decay=0.0005."""
    learning_rate: Positive
    """Learning rate; of a schedule, the one that it starts from."""
    clip: AnyClip
    """Kind and threshold: agc0.01; a number is λ of the global L2 norm."""
    augmentation: AnyAugmentation = Augmentation()
    """Augmentation of the training images: flip+crop."""
    schedule: AnySchedule = Field("constant", validate_default=True)
    """Schedule of the learning rate."""
    schedule_steps: Steps = 0
    """T of a schedule that depends on it; else 0."""
    objective: AnyObjective = Field("cross-entropy", validate_default=True)
    """What training minimises."""
    split: Literal["prepared", "seed"] = "prepared"
    """Split into training, validation and test images: that of the prepared file, or one that the
    seed draws."""
    train_images: TrainImages = None
    """How many training images, drawn by the seed; or all."""
    label_noise: Share = 0.0
    """Share of the training labels that are exchanged for another class's."""
    seed: Seed
    """Seed of all that is drawn: weights, batches, augmentation, dropout, and as said above."""

    def __hash__(self) -> int:
        """Of what differs most: a large study looks up millions of runs."""
        return hash((self.model.name, self.learning_rate, self.clip.threshold, self.seed))

    @property
    def words(self) -> tuple[str, ...]:
        """Of the name. Runs with the same first words lie near each other in the grid."""
        unusual = (
            f"_{self.schedule}{self.schedule_steps or ''}"
            if str(self.schedule) != "constant"
            else "",
            f"_{self.objective}" if str(self.objective) != "cross-entropy" else "",
            f"_n{self.train_images}" if self.train_images else "",
            f"_noise{canonical(self.label_noise)}" if self.label_noise else "",
        )
        return (
            f"{self.model.name}_{self.optimizer.name}",
            f"lr{canonical(self.learning_rate)}",
            str(self.clip),
            str(self.augmentation) + "".join(unusual),
            f"seed{self.seed}",
        )

    @property
    def name(self) -> str:
        """For people and for files: what differs within a study."""
        return "_".join(self.words)

    @property
    def arm(self) -> str:
        """The name without the seed: what runs that are compared over seeds have in common."""
        return "_".join(self.words[:-1])

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of step `step`, counted from 0."""
        return self.learning_rate * self.schedule(step, self.schedule_steps)

    def key(self, data: str) -> dict[str, Any]:
        """What the stored states and results of this trajectory are found by, JSON-ready: its parts
        with the checksums of their source, and every other setting that isn't as it was when that
        setting was introduced. `data` is the checksum of the images."""
        chosen = {
            "model": self.model.key,
            "optimizer": self.optimizer.key,
            "clip": {**self.clip.choice.key, "threshold": canonical(self.clip.threshold)},
            "augmentation": [choice.key for choice in self.augmentation.choices],
            "schedule": self.schedule.key,
        }
        if str(self.objective) != "cross-entropy":  # which all keys lacked when there was no other
            chosen["objective"] = self.objective.key
        others = {
            name: value
            for name, value in self
            if name not in (*chosen, "objective")
            and value != INTRODUCED.get(name, self.default(name))
        }
        return {"trainer": TRAINER_VERSION, "data": data, **chosen, **others}

    @classmethod
    def default(cls, name: str) -> Any:
        return cls.model_fields[name].default

    @property
    def changed(self) -> dict[str, Any]:
        """The settings that are required or not as by default, JSON-ready: `Trajectory(**changed)`
        is this one."""
        dumped = self.model_dump(mode="json", exclude_defaults=True)
        return {name: value for name, value in dumped.items() if value != self.default(name)}


INTRODUCED: dict[str, Any] = {}
"""The default that a setting had when it was introduced, where it has another today."""


def replace(trajectory: Trajectory, **changes: Any) -> Trajectory:
    """The trajectory with some settings changed, validated."""
    return Trajectory.model_validate(dict(trajectory) | changes)


def digest(key: dict[str, Any]) -> str:
    """A short, stable name for a key."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Cell:
    """One point of the grid: one row of cells.csv."""

    trajectory: Trajectory
    readout: Readout

    @property
    def name(self) -> str:
        return f"{self.trajectory.name}/{self.readout.name}"


Runs = dict[Trajectory, list[Readout]]
"""Trajectories, each with the readouts that are asked of it, in order of T."""


def runs_of(cells: Iterable[Cell]) -> Runs:
    """The runs that `cells` need: each trajectory once."""
    runs: Runs = {}
    for cell in cells:
        runs.setdefault(cell.trajectory, []).append(cell.readout)
    return {t: sorted(set(r), key=lambda r: (r.iterations, r.ema or 0)) for t, r in runs.items()}


def steps(runs: Runs) -> tuple[int, int]:
    """Steps that the cells of `runs` ask for, each trained alone, and steps that the runs take."""
    asked = sum(readout.iterations for readouts in runs.values() for readout in readouts)
    return asked, sum(readouts[-1].iterations for readouts in runs.values())

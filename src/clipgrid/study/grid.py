"""The grid: from a study to cells, trajectories and their names. Pure; imports no torch.

A *trajectory* is everything that decides a sequence of weights. A *readout* is a look at it:
after T iterations, at the raw weights or at a moving average of them. A *cell* is one of each.
"""

import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, cast

from clipgrid import InputError

if TYPE_CHECKING:
    from clipgrid.study.config import Study

MODELS = (
    "alexnet",
    *(f"vgg{depth}{bn}" for bn in ("", "_bn") for depth in (11, 13, 16, 19)),
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
)


def family(model: str) -> str:
    """A model's name without its depth: `resnet50` → `resnet`."""
    return re.sub(r"\d+", "", model)


FAMILIES = tuple(dict.fromkeys(map(family, MODELS)))
OPTIMIZERS = ("momentum", "rmsprop")
AUGMENTATIONS = (
    "none",
    "flip",
    "crop",
    "flip+crop",
    "resized-crop",
    "inception-crop",
    "flip+inception-crop",
)
SCHEDULES = ("constant", "cosine")
TRANSFORMATIONS = ("mirrored", "shifted", "enlarged", "tilted", "rotated")  # of test images
CLIPS = {  # kind: what is compared with its threshold
    "norm": "the global L2 norm",
    "l1norm": "the global L1 norm",
    "maxnorm": "the largest value, to scale the whole gradient",
    "value": "every single value",
    "layer": "the L2 norm of each tensor",
    "agc": "the L2 norm of each unit, over that of its weights",
    "autoclip": "the global L2 norm; the threshold is a percentile of the run's own norms",
    "zclip": "the z-score of the global L2 norm",
}
PRECISIONS = ("float32", "bfloat16")
COMPILE = ("none", "default", "reduce-overhead")
DEVICES = ("cpu", "cuda")
DATASETS = {  # name: channels, and how many training, validation and test images
    "digits": (1, (1149, 288, 360)),
    "fashion-mnist": (1, (48_000, 12_000, 10_000)),
    "mnist": (1, (48_000, 12_000, 10_000)),
    "cifar10": (3, (40_000, 10_000, 10_000)),
    "cifar100": (3, (40_000, 10_000, 10_000)),
    "imagenette": (3, (7_575, 1_894, 3_925)),
    "imagenet": (3, (1_231_167, 50_000, 50_000)),
    "imagefolder": (3, (6_400, 1_600, 2_000)),  # one's own; only estimates of cost take it so large
}
IMAGE_FILES = ("imagenette", "imagenet", "imagefolder")  # sets of a file an image
SMALLEST_IMAGE = 8  # px, of every model here
RESIDENT_BYTES = 8e9  # of a set of images that is kept on the device as a whole
CURVE_IMAGES = 512  # validation images looked at during the run; all of them are at each T
TRANSFORMED_IMAGES = 2000  # test images looked at shifted, turned, ...


def evaluation_batch(size: int) -> int:
    """Images of side `size` px that are looked at at once: fewer of large ones, for the memory."""
    return max(32, min(1024, 2**20 // size**2))


TRAINER_VERSION = 3
"""Raise it when the trainer's numbers change: every trajectory is then trained anew."""


def canonical(x: float) -> str:
    """One spelling for each number: 1, 1.0 and 1e0 are all `1`; infinity is `inf`."""
    return str(int(x)) if abs(x) < 1e16 and x == int(x) else repr(float(x))


@dataclass(frozen=True)
class Clip:
    """A kind of clipping and its threshold. ValueError for one that can't be."""

    kind: str
    threshold: float

    def __post_init__(self) -> None:
        if self.kind not in CLIPS:
            raise ValueError(f"{self.kind!r} is none of {', '.join(CLIPS)}")
        if self.kind == "autoclip" and not 0 < self.threshold <= 100:
            raise ValueError(
                f"a percentile must be above 0 and at most 100, not {canonical(self.threshold)}"
            )
        if not self.threshold > 0:
            raise ValueError(f"must be above 0, not {canonical(self.threshold)}")

    @property
    def name(self) -> str:
        return f"{self.kind}{canonical(self.threshold)}"

    @property
    def observes(self) -> bool:
        """Whether it never fires, and only records."""
        return self.threshold == (100 if self.kind == "autoclip" else math.inf)


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
            raise ValueError(f"{name!r} is not a readout: T500, or T500_ema0.999")
        return readout


def _setting(help: str, choices: tuple[str, ...] | None = None, **default: Any) -> Any:
    return field(metadata={"help": help, "choices": choices}, **default)


@dataclass(frozen=True)
class Trajectory:
    """Everything that decides the sequence of weights, the data's own content aside.

    The fields are also the flags of `python -m clipgrid train`. InputError for a value that
    can't be trained with.
    """

    model: str = _setting("architecture", MODELS)
    optimizer: str = _setting("momentum: SGD with momentum", OPTIMIZERS)
    learning_rate: float = _setting("learning rate; at the first step, of a cosine schedule")
    threshold: float = _setting("of the clip; inf (autoclip: 100) only observes")
    augmentation: str = _setting("augmentation of the training images", AUGMENTATIONS)
    seed: int = _setting("seed of weights, batches, augmentation and dropout")
    clip: str = _setting(
        "; ".join(f"{kind}: {what}" for kind, what in CLIPS.items()), tuple(CLIPS), default="norm"
    )
    cosine_steps: int = _setting(
        "steps in which a cosine schedule takes the learning rate to 0; 0: it is constant",
        default=0,
    )
    train_images: int = _setting(
        "training images, drawn by the seed from the training set; 0: all of it", default=0
    )
    label_noise: float = _setting(
        "share of the training labels that are exchanged for another class's", default=0.0
    )
    width: float = _setting("multiplier of every layer's channels", default=1.0)
    batch_size: int = _setting("images a step", default=32)
    accumulation_steps: int = _setting(
        "parts in which a batch goes through the model; clipping sees their sum", default=1
    )
    momentum: float = _setting("momentum, from 0 to below 1", default=0.9)
    weight_decay: float = _setting("L2 penalty, added after clipping", default=0.0)
    alpha: float = _setting("smoothing constant of RMSProp", default=0.99)
    eps: float = _setting("epsilon of RMSProp", default=1e-8)
    ema_warmup: int = _setting(
        "w of the decay min(d, (1+t)/(w+t)) of moving averages at step t; 1: none", default=10
    )
    evaluate_every: int = _setting("steps between two looks at the validation set", default=100)
    precision: str = _setting("of the forward pass, by autocast", PRECISIONS, default="float32")
    compile: str = _setting(
        "mode of torch.compile; reduce-overhead is CUDA graphs", COMPILE, default="none"
    )
    device: str = _setting("where to train", DEVICES, default="cpu")
    gpus_per_run: int = _setting(
        "processes, each with a GPU, that share every batch; started by torchrun", default=1
    )

    def __post_init__(self) -> None:
        for f in fields(self):
            value, choices = getattr(self, f.name), f.metadata["choices"]
            if choices and value not in choices:
                raise InputError(f"{f.name}: {value!r} is none of {', '.join(choices)}")
        try:
            Clip(self.clip, self.threshold)
        except ValueError as error:
            raise InputError(f"threshold: {error}") from None
        for name in ("learning_rate", "width", "eps"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name}: must be above 0, not {getattr(self, name)}")
        counts = (
            "batch_size",
            "accumulation_steps",
            "ema_warmup",
            "evaluate_every",
            "gpus_per_run",
        )
        for name in counts:
            if getattr(self, name) < 1:
                raise InputError(f"{name}: must be at least 1, not {getattr(self, name)}")
        if self.batch_size % (self.accumulation_steps * self.gpus_per_run):
            raise InputError(
                f"batch_size: {self.batch_size} can't be divided into {self.accumulation_steps}"
                f" accumulation_steps on {self.gpus_per_run} gpus_per_run"
            )
        for name in ("momentum", "alpha"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name}: must be from 0 to below 1, not {getattr(self, name)}")
        for name in ("seed", "weight_decay", "cosine_steps", "train_images"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name}: must be 0 or more, not {getattr(self, name)}")
        if not 0 <= self.label_noise <= 1:
            raise InputError(f"label_noise: must be from 0 to 1, not {self.label_noise}")
        if fault := width_fault(self.model, self.width):
            raise InputError(f"width: {fault}")

    @property
    def parts(self) -> tuple[str, ...]:
        """Of the name. Those whose first is the same share all settings that the name lacks."""
        unusual = (
            f"_cosine{self.cosine_steps}" if self.cosine_steps else "",
            f"_n{self.train_images}" if self.train_images else "",
            f"_noise{canonical(self.label_noise)}" if self.label_noise else "",
        )
        return (
            f"{self.model}_{self.optimizer}",
            f"lr{canonical(self.learning_rate)}",
            Clip(self.clip, self.threshold).name,
            self.augmentation + "".join(unusual),
            f"seed{self.seed}",
        )

    @property
    def name(self) -> str:
        return "_".join(self.parts)

    @classmethod
    def parse(cls, name: str, **unnamed: Any) -> "Trajectory":
        """The inverse of `name`, given the settings that it lacks; ValueError on anything else."""
        match = NAME.fullmatch(name)
        if match:
            types = {f.name: f.type for f in fields(cls)}
            told = {k: cast(Callable, types[k])(v) for k, v in match.groupdict().items() if v}
            trajectory = cls(**told, **unnamed)
        if not match or trajectory.name != name:
            raise ValueError(f"{name!r} names no trajectory")
        return trajectory

    @property
    def arm(self) -> str:
        """The name without the seed: what runs that are compared over seeds have in common."""
        return "_".join(self.parts[:-1])

    @property
    def schedule(self) -> str:
        return "cosine" if self.cosine_steps else "constant"

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of step `step`, counted from 0."""
        if not self.cosine_steps:
            return self.learning_rate
        return self.learning_rate * (1 + math.cos(math.pi * step / self.cosine_steps)) / 2

    @property
    def flags(self) -> str:
        """The settings as flags of `python -m clipgrid train`."""
        return flags(asdict(self))

    @property
    def unnamed_flags(self) -> str:
        """Those of the settings that the name lacks."""
        return flags({k: v for k, v in asdict(self).items() if k not in NAMED})

    def spec(self, data_checksum: str) -> dict[str, Any]:
        """What the stored states and results of this trajectory are stamped with, JSON-ready."""
        settings = {k: canonical(v) if k == "threshold" else v for k, v in asdict(self).items()}
        if self.gpus_per_run == 1:
            del settings["gpus_per_run"]  # states that are older than this setting stay good
        return {"trainer": TRAINER_VERSION, "data": data_checksum, **settings}


NAME = re.compile(
    rf"(?P<model>{'|'.join(MODELS)})_(?P<optimizer>{'|'.join(OPTIMIZERS)})_lr(?P<learning_rate>[^_]+)"
    rf"_(?P<clip>{'|'.join(CLIPS)})(?P<threshold>[^_]+)_(?P<augmentation>[^_]+)"
    r"(?:_cosine(?P<cosine_steps>\d+))?(?:_n(?P<train_images>\d+))?(?:_noise(?P<label_noise>[^_]+))?"
    r"_seed(?P<seed>\d+)"
)
NAMED = tuple(NAME.groupindex)
"""The settings that a trajectory's name tells."""


def flags(settings: dict[str, Any]) -> str:
    return " ".join(
        f"--{key.replace('_', '-')} {value if isinstance(value, str) else canonical(value)}"
        for key, value in settings.items()
    )


def digest(spec: dict[str, Any]) -> str:
    """A short, stable name for a spec."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


def width_fault(model: str, width: float) -> str | None:
    """Why `model` can't have this `width`; None where it can."""
    narrowest = 64 * width  # channels; 64 at width 1, in every model here
    if narrowest <= 0.5:
        return f"{canonical(width)} leaves a layer no channel"
    if model.startswith("resnet") and narrowest % 8:
        # torch's CPU kernel for 1x1 stride-2 convolutions corrupts memory at 4 and 6 channels.
        return "must be a multiple of 0.125 for a ResNet"
    return None


AXES = (
    "models",
    "optimizers",
    "learning_rates",
    "clips",
    "iterations",
    "ema",
    "augmentations",
    "schedules",
    "train_images",
    "label_noise",
    "seeds",
)


@dataclass(frozen=True)
class Cell:
    """One point of the grid: one row of cells.csv."""

    trajectory: Trajectory
    readout: Readout

    @property
    def name(self) -> str:
        return f"{self.trajectory.name}/{self.readout.name}"


def cells(study: "Study") -> list[Cell]:
    """The cells that a study asks for, each once."""
    selections = (
        [{}]
        if study.expand == "product"
        else [s for name in study.experiments for s in study.selections(name)]
    )
    return list(dict.fromkeys(itertools.chain.from_iterable(select(study, s) for s in selections)))


def select(study: "Study", selection: dict[str, list[Any]]) -> Iterable[Cell]:
    """The cells of the study's grid in which each axis named has one of the values given."""

    def values(axis: str, available: Iterable[Any]) -> list[Any]:
        return [v for v in available if axis not in selection or v in selection[axis]]

    optimizers = study.optimizers.chosen
    training = study.training.model_dump(exclude={"checkpoint_every", "job_seconds"})
    for model, optimizer in itertools.product(
        values("models", study.models), values("optimizers", optimizers)
    ):
        settings = optimizers[optimizer].model_dump()
        learning_rates = settings.pop("learning_rates")
        for learning_rate, clip, augmentation, train_images, noise, seed in itertools.product(
            values("learning_rates", learning_rates),
            values("clips", study.clips),
            values("augmentations", study.augmentations),
            values("train_images", study.train_images),
            values("label_noise", study.label_noise),
            values("seeds", study.seeds),
        ):
            constant = Trajectory(
                model=model,
                optimizer=optimizer,
                learning_rate=learning_rate,
                clip=clip.kind,
                threshold=clip.threshold,
                augmentation=augmentation,
                train_images=train_images or 0,
                label_noise=noise,
                seed=seed,
                width=study.models[model].width,
                **training,
                **settings,
            )
            for schedule, iterations, ema in itertools.product(
                values("schedules", study.schedules),
                values("iterations", study.iterations),
                values("ema", study.ema),
            ):
                # A schedule that looks at T gives each T a trajectory of its own.
                own = {"cosine_steps": iterations} if schedule == "cosine" else {}
                yield Cell(replace(constant, **own), Readout(iterations, ema))


def trajectories(cells: Iterable[Cell]) -> dict[Trajectory, list[Readout]]:
    """The runs that `cells` need: each trajectory once, with its readouts in order of T."""
    runs: dict[Trajectory, list[Readout]] = {}
    for cell in cells:
        runs.setdefault(cell.trajectory, []).append(cell.readout)
    return {t: sorted(set(r), key=lambda r: (r.iterations, r.ema or 0)) for t, r in runs.items()}


MOST_RUNS = 250  # of a pack: they are named in one command, and its length has a limit


def packs(
    runs: dict[Trajectory, list[Readout]],
    seconds: Callable[[Trajectory, list[Readout]], float],
    limit: float,
) -> list[list[Trajectory]]:
    """The runs in packs, each trained by one job: all whose names begin alike, where they take at
    most `limit` seconds by the estimate `seconds`; of an arm that takes longer, as many seeds as
    that allows, and one at least.
    """
    times = {trajectory: seconds(trajectory, readouts) for trajectory, readouts in runs.items()}

    def fits(pack: list[Trajectory]) -> bool:
        return len(pack) <= MOST_RUNS and sum(times[t] for t in pack) <= limit

    def split(pack: list[Trajectory], depth: int) -> Iterable[list[Trajectory]]:
        if depth and fits(pack):
            yield pack
        elif depth == len(pack[0].parts) - 1:
            while pack:
                n = next((n for n in range(2, len(pack) + 1) if not fits(pack[:n])), len(pack) + 1)
                yield pack[: n - 1]
                pack = pack[n - 1 :]
        else:
            parts: dict[str, list[Trajectory]] = {}
            for trajectory in pack:
                parts.setdefault(trajectory.parts[depth], []).append(trajectory)
            for part in parts.values():
                yield from split(part, depth + 1)

    return list(split(list(runs), 0))


def beginning(pack: list[Trajectory]) -> str:
    """What the names in a pack begin with; of a single run, its name."""
    return "_".join(common([trajectory.parts for trajectory in pack]))


def common(names: list[tuple[str, ...]]) -> list[str]:
    """The parts that all of the names begin with."""
    columns = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*names, strict=True))
    return [parts[0] for parts in columns]


def names_pattern(names: Iterable[str]) -> str:
    """A regular expression for just these names. Short, as Snakemake matches every file against
    it: what names have in common up to an underscore stands there once."""
    tree: dict = {}
    for name in names:
        node = tree
        for part in [*name.split("_"), ""]:
            node = node.setdefault(part, {})

    def pattern(node: dict) -> str:
        tails = [f"_{re.escape(part)}{pattern(rest)}" for part, rest in node.items() if part]
        return f"(?:{'|'.join(tails)}){'?' if '' in node else ''}" if tails else ""

    return "|".join(f"{re.escape(part)}{pattern(rest)}" for part, rest in tree.items())


def steps(cells: Iterable[Cell]) -> tuple[int, int]:
    """Steps that `cells` ask for, each trained alone, and steps that their trajectories take."""
    cells = list(cells)
    asked = sum(cell.readout.iterations for cell in cells)
    return asked, sum(readouts[-1].iterations for readouts in trajectories(cells).values())

"""The study: a config file as typed, validated data. Imports no torch.

`load` reads a file, `parse` a mapping; both raise `StudyError`, whose message lists every fault
with its key and what would be right. `schema` is the JSON schema of the file.
"""

import difflib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from clipgrid import InputError
from clipgrid.study import grid
from clipgrid.study.grid import AXES, CLIPS, Clip, canonical, select, width_fault
from clipgrid.study.names import OPTIMIZERS, model_name

ModelName = Literal[*grid.MODELS]  # type: ignore[valid-type]
OptimizerName = Literal[*grid.OPTIMIZERS]  # type: ignore[valid-type]
Augmentation = Literal[*grid.AUGMENTATIONS]  # type: ignore[valid-type]
Schedule = Literal[*grid.SCHEDULES]  # type: ignore[valid-type]
NAME = r"^[a-z][a-z0-9-]*$"
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|\+?\.?inf"


class StudyError(InputError):
    """A config that can't be run; the message is for the person who wrote it."""


def number(value: Any) -> Any:
    """YAML's `1e-3`, `inf` and `.inf` as floats; anything that is no number as it is."""
    if isinstance(value, str) and re.fullmatch(NUMBER, value.strip(), re.IGNORECASE):
        return float(value.strip().lower().replace(".inf", "inf"))
    return value


def whole(value: Any) -> Any:
    """`1e3` and `1000.0` as the integer 1000."""
    value = number(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def not_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers")
    return value


def unique(values: list[Any]) -> list[Any]:
    twice = [v for i, v in enumerate(values) if v in values[:i]]
    if twice:
        raise ValueError(f"{', '.join(map(spelled, twice))} stands there twice")
    return values


def some(values: Any) -> Any:
    if values in ([], {}, None):
        raise ValueError("at least one value is needed")
    return values


def decay_or_none(value: Any) -> Any:
    return None if value in (None, "none") else number(value)


def count_or_all(value: Any) -> Any:
    return None if value in (None, "all") else whole(value)


def clip(value: Any) -> Clip:
    """A number is the threshold of the global L2 norm; `agc0.01` names a kind and its threshold."""
    value = number(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Clip("norm", float(value))
    if isinstance(value, Clip):
        return value
    match = re.fullmatch(f"({'|'.join(CLIPS)})({NUMBER})", str(value), re.IGNORECASE)
    if not match:
        raise ValueError(
            f"{value!r} is no clip: a number is the threshold of the global L2 norm; other kinds"
            f" stand before theirs, as in agc0.01. Kinds: {', '.join(CLIPS)}"
        )
    return Clip(match[1].lower(), number(match[2]))


def spelled(value: Any, axis: str = "") -> str:
    """A value as one would write it in the config."""
    if value is None:
        return "all" if axis == "train_images" else "none"
    if isinstance(value, Clip):
        return canonical(value.threshold) if value.kind == "norm" else value.name
    return canonical(value) if isinstance(value, int | float) else str(value)


@dataclass(frozen=True)
class OrText:
    """Tells editors that a string of this pattern does too."""

    pattern: str

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [handler(core), {"type": "string", "pattern": f"^({self.pattern})$"}]}


Number = (BeforeValidator(number), BeforeValidator(not_bool), OrText(NUMBER))
Whole = (BeforeValidator(whole), BeforeValidator(not_bool), OrText(NUMBER))
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), *Number]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), *Number]
Share = Annotated[float, Field(ge=0, lt=1), *Number]
ClipAxis = Annotated[
    Clip,
    PlainValidator(clip),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": f"^({'|'.join(CLIPS)})?({NUMBER})$"},
            ]
        }
    ),
    PlainSerializer(
        lambda c: float(c.threshold) if c.kind == "norm" and c.threshold < math.inf else spelled(c),
        when_used="json",
    ),
]
Iterations = Annotated[int, Field(ge=1, le=10**9), *Whole]
Decay = Annotated[
    Annotated[float, Field(gt=0, lt=1), BeforeValidator(not_bool)] | None,
    BeforeValidator(decay_or_none),
    OrText("none"),
    PlainSerializer(lambda x: "none" if x is None else x, when_used="json"),
]
Seed = Annotated[int, Field(ge=0), *Whole]
TrainImages = Annotated[
    Annotated[int, Field(ge=1), BeforeValidator(not_bool)] | None,
    BeforeValidator(count_or_all),
    OrText("all"),
    PlainSerializer(lambda x: "all" if x is None else x, when_used="json"),
]

T = TypeVar("T")
Axis = Annotated[list[T], BeforeValidator(some), AfterValidator(unique)]


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Data(Settings):
    """The images."""

    name: Literal[*grid.DATASETS] = "digits"  # type: ignore[valid-type]
    """Data set; digits needs no download."""
    size: Annotated[int, Field(ge=grid.SMALLEST_IMAGE), *Whole] = 12
    """Side of the images that the models see, px."""
    split_seed: Seed = 0
    """Seed of the split into training, validation and test images."""
    folder: str = "data"
    """Where raw files lie, or are downloaded to."""


class Model(Settings):
    """An architecture's size."""

    width: Annotated[float, Field(gt=0, le=16, allow_inf_nan=False), *Number] = 1.0
    """Multiplier of every layer's channels; 1 is the published size."""


class Momentum(Settings):
    """SGD with momentum."""

    learning_rates: Axis[Positive]
    """An axis of the grid; constant over a run."""
    momentum: Share = 0.9
    """Momentum, from 0 to below 1."""
    weight_decay: NotNegative = 0.0
    """L2 penalty; its gradient is added after clipping."""


class RMSProp(Momentum):
    """RMSProp, as torch has it."""

    momentum: Share = 0.0
    """Momentum, from 0 to below 1."""
    alpha: Share = 0.99
    """Smoothing constant of the squared gradient."""
    eps: Positive = 1e-8
    """Added to the denominator."""


class Optimizers(Settings):
    """The optimizers of the grid, each with its settings."""

    momentum: Momentum | None = None
    """SGD with momentum."""
    rmsprop: RMSProp | None = None
    """RMSProp."""

    @property
    def chosen(self) -> dict[str, Momentum]:
        return {name: settings for name, settings in self if settings}


def at_least_one(optimizers: Optimizers) -> Optimizers:
    some(optimizers.chosen)
    return optimizers


class Training(Settings):
    """What all trajectories share."""

    batch_size: Annotated[int, Field(ge=2), *Whole] = 32
    """Images a step."""
    accumulation_steps: Annotated[int, Field(ge=1), *Whole] = 1
    """Parts in which a batch goes through the model; clipping sees the sum of their gradients."""
    ema_warmup: Annotated[int, Field(ge=1), *Whole] = 10
    """Averages have the decay min(d, (1+t)/(ema_warmup+t)) at step t; 1 is no warm-up."""
    evaluate_every: Iterations = 100
    """Steps between two looks at the validation set (the learning curves)."""
    checkpoint_every: Positive = 60.0
    """Seconds of training after which a run is saved, to go on from there if it is killed."""
    job_seconds: NotNegative = 60.0
    """Runs whose names begin alike are trained by one job, of about so many seconds at most, by an
    estimate; 0 is a job a run."""
    precision: Literal[*grid.PRECISIONS] = "float32"  # type: ignore[valid-type]
    """Of the forward pass, by autocast; weights, gradients and clipping stay float32."""
    compile: Literal[*grid.COMPILE] = "none"  # type: ignore[valid-type]
    """Mode of torch.compile; reduce-overhead is CUDA graphs."""
    device: Literal[*grid.DEVICES] = "cpu"  # type: ignore[valid-type]
    """Where to train."""
    gpus_per_run: Annotated[int, Field(ge=1), *Whole] = 1
    """GPUs that share every batch of a run; above 1 for runs that one takes too long for."""


class Selection(Settings):
    """Cells of the grid: those that have, on each axis named here, one of the values given."""

    models: Axis[ModelName] | None = None
    """Architectures."""
    optimizers: Axis[OptimizerName] | None = None
    """Optimizers."""
    learning_rates: Axis[Positive] | None = None
    """Learning rates."""
    clips: Axis[ClipAxis] | None = None
    """Clips."""
    iterations: Axis[Iterations] | None = None
    """T's."""
    ema: Axis[Decay] | None = None
    """Decays of the moving average."""
    augmentations: Axis[Augmentation] | None = None
    """Augmentations."""
    schedules: Axis[Schedule] | None = None
    """Schedules of the learning rate."""
    train_images: Axis[TrainImages] | None = None
    """Numbers of training images."""
    label_noise: Axis[Share] | None = None
    """Shares of exchanged training labels."""
    seeds: Axis[Seed] | None = None
    """Seeds."""

    @property
    def axes(self) -> dict[str, list[Any]]:
        return {axis: getattr(self, axis) for axis in AXES if getattr(self, axis) is not None}


class Experiment(Settings):
    """Cells of the grid that are trained and reported together."""

    title: str
    """Its name in the report."""
    section: str | None = None
    """The document's section. One that the document lacks has none, and no page of its own: the
    figures across the study and the claims read its cells."""
    select: Axis[Selection]
    """Its cells: the union of these selections."""


class Study(Settings):
    """A study: one config file."""

    title: str
    """Heading of the report."""
    results: Annotated[str, Field(min_length=1)] = "results"
    """Folder for all that the study makes."""
    data: Data
    """The images."""
    models: Annotated[dict[ModelName, Model], BeforeValidator(some)]
    """Axis: architectures."""
    optimizers: Annotated[Optimizers, AfterValidator(at_least_one)]
    """Axis: optimizers, with their learning rates."""
    clips: Axis[ClipAxis]
    """Axis: thresholds of the gradient's global L2 norm (inf is no clipping), or other kinds, each
    before its threshold, as in agc0.01."""
    iterations: Axis[Iterations]
    """Axis: T, the iterations after which the weights are looked at."""
    ema: Axis[Decay]
    """Axis: none, and decays of moving averages of the weights."""
    augmentations: Axis[Augmentation]
    """Axis: augmentations of the training images."""
    schedules: Axis[Schedule] = ["constant"]
    """Axis: schedules of the learning rate; cosine ends at 0 at T, and so trains each T alone."""
    train_images: Axis[TrainImages] = [None]
    """Axis: all, or numbers of training images, drawn by the seed."""
    label_noise: Axis[Share] = [0.0]
    """Axis: shares of the training labels that are exchanged for another class's."""
    seeds: Axis[Seed]
    """Axis: seeds; arms with one seed share weights, batches and augmentation."""
    training: Training = Training()
    """What all trajectories share."""
    expand: Literal["experiments", "product"] = "experiments"
    """Train what the experiments select, or the full cross product of the axes."""
    claims: Annotated[str, Field(min_length=1)] = "claims.yaml"
    """File of the statements that are judged."""
    usual: Selection = Selection()
    """What a selection takes on an axis that it doesn't name; one named in neither is free."""
    experiments: dict[Annotated[str, Field(pattern=NAME)], Experiment]
    """What is trained together: each with a section of the document gets a table, figures and a
    page of the report."""

    def selections(self, experiment: str) -> list[dict[str, list[Any]]]:
        """What an experiment selects, axis by axis."""
        return [{**self.usual.axes, **s.axes} for s in self.experiments[experiment].select]


def parse(config: Any, source: str = "config.yaml") -> Study:
    """The study that `config`, a mapping read from `source`, describes; StudyError if none."""
    try:
        study = Study.model_validate(config)
        faults = []
    except ValidationError as error:
        study = None
        faults = [(key_path(e["loc"]) or "the file", explain(e)) for e in error.errors()]
    faults += cross_faults(config)
    if study and not faults:
        faults = empty_selections(study)
    if study is None or faults:
        raise StudyError(listed(faults, f"{source} can't be run"))
    return study


def load(path: Path) -> Study:
    """The study in a YAML or JSON file."""
    return parse(read(path), str(path))


def read(path: Path) -> Any:
    """A config file's content. StudyError for a file that isn't YAML or says a key twice."""
    try:
        return yaml.load(path.read_text(), UniqueKeys)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise StudyError(f"{path} can't be read: {error}") from None


class UniqueKeys(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error, not the last one's win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value} stands there twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def to_json(study: Study) -> str:
    """The study with every default filled in and one spelling for each value."""
    return json.dumps(study.model_dump(mode="json", exclude_none=True), indent=1) + "\n"


def schema() -> dict[str, Any]:
    """JSON schema of a study, for editors and for Snakemake."""
    return Study.model_json_schema()


def settings(study: Study) -> str:
    """What all cells share, in a sentence for captions."""
    widths = ", ".join(
        f"{model_name(name)} at {canonical(model.width)} of its width"
        for name, model in study.models.items()
    )
    rates = ", ".join(
        f"{OPTIMIZERS[name]} {'/'.join(map(canonical, optimizer.learning_rates))}"
        for name, optimizer in study.optimizers.chosen.items()
    )
    return (
        f"{study.data.name} at {study.data.size}×{study.data.size} px; {widths}; batches of"
        f" {study.training.batch_size}; learning rates {rates}; {len(study.seeds)} seeds"
    )


# ---- faults, in words -------------------------------------------------------------------------


def listed(faults: list[tuple[str, str]], heading: str) -> str:
    """All faults, each (key, message) once, a line each."""
    lines = [f"  {path}: {message}" for path, message in dict.fromkeys(faults)]
    count = "1 fault" if len(lines) == 1 else f"{len(lines)} faults"
    return "\n".join([f"{heading}; {count}:", *lines])


def key_path(loc: tuple[int | str, ...]) -> str:
    """`clips[1]`, `models.alexnet.width`."""
    parts = [part for part in loc if part != "[key]"]
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts).lstrip(".")


def explain(error: Any, model: type[BaseModel] = Study) -> str:
    """One fault that pydantic finds in a `model`, in words that say what would be right."""
    given, context = error["input"], error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return "unknown key; " + suggest(
                str(error["loc"][-1]), keys_at(error["loc"][:-1], model)
            )
        case "literal_error":
            return f"unknown: {given!r}; " + suggest(
                str(given), re.findall(r"'([^']*)'", context["expected"])
            )
        case "missing":
            return "missing"
        case "union_tag_invalid":
            return (
                f"unknown {context['discriminator'].strip(chr(39))}: {context['tag']!r}; "
                + suggest(context["tag"], re.findall(r"'([^']*)'", context["expected_tags"]))
            )
        case "union_tag_not_found":
            return f"{context['discriminator'].strip(chr(39))} is missing"
        case "value_error":
            return str(context["error"])
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            limit = spelled(next(iter(context.values())))
            return f"must be {LIMITS[error['type']]} {limit}, not {given}"
        case "finite_number":
            return f"must be a finite number, not {given}"
        case "float_type" | "float_parsing":
            return f"must be a number, not {given!r}"
        case "int_type" | "int_parsing" | "int_from_float":
            return f"must be a whole number, not {given!r}"
        case "string_pattern_mismatch":
            if context["pattern"] == NAME:
                return "must be of lower-case letters, digits and hyphens (it names files)"
            return f"must match {context['pattern']}, not {given!r}"
    return f"{error['msg'][0].lower()}{error['msg'][1:]}, not {given!r}"


LIMITS = {
    "greater_than": "above",
    "greater_than_equal": "at least",
    "less_than": "below",
    "less_than_equal": "at most",
}


def suggest(given: str, known: list[str]) -> str:
    close = difflib.get_close_matches(given, known, 1)
    return (f"did you mean {close[0]}? " if close else "") + f"Known: {', '.join(known)}"


def keys_at(loc: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """The keys that a model's schema knows at `loc`."""
    root = model.model_json_schema()
    node = root
    for part in (*loc, None):
        if kinds := node.get("discriminator"):
            node = {"$ref": kinds["mapping"][part]}
            part = None
        for option in node.get("anyOf", []):
            node = option if option.get("type") != "null" else node
        if "$ref" in node:
            node = root["$defs"][node["$ref"].rpartition("/")[2]]
        if part is not None:
            any_key = [*node.get("patternProperties", {}).values()]
            any_key += [node[k] for k in ("items", "additionalProperties") if node.get(k)]
            node = node.get("properties", {}).get(part) or any_key[0]
    return list(node.get("properties", {}))


def cross_faults(config: Any) -> list[tuple[str, str]]:
    """Faults that concern two keys at once, in whatever of `config` is sound enough to be asked."""
    faults = []
    models = sound(dict[str, Any], config, "models") or {}
    for name, settings in models.items():
        width = sound(Positive, settings, "width") or 1.0
        if fault := width_fault(name, width):
            faults.append((f"models.{name}.width", fault))

    training = sound(dict[str, Any], config, "training") or {}
    batch_size = sound(int, training, "batch_size") or Training().batch_size
    parts = sound(Annotated[int, Field(ge=1)], training, "accumulation_steps") or 1
    gpus = sound(Annotated[int, Field(ge=1)], training, "gpus_per_run") or 1
    if gpus > 1 and training.get("device", "cpu") == "cpu":
        faults.append(("training.gpus_per_run", f"{gpus} with device: cpu; it needs device: cuda"))
    if batch_size % (parts * gpus):
        faults.append(
            (
                "training.accumulation_steps" if parts > 1 else "training.gpus_per_run",
                f"{canonical(parts * gpus)} doesn't divide the batch of {batch_size}",
            )
        )
    faults += data_faults(config)

    optimizers = sound(dict[str, Any], config, "optimizers") or {}
    rates = [sound(list[Positive], o, "learning_rates") for o in optimizers.values()]
    given = config if isinstance(config, dict) else {}
    grid = {
        axis: sound(list[kind], {**DEFAULT_AXES, **given}, axis)  # type: ignore[valid-type]
        for axis, kind in AXIS_TYPES.items()
    }
    grid |= {"models": list(models) or None, "optimizers": list(optimizers) or None}
    grid["learning_rates"] = None if None in rates else [x for axis in rates for x in axis]
    experiments = sound(dict[str, Any], config, "experiments") or {}
    for name, experiment in experiments.items():
        for i, selection in enumerate(sound(list[dict[str, Any]], experiment, "select") or []):
            faults += not_in_grid(grid, selection, f"experiments.{name}.select[{i}]")
    return faults + not_in_grid(grid, sound(dict[str, Any], config, "usual") or {}, "usual")


def data_faults(config: Any) -> list[tuple[str, str]]:
    """Faults of the images that can be told without them."""
    data = sound(dict[str, Any], config, "data") or {}
    name = sound(str, {"name": Data().name, **data}, "name")
    faults = []
    if name == "digits" and data.get("folder", Data().folder) != Data().folder:
        right = "name the data set that is there too: {name: …, folder: …}"
        faults.append(("data.folder", f"digits come with scikit-learn and have none; {right}"))
    if name in grid.DATASETS and name != "imagefolder":
        most = grid.DATASETS[name][1][0]
        faults += [
            ("train_images", f"{n} is more than the {most} training images of {name}")
            for n in sound(list[TrainImages], config, "train_images") or []
            if n and n > most
        ]
    return faults


def not_in_grid(
    grid: dict[str, Any], selection: dict[str, Any], path: str
) -> list[tuple[str, str]]:
    """A fault for each value in `selection` that its axis lacks."""
    return [
        (
            f"{path}.{axis}",
            f"{spelled(value, axis)} is not among the grid's {axis}:"
            f" {', '.join(spelled(known, axis) for known in grid[axis])}",
        )
        for axis, kind in AXIS_TYPES.items()
        for value in sound(list[kind], selection, axis) or []  # type: ignore[valid-type]
        if grid[axis] is not None and value not in grid[axis]
    ]


def sound(kind: Any, config: Any, key: str) -> Any:
    """`config[key]` as a `kind`, None where it is missing or none."""
    try:
        return TypeAdapter(kind).validate_python(config[key])
    except (ValidationError, KeyError, TypeError):
        return None


AXIS_TYPES: dict[str, Any] = {
    "models": ModelName,
    "optimizers": OptimizerName,
    "learning_rates": Positive,
    "clips": ClipAxis,
    "iterations": Iterations,
    "ema": Decay,
    "augmentations": Augmentation,
    "schedules": Schedule,
    "train_images": TrainImages,
    "label_noise": Share,
    "seeds": Seed,
}
DEFAULT_AXES = {
    axis: Study.model_fields[axis].default for axis in ("schedules", "train_images", "label_noise")
}


def empty_selections(study: Study) -> list[tuple[str, str]]:
    faults = [
        (f"experiments.{name}.select[{i}]", "selects no cell of the grid")
        for name in study.experiments
        for i, selection in enumerate(study.selections(name))
        if not any(True for _ in select(study, selection))
    ]
    if study.expand == "experiments" and not study.experiments:
        faults.append(("experiments", "none, so nothing to train; name one or `expand: product`"))
    return faults

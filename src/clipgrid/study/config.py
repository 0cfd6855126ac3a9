"""The study: a config file as typed, validated data. Imports no torch.

`load` reads a file, `parse` a mapping; both raise `StudyError`, whose message lists every fault
with its key and what would be right. `schema` is the JSON schema of the file.
"""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationError,
    create_model,
    model_validator,
)

from clipgrid.study import axes, grid, parts, paths
from clipgrid.study.cells import Text, Training, any_of
from clipgrid.study.chosen import Models, OneOf, Optimizers
from clipgrid.study.faults import StudyError, explained, key_path, listed
from clipgrid.study.fields import (
    Look,
    Name,
    NotNegative,
    Positive,
    Settings,
    Side,
    Split,
    Values,
    canonical,
    fault,
    on_a_line,
    shown,
    spelled,
)
from clipgrid.study.reading import read

TAKEN = {"cells", "settings", "claims", "external", "checklist", "judgements", "study"}
"""Pages of each report."""


def known_dataset(name: Any) -> str:
    parts.find("dataset", str(name))
    return str(name)


def known_figure(name: Any) -> str:
    parts.find("figure", str(name))
    return str(name)


def not_taken(name: str) -> str:
    """The name of an experiment. ValueError for that of another page of the report."""
    if name in TAKEN:
        raise ValueError("the report has a page of this name already; choose another")
    return name


# ---- the file --------------------------------------------------------------------------------


FigureName = Annotated[str, PlainValidator(known_figure), OneOf(lambda: parts.names("figure"))]


class Data(Settings):
    """The images."""

    name: Annotated[str, PlainValidator(known_dataset), Text(lambda: any_of("dataset"))] = "digits"
    """Data set; digits needs no download."""
    size: Side = 12
    """Side of the images that the models see, px."""
    split: Split = "seed"
    """Split into training, validation and test images, of a set that doesn't come split: `seed`, if
    each seed draws its own; or a number, which draws one for all seeds."""
    folder: paths.NamedPath = "data"
    """Where raw files lie, or are downloaded to."""

    @property
    def about(self) -> Any:
        """What its part says of it: channels, number of images."""
        return parts.find("dataset", self.name).about

    @property
    def split_seed(self) -> int:
        """What draws the split of the prepared file."""
        return 0 if self.split == "seed" else self.split

    @model_validator(mode="after")
    def a_folder_is_read(self) -> "Data":
        if self.name == "digits" and self.folder != Data.model_fields["folder"].default:
            right = "name the data set that is there too: {name: …, folder: …}"
            raise fault("folder", f"digits come with scikit-learn and have none; {right}")
        return self


class StudyTraining(Training):
    """What all trajectories share, and how they are trained."""

    checkpoint_every: Positive = 60.0
    """Seconds of training after which a run is saved, to go on from there if it is killed."""
    job_seconds: NotNegative = 60.0
    """Runs that lie near each other in the grid are trained by one job, of about so many seconds at
    most, by an estimate; 0 is a job a run."""

    @property
    def shared(self) -> dict[str, Any]:
        """The settings of each trajectory."""
        return {name: getattr(self, name) for name in Training.model_fields}

    @model_validator(mode="after")
    def several_processes_have_gpus(self) -> "StudyTraining":
        if self.gpus_per_run > 1 and self.device == "cpu":
            raise fault(
                "gpus_per_run", f"{self.gpus_per_run} with device: cpu; it needs device: cuda"
            )
        return self


class Selection(Settings):
    """Cells of the grid: on each axis named here the values given, on others those of the study."""

    @property
    def axes(self) -> dict[str, list[Any]]:
        named = {name: getattr(self, name) for name in axes.NAMES}
        return {name: values for name, values in named.items() if values is not None}

    def __str__(self) -> str:
        return f"the selection of {', '.join(self.axes) or 'all'}"


ListOf: Any = Values


def with_axes(base: type[BaseModel], **kinds: Any) -> Any:
    """A model that has an optional key for each axis; `kinds` are the types of values of some."""
    keys: Any = {
        axis.name: (
            ListOf[kinds.get(axis.name, axis.kind)] | None,
            Field(None, description=axis.help),
        )
        for axis in axes.AXES
    }
    return create_model(base.__name__, __base__=base, __doc__=base.__doc__, **keys)


Selected: Any = with_axes(Selection)


class Experiment(Settings):
    """Cells of the grid that are trained and reported together."""

    title: str
    """Its name in the report."""
    section: str | None = None
    """The article's section. Where some experiments have one, each of these has a page of the
    report, and the others serve the claims and the figures across the study; where none has, each
    has a page."""
    select: Values[Selected]
    """Its cells: the union of these selections."""


def or_all(experiments: Any) -> Any:
    """One of all cells, in the place of none."""
    return experiments or {"all": {"title": "All cells", "select": [{}]}}


class Study(Settings):
    """A study: one config file. It trains what its experiments select, or else all of its grid."""

    title: str
    """Heading of the report."""
    results: paths.Results = "results"
    """Folder for all that the study makes."""
    extensions: list[paths.NamedPath] = Field(default_factory=list)
    """Python files or modules with parts of one's own."""
    data: Data
    """The images."""
    models: Models
    """Axis: networks, with their settings."""
    optimizers: Optimizers
    """Axis: optimizers, with their settings and learning rates."""
    looks: list[Look] | None = None
    """Numbers of seeds at which the claims are judged, fixed beforehand: the first is that of
    `seeds`; claims that are open then go on with the seeds that follow. None: all at once."""
    training: StudyTraining = StudyTraining()
    """What all trajectories share."""
    claims: paths.NamedPath | None = None
    """File of the statements that are judged, if any."""
    figures: list[FigureName] | None = None
    """The figures across the study that the report has. None: all."""
    start_page: paths.NamedPath | None = None
    """A Jinja template of the report's start page, in the place of ours; it is code, as extensions
    are."""
    further: list[Selected] = Field(default_factory=list)
    """Cells of its experiments that have more seeds, as open claims go on with them: `python -m
    clipgrid next-look` finds them."""
    experiments: Annotated[
        dict[Annotated[Name, AfterValidator(not_taken)], Experiment], BeforeValidator(or_all)
    ] = Field({}, validate_default=True)
    """What is trained together; without any, the product of all axes."""

    def values(self, axis: str) -> list[Any]:
        """The values of an axis, where a selection names no others."""
        return list(getattr(self, axis))

    @property
    def pages(self) -> dict[str, Experiment]:
        """The experiments that have a page of the report: the article's, or else all."""
        of_article = {name: e for name, e in self.experiments.items() if e.section}
        return of_article or self.experiments


KEYS: Any = {
    axis.name: (
        ListOf[axis.kind],
        Field(
            ... if axis.default is None else list(axis.default),
            validate_default=True,
            description=f"Axis: {axis.help[0].lower()}{axis.help[1:]}",
        ),
    )
    for axis in axes.AXES
    if axis.own_key
}
File: Any = create_model("Study", __base__=Study, __doc__=Study.__doc__, **KEYS)
"""A study with a key for each axis."""


# ---- reading ---------------------------------------------------------------------------------


def parse(config: Any, source: str = "config.yaml", folder: Path = Path()) -> Study:
    """The study that `config`, a mapping read from `source`, describes; StudyError if none.
    Extensions are files below `folder`."""
    given = config if isinstance(config, dict) else {}
    try:
        named = given.get("extensions")
        texts = [x for x in named if isinstance(x, str)] if isinstance(named, list) else []
        parts.load([paths.literal(text) for text in texts], folder)
    except ValueError as error:
        raise StudyError(listed([("extensions", str(error))], f"{source} can't be run")) from None
    faults, study = [], None
    try:
        study = File.model_validate(config)
    except ValidationError as error:
        faults = explained(error, File)
    faults += unknown_parts(given)
    if study and not faults:
        faults = [*too_small_images(study), *too_many_images(study), *unused_values(study)]
        faults += unfit_looks(study)
    if study is None or faults:
        raise StudyError(listed(faults, f"{source} can't be run"))
    return study


def load(path: Path) -> Study:
    """The study in a YAML or JSON file."""
    return parse(read(path), str(path))


def to_json(study: Study) -> str:
    """The study with every default filled in and one spelling for each value."""
    return json.dumps(study.model_dump(mode="json", exclude_none=True), indent=1) + "\n"


def schema() -> dict[str, Any]:
    """JSON schema of a study, for editors and for Snakemake."""
    return File.model_json_schema()


def settings(study: Study) -> str:
    """What all cells share, in a sentence for captions."""
    models = ", ".join(
        f"{choice.label} ({', '.join(f'{k} {spelled(v)}' for k, v in choice.settings)})"
        if choice.settings
        else choice.label
        for choice in study.models.values()
    )
    taken = {name: list(o.learning_rates) for name, o in study.optimizers.items()}
    for selection in grid.selections(study):
        for name in selection["optimizers"]:
            taken[name] += selection.get("learning_rates", [])
    rates = ", ".join(
        f"{study.optimizers[name].choice.label} {'/'.join(map(canonical, sorted(set(found))))}"
        for name, found in taken.items()
    )
    count = len(study.values("seeds"))
    return (
        f"{study.data.name} at {study.data.size}×{study.data.size} px; {models}; batches of"
        f" {study.training.batch_size}; learning rates {rates}; {count} seed{'s' * (count > 1)}"
    )


# ---- faults of several keys ------------------------------------------------------------------


def unknown_parts(config: dict[str, Any]) -> list[tuple[str, str]]:
    """Models and optimizers that an experiment selects and the study lacks, in whatever of the file
    is sound enough to be asked."""
    faults = []
    experiments = config.get("experiments")
    for name, experiment in experiments.items() if isinstance(experiments, dict) else ():
        selections = experiment.get("select") if isinstance(experiment, dict) else None
        for i, chosen in enumerate(selections if isinstance(selections, list) else ()):
            for axis in ("models", "optimizers"):
                known = config[axis] if isinstance(config.get(axis), dict) else None
                values = chosen.get(axis) if isinstance(chosen, dict) else None
                strange = [
                    value
                    for value in (values if isinstance(values, list) else ())
                    if known is not None and isinstance(value, str) and value not in known
                ]
                right = f"not among the study's {axis}: {', '.join(map(on_a_line, known or ()))}"
                at = key_path(("experiments", str(name), "select", i, axis))
                faults += [(at, f"{on_a_line(value)} is {right}") for value in strange]
    return faults


def too_small_images(study: Study) -> list[tuple[str, str]]:
    """Models that can't take images of the study's size."""
    found = {
        name: choice.part.about["fault"](study.data.size, **dict(choice.settings))
        for name, choice in study.models.items()
        if "fault" in choice.part.about
    }
    return [(f"models.{name}", why) for name, why in found.items() if why]


def too_many_images(study: Study) -> list[tuple[str, str]]:
    about = study.data.about
    most = about["images"][0]
    values = {n for s in grid.selections(study) for n in s.get("train_images", ()) if n}
    return [
        ("train_images", f"{n} is more than the {most} training images of {study.data.name}")
        for n in sorted({*values, *(n for n in study.values("train_images") if n)})
        if n > most and not about["any_number"]
    ]


def unfit_looks(study: Study) -> list[tuple[str, str]]:
    """Looks that don't grow, from the number of seeds on; or whose seeds would be too large."""
    looks, seeds = study.looks, study.values("seeds")
    if looks is None:
        return []
    n = len(seeds)
    if looks != sorted(set(looks)) or looks[:1] != [n]:
        right = (
            f"must grow from the number of seeds on, as in {[n, 2 * n, 4 * n]}, not {shown(looks)}"
        )
        return [("looks", right)]
    if max(seeds) + looks[-1] - n >= 2**32:
        return [
            ("seeds", "the seeds of later looks follow the largest one, and would be too large")
        ]
    return []


def unused_values(study: Study) -> list[tuple[str, str]]:
    """Values of the study's axes that are in no cell, as each experiment names others."""
    used: dict[str, set[Any]] = {name: set() for name in axes.NAMES}
    for selection in grid.selections(study):
        for name, values in selection.items():
            used[name] |= set(values)
    faults = []
    for axis in axes.AXES:
        if axis.name == "learning_rates":
            continue
        faults += [
            (
                axis.name,
                f"{axis.word(value)} is in no experiment, as each names its own {axis.name}: add it"
                " to one, or take it away here",
            )
            for value in study.values(axis.name)
            if value not in used[axis.name]
        ]
    return faults

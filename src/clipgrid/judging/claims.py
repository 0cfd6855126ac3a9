"""The claims: a YAML file as typed, validated data. Imports no torch.

Each claim is one statement with the rules, fixed before the run, that decide on it. `load` raises
`StudyError`, whose message lists every fault with its key and what would be right.
"""

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, WithJsonSchema

import clipgrid.judging.computations  # noqa: F401  declares them
from clipgrid.judging.measures import EVENTS, UNITS
from clipgrid.study import code, parts
from clipgrid.study.config import (
    Axis,
    Selection,
    Settings,
    StudyError,
    clip,
    explain,
    key_path,
    listed,
    read,
    some,
    spelled,
    suggest,
)
from clipgrid.study.grid import CLIPS, FAMILIES, MODELS

KINDS = ("quantitative", "comparative", "inference", "definition", "protocol", "published")
"""What a claim is; `published` ones are not the article's, but facts that others have found."""


def word_or_clip(value: Any) -> str:
    """A kind of clipping, with whatever threshold the study has; or one clip, canonically."""
    return value if isinstance(value, str) and value in CLIPS else spelled(clip(value))


def quantity(value: Any) -> Any:
    """`0.5 points` → (0.5, "points")."""
    match = re.fullmatch(r"(\d+\.?\d*) *([a-z%]+)", str(value).strip())
    if not match:
        units = ", ".join(dict.fromkeys(UNITS.values()))
        raise ValueError(f"{value!r} must be a number with its unit ({units}), as in 0.5 points")
    return float(match[1]), match[2]


Quantity = Annotated[
    tuple[float, str],
    BeforeValidator(quantity),
    WithJsonSchema({"type": "string", "pattern": r"^\d+\.?\d* *[a-z%]+$"}),
]
ClipWord = Annotated[
    str,
    BeforeValidator(word_or_clip),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]}),
]


def known(name: str) -> str:
    """The name of a computation: one of ours, or of an extension that is loaded."""
    names = list(parts.KINDS["computation"])
    if name not in names:
        raise ValueError(f"unknown: {name!r}; {suggest(name, names)}")
    return name


def name_them(schema: dict[str, Any]) -> None:
    schema["enum"] = list(parts.KINDS["computation"])


ComputationName = Annotated[str, AfterValidator(known), Field(json_schema_extra=name_them)]


ModelWord = Literal[*FAMILIES, *MODELS]  # type: ignore[valid-type]


class Cells(Selection):
    """Cells, by their values on the axes."""

    models: Axis[ModelWord] | None = None
    """Families, with whatever models of theirs the study has there, or models."""
    clips: Axis[ClipWord] | None = None  # type: ignore[assignment]
    """Clips, or kinds of clipping with whatever threshold the study has."""

    @property
    def words(self) -> dict[str, list[str]]:
        """The values on each axis that is named, as one writes them."""
        return {axis: [word(axis, v) for v in values] for axis, values in self.axes.items()}


def word(axis: str, value: Any) -> str:
    """A value on an axis, as one writes it."""
    return spelled(value, axis)


def named(cells: Cells) -> Cells:
    some(cells.axes)
    return cells


class Gain(Settings):
    """What is compared is how much the measure gains from one of these to the other."""

    start: Annotated[Cells, AfterValidator(named)]
    """Cells that the gain is measured from."""
    end: Annotated[Cells, AfterValidator(named)]
    """Cells that it is measured to."""


class Contrast(Settings):
    """Cells against cells, everything else equal."""

    cells: Cells = Cells()
    """Where to look: every combination of the values named. On other axes it is what is usual."""
    arm: Annotated[Cells, AfterValidator(named)]
    """What is compared ..."""
    baseline: Annotated[Cells, AfterValidator(named)]
    """... with what."""


class Paired(Contrast):
    """The difference of a measure between two arms, paired by seed, by Student's t."""

    decided_by: ClassVar[str] = "test"
    statistic: Literal["paired t"]
    measure: Literal[*UNITS]  # type: ignore[valid-type]
    """What is measured of each cell."""
    claim: Literal["higher", "lower", "not lower", "not higher", "same", "different"]
    """How the article says that the arm compares."""
    margin: Quantity
    """The smallest difference that matters."""
    gain: Gain | None = None
    """Compare gains instead of values: an interaction."""
    learning_rate: Literal["each", "tuned"] = "each"
    """At each learning rate, or at the one that is best on the validation images in each arm."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Of a loss area: over so many first steps, instead of all to T."""


class Sooner(Contrast):
    """Which arm reaches a validation accuracy in fewer steps, paired by seed, by the sign test: a
    run that never does needs infinitely many."""

    decided_by: ClassVar[str] = "test"
    statistic: Literal["sign test"]
    target: Quantity
    """Accuracy to reach."""
    claim: Literal["sooner", "later"]
    """When the article says that the arm reaches it."""


class Rates(Contrast):
    """How often runs of two arms meet an event: Newcombe's interval, Fisher's exact test."""

    decided_by: ClassVar[str] = "test"
    statistic: Literal["Newcombe"]
    event: Literal[*EVENTS]  # type: ignore[valid-type]
    """What happens to a run."""
    claim: Literal["more often", "less often"]
    """How the article says that the arm compares."""


class Never(Settings):
    """That an event never happens to a run: the Clopper-Pearson interval of its rate. Nothing is
    tested: the runs are counted, and one to which it happens refutes the statement."""

    decided_by: ClassVar[str] = "computation"
    statistic: Literal["Clopper-Pearson"]
    event: Literal[*EVENTS]  # type: ignore[valid-type]
    """What is said never to happen."""
    cells: Annotated[Cells, AfterValidator(named)]
    """To which runs."""


class Stated(Settings):
    """A figure that the article measured on other images: it stands beside the measured one."""

    decided_by: ClassVar[str] = "figure"
    statistic: Literal["figure of other data"]
    measure: Literal[*UNITS]  # type: ignore[valid-type]
    """What was measured."""
    cells: Annotated[Cells, AfterValidator(named)]
    """Cells that are the article's, but for the images."""
    figure: str
    """What the article states."""


class Computation(Settings):
    """A statement that a computation decides."""

    decided_by: ClassVar[str] = "computation"
    statistic: Literal["computation"]
    name: ComputationName
    """Which."""


Rule = Annotated[
    Paired | Sooner | Rates | Never | Stated | Computation, Field(discriminator="statistic")
]


class Claim(Settings):
    """One statement, and how it is decided."""

    section: str
    """Of the article; of a published fact, `external`."""
    phrase: Annotated[str, Field(max_length=40)] | None = None
    """A few words of the article, as they stand there, by which the statement is found."""
    kind: Literal[*KINDS]  # type: ignore[valid-type]
    """What kind of statement it is."""
    statement: str
    """The statement, in our words."""
    family: Annotated[str, Field(pattern=r"^[a-z][a-z -]*$")]
    """Claims that are tested together: Holm's correction is made within it."""
    exhibit: str
    """The figure or table of the report that shows it."""
    source: str | None = None
    """Of a published fact: where it was found."""
    rules: Annotated[list[Rule], BeforeValidator(some)]
    """All must hold; the effect of the one that decides is shown."""


class Article(Settings):
    """What is judged, as one cites it."""

    author: str
    """Who wrote it, as it is signed."""
    title: str | None = None
    """Its title, if it carries one."""
    date: str | None = None
    """When it appeared, if it says so."""


class Claims(Settings):
    """A file of claims."""

    article: Article | None = None
    """The article that states them."""
    usual: Cells = Cells()
    """What the cells of a rule have on an axis that the rule doesn't name."""
    claims: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Z]\d+$")], Claim], BeforeValidator(some)
    ]
    """The claims by their ids."""

    @property
    def target(self) -> float | None:
        """The validation accuracy, in percent, that the first sign test asks runs to reach; None
        where there is none. The figure of steps to a target shows it."""
        rules = (rule for claim in self.claims.values() for rule in claim.rules)
        return next((rule.target[0] for rule in rules if isinstance(rule, Sooner)), None)


def load(path: Path) -> Claims:
    """The claims in a YAML file; StudyError, with all faults, if they can't be judged."""
    try:
        claims = Claims.model_validate(read(path))
        faults = [fault for key, claim in claims.claims.items() for fault in unsound(key, claim)]
    except ValidationError as error:
        faults = [(place(e["loc"]) or "the file", explain(e, Claims)) for e in error.errors()]
    if faults:
        raise StudyError(listed(faults, f"the claims in {path} can't be judged"))
    return claims


def place(loc: tuple[int | str, ...]) -> str:
    """The key of a fault, without the name of the rule's model that pydantic adds to it."""
    return key_path(tuple(p for i, p in enumerate(loc) if not (i == 4 and loc[2] == "rules")))


def unsound(key: str, claim: Claim) -> list[tuple[str, str]]:
    """Faults of a claim that concern two of its keys at once."""
    faults = []
    if (claim.kind == "published") != (claim.source is not None):
        faults.append((f"claims.{key}.source", "published facts need one, and others have none"))
    for i, rule in enumerate(claim.rules):
        path = f"claims.{key}.rules[{i}]"
        if isinstance(rule, Stated) and rule.measure in ("steps_to_target", "gap_at_matched_loss"):
            faults.append(
                (f"{path}.measure", "can't be a figure: it is of two runs, or may be infinite")
            )
        if isinstance(rule, Paired):
            if not rule.margin[0] > 0:
                faults.append((f"{path}.margin", "must be above 0"))
            if rule.learning_rate == "tuned" and not rule.cells.learning_rates:
                faults.append((f"{path}.cells", "must name the learning_rates to choose from"))
            if rule.gain:
                faults += unsound_gain(rule, rule.gain, f"{path}.gain")
            if rule.measure == "steps_to_target":
                faults.append((f"{path}.measure", "may be infinite: use statistic: sign test"))
            elif rule.margin[1] != UNITS[rule.measure]:
                right = f"must be in {UNITS[rule.measure]}, the unit of {rule.measure}"
                faults.append((f"{path}.margin", f"{right}, not in {rule.margin[1]}"))
            if rule.steps and rule.measure != "loss_area":
                faults.append((f"{path}.steps", f"means nothing for {rule.measure}"))
        if isinstance(rule, Sooner) and rule.target[1] != "%":
            faults.append((f"{path}.target", f"must be in %, not in {rule.target[1]}"))
        if isinstance(rule, Contrast):
            differing = set(rule.arm.axes) ^ set(rule.baseline.axes)
            if differing:
                axes = ", ".join(sorted(differing))
                faults.append((path, f"arm and baseline must name the same axes: {axes}"))
            elif rule.arm == rule.baseline:
                faults.append((path, "arm and baseline are the same"))
            twice = set(rule.arm.axes) & set(rule.cells.axes)
            if twice:
                axes = ", ".join(sorted(twice))
                faults.append((f"{path}.cells", f"arm and baseline name {axes} already"))
            if any(len(values) > 1 for values in rule.baseline.axes.values()):
                faults.append((f"{path}.baseline", "must have one value on each axis"))
            if "seeds" in {*rule.arm.axes, *rule.baseline.axes, *rule.cells.axes}:
                faults.append(
                    (
                        path,
                        "no seeds: arms are paired by seed, and all seeds that they share count",
                    )
                )
    return faults


def unsound_gain(rule: Paired, gain: Gain, path: str) -> list[tuple[str, str]]:
    faults = []
    start, end = gain.start.axes, gain.end.axes
    if set(start) != set(end) or start == end:
        faults.append((path, "start and end must differ, on the same axes"))
    if any(len(values) > 1 for values in (*start.values(), *end.values())):
        faults.append((path, "must have one value on each axis"))
    if twice := set(start) & {*rule.arm.axes, *rule.cells.axes}:
        faults.append((path, f"arm, baseline or cells name {', '.join(sorted(twice))} already"))
    return faults


def digest(path: Path) -> str:
    """SHA-256 of the file: a rule that is changed after the run shows."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def source(claims: Claims) -> str:
    """A short checksum of what judges `claims`: the code and the tables of this room, and the
    computations of extensions."""
    room = code.room("judging")
    rules = [rule for claim in claims.claims.values() for rule in claim.rules]
    used = [parts.find("computation", r.name) for r in rules if isinstance(r, Computation)]
    return code.checksum(
        [
            code.digest_of_files(room),
            [digest(table) for table in sorted(Path(__file__).parent.glob("*.csv"))],
            [part.source for part in used if part.file not in room],
        ]
    )


def schema() -> dict[str, Any]:
    """JSON schema of a file of claims, for editors."""
    return Claims.model_json_schema()

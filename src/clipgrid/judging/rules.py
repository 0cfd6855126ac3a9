"""The rules by which claims are decided, as a file of claims states them: one model a statistic."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from clipgrid.judging.measures import EVENTS, UNITS
from clipgrid.study import axes, parts
from clipgrid.study.cells import Clip
from clipgrid.study.chosen import OneOf
from clipgrid.study.config import Selection, with_axes
from clipgrid.study.fields import Iterations, Settings, shown, some

Fault = tuple[str, str]
"""Where in a rule, as in `.margin`, and what would be right."""


def word_or_clip(value: Any) -> str:
    """A kind of clipping, with whatever threshold the study has; or one clip, canonically."""
    return value if value in parts.names("clip_kind") else Clip.read(value).word


def model_or_family(value: Any) -> str:
    """A model, or a family with whatever models of it the study has."""
    if value not in families():
        parts.find("model", str(value))
    return str(value)


def families() -> list[str]:
    return list(dict.fromkeys(map(axes.family, parts.names("model"))))


def models_and_families() -> list[str]:
    known = [*families(), *parts.names("model"), *parts.names_in_libraries("model")]
    return list(dict.fromkeys(known))


def quantity(value: Any) -> Any:
    """`0.5 points` → (0.5, "points")."""
    match = re.fullmatch(r"([0-9]{1,9}\.?[0-9]{0,9}) *([a-z%]+)", str(value).strip())
    if not match:
        units = ", ".join(dict.fromkeys(UNITS.values()))
        right = f"must be a number with its unit ({units}), as in 0.5 points"
        raise ValueError(f"{shown(value)} {right}")
    return float(match[1]), match[2]


def name_of(kind: str) -> Any:
    """The name of a part, ours or of an extension that is loaded."""

    def known(name: str) -> str:
        parts.find(kind, name)
        return name

    return Annotated[str, AfterValidator(known), OneOf(lambda: parts.names(kind))]


Quantity = Annotated[
    tuple[float, str],
    BeforeValidator(quantity),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,9}\.?[0-9]{0,9} *[a-z%]+$"}),
]
ClipWord = Annotated[
    str,
    BeforeValidator(word_or_clip),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]}),
]

ModelWord = Annotated[str, BeforeValidator(model_or_family), OneOf(models_and_families)]


class Cells(Selection):
    """Cells, by their values on the axes; also by families of models, and by kinds of clipping."""

    @property
    def words(self) -> dict[str, list[str]]:
        """The values on each axis that is named, as one writes them."""
        return {
            axis: [axes.BY_NAME[axis].word(value) for value in values]
            for axis, values in self.axes.items()
        }


if TYPE_CHECKING:
    AnyCells = Cells
else:
    AnyCells = with_axes(Cells, models=ModelWord, optimizers=name_of("optimizer"), clips=ClipWord)


def named(cells: Cells) -> Cells:
    some(cells.axes)
    return cells


class Gain(Settings):
    """What is compared is how much the measure gains from one of these to the other."""

    start: Annotated[AnyCells, AfterValidator(named)]
    """Cells that the gain is measured from."""
    end: Annotated[AnyCells, AfterValidator(named)]
    """Cells that it is measured to."""


class Decides(Settings):
    """A rule."""

    decided_by: ClassVar[str]
    """What decides by it: a test, a computation, or a figure."""

    @property
    def tuned(self) -> bool:
        """Whether some seeds choose the learning rate, and the others judge."""
        return False

    def faults(self) -> Iterator[Fault]:
        """Faults that concern two of its keys at once."""
        yield from ()


class Contrast(Decides):
    """Cells against cells, everything else equal."""

    cells: AnyCells = AnyCells()
    """Where to look: every combination of the values named. On other axes it is what is usual."""
    arm: Annotated[AnyCells, AfterValidator(named)]
    """What is compared ..."""
    baseline: Annotated[AnyCells, AfterValidator(named)]
    """... with what."""

    def faults(self) -> Iterator[Fault]:
        arm, baseline, cells = (set(side.axes) for side in (self.arm, self.baseline, self.cells))
        if arm != baseline:
            differing = ", ".join(sorted(arm ^ baseline))
            yield "", f"arm and baseline must name the same axes: {differing}"
        elif self.arm == self.baseline:
            yield "", "arm and baseline are the same"
        if arm & cells:
            yield ".cells", f"arm and baseline name {', '.join(sorted(arm & cells))} already"
        if any(len(values) > 1 for values in self.baseline.axes.values()):
            yield ".baseline", "must have one value on each axis"
        if "seeds" in arm | baseline | cells:
            yield "", "no seeds: arms are paired by seed, and all seeds that they share count"


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
    """At each learning rate, or at the one that is best on the validation images in each arm, for
    seeds that then don't judge."""
    steps: Iterations | None = None
    """Of a loss area: over so many first steps, instead of all to T."""
    holds: Literal["in general", "somewhere"] = "in general"
    """Where the article says so; what it says may happen has to happen somewhere."""

    @property
    def tuned(self) -> bool:
        return self.learning_rate == "tuned"

    def faults(self) -> Iterator[Fault]:
        if not self.margin[0] > 0:
            yield ".margin", "must be above 0"
        rates = self.cells.axes.get("learning_rates", [])
        if self.tuned and len(rates) < 3:
            yield ".cells", "must name 3 learning_rates or more to choose from, to bracket the best"
        if self.margin[1] != UNITS[self.measure]:
            right = f"must be in {UNITS[self.measure]}, the unit of {self.measure}"
            yield ".margin", f"{right}, not in {self.margin[1]}"
        if self.holds == "somewhere" and self.claim not in ("higher", "lower"):
            yield ".holds", "somewhere can be said of higher and lower alone"
        if self.steps and self.measure != "loss_area":
            yield ".steps", f"means nothing for {self.measure}"
        if self.gain:
            yield from self.faults_of_gain(self.gain.start.axes, self.gain.end.axes)
        yield from super().faults()

    def faults_of_gain(self, start: dict[str, Any], end: dict[str, Any]) -> Iterator[Fault]:
        if set(start) != set(end) or start == end:
            yield ".gain", "start and end must differ, on the same axes"
        if any(len(values) > 1 for values in (*start.values(), *end.values())):
            yield ".gain", "must have one value on each axis"
        if twice := set(start) & {*self.arm.axes, *self.cells.axes}:
            yield ".gain", f"arm, baseline or cells name {', '.join(sorted(twice))} already"


class Sooner(Contrast):
    """Which arm reaches a validation accuracy in fewer steps, paired by seed: a run that never does
    needs infinitely many. A seed's score is that of all its pairs; tested by swapping the arms of
    whole seeds, which is the sign test where a seed has one pair."""

    decided_by: ClassVar[str] = "test"
    statistic: Literal["sign test"]
    target: Quantity
    """Accuracy to reach."""
    claim: Literal["sooner", "later"]
    """When the article says that the arm reaches it."""

    def faults(self) -> Iterator[Fault]:
        if self.target[1] != "%":
            yield ".target", f"must be in %, not in {self.target[1]}"
        yield from super().faults()


class Rates(Contrast):
    """How often runs of two arms meet an event: Newcombe's interval for as many runs as there are
    seeds; tested by swapping the arms of whole seeds."""

    decided_by: ClassVar[str] = "test"
    statistic: Literal["Newcombe"]
    event: Literal[*EVENTS]  # type: ignore[valid-type]
    """What happens to a run."""
    claim: Literal["more often", "less often"]
    """How the article says that the arm compares."""
    holds: Literal["in general", "somewhere"] = "in general"
    """Where the article says so; what it says may happen has to happen somewhere."""


class Never(Decides):
    """That an event never happens to a run: the Clopper-Pearson interval of its rate. Nothing is
    tested: the runs are counted, and one to which it happens refutes the statement."""

    decided_by: ClassVar[str] = "computation"
    statistic: Literal["Clopper-Pearson"]
    event: Literal[*EVENTS]  # type: ignore[valid-type]
    """What is said never to happen."""
    cells: Annotated[AnyCells, AfterValidator(named)]
    """To which runs."""


class Stated(Decides):
    """A figure that the article measured on other images: it stands beside the measured one."""

    decided_by: ClassVar[str] = "figure"
    statistic: Literal["figure of other data"]
    measure: Literal[*UNITS]  # type: ignore[valid-type]
    """What was measured."""
    cells: Annotated[AnyCells, AfterValidator(named)]
    """Cells that are the article's, but for the images."""
    figure: str
    """What the article states."""

    def faults(self) -> Iterator[Fault]:
        if self.measure == "gap_at_matched_loss":
            yield ".measure", "can't be a figure: it is of two runs"


class Computation(Decides):
    """A statement that a computation decides."""

    decided_by: ClassVar[str] = "computation"
    statistic: Literal["computation"]
    name: name_of("computation")  # type: ignore[valid-type]
    """Which."""


Rule = Annotated[
    Paired | Sooner | Rates | Never | Stated | Computation, Field(discriminator="statistic")
]

"""The types of settings: how a number is read from YAML or a flag, bounded and spelled; what a name
may be. They hold for config files, the command line and the trainer alike."""

import difflib
import math
import re
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from clipgrid.study.looks import SMALLEST_IMAGE

NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|\+?\.?inf"
NAME = r"^[a-z][a-z0-9-]{0,59}$"  # of what names files
NO_NAMES = {"null", "nan", "inf", "infinity", "true", "false", "yes", "no", "on", "off"}
"""Of that pattern, and yet no text to YAML or pandas."""
NOTHING = ("none", "null", "off", "no", "false", "infinity")  # what people write for λ = inf
LARGEST = 2**53  # whole numbers up to it are floats, too

SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxlong = SHORT.maxother = 80
SHORT.maxlevel, SHORT.maxlist, SHORT.maxdict = 2, 4, 2


class Settings(BaseModel):
    """A group of settings: no others, and none that changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Made(Settings):
    """One that a program makes. pydantic would search all modules for its docstrings (0.5 s)."""

    model_config = ConfigDict(use_attribute_docstrings=False)


def fault(key: str, reason: str) -> PydanticCustomError:
    """What a validator of several settings raises: which of them is to be changed, and why."""
    return PydanticCustomError("fault", "{reason}", {"key": key, "reason": reason})


def shown(value: Any) -> str:
    """A value in a message: as Python writes it, and shortened where it is long."""
    try:
        return SHORT.repr(value)
    except ValueError:  # Python writes no whole number of more than 4300 digits
        return "a number of thousands of digits"


def on_a_line(text: Any) -> str:
    """A name in a message: as it is, but for what isn't shown, or is too long."""
    return shown(str(text))[1:-1]


def canonical(x: float) -> str:
    """One spelling for each number: 1, 1.0 and 1e0 are all `1`; infinity is `inf`."""
    whole = isinstance(x, int) or (abs(x) < 1e16 and x == int(x))
    return str(int(x)) if whole else repr(float(x))


def number(value: Any) -> Any:
    """YAML's `1e-3`, `inf` and `.inf` as floats; anything that is no number as it is. ValueError
    for a number that is too large for a float."""
    found = value
    if isinstance(value, str) and re.fullmatch(NUMBER, value.strip(), re.IGNORECASE):
        found = float(value.strip().lower().replace(".inf", "inf"))
        if math.isinf(found) and "inf" not in value.lower():
            raise ValueError(f"{shown(value)} is too large a number")
    if isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"{shown(value)} is too large a whole number")
    return found


def meant_clip(text: str, kinds: Iterable[str]) -> str:
    """What would be right in the place of a spec that is none. (The library, which imports
    nothing of ours, says the same.)"""
    match = re.fullmatch(rf"(.*?)({NUMBER})?(:.*)?", text[:60].strip().lower(), re.DOTALL)
    name, number, settings = (match[1], match[2], match[5] or "") if match else ("", None, "")
    if name in NOTHING:
        return "inf is no clipping"
    near = difflib.get_close_matches(name, [*kinds, "inf"], 1)
    if near == ["inf"]:
        return "did you mean inf, which is no clipping?"
    if near and number:
        return f"did you mean {near[0]}{number}{settings}?"
    if near:
        it = near[0] if near[0] == name else f"did you mean {near[0]}? It"
        return f"{it} needs a threshold, as in agc0.01"
    return (
        "a number is the threshold of the global L2 norm; another kind stands before its own, as in"
        f" agc0.01. Kinds: {', '.join(kinds)}"
    )


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


def text_to_all(name: str) -> str:
    """A name. ValueError for one that is read as something else from a file."""
    if name in NO_NAMES:
        raise ValueError("YAML or pandas would read this name as no text; choose another")
    return name


def unique(values: list[Any]) -> list[Any]:
    """`values`; ValueError where one is given twice."""
    twice = [v for i, v in enumerate(values) if v in values[:i]]
    if twice:
        raise ValueError(f"{', '.join(map(spelled, twice))} is given twice")
    return values


def some(values: Any) -> Any:
    """`values`; ValueError where there is none."""
    if values in ([], {}, None):
        raise ValueError("at least one value is needed")
    return values


def spelled(value: Any) -> str:
    """A value as one would write it in a config."""
    if value is None:
        return "none"
    return canonical(value) if isinstance(value, int | float) else str(value)


@dataclass(frozen=True)
class OrText:
    """Tells editors that a string of this pattern does too."""

    pattern: str

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [handler(core), {"type": "string", "pattern": f"^({self.pattern})$"}]}


def or_word(word: str, convert: Any) -> tuple[Any, ...]:
    """For an optional number: `word` stands for None, in both directions."""
    return (
        BeforeValidator(lambda value: None if value in (None, word) else convert(value)),
        OrText(word),
        PlainSerializer(lambda x: word if x is None else x, when_used="json"),
    )


def seed_or_number(value: Any, validate: Any) -> Any:
    """One error in the place of each kind's."""
    try:
        return validate(value)
    except ValidationError:
        one = "a whole number from 0 to 2^32 - 1 (it draws one split for all seeds)"
        raise ValueError(
            f"must be seed (each seed draws its own split), or {one}, not {shown(value)}"
        ) from None


Number = (BeforeValidator(number), BeforeValidator(not_bool), OrText(NUMBER))
Whole = (BeforeValidator(whole), BeforeValidator(not_bool), OrText(NUMBER))
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), *Number]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), *Number]
Share = Annotated[float, Field(ge=0, lt=1), *Number]
# Each whole number has an upper bound, far above what is of use: none is too large for what is
# reckoned with it later, nor for one spelling.
Count = Annotated[int, Field(ge=1, le=10**6), *Whole]
BatchSize = Annotated[int, Field(ge=2, le=10**6), *Whole]
Steps = Annotated[int, Field(ge=0, le=10**7), *Whole]  # torch.quantile takes 2^24 norms
Iterations = Annotated[int, Field(ge=1, le=10**7), *Whole]
Side = Annotated[int, Field(ge=SMALLEST_IMAGE, le=4096), *Whole]
Seed = Annotated[int, Field(ge=0, lt=2**32), *Whole]
Look = Annotated[int, Field(ge=1, le=10**4), *Whole]
Name = Annotated[str, Field(pattern=NAME), AfterValidator(text_to_all)]
Split = Annotated[Literal["seed"] | Seed, WrapValidator(seed_or_number)]
Decay = Annotated[
    Annotated[float, Field(gt=0, lt=1), BeforeValidator(not_bool)] | None, *or_word("none", number)
]
TrainImages = Annotated[
    Annotated[int, Field(ge=1, le=10**9), BeforeValidator(not_bool)] | None,
    *or_word("all", whole),
]

T = TypeVar("T")
Values = Annotated[list[T], BeforeValidator(some), AfterValidator(unique)]
"""One value or more, each once."""

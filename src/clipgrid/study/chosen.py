"""The models and optimizers of a study: names, each with the settings of its part."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    create_model,
)
from pydantic_core import PydanticCustomError

from clipgrid import InputError
from clipgrid.study import parts
from clipgrid.study.faults import explained
from clipgrid.study.fields import Positive, Values, some
from clipgrid.study.parts import Choice


@dataclass(frozen=True)
class Optimizer:
    """An optimizer of the study, and the learning rates that are usual with it."""

    choice: Choice
    learning_rates: tuple[float, ...]


def settings_with_rates(name: str) -> type[BaseModel]:
    settings = parts.find("optimizer", name).settings
    return create_model(
        settings.__name__,
        __base__=settings,
        learning_rates=(
            Values[Positive],
            Field(description="Axis: learning rates, where a selection names no others."),
        ),
    )


def model_of(name: str, value: Any) -> Choice:
    return value if isinstance(value, Choice) else parts.choose("model", name, value)


def optimizer_of(name: str, value: Any) -> Optimizer:
    if isinstance(value, Optimizer):
        return value
    found = settings_with_rates(name).model_validate(value or {}).model_dump()
    rates = tuple(found.pop("learning_rates"))
    return Optimizer(parts.choose("optimizer", name, found), rates)


def each(kind: str, read: Callable[[str, Any], Any]) -> PlainValidator:
    """Reads a mapping of names to settings; its error lists the faults of all of them."""

    def validate(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise PydanticCustomError("dict_type", "input should be a valid dictionary")
        found: dict[str, Any] = {}
        faults: list[tuple[tuple[str, ...], str]] = []
        for name, settings in some(value).items():
            try:
                found[str(name)] = read(str(name), settings)
            except ValidationError as error:
                faults += [
                    ((str(name), at), message)
                    for at, message in explained(error, parts.find(kind, name).settings)
                ]
            except parts.SettingsError as error:
                faults.append(((str(name), error.key), error.reason))
            except InputError as error:
                faults.append(((str(name),), str(error)))
        if faults:
            raise PydanticCustomError("faults", "", {"faults": faults})
        return found

    return PlainValidator(validate)


@dataclass(frozen=True)
class OneOf:
    """Tells editors the words that are known, listed when they ask, as parts may be added."""

    words: Callable[[], list[str]]

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "enum": self.words()}


@dataclass(frozen=True)
class ByName:
    """Tells editors the settings of each part of a kind, made when they ask."""

    kind: str
    settings: Callable[[str], type[BaseModel]]

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        known = {name: self.settings(name).model_json_schema() for name in parts.names(self.kind)}
        for name, of_part in known.items():
            of_part["title"], of_part["description"] = name, parts.find(self.kind, name).help
        others = {name: {"type": "object"} for name in parts.names_in_libraries(self.kind)}
        return {
            "type": "object",
            "minProperties": 1,
            "properties": {
                n: {"anyOf": [s, {"type": "null"}]} for n, s in (known | others).items()
            },
            "additionalProperties": False,
        }


Models = Annotated[
    dict[str, Choice],
    each("model", model_of),
    ByName("model", lambda name: parts.find("model", name).settings),
    PlainSerializer(lambda models: {name: dict(c.settings) for name, c in models.items()}),
]
Optimizers = Annotated[
    dict[str, Optimizer],
    each("optimizer", optimizer_of),
    ByName("optimizer", settings_with_rates),
    PlainSerializer(
        lambda optimizers: {
            name: {"learning_rates": o.learning_rates, **dict(o.choice.settings)}
            for name, o in optimizers.items()
        }
    ),
]

"""The settings of parts: the keyword-only parameters of what is decorated, as a model."""

import inspect
import sys
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, create_model

from clipgrid import InputError
from clipgrid.study.fields import Made, Number, Settings, Whole

TAKEN = ("name", "source", "threshold", "learning_rates")
"""What a key or a config says of a part besides its settings."""


def settings_of(run: Callable) -> type[BaseModel]:
    """A model of the keyword-only parameters of a function or class."""
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(run).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        if name in TAKEN:
            raise InputError(f"{run.__name__}: a setting can't be called {name}")
        annotation = parameter.annotation
        if isinstance(annotation, str):
            annotation = eval(annotation, sys.modules[run.__module__].__dict__)  # the module's own
        bare, *about = get_args(annotation) if get_origin(annotation) is Annotated else [annotation]
        about = [Field(**x) if isinstance(x, dict) else x for x in about]  # clipping/kinds.py's
        about += {int: Whole, float: Number}.get(bare, ())
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (Annotated[bare, *about, None], default)
    return create_model(run.__name__, __base__=Made, **fields) if fields else Settings


def check_defaults(part: str, settings: type[BaseModel]) -> None:
    """InputError, which names the part, for a setting whose default breaks its own bounds."""
    for name, field in settings.model_fields.items():
        try:
            if not field.is_required():
                bounded: Any = Annotated[field.annotation, *field.metadata, None]
                TypeAdapter(bounded).validate_python(field.default)
        except ValidationError:
            why = f"the default of {name}, {field.default!r}, is out of its own bounds"
            raise InputError(f"{part}: {why}") from None

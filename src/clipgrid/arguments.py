"""How values of the command line are read. Each reader raises what argparse shows as one error."""

import argparse
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from clipgrid.study.cells import Readout
from clipgrid.study.faults import explain
from clipgrid.study.fields import Positive, Settings


def a(kind: Any) -> Callable[[str], Any]:
    """Reads a value of a type of settings from the command line."""

    def read(text: str) -> Any:
        try:
            return TypeAdapter(kind).validate_python(text)
        except ValidationError as error:
            why = explain(error.errors()[0], Settings)
            raise argparse.ArgumentTypeError(why) from None

    return read


def numbers(text: str) -> list[float]:
    try:
        return [TypeAdapter(Positive).validate_python(word) for word in text.split(",")]
    except ValidationError:
        raise argparse.ArgumentTypeError(
            f"must be numbers above 0, such as 0.01,0.03: {text!r}"
        ) from None


def readout(name: str) -> Readout:
    try:
        return Readout.parse(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None

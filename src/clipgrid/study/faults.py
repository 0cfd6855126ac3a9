"""What is wrong in a file or a command, in words: each fault with its key and what would be
right."""

import difflib
import re
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from clipgrid import InputError
from clipgrid.study.fields import NAME, NOTHING, on_a_line, shown, spelled

Loc = tuple[int | str, ...]


class StudyError(InputError):
    """A file that can't be run; the message is for the person who wrote it."""


def listed(faults: Iterable[tuple[str, str]], heading: str) -> str:
    """All faults, each (key, message) once, a line each."""
    lines = [f"  {path}: {message}" for path, message in dict.fromkeys(faults)]
    count = "1 fault" if len(lines) == 1 else f"{len(lines)} faults"
    return "\n".join([f"{heading}; {count}:", *lines])


def key_path(loc: Loc) -> str:
    """`clips[1]`, `models.alexnet.width`."""
    parts = [part for part in loc if part != "[key]"]
    words = (f"[{p}]" if isinstance(p, int) else f".{on_a_line(p)}" for p in parts)
    return "".join(words).lstrip(".")


OF_OTHERS = (
    str(Path(__file__).parents[1]),
    *(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")),
    "<",
)
"""How the names of files begin that a person who writes a part hasn't written."""


def first_line(error: Exception) -> str:
    """What an error says, or its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).partition("\n")[0]


def place_of(error: BaseException) -> str:
    """Where in a person's own code an error came up, ` (line 12 of my_parts.py)`; or nothing."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(OF_OTHERS)
    ]
    return f" (line {frames[-1].lineno} of {frames[-1].filename})" if frames else ""


def explained(
    error: ValidationError, model: type[BaseModel], loc: Loc = ()
) -> list[tuple[str, str]]:
    """The (key, message) of all that pydantic finds wrong in a `model` that lies at `loc`."""
    found = []
    for e in error.errors():
        context = e.get("ctx", {})
        if e["type"] == "faults":  # those of a part's settings
            found += [
                (key_path((*loc, *e["loc"], *at)), message) for at, message in context["faults"]
            ]
        elif e["type"] == "fault":
            found.append((key_path((*loc, *e["loc"], context["key"])), context["reason"]))
        else:
            found.append((key_path((*loc, *e["loc"])) or "the file", explain(e, model)))
    return found


def explain(error: Any, model: type[BaseModel]) -> str:
    """One fault that pydantic finds in a `model`, in words that say what would be right."""
    given, context = error["input"], error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            known = keys_at(error["loc"][:-1], model)
            return f"unknown key; {suggest(str(error['loc'][-1]), known) if known else NO_SETTINGS}"
        case "literal_error":
            return f"unknown: {shown(given)}; " + suggest(
                str(given), re.findall(r"'([^']*)'", context["expected"])
            )
        case "missing":
            return "missing"
        case "union_tag_invalid":
            return (
                f"unknown {context['discriminator'].strip(chr(39))}: {shown(context['tag'])}; "
                + suggest(context["tag"], re.findall(r"'([^']*)'", context["expected_tags"]))
            )
        case "union_tag_not_found":
            return f"{context['discriminator'].strip(chr(39))} is missing"
        case "value_error":
            return str(context["error"])
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            limit = spelled(next(iter(context.values())))
            return f"must be {LIMITS[error['type']]} {limit}, not {shown(given)}"
        case "finite_number":
            return f"must be a finite number, not {shown(given)}"
        case "list_type":
            word = given is None or isinstance(given, str | bool)  # a number may be endless
            nothing = word and str(given).lower() in NOTHING and error["loc"][-1] == "clips"
            hint = "; [inf] is no clipping" if nothing else ""
            return f"must be a list, not {shown(given)}{hint}"
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"must be a dictionary of keys and values, not {shown(given)}"
        case "string_type":
            return f"must be text, in quotes if need be: a string, not {shown(given)}"
        case "float_type" | "float_parsing":
            return f"must be a number, not {shown(given)}"
        case "int_type" | "int_parsing" | "int_from_float":
            return f"must be a whole number, not {shown(given)}"
        case "string_pattern_mismatch":
            if context["pattern"] == NAME:
                return "must be of up to 60 lower-case letters, digits and hyphens (it names files)"
            return f"must match {context['pattern']}, not {shown(given)}"
    return f"{error['msg'][0].lower()}{error['msg'][1:]}, not {shown(given)}"


NO_SETTINGS = (
    "it has no settings. To give it some, declare it by its decorator, as in @model, with"
    " keyword-only parameters (docs/extending.md)"
)
LIMITS = {
    "greater_than": "above",
    "greater_than_equal": "at least",
    "less_than": "below",
    "less_than_equal": "at most",
}


def suggest(given: str, known: list[str]) -> str:
    close = difflib.get_close_matches(given, known, 1)
    return (f"did you mean {close[0]}? " if close else "") + f"Known: {', '.join(known)}"


def keys_at(loc: Loc, model: type[BaseModel]) -> list[str]:
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

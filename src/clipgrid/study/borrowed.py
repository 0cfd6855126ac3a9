"""A model that was not written for clipgrid: `my_vit.py:ViT` names a class or function that has
names of its own for what a model is given."""

import ast
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clipgrid import InputError
from clipgrid.study.fields import on_a_line

CALLED = {
    "channels": ("channels", "in_channels", "in_chans", "num_channels"),
    "size": ("size", "image_size", "img_size", "input_size"),
    "classes": ("classes", "num_classes", "n_classes", "num_labels"),
}
"""What a model of ours is given, by the names that others have for it."""
FILES: dict[str, Path] = {}
"""Where the extensions that have been loaded would lie as files, by how a study names them."""


@functools.cache
def fitted(run: Callable, name: str) -> Callable:
    """`build(channels, size, classes)` of a class or function, which is given those of the three
    that it has a name for, and else has its defaults. InputError where that can't be."""
    if not callable(run):
        raise InputError(f"{name} is no class or function, but {type(run).__name__}")
    parameters = inspect.signature(run).parameters
    given = {
        parameter: what
        for what, names in CALLED.items()
        for parameter in names
        if parameter in parameters
    }
    lacking = [
        p.name
        for p in parameters.values()
        if p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        and p.name not in given
    ]
    if lacking:
        known = ", ".join(names[0] for names in CALLED.values())
        raise InputError(
            f"{name} must be given {', '.join(lacking)}: give it a default, or one of the names of"
            f" {known}, or declare the model by its decorator"
        )

    def build(channels: int, size: int, classes: int) -> Any:
        values = {"channels": channels, "size": size, "classes": classes}
        return run(**{parameter: values[what] for parameter, what in given.items()})

    functools.update_wrapper(build, run)
    build.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(what, inspect.Parameter.POSITIONAL_OR_KEYWORD) for what in CALLED]
    )
    return build


def classes_in(file: Path) -> list[str]:
    """The names of the classes in a Python file, which is read and not run; none where it can't
    be."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    return [each.name for each in tree.body if isinstance(each, ast.ClassDef)]


def of_a_file(name: str) -> str:
    """How to name the model that an unknown `name` may mean: a file without the class in it, or a
    class in one of the FILES; empty where it is neither."""
    source, _, given = name.partition(":")
    asked = {source: FILES.get(source, Path(source))} if source.endswith(".py") else FILES
    for file, path in asked.items():
        classes = classes_in(path)
        meant = [each for each in classes if each.lower() == (given or name).lower()]
        if file == source and not path.is_file():
            return f"there is no file {on_a_line(file)}"
        if file == source or meant:
            one = [*meant, *filter(None, [on_a_line(given)]), *classes, "MyNet"][0]
            file, has = on_a_line(file), ", ".join(classes) or "no class"
            return (
                f"{file} has {has}; a class is {file}:{one} to the probe and under extensions, and"
                f" {one.lower()} under models"
            )
    return ""

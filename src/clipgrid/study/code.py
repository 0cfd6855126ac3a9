"""What code does, as a checksum: of a module and of what it imports of ours, with comments, docstrings,
annotations, formatting and the decorators of parts apart, as none of them changes a number."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
DECLARED = "study"  # the room that only says what is run, not how
IGNORED = {"annotation", "returns", "ctx", "kind", "type_comment", "type_params", "decorator_list"}


@cache
def digest(*files: Path) -> str:
    """A short checksum of what these modules and those that they import do."""
    found: dict[Path, None] = {}
    for file in files:
        collect(file.resolve(), found)
    content = [plain(tree(file)) for file in sorted(found)]
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def room(name: str) -> list[Path]:
    """The modules of a room of ours."""
    return sorted((PACKAGE / name).rglob("*.py"))


def collect(file: Path, found: dict[Path, None]) -> None:
    if file not in found:
        found[file] = None
        for imported in imports(file):
            collect(imported, found)


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def imports(file: Path) -> Iterator[Path]:
    """The modules that `file` imports: of our package, but for what only declares; and of an extension,
    those beside it."""
    for node in ast.walk(tree(file)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module or ''}.{alias.name}".strip(".") for alias in node.names]
        for name in names:
            parts = name.split(".")
            inside = parts[0] == PACKAGE.name
            base = PACKAGE.parent if inside else file.parent
            if (inside and (len(parts) < 2 or parts[1] in (DECLARED, "lazy"))) or (
                not inside and file.is_relative_to(PACKAGE)
            ):
                continue
            # `from a.b import c`: c is a module, or something in b.
            candidates = [base.joinpath(*parts[:n]) for n in (len(parts), len(parts) - 1) if n]
            for place in candidates:
                for path in (place.with_suffix(".py"), place / "__init__.py"):
                    if path.is_file() and path not in (file, PACKAGE / "__init__.py"):
                        yield path.resolve()


def plain(node: Any) -> Any:
    """A syntax tree as nested tuples, the same for all versions of Python."""
    if isinstance(node, list):
        return [plain(item) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
            fields["body"] = node.body[1:]
        kept = [d for d in getattr(node, "decorator_list", []) if not declares(d)]
        fields["decorators"] = kept
    return (
        type(node).__name__,
        *((name, plain(value)) for name, value in fields.items() if name not in IGNORED),
    )


def declares(decorator: ast.expr) -> bool:
    """Whether a decorator is one of a part: `@model(...)`."""
    from clipgrid.study.parts import KINDS

    if not isinstance(decorator, ast.Call):
        return False
    name = decorator.func
    return (name.attr if isinstance(name, ast.Attribute) else getattr(name, "id", "")) in KINDS

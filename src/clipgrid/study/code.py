"""What code does, as a checksum. Comments, docstrings, annotations, formatting and the decorators
of parts are left out, as none of them changes a number. Source is read, and never run."""

import ast
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
DECLARES = {PACKAGE / "study", PACKAGE / "lazy.py", PACKAGE / "__init__.py"}
"""Ours that say what is run, not how."""
Found = dict[tuple[Path, str], list[ast.stmt]]
"""The statements that stand for a name of a module."""
IGNORED = {"annotation", "returns", "ctx", "kind", "type_comment", "type_params"}
WHOLE = "*"
DEFINITION = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@cache
def digest(file: Path, name: str) -> str:
    """A short checksum of what `name` of a module does. Of ours it follows all that is used, name
    by name. An extension may be written in any way: all of its file counts, and of the modules
    beside it that it imports. Of an installed package its version counts, as nobody edits it."""
    found: Found = {}
    file = file.resolve()
    if file.is_relative_to(PACKAGE):
        collect(file, name if name in bindings(file) else WHOLE, found)
    elif package := installed(file):
        return checksum([name, *package])
    else:
        collect_file(file, found)
    content = ((name, repr(plain(nodes))) for (_, name), nodes in found.items() if nodes)
    return checksum(sorted(content))


def installed(file: Path) -> list[str]:
    """The name of the installed package that a module is of, and its versions, or the checksum of a
    file that is of none; nothing for what isn't installed."""
    site = next((p for p in file.parents if p.name in ("site-packages", "dist-packages")), None)
    if not site:
        return []
    name = file.relative_to(site).parts[0].removesuffix(".py")
    of = metadata.packages_distributions().get(name, [])
    versions = [metadata.version(distribution) for distribution in sorted(set(of))]
    return [name, *(versions or [digest_of_files([file])])]


def collect_file(file: Path, found: Found) -> None:
    """Add all of a module outside of our package, and of those that it imports."""
    if (file, WHOLE) in found:
        return
    found[file, WHOLE] = tree(file).body
    for node in ast.walk(tree(file)):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        level = getattr(node, "level", 0)
        for alias in node.names:
            inside = getattr(node, "module", None) or ""
            names = {inside, f"{inside}.{alias.name}".strip(".")} - {""}
            for module in filter(None, (module_file(file, name, level) for name in sorted(names))):
                if not module.is_relative_to(PACKAGE):
                    collect_file(module, found)
                elif isinstance(node, ast.ImportFrom) and alias.name in bindings(module):
                    collect(module, alias.name, found)
                else:
                    collect(module, WHOLE, found)


def modules_beside(file: Path) -> Iterator[tuple[str, Path]]:
    """(name, file) of the modules beside an extension that it imports, and that those import."""
    found: Found = {}
    collect_file(file, found)
    for other, _ in found:
        if other != file and other.is_relative_to(file.parent):
            path = other.parent if other.name == "__init__.py" else other.with_suffix("")
            yield ".".join(path.relative_to(file.parent).parts), other


def digest_of_files(files: Iterable[Path]) -> str:
    """A short checksum of what modules do, without what they import."""
    return checksum([plain(tree(file)) for file in sorted(files)])


def room(name: str) -> list[Path]:
    """The modules of a room of ours."""
    return sorted((PACKAGE / name).rglob("*.py"))


def checksum(content: Any) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


@cache
def bindings(file: Path) -> dict[str, list[ast.stmt]]:
    """The statements of a module that give each of its names a value, and those around them, whose
    conditions and loops decide on it."""
    found: dict[str, list[ast.stmt]] = defaultdict(list)

    def visit(parent: ast.AST, around: tuple[ast.stmt, ...]) -> None:
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, ast.ExceptHandler | ast.match_case):
                visit(node, around)
            if not isinstance(node, ast.stmt):
                continue
            for name in bound(node):
                found[name] += [node, *around]
            for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            if not isinstance(node, DEFINITION):
                visit(node, around if for_types else (*around, node))

    visit(tree(file), ())
    return found


def bound(node: ast.stmt) -> Iterator[str]:
    """The names that a statement gives a value, or may change: `x = 1`, `x[0] = 1`, `x.append(1)`.
    Of a block, those of its head."""
    heads: list[ast.AST] = []
    if isinstance(node, DEFINITION):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0]
    elif isinstance(node, ast.Assign | ast.Delete):
        heads += node.targets
    elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.For):
        heads.append(node.target)
    elif isinstance(node, ast.With):
        heads += node.items
    elif isinstance(node, ast.Expr):
        heads.append(node.value)
    yield from dict.fromkeys(
        n.id for head in heads for n in ast.walk(head) if isinstance(n, ast.Name)
    )


def collect(file: Path, name: str, found: Found) -> None:
    """Add what `name` of a module stands for, and all that this uses."""
    if (file, name) in found:
        return
    if name == WHOLE:
        for each in list(bindings(file)):
            collect(file, each, found)
        return
    nodes = bindings(file).get(name, [])
    imported = [n for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)]
    found[file, name] = [n for n in nodes if n not in imported]
    for statement in imported:
        for target, attribute in origins(file, statement, name):
            collect(target, attribute or WHOLE, found)
    for node in found[file, name]:
        for target, used in uses(file, node):
            collect(target, used, found)


def uses(file: Path, node: ast.stmt) -> Iterator[tuple[Path, str]]:
    """(module, name) of all that a statement uses."""
    local = [n for n in walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
    here = bindings(file)

    def modules(name: str) -> list[tuple[Path, str]]:
        statements = [n for n in (*local, *here.get(name, [])) if name in bound(n)]
        return [
            origin
            for n in statements
            if isinstance(n, ast.Import | ast.ImportFrom)
            for origin in origins(file, n, name)
        ]

    attributes = set()
    for n in walk(node):
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name):
            for target, attribute in modules(n.value.id):
                if not attribute:  # a module, of which this is used
                    attributes.add(n.value)
                    yield target, n.attr
    for n in walk(node):
        if isinstance(n, ast.Name) and n not in attributes:
            origin = modules(n.id)
            yield from ((target, attribute or WHOLE) for target, attribute in origin)
            if n.id in here and not origin:
                yield file, n.id


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """As ast.walk, but only through what changes a number."""
    yield node
    for field, value in ast.iter_fields(node):
        children = value if isinstance(value, list) else [value]
        for child in children if field not in IGNORED else []:
            declared = field == "decorator_list" and declares_a_part(child)
            if isinstance(child, ast.AST) and not declared:
                yield from walk(child)


def origins(file: Path, node: ast.stmt, name: str) -> Iterator[tuple[Path, str]]:
    """(module, name in it) of what an import calls `name`; no name where it is the module itself.
    Modules of others have no part in this."""
    assert isinstance(node, ast.Import | ast.ImportFrom)
    for alias in node.names:
        if name != (alias.asname or alias.name.partition(".")[0]):
            continue
        if isinstance(node, ast.Import):
            whole = alias.name if alias.asname else alias.name.partition(".")[0]
            if module := module_file(file, whole, 0):
                yield module, ""
        else:
            inside = f"{node.module or ''}.{alias.name}".strip(".")
            if module := module_file(file, inside, node.level):
                yield module, ""
            elif module := module_file(file, node.module or "", node.level):
                yield module, alias.name


def module_file(file: Path, name: str, level: int) -> Path | None:
    """Where the module `name`, imported by `file`, lies: ours, or beside an extension."""
    parts = [part for part in name.split(".") if part]
    if level:
        bases = [file.parents[level - 1]]
    elif parts[:1] == [PACKAGE.name]:
        bases = [PACKAGE.parent]
    elif file.is_relative_to(PACKAGE):
        return None  # a module of others
    else:
        bases = [file.parent]
        while (bases[-1] / "__init__.py").is_file():  # an extension that is in a package
            bases.append(bases[-1].parent)
    for place in (base.joinpath(*parts) for base in bases):
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file() and DECLARES.isdisjoint((path, *path.parents)):
                return path.resolve()
    return None


def plain(node: Any) -> Any:
    """A syntax tree as nested tuples, the same for all versions of Python."""
    if isinstance(node, list):
        return [plain(item) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {k: v for k, v in ast.iter_fields(node) if k not in IGNORED and v not in (None, [])}
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
            fields["body"] = node.body[1:]
        decorators = [d for d in getattr(node, "decorator_list", []) if not declares_a_part(d)]
        fields["decorator_list"] = decorators
    return (type(node).__name__, *((name, plain(value)) for name, value in fields.items()))


def declares_a_part(decorator: ast.AST) -> bool:
    """Whether a decorator is `@model(...)` or another one of `parts`."""
    from clipgrid.study.parts import DECORATORS

    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name in DECORATORS

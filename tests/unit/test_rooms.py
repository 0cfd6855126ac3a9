"""The rooms of the source: imports point one way, and no file is too long to be read."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
PACKAGE = SOURCE / "clipgrid"
MAY_IMPORT = {
    "clipping": set(),
    "study": set(),
    "images": {"study"},
    "models": {"study"},
    "training": {"clipping", "study", "images", "models"},
    "judging": {"clipping", "study", "images", "models", "training"},
    "reporting": {"clipping", "study", "images", "models", "training", "judging"},
}
FILES = sorted(PACKAGE.rglob("*.py"))
IN_ROOMS = [file for file in FILES if file.parent != PACKAGE]


def room_of(file):
    return file.relative_to(PACKAGE).parts[0]


def imports(file):
    """The modules that a file imports, at its top, in functions and for types."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_room_is_in_the_table_and_no_other():
    assert {room_of(file) for file in IN_ROOMS} == set(MAY_IMPORT)


@pytest.mark.parametrize("file", IN_ROOMS, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_one_way(file):
    rooms = {name.split(".")[1] for name in imports(file) if name.startswith("clipgrid.")}
    room = room_of(file)
    assert rooms & set(MAY_IMPORT) <= MAY_IMPORT[room] | {room}


@pytest.mark.parametrize("file", sorted((PACKAGE / "clipping").rglob("*.py")), ids=lambda f: f.stem)
def test_the_library_of_clipping_imports_nothing_of_ours(file):
    ours = {name for name in imports(file) if name.split(".")[0] == "clipgrid"}
    assert {name for name in ours if not name.startswith("clipgrid.clipping")} == set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_has_at_most_400_lines(file):
    assert len(file.read_text().splitlines()) <= 400


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_function_fits_on_a_screen(file):
    tree = ast.parse(file.read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno - f.lineno >= 60}
    assert long == {}

"""The house in order: schema and pins say what the code says, notebooks are clean, and nothing
remembers the machine that it was written on."""

import json
import re
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from jsonschema import Draft202012Validator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from clipgrid.study import config as study

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow/schemas/study.schema.json"
STUDIES = [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def config_with(path, value):
    """The smoke study with the value at `path` replaced."""
    config = study.read(ROOT / "studies/smoke.yaml")
    *parents, last = path
    place = config
    for key in parents:
        place = place[key]
    place[last] = value
    return config


def faults(config):
    """What the schema finds wrong in a config."""
    errors = Draft202012Validator(study.schema()).iter_errors(config)
    return {f"{error.json_path}: {error.message}" for error in errors}


# ---- schema -------------------------------------------------------------------------------------


def test_the_schema_in_the_house_is_the_one_that_the_code_gives():
    assert json.loads(SCHEMA.read_text()) == study.schema()


def test_the_schema_is_a_json_schema():
    Draft202012Validator.check_schema(study.schema())


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_satisfies_the_schema(path):
    assert faults(study.read(path)) == set()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("clipz",), [1]),
        (("models", "alexnte"), {"width": 1}),
        (("models", "alexnet", "width"), 0),
        (("data", "size"), 7),
        (("optimizers", "momentum", "momentum"), 1),
        (("optimizers", "momentum", "learning_rates"), [0]),
        (("clips",), [0]),
        (("iterations",), [0]),
        (("ema",), [1]),
        (("augmentations",), ["flop"]),
        (("seeds",), [-1]),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else str(value),
)
def test_the_schema_refuses_what_the_study_refuses(path, value):
    config = config_with(path, value)
    with pytest.raises(study.StudyError):
        study.parse(config)
    assert faults(config) - faults(study.read(ROOT / "studies/smoke.yaml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_tells_editors_where_its_schema_is(path):
    first = path.read_text().splitlines()[0]
    name = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)[1]
    assert (path.parent / name).resolve() == SCHEMA


# ---- notebooks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


# ---- pins ---------------------------------------------------------------------------------------


def pins(lines):
    """{name: version} of lines `name==version`, each name once."""
    pairs = [re.fullmatch(r"([\w.-]+)==([\w.!+-]+)", line).groups() for line in lines]
    versions = {canonicalize_name(name): version for name, version in pairs}
    assert len(versions) == len(pairs)
    return versions


@pytest.fixture(scope="module")
def lock():
    lines = (ROOT / "envs/requirements.lock").read_text().splitlines()
    return pins(line for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="module")
def environment():
    """What envs/clipgrid.yaml has conda and pip install."""
    return yaml.safe_load((ROOT / "envs/clipgrid.yaml").read_text())["dependencies"]


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pip_pins(environment):
    (listed,) = [entry["pip"] for entry in environment if isinstance(entry, dict)]
    return pins(listed)


def test_the_conda_environment_pins_what_the_lock_pins(environment, lock):
    listed = pip_pins(environment)
    assert listed == {name: lock.get(name) for name in listed}


def test_what_the_code_needs_is_pinned_in_the_conda_environment_and_nothing_else(
    environment, project
):
    texts = project["dependencies"] + project["optional-dependencies"]["study"]
    needed = {canonicalize_name(Requirement(text).name) for text in texts}
    assert set(pip_pins(environment)) == needed


def test_every_dependency_is_pinned_at_a_version_that_it_allows(lock, project):
    optional = [text for texts in project["optional-dependencies"].values() for text in texts]
    for requirement in map(Requirement, project["dependencies"] + optional):
        name = canonicalize_name(requirement.name)
        assert name in lock
        assert requirement.specifier.contains(lock[name]), f"{requirement} is not {lock[name]}"


def test_the_conda_environment_has_a_python_that_the_project_allows(environment, project):
    (python,) = [entry for entry in environment if str(entry).startswith("python=")]
    assert Requirement(f"python{project['requires-python']}").specifier.contains(
        python.removeprefix("python=") + ".0"
    )


def test_the_image_has_what_make_install_installs_and_no_pins_of_its_own():
    lines = (ROOT / "envs/Dockerfile").read_text().splitlines()
    assert "RUN make install" in lines
    assert lines.index("COPY . .") < lines.index("RUN make install")
    assert not [line for line in lines if "pip install" in line or "==" in line]
    left_out = (ROOT / ".dockerignore").read_text().split()
    made = {line.strip("/") for line in (ROOT / ".gitignore").read_text().split()}
    assert {".venv", "results", "store", "build"} <= made & set(left_out)


# ---- no trace of a machine ----------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["src", "workflow", "notebooks", "report", "envs", "studies"])
def test_no_file_holds_a_path_of_the_machine_that_it_was_written_on(folder):
    files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    made = re.compile(r"__pycache__|\.egg-info")  # by Python and pip, in no clone
    texts = {p: p.read_text() for p in files if not made.search(str(p.relative_to(ROOT)))}
    assert texts
    machine = re.compile(r"(?<![\w.~-])/(?:root|home|work|tmp|Users)\b")
    found = {str(p): machine.findall(text) for p, text in texts.items() if machine.search(text)}
    assert found == {}

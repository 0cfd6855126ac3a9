"""What is installed: a wheel whose library runs where torch and numpy alone can be imported, and
whose studies say there what they lack."""

import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def pip(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    made = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", folder / "src", ignore=made)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    try:  # else pip fetches it
        known = int(version("setuptools").partition(".")[0]) >= 77
    except PackageNotFoundError:
        known = False
    pip("wheel", "--quiet", "--no-deps", *["--no-build-isolation"] * known, "-w", folder, folder)
    (file,) = folder.glob("*.whl")
    return file


def needed(*names):
    """These distributions and all that they need, without extras."""
    found = {}
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found[name] = distribution(name)
        asked = map(Requirement, found[name].requires or ())
        waiting += [r.name for r in asked if not r.marker or r.marker.evaluate({"extra": ""})]
    return found.values()


@pytest.fixture(scope="module")
def empty(wheel, tmp_path_factory):
    """A folder in which the wheel, torch and numpy lie, and what these two need."""
    folder = tmp_path_factory.mktemp("empty")
    pip("install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel)
    for one in needed("torch", "numpy"):
        for name in {file.parts[0] for file in one.files} - {"..", "__pycache__"}:
            (folder / name).symlink_to(Path(one.locate_file(name)).resolve())
    return folder


def run(folder, script):
    """In a Python that sees its own modules and this folder."""
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(folder)!r})\n"]
    command[-1] += script
    return subprocess.run(command, capture_output=True, text=True, cwd=folder.parent)


LIBRARY = """
import numpy, torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model(torch.ones(2, 4)).sum().backward()
torch.linalg.svd(model[0].weight)
optimizer.step()  # torch imports some more for it
before = set(sys.modules)
from clipgrid.clipping import Clipper
from clipgrid.clipping.kinds import KINDS

for kind in KINDS.values():
    clipper = Clipper(model, f"{kind.name}0.1", by_layer=True)
    for step in range(12):
        optimizer.zero_grad()
        model(torch.ones(2, 4)).square().mean().backward()
        clipper()
        optimizer.step()
    clipper.save("norms.csv")
    clipper.state_dict()
    assert "12 steps" in clipper.advice()
try:
    clipper.save("norms.parquet")
except ImportError as error:
    print(error)
for name in ("pydantic", "pandas", "snakemake", "torchvision", "yaml"):
    try:
        __import__(name)
        raise AssertionError(f"{name} is there: the test shows nothing")
    except ModuleNotFoundError:
        pass
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(new - set(sys.stdlib_module_names)))
"""


def test_the_library_runs_where_there_are_torch_and_numpy_alone(empty):
    done = run(empty, LIBRARY)
    assert done.returncode == 0, done.stderr
    error, imported = done.stdout.splitlines()
    assert error.startswith("parquet needs pyarrow")
    assert imported == "['clipgrid']"
    assert (empty.parent / "norms.csv").read_text().startswith("step,norm,")


def test_studies_say_there_what_they_lack(empty):
    done = run(empty, "import runpy; runpy.run_module('clipgrid', run_name='__main__')")
    assert done.returncode == 1
    assert done.stderr == (
        "clipgrid: error: pydantic is not installed. The library clipgrid.clipping works without;"
        " for studies install the extra: pip install '.[study]' in clipgrid's folder\n"
    )


def test_a_command_says_what_it_lacks(monkeypatch, capsys):
    from clipgrid.__main__ import main

    monkeypatch.setitem(sys.modules, "clipgrid.study.plan", None)
    assert main(["plan", "studies/smoke.yaml"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not installed" in line and "pip install '.[study]'" in line


def test_the_wheel_asks_for_torch_and_numpy_and_has_types_tables_and_templates(wheel):
    with ZipFile(wheel) as files:
        names = files.namelist()
        (metadata,) = [name for name in names if name.endswith("METADATA")]
        lines = files.read(metadata).decode().splitlines()
    asked = [Requirement(line.partition(": ")[2]) for line in lines if line.startswith("Requires-")
             and "Dist" in line]  # fmt: skip
    assert {r.name for r in asked if not r.marker} == {"numpy", "torch"}
    assert {"study", "test"} <= {line.partition(": ")[2] for line in lines if "Extra" in line}
    for name in ("py.typed", "study/costs.csv", "reporting/templates/page.html"):
        assert f"clipgrid/{name}" in names

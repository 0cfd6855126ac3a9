"""Models that were not written for clipgrid."""

import os
import subprocess
import sys

import pytest

from clipgrid import InputError
from clipgrid.study import parts

VIT = """
import torch

class Tiny(torch.nn.Module):
    def __init__(self, {}):
        super().__init__()
        self.layer = torch.nn.Linear({}, 10)

    def forward(self, images):
        return self.layer(images.flatten(1))

NUMBER = 3
"""


pytestmark = pytest.mark.usefixtures("registry_put_back")


@pytest.fixture
def file(tmp_path):
    def write(parameters, width="64"):
        path = tmp_path / "net.py"
        path.write_text(VIT.format(parameters, width))
        return path

    return write


def test_a_class_with_names_of_its_own_is_a_model(file):
    path = file("num_classes=3, img_size=1, in_chans=1", "in_chans * img_size**2")
    for _ in range(2):  # a study is read more than once
        parts.load([f"{path}:Tiny"])
    choice = parts.choose("model", "tiny")
    assert choice(2, 8, 10).layer.in_features == 2 * 64
    assert choice.label == "Tiny"
    assert choice.part.file == path


def test_a_change_of_its_code_is_seen(file):
    source = []
    for width in ("64", "32 + 32"):
        parts.KINDS["model"].pop("tiny", None)
        parts.code.digest.cache_clear()
        parts.code.tree.cache_clear()
        parts.code.bindings.cache_clear()
        parts.load([f"{file('size=8', width)}:Tiny"])
        source.append(parts.find("model", "tiny").source)
    assert source[0] != source[1]


WITHOUT_OURS = """
from clipgrid.study import parts

parts.load(["timm.models.vision_transformer:VisionTransformer", "resized.py"])
print(len(parts.choose("model", "visiontransformer").part.source))
"""


def test_a_class_of_an_installed_package_is_a_model(tmp_path):
    """In a process of its own, where nobody has imported torchvision: beside a CPU build of torch,
    PyPI's can't be imported by itself."""
    (tmp_path / "resized.py").write_text("from torchvision.transforms import Resize\n")
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_OURS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert (run.stdout, run.stderr) == ("16\n", "")


def test_a_file_without_its_class_is_told_which_it_has(file, monkeypatch):
    path = file("num_classes=3")
    monkeypatch.chdir(path.parent)
    said = r"net\.py has Tiny; a class is net\.py:Tiny to the probe and under extensions, and tiny"
    for name in ("net.py", "net.py:Tiny", "tiny"):
        parts.KINDS["model"].pop("tiny", None)
        parts.load(["net.py"] if name == "tiny" else [])
        with pytest.raises(InputError, match=rf"unknown model '{name}'; {said} under models"):
            parts.find("model", name)
    with pytest.raises(InputError, match=r"unknown model 'nut\.py'; there is no file nut\.py"):
        parts.find("model", "nut.py")


def test_a_plain_class_says_how_it_would_have_settings(file):
    path = file("num_classes=3, dim=64")
    parts.load([f"{path}:Tiny"])
    with pytest.raises(InputError, match=r"dim: unknown key; it has no settings.* @model, with"):
        parts.parse("model", "tiny:dim=32")


def test_a_class_that_its_file_declares_keeps_its_settings(file):
    path = file("channels, size, classes, *, dim: int = 64", "dim")
    path.write_text("from clipgrid.study.parts import model\n" + path.read_text().replace(
        "class Tiny", "@model('tiny', label='Tiny')\nclass Tiny"))  # fmt: skip
    parts.load([f"{path}:Tiny"])
    assert parts.parse("model", "tiny:dim=32")(1, 8, 10).layer.in_features == 32


@pytest.mark.parametrize(
    ("parameters", "name", "reason"),
    [
        (
            "depth",
            "Tiny",
            r"Tiny must be given depth: give it a default, or one of the names of chan",
        ),
        ("", "Absent", r"there is no Absent in .*net\.py"),
        ("", "NUMBER", r"NUMBER is no class or function, but int"),
    ],
)
def test_what_can_not_be_a_model_is_one_error(file, parameters, name, reason):
    with pytest.raises(InputError, match=rf"net\.py:{name} can't be loaded: {reason}"):
        parts.load([f"{file(parameters)}:{name}"])

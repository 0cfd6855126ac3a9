"""Before anything is trained each part that isn't ours is tried, and what is wrong is one error."""

import json
import re
import textwrap

import pytest
from switches import torch_as_it_was
from trials import MOMENTUM

from clipgrid import InputError
from clipgrid.study import parts, trials
from clipgrid.study.cells import replace
from clipgrid.training.checks import check

HEAD = """
import itertools
import random

import numpy as np
import torch
from torch import nn

from clipgrid.clipping import clip_by_global_norm
from clipgrid.study.parts import model, optimizer, objective, clip_kind, augmentation, schedule

class Net(nn.Module):
    def __init__(self, channels=1, size=8, classes=10):
        super().__init__()
        self.first, self.last = nn.Linear(channels * size**2, 16), nn.Linear(16, classes)

    def forward(self, x):
        return self.last(torch.relu(self.first(x.flatten(1))))

"""


@pytest.fixture(autouse=True)
def torch_and_registry_put_back():
    parts.load_ours()
    before = {kind: dict(known) for kind, known in parts.KINDS.items()}
    with torch_as_it_was():
        yield
    for kind, known in before.items():
        parts.KINDS[kind].clear()
        parts.KINDS[kind].update(known)


@pytest.fixture
def tried(digits, tmp_path):
    """A function: try what an extension declares in runs with these settings; what is written."""

    def try_it(text, *settings):
        (tmp_path / "mine.py").write_text(HEAD + textwrap.dedent(text))
        parts.load([str(tmp_path / "mine.py")])
        runs = {replace(MOMENTUM, **changes): [] for changes in settings}
        tried = {t: r for pack in trials.of(runs).values() for t, r in pack.runs.items()}
        check(tried, digits, tmp_path / "parts.json")
        return json.loads((tmp_path / "parts.json").read_text())

    return try_it


def of_model(body):
    """A model whose class has this body."""
    return f"""
class Mine(Net):
{textwrap.indent(body, "    ")}

@model("mine", label="mine")
def build(channels, size, classes):
    return Mine(channels, size, classes)
"""


# ---- what is sound ------------------------------------------------------------------------------

SOUND = """
@model("mine", label="mine")
def build(channels, size, classes, *, p: float = 0.5):
    '''With what draws from the generators that are seeded, and what keeps statistics.'''
    return nn.Sequential(nn.Conv2d(channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
                         nn.Dropout(p), nn.Linear(8 * (size - 2)**2, classes))

@optimizer("sgd", label="SGD", buffers=0)
def sgd(parameters, learning_rate):
    return torch.optim.SGD(parameters, learning_rate)

@objective("brier", label="Brier score")
def brier(logits, labels):
    return (logits.softmax(1) - nn.functional.one_hot(labels, 10)).square().sum(1).mean()

@clip_kind("mean", label="mean {}", observes="the norm over its mean")
def clip(gradients, weights, threshold, state):
    state["seen"] = state.get("seen", torch.zeros(())) + 1
    return clip_by_global_norm(gradients, threshold)

@augmentation("noise", label="noise")
class Noise:
    def draw(self, n, size, generator):
        return torch.randint(9, (n, 1, size, size), generator=generator, dtype=torch.uint8)

    def apply(self, images, drawn):
        return images // 2 + drawn

@schedule("linear", label="linear", ends=True)
def linear(step, steps):
    return 1 - step / steps
"""
ALL = {
    "model": "mine:p=0.2",
    "optimizer": "sgd",
    "objective": "brier",
    "clip": "mean2",
    "augmentation": "flip+noise",
    "schedule": "linear",
    "schedule_steps": 9,
}


def test_sound_parts_pass_and_are_listed(tried):
    found = tried(SOUND, ALL, ALL | {"model": "mine"})
    assert [one["part"] for one in found] == [
        *("model mine:p=0.2", "model mine", "optimizer sgd", "objective brier"),
        *("clip kind mean", "augmentation noise", "schedule linear"),
    ]
    assert {one["file"].rpartition("/")[2] for one in found} == {"mine.py"}


def test_ours_are_not_tried_and_torchvisions_are(tried):
    assert trials.of({MOMENTUM: []}) == {}
    (found,) = tried("", {"model": "mobilenet_v3_small"})
    assert found["part"] == "model mobilenet_v3_small"


def test_each_part_is_tried_once_beside_ours_alone(tried):
    tried(SOUND, ALL)
    runs = [replace(MOMENTUM, **ALL, seed=seed, learning_rate=0.5) for seed in (3, 4)]
    packs = trials.of({run: [] for run in runs})
    assert list(packs) == [
        *("model-mine:p=0.2", "optimizer-sgd", "objective-brier"),
        *("clip-mean", "augmentation-noise", "schedule-linear"),
    ]
    found = [trial for pack in packs.values() for trial in pack.runs]
    assert len(found) == 6
    assert {str(trial.model) for trial in found} == {"mine:p=0.2", "alexnet:width=0.125"}
    assert {trial.seed for trial in found} == {3}
    assert {trial.learning_rate for trial in found if str(trial.optimizer) == "sgd"} == {0.5}
    assert {trial.learning_rate for trial in found if str(trial.optimizer) != "sgd"} == {0.01}


# ---- what isn't ---------------------------------------------------------------------------------

MODELS = {
    "raises": (
        "def forward(self, x):\n    raise ValueError('no such thing')",
        r"ValueError: no such thing \(line \d+ of .*mine\.py\)",
    ),
    "too few": (
        "def __init__(self, *given):\n    super().__init__(*given[:2], 5)",
        r"in training mode its logits are \[8, 5\], where \[8, 10\], a number for each image and",
    ),
    "of one": (
        "def forward(self, x):\n    return super().forward(x).flatten()",
        r"in training mode its logits are \[80\], where \[8, 10\]",
    ),
    "several": (
        "def forward(self, x):\n    return super().forward(x), x",
        r"in training mode it gives tuple, and not a tensor of logits \[batch, classes\]",
    ),
    "eval": (
        "def forward(self, x):\n    y = super().forward(x)\n"
        "    return y if self.training else y[0]",
        r"in eval mode its logits are \[10\], where",
    ),
    "detached": (
        "def forward(self, x):\n    return super().forward(x).detach()",
        "no gradient reaches the model's parameters: a detach, no_grad or numpy",
    ),
    "not finite": (
        "def forward(self, x):\n    return super().forward(x) / 0",
        "in training mode not all of its logits are finite",
    ),
    "no finite gradient": (
        "def forward(self, x):\n"
        "    return super().forward(x) + (self.first.bias * 0).pow(0.5).sum()",
        "the gradient of first.bias isn't finite at the first step",
    ),
    "random weights": (
        "def __init__(self, *given):\n    super().__init__(*given)\n"
        "    self.last.bias.data.fill_(random.random())",
        "two builds from one seed differ, in its last.bias; draw what is random from torch's",
    ),
    "random step": (
        "def forward(self, x):\n    return super().forward(x + self.training * np.random.rand())",
        "a step that is done again from the same state gives other bits, in its first.weight; draw",
    ),
    "random eval": (
        "def forward(self, x):\n    return super().forward(x + torch.rand(()))",
        "in eval mode two looks at the same images differ; let it draw nothing at random there",
    ),
    "counts": (
        "def __init__(self, *given):\n    super().__init__(*given)\n    self.steps = 0\n"
        "def forward(self, x):\n    self.steps += self.training\n"
        "    return super().forward(x) * (1 + self.steps)",
        "a step that is done again from the same state gives other bits, .* in buffers",
    ),
    "replaces": (
        "def forward(self, x):\n    if self.training:\n"
        "        self.last.bias.data = self.last.bias.data + 1\n    return super().forward(x)",
        "its forward pass puts another tensor in the place of last.bias; change it in place",
    ),
}


@pytest.mark.parametrize("case", MODELS)
def test_a_model_that_can_not_be_trained_is_one_error(tried, tmp_path, case):
    body, reason = MODELS[case]
    with pytest.raises(InputError) as error:
        tried(of_model(body), {"model": "mine"})
    heading, *faults = str(error.value).splitlines()
    assert heading == "what isn't clipgrid's own can't be trained with; 1 fault:"
    assert len(faults) == 1
    assert re.match(f"  model mine: .*{reason}", faults[0])
    assert str(tmp_path / "mine.py") in faults[0]
    assert not (tmp_path / "parts.json").exists()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("3", "its function gives int, and not a torch.nn.Module"),
        ("Net", "its function gives type, and not a torch.nn.Module"),
        ("nn.Flatten()", "it has no parameters: there is nothing to train"),
        ("Net().requires_grad_(False)", "none of its parameters can be trained"),
        ("Net(2)", r"RuntimeError: .*shapes cannot be multiplied \(8x64 and 128x16\) \(line"),
    ],
)
def test_what_is_no_model_is_one_error(tried, given, reason):
    text = f"@model('mine', label='mine')\ndef build(channels, size, classes): return {given}"
    with pytest.raises(InputError, match=f"\n  model mine: {reason}"):
        tried(text, {"model": "mine"})


OTHERS = {
    "optimizer": (
        "@optimizer('mine', label='mine', buffers=0)\ndef make(parameters, rate): return None",
        {"optimizer": "mine"},
        "optimizer mine: its function gives NoneType, and not a torch.optim.Optimizer",
    ),
    "moving optimizer": (
        "class Moves(torch.optim.SGD):\n    def step(self):\n"
        "        for p in self.param_groups[0]['params']: p.data = p.data - p.grad\n"
        "@optimizer('mine', label='mine', buffers=0)\ndef make(ps, rate): return Moves(ps, rate)",
        {"optimizer": "mine"},
        "optimizer mine: its optimizer puts other tensors in the place of the weights",
    ),
    "forgetful optimizer": (
        "class Counts(torch.optim.SGD):\n    n = 1\n    def step(self):\n"
        "        self.n += 1\n        self.param_groups[0]['lr'] = 0.1 / self.n\n"
        "        super().step()\n"
        "@optimizer('mine', label='mine', buffers=0)\ndef make(ps, rate): return Counts(ps, rate)",
        {"optimizer": "mine"},
        "optimizer mine: a step that is done again .* keep what it remembers in self.state",
    ),
    "vector objective": (
        "@objective('mine', label='mine')\ndef loss(logits, labels): return logits.sum(1)",
        {"objective": "mine"},
        r"objective mine: its loss is of shape \[8\]; it is to be one number, the mean",
    ),
    "no objective": (
        "@objective('mine', label='mine')\ndef loss(logits, labels): return 3",
        {"objective": "mine"},
        "objective mine: its loss is no tensor; it is to be one number, the mean",
    ),
    "infinite objective": (
        "@objective('mine', label='mine')\n"
        "def loss(logits, labels): return logits.sum() * torch.inf",
        {"objective": "mine"},
        "objective mine: its loss isn't finite at the first step, but",
    ),
    "random objective": (
        "@objective('mine', label='mine')\ndef loss(logits, labels):\n"
        "    return nn.functional.cross_entropy(logits, labels) * random.random()",
        {"objective": "mine"},
        "objective mine: a step that is done again .* let it depend on logits and labels alone",
    ),
    "silent clip": (
        "@clip_kind('mine', label='{}', observes='')\ndef clip(gs, ws, t, state): return None",
        {"clip": "mine1"},
        "clip kind mine: it gives NoneType, and not a clipping.Telemetry",
    ),
    "forgetful clip": (
        "SEEN = itertools.count(1)\n@clip_kind('mine', label='{}', observes='')\n"
        "def clip(gs, ws, t, state): return clip_by_global_norm(gs, t / next(SEEN))",
        {"clip": "mine0.01"},
        "clip kind mine: a step that is done again .* keep what it remembers in `state`",
    ),
    "floating augmentation": (
        "@augmentation('mine', label='mine')\nclass Mine:\n"
        "    def draw(self, n, size, generator): return torch.zeros(n)\n"
        "    def apply(self, images, drawn): return images.float()",
        {"augmentation": "mine"},
        r"augmentation mine: it makes float32 \[8, 1, 8, 8\] of images that are uint8 \[8, 1, 8, 8",
    ),
    "unseeded augmentation": (
        "@augmentation('mine', label='mine')\nclass Mine:\n"
        "    def draw(self, n, size, generator): return torch.zeros(n)\n"
        "    def apply(self, images, drawn): return images + np.random.randint(99)",
        {"augmentation": "mine"},
        "augmentation mine: .* from the generator that it is given",
    ),
    "negative schedule": (
        "@schedule('mine', label='mine', ends=False)\ndef fall(step, steps): return -1.0",
        {"schedule": "mine"},
        "schedule mine: its factor of step 0 is -1.0; a number from 0 is right",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_part_that_can_not_be_trained_with_is_one_error(tried, tmp_path, case):
    text, settings, reason = OTHERS[case]
    with pytest.raises(InputError, match=f"1 fault:\n  {reason}") as error:
        tried(text, settings)
    assert str(tmp_path / "mine.py") in str(error.value)


def test_all_faulty_parts_are_told_at_once(tried):
    two = f"{OTHERS['silent clip'][0]}\n{OTHERS['vector objective'][0]}"
    with pytest.raises(InputError, match=r"2 faults:\n  objective mine: .*\n  clip kind mine: "):
        tried(two, {"clip": "mine1", "objective": "mine"})

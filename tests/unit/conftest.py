"""What the unit tests share: hypothesis's profile, tiny data, a small study, a made-up one."""

import itertools
import math

import hypothesis
import made_up
import numpy as np
import pandas as pd
import pytest

from clipgrid.images.data import prepare
from clipgrid.judging.evidence import Evidence
from clipgrid.study import config as study
from clipgrid.study import parts
from clipgrid.study.looks import TRANSFORMATIONS

hypothesis.settings.register_profile(
    "clipgrid", deadline=None, derandomize=True, database=None, max_examples=50
)
hypothesis.settings.load_profile("clipgrid")


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """The prepared file of the digits at 8 px."""
    path = tmp_path_factory.mktemp("data") / "digits.pt"
    prepare("digits", 8, 0, path.parent, path, path.parent / "store")
    return path


@pytest.fixture
def registry_put_back():
    """What a test declares is known to no other."""
    parts.load_ours()
    before = {kind: dict(known) for kind, known in parts.KINDS.items()}
    yield
    parts.KINDS.update(before)


@pytest.fixture
def config():
    """A small sound study, as a mapping: its own copy for each test."""
    return {
        "title": "Small",
        "data": {"name": "digits", "size": 8},
        "models": {"alexnet": {"width": 0.125}},
        "optimizers": {"momentum": {"learning_rates": [0.03]}},
        "clips": [1, "inf"],
        "iterations": [5, 10],
        "ema": ["none", 0.9],
        "augmentations": ["none"],
        "seeds": [0],
        "training": {"batch_size": 4},
        "experiments": {"x": {"title": "X", "section": "1", "select": [{}]}},
    }


@pytest.fixture
def cells():
    """Two models × λ 1, 10, inf × T 500, 1000 × raw, EMA × 3 augmentations × 3 seeds; accuracy is
    0.5 + 0.1 for λ = 1 + 0.01 for EMA - 0.05 for flip, and a little by seed."""
    axes = itertools.product(
        ("alexnet", "vgg11"),
        (1.0, 10.0, math.inf),
        (500, 1000),
        (math.nan, 0.9),
        ("none", "flip", "crop"),
        (0, 1, 2),
    )
    rows = []
    for model, threshold, iterations, ema, augmentation, seed in axes:
        accuracy = 0.5 + 0.1 * (threshold == 1) + 0.01 * (ema == 0.9) + 0.02 * seed
        accuracy -= 0.05 * (augmentation == "flip")
        rows.append(
            {
                "cell": f"{model}_{threshold}_{augmentation}_{seed}/T{iterations}_{ema}",
                "trajectory": f"{model}_{threshold}_{augmentation}_{seed}",
                "experiments": "x",
                "model": model,
                "optimizer": "momentum",
                "learning_rate": 0.03,
                "clip": "norm",
                "threshold": threshold,
                "augmentation": augmentation,
                "schedule": "constant",
                "objective": "cross-entropy",
                "train_images": "all",
                "label_noise": 0.0,
                "seed": seed,
                "iterations": iterations,
                "ema": ema,
                "status": "finished",
                "steps": iterations,
                "steps_clipped": iterations // 2 if threshold == 1 else 0,
                "clip_fraction": 0.5 if threshold == 1 else 0.0,
                "norm_max": 7.0,
                **{f"{of}_accuracy": accuracy for of in ("train", "validation", "test")},
                **{f"{name}_accuracy": accuracy for name in TRANSFORMATIONS},
                "train_loss": 1 - accuracy,
                "validation_loss": 1 - accuracy,
                "test_loss": 1 - accuracy,
                "loss_gap": 0.1,
                "command": "python -m clipgrid train --model alexnet",
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture
def histories(cells):
    """40 steps of each run: the norm is 3, the loss falls; a look at every tenth step finds 60%."""
    steps = pd.DataFrame({"step": np.arange(1, 41), "norm": 3.0, "loss": np.linspace(2, 0.1, 40)})
    looks = steps.step % 10 == 0
    steps["validation_accuracy"] = np.where(looks, 0.6, np.nan)
    steps["validation_loss"] = np.where(looks, 1.0, np.nan)
    steps["training_loss"] = steps.loss.where(looks)
    return cells[["trajectory"]].drop_duplicates().merge(steps, how="cross")


@pytest.fixture
def evidence(config, histories, tmp_path):
    """A function: the evidence of a made-up study that has these cells, and these histories."""

    def made_up(cells, histories=histories):
        evidence = Evidence(study.parse(config), tmp_path)
        evidence.cells, evidence.histories = cells, histories
        evidence.runs = {str(name): run for name, run in histories.groupby("trajectory")}
        evidence.about = {"classes": list("0123456789"), "name": "digits"}
        return evidence

    return made_up


@pytest.fixture
def results(cells, config, tmp_path):
    """A function of claims, of cells if they aren't these, and of changes of the config: a folder
    with the results of such a study."""

    def written(rows=(made_up.CLAIM,), cells=cells, **changes):
        config.update({"claims": str(tmp_path / "claims.yaml"), **changes})
        given = {key: value for key, value in config.items() if value is not None}
        made_up.write(tmp_path, given, cells, rows)
        return tmp_path

    return written


@pytest.fixture
def of_kinds():
    """A function: the cells, with other kinds of clipping in the place of two thresholds."""
    kinds = {1.0: ("agc", 0.01), 10.0: ("norm", 10.0), math.inf: ("value", math.inf)}

    def changed(cells):
        clips = cells.threshold.map(kinds)
        return cells.assign(clip=clips.str[0], threshold=clips.str[1])

    return changed


@pytest.fixture
def kind_names():
    """What those are called, in order."""
    return ["λ = 10", "AGC, λ = 0.01", "no clipping (value)"]


@pytest.fixture
def torchs_switches_put_back():
    """What training switches in torch, for its whole process, ends with the test."""
    from switches import torch_as_it_was

    with torch_as_it_was():
        yield


@pytest.fixture
def trained(digits, tmp_path):
    """Trains below a folder of the test's own."""
    from trials import Trials

    return Trials(digits, tmp_path)

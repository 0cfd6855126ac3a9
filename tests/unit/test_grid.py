"""From a study to its cells."""

import itertools
import math
from pathlib import Path

import pytest

from clipgrid.study import cells, grid
from clipgrid.study.cells import Trajectory
from clipgrid.study.config import load, parse, read

ROOT = Path(__file__).parents[2]
DEFAULT = ROOT / "config.yaml"


def test_the_cells_of_the_default_study_have_names_of_their_own():
    study = load(DEFAULT)
    product = study.model_copy(update={"experiments": parse(product_of_default()).experiments})
    for one in (study, product):
        found = grid.cells(one)
        assert len({cell.name for cell in found}) == len(set(found)) == len(found) > 0


def product_of_default():
    config = read(DEFAULT)
    del config["experiments"], config["looks"]
    return config


@pytest.mark.parametrize(
    ("axis", "value"),
    [
        ("models", {"vgg16_bn": {}}),
        ("clips", [0.25]),
        ("clips", ["agc0.01", "autoclip10", "norm2"]),
        ("iterations", [7]),
        ("ema", [0.5]),
        ("augmentations", ["flip+crop"]),
        ("schedules", ["cosine"]),
        ("train_images", [50]),
        ("label_noise", [0.5]),
        ("seeds", [99]),
    ],
)
def test_a_value_more_on_an_axis_renames_no_cell(axis, value):
    old = product_of_default()
    joined = old[axis] | value if isinstance(value, dict) else value + old[axis]
    before, after = (
        {cell.name for cell in grid.cells(parse(config))} for config in (old, old | {axis: joined})
    )
    assert before < after


def test_a_study_without_experiments_is_every_combination_once(config):
    config |= {
        "models": {"alexnet": {}, "vgg11": {}},
        "clips": [1, 10, "inf"],
        "augmentations": ["none", "flip"],
        "seeds": [0, 1, 2, 3, 4],
    }
    config["optimizers"]["rmsprop"] = {"learning_rates": [0.1, 0.01]}
    del config["experiments"]
    found = grid.cells(parse(config))
    rates = 1 + 2  # momentum's and RMSProp's
    assert len(found) == len(set(found)) == 2 * rates * 3 * 2 * 5 * (2 * 2)
    assert len(cells.runs_of(found)) == 2 * rates * 3 * 2 * 5


def test_experiments_train_what_they_select_and_no_cell_twice(config):
    config["optimizers"]["rmsprop"] = {"learning_rates": [0.001]}
    config["experiments"]["x"]["select"] = [{"optimizers": ["momentum"]}]
    config["experiments"]["y"] = {
        "title": "Y",
        "section": "2",
        "select": [{"clips": [1], "iterations": [5], "ema": ["none"]}],
    }
    momentum = itertools.product(["momentum"], [1, math.inf], [5, 10], [None, 0.9])
    expected = {*momentum, ("rmsprop", 1, 5, None)}
    chosen = [
        (
            c.trajectory.optimizer.name,
            c.trajectory.clip.threshold,
            c.readout.iterations,
            c.readout.ema,
        )
        for c in grid.cells(parse(config))
    ]
    assert len(chosen) == len(expected)
    assert set(chosen) == expected


def test_a_cell_belongs_to_each_experiment_that_selects_it(config):
    config["experiments"]["y"] = {"title": "Y", "select": [{"iterations": [5]}, {"clips": [1]}]}
    for cell, names in grid.members(parse(config)).items():
        both = cell.readout.iterations == 5 or cell.trajectory.clip.word == "1"
        assert names == (["x", "y"] if both else ["x"])


def test_an_experiment_has_the_learning_rates_of_each_optimizer_unless_it_names_others(config):
    config["optimizers"]["rmsprop"] = {"learning_rates": [0.001]}
    config["experiments"]["y"] = {"title": "Y", "select": [{"learning_rates": [0.1]}]}
    found = grid.members(parse(config))
    rates = {
        (name, c.trajectory.optimizer.name, c.trajectory.learning_rate)
        for c, names in found.items()
        for name in names
    }
    assert rates == {
        *(("x", "momentum", 0.03), ("x", "rmsprop", 0.001)),
        *(("y", "momentum", 0.1), ("y", "rmsprop", 0.1)),
    }


def test_a_trajectory_has_the_settings_of_its_model_and_optimizer(config):
    config["models"]["alexnet"]["width"] = 0.5
    settings = {"learning_rates": [0.001], "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1}
    config["optimizers"] = {"rmsprop": settings}
    config["clips"] = ["agc0.01"]
    config["training"] = {"batch_size": 4, "evaluate_every": 3, "device": "cuda"}
    config["training"] |= {"accumulation_steps": 2, "ema_warmup": 1, "checkpoint_every": 5}
    config["training"] |= {"precision": "bfloat16", "compile": "default"}
    trajectory = grid.cells(parse(config))[0].trajectory
    assert trajectory == Trajectory(
        model="alexnet:width=0.5",
        optimizer="rmsprop:weight_decay=0.1:alpha=0.9:eps=0.001",
        learning_rate=0.001,
        clip="agc0.01",
        seed=0,
        batch_size=4,
        accumulation_steps=2,
        ema_warmup=1,
        evaluate_every=3,
        split="seed",
        precision="bfloat16",
        compile="default",
        device="cuda",
    )


def test_steps_are_asked_for_by_each_cell_but_trained_once_a_trajectory(config):
    # Two trajectories (λ = 1 and inf), each looked at after 5 and 10 steps, raw and averaged.
    runs = cells.runs_of(grid.cells(parse(config)))
    assert cells.steps(runs) == (2 * (5 + 5 + 10 + 10), 2 * 10)


def test_a_schedule_that_depends_on_t_gives_each_t_a_trajectory_of_its_own(config):
    config |= {"schedules": ["constant", "cosine"], "iterations": [2, 4]}
    runs = cells.runs_of(grid.cells(parse(config)))
    horizons = {t.schedule_steps: {r.iterations for r in readouts} for t, readouts in runs.items()}
    assert horizons == {0: {2, 4}, 2: {2}, 4: {4}}


def test_a_selection_has_the_studys_values_on_an_axis_that_it_does_not_name(config):
    config["clips"] = [1, 10]
    config["experiments"]["x"]["select"] = [
        {"iterations": [5]},
        {"iterations": [5, 10], "clips": [7]},
    ]
    found = {(c.trajectory.clip.word, c.readout.iterations) for c in grid.cells(parse(config))}
    assert found == {("1", 5), ("10", 5), ("7", 5), ("7", 10)}

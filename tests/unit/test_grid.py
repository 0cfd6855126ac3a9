"""Names, cells, trajectories and steps of a study's grid."""

import itertools
import json
import math
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import clipgrid
from clipgrid import InputError
from clipgrid.__main__ import main
from clipgrid.study import grid
from clipgrid.study.config import clip as study_clip
from clipgrid.study.config import load, parse, read
from clipgrid.study.grid import Cell, Readout, Trajectory, canonical, digest

ROOT = Path(__file__).parents[2]
DEFAULT = ROOT / "config.yaml"

TRAJECTORY = Trajectory(
    model="alexnet",
    optimizer="momentum",
    learning_rate=0.03,
    threshold=math.inf,
    augmentation="none",
    seed=0,
)

numbers = st.floats(allow_nan=False)
positive = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)
decays = st.none() | st.floats(0, 1, exclude_min=True, exclude_max=True)
readouts = st.builds(Readout, st.integers(1, 10**9), decays)
trajectories = st.builds(
    Trajectory,
    model=st.sampled_from(["alexnet", "vgg11_bn", "resnet50"]),
    optimizer=st.sampled_from(["momentum", "rmsprop"]),
    learning_rate=positive,
    threshold=positive.filter(lambda x: x <= 100) | st.just(100.0),
    clip=st.sampled_from(list(grid.CLIPS)),
    augmentation=st.sampled_from(["none", "flip", "crop", "flip+crop"]),
    seed=st.integers(0, 2**31),
    width=st.sampled_from([0.125, 0.25, 1.0, 2.5]),
    batch_size=st.integers(2, 10**6),
    momentum=st.floats(0, 1, exclude_max=True),
    weight_decay=st.floats(0, 1),
    alpha=st.floats(0, 1, exclude_max=True),
    eps=positive,
    evaluate_every=st.integers(1, 10**6),
    device=st.sampled_from(["cpu", "cuda"]),
)


# ---- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        (float("1e0"), "1"),
        (1000.0, "1000"),
        (0.03, "0.03"),
        (5e-4, "0.0005"),
        (math.inf, "inf"),
    ],
)
def test_a_number_has_one_spelling(value, text):
    assert canonical(value) == text


def test_a_small_number_is_read_back_as_it_was():
    assert float(canonical(1e-5)) == 1e-5


@given(numbers)
def test_every_number_is_read_back_as_it_was(x):
    assert float(canonical(x)) == x


@given(numbers, numbers)
def test_two_numbers_have_one_spelling_only_if_they_are_equal(x, y):
    assert (canonical(x) == canonical(y)) == (x == y)


@given(st.integers(-(2**53), 2**53))
def test_an_integer_and_its_float_have_one_spelling(n):
    assert canonical(n) == canonical(float(n)) == str(n)


# ---- readouts -----------------------------------------------------------------------------------


def test_a_readout_is_named_by_its_iterations_and_decay():
    assert Readout(500).name == "T500"
    assert Readout(500, 0.999).name == "T500_ema0.999"


@given(readouts)
def test_a_readouts_name_is_parsed_back(readout):
    assert Readout.parse(readout.name) == readout


@pytest.mark.parametrize("name", ["", "T", "500", "T0", "T-5", "T1.5", "Tx", "TT5"])
def test_a_name_without_a_whole_number_of_iterations_is_refused(name):
    with pytest.raises(ValueError, match="is not a readout"):
        Readout.parse(name)


@pytest.mark.parametrize("ema", ["", "x", "0", "1", "2", "nan", "0.9_ema0.9"])
def test_a_name_whose_decay_is_not_between_0_and_1_is_refused(ema):
    with pytest.raises(ValueError, match="is not a readout"):
        Readout.parse(f"T5_ema{ema}")


@pytest.mark.parametrize("name", ["T1_000", "T+5", "T 5", "T05", "T5_ema.5", "T5_ema0.90"])
def test_another_spelling_of_a_readouts_name_is_refused(name):
    with pytest.raises(ValueError, match="is not a readout"):
        Readout.parse(name)


# ---- trajectories -------------------------------------------------------------------------------


def parsed_by_the_command_line(trajectory, *names):
    """What `python -m clipgrid train` hands to the trainer, given the trajectory's flags."""
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clipgrid.training.trainer.train", lambda *arguments: calls.append(arguments))
        paths = ["--data", "data.pt", "--out", "there", "--store", "states"]
        assert main(["train", *trajectory.flags.split(), "--readouts", *names, *paths]) == 0
    return calls


@given(trajectories)
def test_the_flags_of_a_trajectory_are_parsed_back(trajectory):
    [(parsed, *_)] = parsed_by_the_command_line(trajectory, "T5")
    assert parsed == trajectory
    assert digest(parsed.spec("data")) == digest(trajectory.spec("data"))


def test_the_command_line_hands_readouts_and_paths_to_the_trainer():
    [(_, *rest)] = parsed_by_the_command_line(TRAJECTORY, "T5", "T10_ema0.9")
    paths = [Path("data.pt"), Path("there"), Path("states")]
    assert rest == [[Readout(5), Readout(10, 0.9)], *paths, 60]


def test_a_setting_without_default_must_be_given_on_the_command_line(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--model", "alexnet"])
    assert "--learning-rate" in capsys.readouterr().err


@given(trajectories)
def test_a_spec_is_json_without_infinity(trajectory):
    spec = trajectory.spec("data")
    assert json.loads(json.dumps(spec, allow_nan=False)) == spec


@pytest.mark.parametrize("field", fields(Trajectory), ids=lambda field: field.name)
def test_every_setting_changes_the_digest_of_the_spec(field):
    if field.metadata["choices"]:
        other = field.metadata["choices"][-1]
    else:
        other = getattr(TRAJECTORY, field.name) + 1 if field.type is int else 0.5
    changed = replace(TRAJECTORY, **{field.name: other})
    assert digest(changed.spec("data")) != digest(TRAJECTORY.spec("data"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "alexnett"),
        ("optimizer", "adam"),
        ("augmentation", "rotate"),
        ("device", "gpu"),
        ("learning_rate", 0.0),
        ("learning_rate", math.inf),
        ("clip", "norm2"),
        ("threshold", -1.0),
        ("threshold", 0.0),
        ("threshold", math.nan),
        ("width", 1e-3),
        ("batch_size", 0),
        ("accumulation_steps", 0),
        ("accumulation_steps", 3),
        ("ema_warmup", 0),
        ("precision", "float16"),
        ("compile", "fast"),
        ("momentum", 1.0),
        ("alpha", 1.0),
        ("eps", 0.0),
        ("weight_decay", -1.0),
        ("seed", -1),
        ("evaluate_every", 0),
    ],
)
def test_a_setting_that_can_not_be_trained_with_is_refused_by_name(name, value):
    with pytest.raises(InputError, match=name):
        replace(TRAJECTORY, **{name: value})


def test_a_resnet_whose_channels_are_no_multiple_of_8_is_refused():
    with pytest.raises(InputError, match=r"0\.125"):
        replace(TRAJECTORY, model="resnet18", width=0.0625)


def test_other_data_change_the_digest_of_the_spec():
    assert digest(TRAJECTORY.spec("a")) != digest(TRAJECTORY.spec("b"))


def test_each_trajectory_is_trained_once_with_its_readouts_in_order():
    other = replace(TRAJECTORY, seed=1)
    cells = [
        Cell(TRAJECTORY, Readout(10)),
        Cell(other, Readout(5)),
        Cell(TRAJECTORY, Readout(5, 0.9)),
        Cell(TRAJECTORY, Readout(5)),
        Cell(TRAJECTORY, Readout(10)),
    ]
    assert grid.trajectories(cells) == {
        TRAJECTORY: [Readout(5), Readout(5, 0.9), Readout(10)],
        other: [Readout(5)],
    }


# ---- studies ------------------------------------------------------------------------------------


def test_the_cells_of_the_default_study_have_names_of_their_own():
    study = load(DEFAULT)
    for expand in ("experiments", "product"):
        cells = grid.cells(study.model_copy(update={"expand": expand}))
        assert len({cell.name for cell in cells}) == len(set(cells)) == len(cells) > 0


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
    lean = {"augmentations": ["none", "flip"], "schedules": ["constant"], "experiments": {}}
    old = read(DEFAULT) | lean | {"expand": "product", "usual": {}}
    joined = old[axis] | value if isinstance(value, dict) else value + old[axis]
    before, after = (
        {cell.name for cell in grid.cells(parse(config))} for config in (old, old | {axis: joined})
    )
    assert before < after


def test_the_product_is_every_combination_once(config):
    config |= {
        "expand": "product",
        "models": {"alexnet": {}, "vgg11": {}},
        "clips": [1, 10, "inf"],
        "augmentations": ["none", "flip"],
        "seeds": [0, 1, 2, 3, 4],
    }
    config["optimizers"]["rmsprop"]["learning_rates"] = [0.1, 0.01]
    cells = grid.cells(parse(config))
    rates = 1 + 2  # momentum's and RMSProp's
    assert len(cells) == len(set(cells)) == 2 * rates * 3 * 2 * 5 * (2 * 2)
    assert len(grid.trajectories(cells)) == 2 * rates * 3 * 2 * 5


def test_experiments_train_what_they_select_and_no_cell_twice(config):
    config["experiments"]["y"] = {
        "title": "Y",
        "section": "2",
        "select": [{"clips": [1], "iterations": [5], "ema": ["none"]}],
    }
    cells = grid.cells(parse(config))
    momentum = itertools.product(["momentum"], [1, math.inf], [5, 10], [None, 0.9])
    expected = {*momentum, ("rmsprop", 1, 5, None)}
    chosen = [
        (c.trajectory.optimizer, c.trajectory.threshold, c.readout.iterations, c.readout.ema)
        for c in cells
    ]
    assert len(chosen) == len(expected)
    assert set(chosen) == expected


def test_a_trajectory_has_the_settings_of_its_model_and_optimizer(config):
    config["models"]["alexnet"]["width"] = 0.5
    config["optimizers"]["rmsprop"] |= {"alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1}
    config["experiments"]["x"]["select"] = [{"optimizers": ["rmsprop"]}]
    config["clips"] = ["agc0.01"]
    config["training"] = {"batch_size": 4, "evaluate_every": 3, "device": "cuda"}
    config["training"] |= {"accumulation_steps": 2, "ema_warmup": 1, "checkpoint_every": 5}
    config["training"] |= {"precision": "bfloat16", "compile": "reduce-overhead"}
    trajectory = grid.cells(parse(config))[0].trajectory
    assert trajectory == Trajectory(
        model="alexnet",
        optimizer="rmsprop",
        learning_rate=0.001,
        threshold=0.01,
        augmentation="none",
        seed=0,
        clip="agc",
        width=0.5,
        batch_size=4,
        accumulation_steps=2,
        momentum=0,
        weight_decay=0.1,
        alpha=0.9,
        eps=1e-3,
        ema_warmup=1,
        evaluate_every=3,
        precision="bfloat16",
        compile="reduce-overhead",
        device="cuda",
    )


@given(st.sampled_from(list(grid.CLIPS)), st.floats(0, 100, exclude_min=True))
def test_a_clip_is_found_again_in_its_name(kind, threshold):
    clip = grid.Clip(kind, threshold)
    assert study_clip(clip.name) == clip
    assert not study_clip(clip.name).observes or (kind, threshold) == ("autoclip", 100)


@pytest.mark.parametrize("kind", grid.CLIPS)
def test_every_kind_has_a_threshold_at_which_it_only_observes(kind):
    assert grid.Clip(kind, 100 if kind == "autoclip" else math.inf).observes


@pytest.mark.parametrize("percentile", [0, -1, 100.5, math.inf, math.nan])
def test_a_percentile_is_above_0_and_at_most_100(percentile):
    with pytest.raises(ValueError, match="percentile"):
        grid.Clip("autoclip", percentile)


def test_steps_are_asked_for_by_each_cell_but_trained_once_a_trajectory(config):
    # Two trajectories (λ = 1 and inf), each looked at after 5 and 10 steps, raw and averaged.
    assert grid.steps(grid.cells(parse(config))) == (2 * (5 + 5 + 10 + 10), 2 * 10)


def test_the_grid_and_the_study_do_not_import_torch():
    code = (
        "import sys, clipgrid.study.grid, clipgrid.study.config; sys.exit('torch' in sys.modules)"
    )
    source = Path(clipgrid.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(source)})


# ---- packs --------------------------------------------------------------------------------------

MANY = [
    replace(TRAJECTORY, model=model, threshold=threshold, augmentation=augmentation, seed=seed)
    for model in ("alexnet", "vgg11", "vgg11_bn")
    for threshold in (1.0, math.inf)
    for augmentation in ("none", "flip+crop")
    for seed in range(12)
]
some_runs = st.sets(st.sampled_from(MANY), min_size=1).map(
    lambda chosen: {t: [grid.Readout(5)] for t in MANY if t in chosen}
)


@given(some_runs, st.integers(0, 60))
def test_each_run_is_in_one_pack_that_is_not_too_long_nor_shorter_than_need_be(runs, limit):
    packs = grid.packs(runs, lambda trajectory, readouts: 1.0, limit)
    assert sorted(t.name for pack in packs for t in pack) == sorted(t.name for t in runs)
    assert all(len(pack) <= max(1, limit) for pack in packs)
    for pack, following in itertools.pairwise([*packs, []]):
        depth = len(grid.common([t.parts for t in pack]))
        if following and pack[0].arm == following[0].arm:  # some seeds of an arm: one more, no
            assert len(pack) == max(1, limit)
        elif depth > 1 and len(pack) > 1:  # names that begin so, less a part: all would be too many
            joined = [t for t in runs if t.parts[: depth - 1] == pack[0].parts[: depth - 1]]
            assert len(joined) > limit or len(joined) == len(pack)


def test_a_pack_has_no_more_runs_than_a_command_can_name(config):
    config["seeds"] = list(range(600))
    runs = grid.trajectories(grid.cells(parse(config)))
    packs = grid.packs(runs, lambda trajectory, readouts: 0.0, 1.0)
    assert max(map(len, packs)) == grid.MOST_RUNS
    assert len(packs) == 2 * 3  # two λ


def test_a_pack_shares_all_settings_that_names_lack(config):
    config["models"] = {"alexnet": {"width": 0.125}, "vgg11": {"width": 0.5}}
    config["expand"] = "product"
    runs = grid.trajectories(grid.cells(parse(config)))
    packs = grid.packs(runs, lambda trajectory, readouts: 1.0, 1e9)
    assert len(packs) == 2 * len(config["optimizers"])
    assert all(len({t.unnamed_flags for t in pack}) == 1 for pack in packs)


def test_a_run_longer_than_a_job_should_be_is_a_job_of_its_own(config):
    runs = grid.trajectories(grid.cells(parse(config)))
    packs = grid.packs(runs, lambda trajectory, readouts: 1.0, 0)
    assert [grid.beginning(pack) for pack in packs] == [t.name for t in runs]


@given(some_runs)
def test_the_names_in_a_pack_begin_with_whole_parts(runs):
    for pack in grid.packs(runs, lambda trajectory, readouts: 1.0, 7):
        name = grid.beginning(pack)
        assert all(t.name == name or t.name.startswith(f"{name}_") for t in pack)


@given(some_runs)
def test_the_pattern_of_some_names_matches_them_and_no_others(runs):
    pattern = re.compile(grid.names_pattern(t.name for t in runs))
    assert {t for t in MANY if pattern.fullmatch(t.name)} == set(runs)


@given(
    st.builds(
        Trajectory,
        model=st.sampled_from(grid.MODELS),
        optimizer=st.sampled_from(grid.OPTIMIZERS),
        learning_rate=st.floats(1e-9, 1e9),
        clip=st.sampled_from(list(grid.CLIPS)),
        threshold=st.floats(1e-9, 100),
        augmentation=st.sampled_from(grid.AUGMENTATIONS),
        cosine_steps=st.integers(0, 10**6),
        train_images=st.integers(0, 10**6),
        label_noise=st.floats(0, 1),
        seed=st.integers(0, 10**6),
        width=st.sampled_from([0.125, 1.0]),
    )
)
def test_a_trajectory_is_found_again_in_its_name(trajectory):
    assert Trajectory.parse(trajectory.name, width=trajectory.width) == trajectory


@pytest.mark.parametrize(
    "name", ["", "lenet_momentum_lr1_norm1_none_seed0", f"{TRAJECTORY.name}0_", "../x"]
)
def test_what_names_no_trajectory_is_an_error(name):
    with pytest.raises(ValueError, match="names no trajectory"):
        Trajectory.parse(name)


def test_a_name_spelled_another_way_is_an_error():
    with pytest.raises(ValueError, match="names no trajectory"):
        Trajectory.parse(TRAJECTORY.name.replace("lr0.03", "lr3e-2"))


# ---- schedules, parts of the training images, label noise, what is usual ------------------------


def test_a_schedule_that_looks_at_t_gives_each_t_a_trajectory_of_its_own(config):
    config |= {"schedules": ["constant", "cosine"], "iterations": [2, 4], "expand": "product"}
    runs = grid.trajectories(grid.cells(parse(config)))
    horizons = {t.cosine_steps: {r.iterations for r in readouts} for t, readouts in runs.items()}
    assert horizons == {0: {2, 4}, 2: {2}, 4: {4}}


def test_a_cosine_schedule_starts_at_the_rate_and_ends_at_0():
    run = Trajectory("alexnet", "momentum", 0.1, 1.0, "none", 0, cosine_steps=8)
    assert [run.learning_rate_at(t) for t in (0, 4, 8)] == pytest.approx([0.1, 0.05, 0])
    constant = Trajectory("alexnet", "momentum", 0.1, 1.0, "none", 0)
    assert {constant.learning_rate_at(t) for t in range(9)} == {0.1}


@pytest.mark.parametrize(
    "fault",
    [{"cosine_steps": -1}, {"train_images": -1}, {"label_noise": 1.5}, {"label_noise": math.nan}],
)
def test_a_trajectory_that_can_not_be_is_an_error(fault):
    with pytest.raises(InputError, match=next(iter(fault))):
        Trajectory("alexnet", "momentum", 0.1, 1.0, "none", 0, **fault)


def test_a_selection_takes_what_is_usual_on_an_axis_that_it_does_not_name(config):
    config |= {"clips": [1, 10, "inf"], "usual": {"clips": [10], "seeds": [0]}}
    config["experiments"]["x"]["select"] = [{"iterations": [5]}, {"iterations": [5], "clips": [1]}]
    cells = grid.cells(parse(config))
    assert {c.trajectory.threshold for c in cells} == {1, 10}
    assert {c.trajectory.seed for c in cells} == {0}

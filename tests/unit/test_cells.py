"""Names, keys and settings of trajectories, readouts and cells."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, create_model

import clipgrid
from clipgrid.__main__ import main
from clipgrid.study import cells, parts
from clipgrid.study.cells import Augmentation, Cell, Clip, Readout, Trajectory, digest, replace
from clipgrid.study.faults import explained
from clipgrid.study.fields import canonical

TRAJECTORY = Trajectory(
    model="alexnet", optimizer="momentum", learning_rate=0.03, clip=math.inf, seed=0
)
CLIP_KINDS = parts.names("clip_kind")

numbers = st.floats(allow_nan=False)
positive = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)
decays = st.none() | st.floats(0, 1, exclude_min=True, exclude_max=True)
readouts = st.builds(Readout, st.integers(1, 10**9), decays)
clips = st.builds(Clip.of, st.sampled_from(CLIP_KINDS), st.floats(0, 100, exclude_min=True))
trajectories = st.builds(
    Trajectory,
    model=st.sampled_from(["alexnet", "vgg11_bn:width=0.5", "resnet50:width=0.25"]),
    optimizer=st.sampled_from(parts.names("optimizer")),
    learning_rate=positive,
    clip=clips,
    augmentation=st.sampled_from(["none", *parts.names("augmentation"), "flip+crop"]),
    seed=st.integers(0, 2**31),
    schedule=st.sampled_from(parts.names("schedule")),
    schedule_steps=st.integers(0, 10**6),
    train_images=st.none() | st.integers(1, 10**6),
    label_noise=st.floats(0, 1, exclude_max=True),
    split=st.sampled_from(["prepared", "seed"]),
    batch_size=st.integers(2, 10**6),
    evaluate_every=st.integers(1, 10**6),
    device=st.sampled_from(["cpu", "cuda"]),
)


def faults(**settings):
    """{key: message} of all that is wrong in the settings of a trajectory."""
    with pytest.raises(ValidationError) as caught:
        replace(TRAJECTORY, **settings)
    return dict(explained(caught.value, Trajectory))


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


# ---- clips and augmentations --------------------------------------------------------------------


@given(clips)
def test_a_clip_is_found_again_in_its_name_and_in_its_word(clip):
    assert Clip.read(str(clip)) == Clip.read(clip.word) == clip


def test_a_clip_has_settings_of_its_own():
    clip = Clip.read("agc0.01:eps=0.1")
    assert (clip.kind, clip.threshold) == ("agc:eps=0.1", 0.01)
    assert str(clip) == clip.word == "agc0.01:eps=0.1"
    assert Clip.of(clip.kind, clip.threshold) == clip
    assert Clip.read("agc0.01:eps=0.001") == Clip.read("agc0.01")  # as by default
    assert "eps=0.1" in clip.label


@pytest.mark.parametrize("kind", CLIP_KINDS)
def test_every_kind_has_a_threshold_at_which_it_only_observes(kind):
    most = parts.find("clip_kind", kind).about["most"]
    assert Clip.of(kind, most).observes
    assert not Clip.of(kind, 0.5).observes
    assert Clip.of(kind, most).label.startswith("no clipping")


@pytest.mark.parametrize("percentile", [0, -1, 100.5, math.inf, math.nan])
def test_a_percentile_is_above_0_and_at_most_100(percentile):
    with pytest.raises(ValueError, match="above 0 and at most 100"):
        Clip.of("autoclip", percentile)


@pytest.mark.parametrize("text", ["none", "flip", "flip+crop", "crop+flip+resized-crop"])
def test_a_sum_of_augmentations_is_found_again_in_its_text(text):
    assert str(Augmentation.read(text)) == text


@pytest.mark.parametrize("text", ["flop", "flip+", "+flip", "none+flip", "flip crop"])
def test_what_is_no_sum_of_augmentations_is_refused(text):
    with pytest.raises(ValueError, match="unknown augmentation"):
        Augmentation.read(text)


# ---- trajectories -------------------------------------------------------------------------------


def parsed_by_the_command_line(trajectory, *names):
    """What `python -m clipgrid train` hands to the trainer, given the trajectory's flags."""
    calls = []
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in trajectory.changed.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clipgrid.training.pack.train", lambda *arguments: calls.append(arguments))
        paths = ["--data", "data.pt", "--out", "there", "--store", "states"]
        assert main(["train", *flags, "--readouts", *names, *paths]) == 0
    return calls


@given(trajectories)
def test_the_settings_of_a_trajectory_are_read_back_from_flags_and_from_json(trajectory):
    [(runs, *_)] = parsed_by_the_command_line(trajectory, "T5")
    [(parsed, readouts)] = runs.items()
    assert (parsed, readouts) == (trajectory, [Readout(5)])
    assert Trajectory(**json.loads(json.dumps(trajectory.changed))) == trajectory
    assert digest(parsed.key("data")) == digest(trajectory.key("data"))


def test_the_command_line_hands_readouts_and_paths_to_the_trainer():
    [(runs, *rest)] = parsed_by_the_command_line(TRAJECTORY, "T5", "T10_ema0.9")
    assert runs == {TRAJECTORY: [Readout(5), Readout(10, 0.9)]}
    files = [Path("there/cells.jsonl"), Path("there/histories.csv")]
    assert rest == [Path("data.pt"), *files, Path("states"), 60]


def test_a_setting_without_default_must_be_given_on_the_command_line(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--model", "alexnet"])
    assert "--learning-rate" in capsys.readouterr().err


def test_the_command_line_says_all_that_is_wrong_at_once(capsys):
    flags = (
        "--model alexnett --optimizer momentum --learning-rate 0 --clip 1 --seed 0 --readouts T1"
    )
    assert main(["train", *flags.split(), "--data", "data.pt", "--out", "x"]) == 1
    error = capsys.readouterr().err
    assert "2 faults" in error
    assert "model: unknown model 'alexnett'; did you mean alexnet?" in error
    assert "learning_rate: must be above 0, not 0" in error


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "alexnett"),
        ("model", "alexnet:width=0.001"),
        ("optimizer", "momentum:momentum=1"),
        ("optimizer", "momentum:weight_decay=-1"),
        ("optimizer", "rmsprop:alpha=1"),
        ("optimizer", "rmsprop:eps=0"),
        ("augmentation", "rotate"),
        ("device", "gpu"),
        ("learning_rate", 0.0),
        ("learning_rate", math.inf),
        ("clip", "norm-2"),
        ("clip", -1.0),
        ("clip", 0.0),
        ("clip", math.nan),
        ("batch_size", 0),
        ("accumulation_steps", 0),
        ("accumulation_steps", 3),
        ("ema_warmup", 0),
        ("precision", "float16"),
        ("compile", "fast"),
        ("seed", -1),
        ("evaluate_every", 0),
        ("schedule", "linearly"),
        ("schedule_steps", -1),
        ("split", "none"),
        ("split", 3),
        ("train_images", -1),
        ("label_noise", 1.5),
        ("label_noise", math.nan),
    ],
)
def test_a_setting_that_can_not_be_trained_with_is_refused_by_name(name, value):
    assert list(faults(**{name: value})) == [name]


def test_a_cuda_graph_can_not_take_a_batch_in_parts():
    assert list(faults(compile="reduce-overhead", accumulation_steps=2)) == ["compile"]


def test_a_resnet_whose_channels_are_no_multiple_of_8_is_refused():
    assert "0.125" in faults(model="resnet18:width=0.0625")["model"]


def test_each_trajectory_is_trained_once_with_its_readouts_in_order():
    other = replace(TRAJECTORY, seed=1)
    some = [
        Cell(TRAJECTORY, Readout(10)),
        Cell(other, Readout(5)),
        Cell(TRAJECTORY, Readout(5, 0.9)),
        Cell(TRAJECTORY, Readout(5)),
        Cell(TRAJECTORY, Readout(10)),
    ]
    assert cells.runs_of(some) == {
        TRAJECTORY: [Readout(5), Readout(5, 0.9), Readout(10)],
        other: [Readout(5)],
    }


def test_a_cosine_schedule_starts_at_the_rate_and_ends_at_0():
    run = replace(TRAJECTORY, learning_rate=0.1, schedule="cosine", schedule_steps=8)
    assert [run.learning_rate_at(t) for t in (0, 4, 8)] == pytest.approx([0.1, 0.05, 0])
    constant = replace(TRAJECTORY, learning_rate=0.1)
    assert {constant.learning_rate_at(t) for t in range(9)} == {0.1}


# ---- keys ---------------------------------------------------------------------------------------


@given(trajectories)
def test_a_key_is_json_without_infinity(trajectory):
    key = trajectory.key("data")
    assert json.loads(json.dumps(key, allow_nan=False)) == key


CHANGES = {
    **{"model": "vgg11", "optimizer": "rmsprop", "clip": 1, "augmentation": "flip"},
    **{"schedule": "cosine", "precision": "bfloat16", "compile": "default", "device": "cuda"},
    **{"label_noise": 0.5, "split": "seed", "objective": "brier"},
}


@pytest.mark.parametrize("name", Trajectory.model_fields)
def test_every_setting_changes_the_digest_of_the_key(name, monkeypatch):
    monkeypatch.setitem(parts.KINDS, "objective", dict(parts.KINDS["objective"]))
    parts.objective("brier", label="Brier score")(lambda logits, labels: logits.square().mean())
    value = CHANGES.get(name) or (getattr(TRAJECTORY, name) or 0) + 1
    more = {"batch_size": 66} if name in ("accumulation_steps", "gpus_per_run") else {}
    before = replace(TRAJECTORY, **more)
    changed = replace(before, **{name: value})
    assert digest(changed.key("data")) != digest(before.key("data"))


def test_what_was_trained_before_there_were_other_objectives_keeps_its_key():
    assert "objective" not in TRAJECTORY.key("data")
    assert "objective" not in TRAJECTORY.name


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "alexnet:width=0.5"},
        {"optimizer": "momentum:momentum=0.5"},
        {"clip": "agc1:eps=1"},
    ],
    ids=str,
)
def test_the_settings_of_a_part_change_the_digest_of_the_key(changes):
    plain = {name: text.partition(":")[0] for name, text in changes.items()}
    digests = {digest(replace(TRAJECTORY, **c).key("data")) for c in (changes, plain)}
    assert len(digests) == 2


def test_other_data_change_the_digest_of_the_key():
    assert digest(TRAJECTORY.key("a")) != digest(TRAJECTORY.key("b"))


def test_a_new_setting_with_its_old_behaviour_by_default_changes_no_key():
    newer = create_model("Newer", __base__=Trajectory, dropout_scale=(float, Field(1.0)))
    settings = dict(TRAJECTORY)
    assert newer(**settings).key("data") == TRAJECTORY.key("data")
    assert newer(**settings, dropout_scale=0.5).key("data") != TRAJECTORY.key("data")


def test_a_default_that_changes_keeps_the_keys_of_those_who_name_it(monkeypatch):
    """A setting's key is relative to the default that it was introduced with."""
    newer = create_model("Newer", __base__=Trajectory, ema_warmup=(int, Field(1)))
    monkeypatch.setitem(cells.INTRODUCED, "ema_warmup", 10)
    settings = {k: v for k, v in dict(TRAJECTORY).items() if k != "ema_warmup"}
    assert newer(**settings, ema_warmup=10).key("data") == TRAJECTORY.key("data")
    assert newer(**settings).key("data") == replace(TRAJECTORY, ema_warmup=1).key("data")


def test_planning_does_not_import_torch():
    modules = "clipgrid.study.config, clipgrid.study.plan, clipgrid.judging.claims"
    code = f"""
import sys, {modules}
from clipgrid.study import config
from pathlib import Path
config.load(Path("config.yaml"))
sys.exit("torch" in sys.modules or "matplotlib" in sys.modules)
"""
    root = Path(clipgrid.__file__).parents[2]
    env = {"PYTHONPATH": str(root / "src")}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, cwd=root)

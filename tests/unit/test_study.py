"""Configs: those that are understood, and what is said of those that can't be run."""

import contextlib
import io
import itertools
import json
import math
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from clipgrid.study import cells, grid, paths
from clipgrid.study.cells import Clip
from clipgrid.study.config import load, parse, read, to_json
from clipgrid.study.faults import StudyError
from clipgrid.study.fields import NO_NAMES, Name, canonical, number

ROOT = Path(__file__).parents[2]
NO_CLIP = Clip.read("inf")
LIKE_NO_TEXT = ["none", "na", "n", "y", "e1", "infinit", "o7", "x1f", "nil", "null-", "nan0", "yes"]
CONFIGS = [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]


def put(config, path, value):
    """Set `config` at a path such as `experiments.x.select.0.clips`."""
    *parents, last = path.split(".")
    for key in parents:
        config = config[int(key)] if isinstance(config, list) else config.setdefault(key, {})
    config[last] = value


def faults(config):
    """The message's lines, one a fault."""
    with pytest.raises(StudyError) as caught:
        parse(config, "study.yaml")
    headline, *lines = str(caught.value).splitlines()
    count = "1 fault" if len(lines) == 1 else f"{len(lines)} faults"
    assert headline == f"study.yaml can't be run; {count}:"
    return [line.strip() for line in lines]


def test_an_error_hands_no_control_character_to_the_terminal(config):
    assert faults(config | {"\x1b[2Jx": 1})[0].startswith(r"\x1b[2J")


# ---- sound configs ------------------------------------------------------------------------------


def test_the_default_config_has_all_of_the_articles_experiments():
    study = load(ROOT / "config.yaml")
    assert sum(e.section is not None for e in study.experiments.values()) == 5
    assert grid.cells(study)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_study_is_the_same_after_a_trip_through_json(path):
    study = load(path)
    text = to_json(study)
    assert parse(json.loads(text)) == study
    assert to_json(parse(json.loads(text))) == text


def test_any_sign_is_the_same_after_a_trip_through_a_file_and_half_a_sign_is_refused(
    config, tmp_path
):
    study, path = parse(config | {"title": "🎉 λ {{ x }}\n试"}), tmp_path / "study.json"
    path.write_text(to_json(study))
    assert load(path) == study
    path.write_text('title: x\nresults: "\\ud83c"\n')
    with pytest.raises(StudyError, match=r"(?s)study.json can.t be .*half a character.*line 2"):
        load(path)


def test_the_json_of_a_study_has_no_infinity_and_every_default(config):
    study = json.loads(to_json(parse(config)), parse_constant=pytest.fail)
    assert study["clips"] == [1, "inf"]
    assert study["ema"] == ["none", 0.9]
    assert study["training"] == {
        "batch_size": 4,
        "accumulation_steps": 1,
        "ema_warmup": 10,
        "evaluate_every": 100,
        "checkpoint_every": 60,
        "job_seconds": 60,
        "precision": "float32",
        "compile": "none",
        "device": "cpu",
        "gpus_per_run": 1,
    }


@pytest.mark.parametrize(
    ("path", "texts", "value"),
    [
        ("clips", ["[.inf]", "[inf]", "['inf']", "[.Inf]", "[+inf]", "[norminf]"], [NO_CLIP]),
        (
            "clips",
            ["[0.001]", "[1e-3]", "[1.0e-3]", "['1e-3']", "[.001]"],
            [Clip.of("norm", 0.001)],
        ),
        ("clips", ["[10]", "[10.0]", "[1e1]", "['10']", "[norm10]"], [Clip.of("norm", 10)]),
        ("clips", ["[agc0.01]", "[AGC1e-2]", "['agc.01']"], [Clip.of("agc", 0.01)]),
        ("clips", ["[maxnorminf]", "[maxnorm.inf]"], [Clip.of("maxnorm", math.inf)]),
        ("clips", ["[agc0.01:eps=0.1]", "[AGC1e-2:eps=1e-1]"], [Clip.of("agc:eps=0.1", 0.01)]),
        ("iterations", ["[1000]", "[1e3]", "[1000.0]", "[1.0e+3]", "['1000']"], [1000]),
        ("ema", ["[none]", "[null]", "[~]", "['none']"], [None]),
        ("ema", ["[0.999]", "[9.99e-1]", "['0.999']"], [0.999]),
        ("seeds", ["[0, 3]", "[0.0, 3e0]"], [0, 3]),
    ],
)
def test_a_value_is_understood_in_every_spelling_that_yaml_has(config, path, texts, value):
    for text in texts:
        study = parse(config | {path: yaml.safe_load(text)})
        assert getattr(study, path) == value
        assert to_json(study) == to_json(parse(config | {path: value}))


def test_a_selection_understands_the_spellings_that_the_grid_does(config):
    selection = {
        "clips": [".inf"],
        "learning_rates": ["3e-2"],
        "iterations": ["1e1"],
        "ema": [None],
    }
    config |= {"clips": ["inf"], "iterations": [10], "ema": ["none"]}
    put(config, "experiments.x.select", [selection])
    [cell] = grid.cells(parse(config))
    assert (cell.trajectory.clip, cell.trajectory.learning_rate) == (NO_CLIP, 0.03)
    assert cell.readout == cells.Readout(10)


def test_the_json_of_a_study_spells_clips_as_its_yaml_does(config):
    config["clips"] = [1, "inf", "agc0.01", "valueinf", "autoclip100"]
    study = parse(config)
    assert json.loads(to_json(study))["clips"] == config["clips"]
    assert parse(json.loads(to_json(study))) == study


@pytest.mark.parametrize(
    ("split", "trained", "prepared"),
    [(None, "seed", 0), ("seed", "seed", 0), (0, "prepared", 0), ("3", "prepared", 3)],
)
def test_each_seed_draws_its_own_split_unless_a_number_draws_one(config, split, trained, prepared):
    if split is not None:
        put(config, "data.split", split)
    study = parse(config)
    assert {cell.trajectory.split for cell in grid.cells(study)} == {trained}
    assert study.data.split_seed == prepared
    spelled = json.loads(to_json(study))["data"]["split"]
    assert spelled == ("seed" if trained == "seed" else prepared)


def test_a_study_can_not_be_changed(config):
    study = parse(config)
    with pytest.raises(ValidationError, match="frozen"):
        study.title = "Other"
    with pytest.raises(ValidationError, match="frozen"):
        study.training.batch_size = 8


# ---- faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "where", "hint"),
    [
        ("models", {"alexnett": {}}, "models.alexnett", "did you mean alexnet?"),
        ("model", {}, "model", "unknown key; did you mean models?"),
        ("training.batchsize", 3, "training.batchsize", "did you mean batch_size?"),
        ("models.alexnet.widht", 1, "models.alexnet.widht", "did you mean width?"),
        ("optimizers.momentum.alpha", 0.9, "optimizers.momentum.alpha", "unknown key; "),
        ("optimizers.adamx", {}, "optimizers.adamx", "did you mean adam?"),
        (
            "experiments.x.select.0.iteration",
            [5],
            "experiments.x.select[0].iteration",
            "did you mean iterations?",
        ),
        ("title", None, "title", "string"),
        ("clips", [1, 0], "clips[1]", "must be above 0, not 0"),
        ("clips", [-1], "clips[0]", "must be above 0, not -1"),
        ("clips", [math.nan], "clips[0]", "must be above 0, not nan"),
        ("clips", ["ten"], "clips[0]", "'ten' is no clip: a number is the threshold of"),
        ("clips", [True], "clips[0]", "True is no clip"),
        ("clips", [{"agc": 0.01}], "clips[0]", "as in agc0.01"),
        ("clips", ["agcc1"], "clips[0]", "did you mean agc1?"),
        ("clips", ["agc"], "clips[0]", "'agc' is no clip: agc needs a threshold, as in agc0.01"),
        ("clips", ["ifn"], "clips[0]", "did you mean inf, which is no clipping?"),
        ("clips", ["10%"], "clips[0]", "Kinds: norm, "),
        ("clips", ["none"], "clips[0]", "'none' is no clip: inf is no clipping"),
        ("clips", [None], "clips[0]", "None is no clip: inf is no clipping"),
        ("clips", "none", "clips", "must be a list, not 'none'; [inf] is no clipping"),
        ("clips", ["value-1"], "clips[0]", "must be above 0, not -1"),
        ("clips", ["autoclip101"], "clips[0]", "above 0 and at most 100, not 101"),
        ("clips", ["autoclipinf"], "clips[0]", "above 0 and at most 100, not inf"),
        ("clips", [1, "norm1"], "clips", "1 is given twice"),
        ("training.accumulation_steps", 3, "training.accumulation_steps", "doesn't divide"),
        ("training.gpus_per_run", 2, "training.gpus_per_run", "it needs device: cuda"),
        ("training.gpus_per_run", 0, "training.gpus_per_run", "at least 1, not 0"),
        ("data.name", "imagefoldr", "data.name", "did you mean imagefolder?"),
        ("data.folder", "mine", "data.folder", "digits come with scikit-learn and have none"),
        ("data.split", "none", "data.split", "must be seed (each seed draws its own split), or a"),
        ("data.split", "seeds", "data.split", "(it draws one split for all seeds), not 'seeds'"),
        ("data.split", -1, "data.split", "must be seed"),
        ("data.split", 2**32, "data.split", "0 to 2^32 - 1"),
        ("data.split", 0.5, "data.split", "not 0.5"),
        ("data.split", True, "data.split", "not True"),
        ("data.split", None, "data.split", "not None"),
        ("data.split_seed", 0, "data.split_seed", "unknown key; did you mean split?"),
        ("train_images", [2000], "train_images", "more than the 1149 training images of digits"),
        ("training.accumulation_steps", 0, "training.accumulation_steps", "at least 1, not 0"),
        ("training.ema_warmup", 0, "training.ema_warmup", "must be at least 1, not 0"),
        ("training.checkpoint_every", 0, "training.checkpoint_every", "must be above 0"),
        ("training.precision", "bf16", "training.precision", "did you mean bfloat16?"),
        ("training.precision", "tf32", "training.precision", "tf32 is of GPUs"),
        ("clips", [1, "agc0.1:epsilon=1"], "clips[1]", "epsilon"),
        ("results", "report/../report", "results", "holds files of the project"),
        ("results", "src/mine", "results", "holds files of the project"),
        ("results", ".", "results", "name a folder for results alone"),
        ("results", "..", "results", "name a folder for results alone"),
        ("results", "/", "results", "name a folder for results alone"),
        ("results", "store/mine", "results", "holds files of the project"),
        ("results", ".github/mine", "results", "holds files of the project"),
        ("results", str(ROOT / "docs"), "results", "holds files of the project"),
        ("results", f"../{ROOT.name}/src", "results", "holds files of the project"),
        ("results", "README.md/mine", "results", "README.md is a file; name a folder"),
        ("results", 2024, "results", "must be text, in quotes if need be: a string, not 2024"),
        ("results", "{x}", "results", "must have no braces, no < and no control character"),
        ("results", "a<b>", "results", "must have no braces, no < and no control character"),
        ("results", "a\0b", "results", "must have no braces, no < and no control character"),
        ("results", "-x", "results", "must not begin with - or ~"),
        ("results", "./-x", "results", "must not begin with - or ~"),
        ("results", "~/x", "results", "must not begin with - or ~"),
        ("results", "a" * 300, "results", "may have 200 bytes between slashes"),
        ("results", "é" * 101, "results", "may have 200 bytes between slashes"),
        ("results", "", "results", "at least 1 character"),
        ("claims", "{x}.yaml", "claims", "must have no braces"),
        ("claims", "-x.yaml", "claims", "must not begin with -"),
        ("data", {"name": "imagefolder", "folder": "{x}"}, "data.folder", "must have no braces"),
        ("extensions", ["{x}.py"], "extensions", "must have no braces"),
        ("extensions", ["none.py"], "extensions", "none.py can't be loaded: there is no file"),
        ("training.compile", True, "training.compile", "Known: none, default, reduce-overhead"),
        ("clips", "inf", "clips", "list"),
        ("iterations", [0], "iterations[0]", "must be at least 1, not 0"),
        ("iterations", [-5], "iterations[0]", "must be at least 1, not -5"),
        ("iterations", [1.5], "iterations[0]", "must be a whole number, not 1.5"),
        ("iterations", [True], "iterations[0]", "true and false are no numbers"),
        ("iterations", [10**8], "iterations[0]", "must be at most 10000000, not 100000000"),
        ("iterations", [10**400], "iterations[0]", "is too large a whole number"),
        (
            "iterations",
            [1 << 20000],
            "iterations[0]",
            "a number of thousands of digits is too large",
        ),
        ("iterations", ["1e400"], "iterations[0]", "'1e400' is too large a number"),
        ("clips", ["1e400"], "clips[0]", "'1e400' is too large a number"),
        ("clips", [10**400], "clips[0]", "is too large a whole number"),
        ("seeds", [10**16], "seeds[0]", "is too large a whole number"),
        ("seeds", [2**32], "seeds[0]", "must be below 4294967296"),
        ("data.size", 3 * 10**9, "data.size", "must be at most 4096"),
        ("training.batch_size", 10**30, "training.batch_size", "is too large a whole number"),
        ("training.batch_size", 10**7, "training.batch_size", "must be at most 1000000"),
        ("training.checkpoint_every", 10**400, "training.checkpoint_every", "is too large"),
        (
            "optimizers.momentum.weight_decay",
            "1e999",
            "optimizers.momentum.weight_decay",
            "too large",
        ),
        ("looks", [1, 10**9], "looks[1]", "must be at most 10000"),
        ("iterations", ["inf"], "iterations[0]", "must be a finite number"),
        ("ema", [0], "ema[0]", "must be above 0, not 0"),
        ("ema", [1], "ema[0]", "must be below 1, not 1"),
        ("ema", [1.5], "ema[0]", "must be below 1, not 1.5"),
        ("ema", [True], "ema[0]", "true and false are no numbers"),
        ("seeds", [], "seeds", "at least one value is needed"),
        ("seeds", [-1], "seeds[0]", "must be at least 0, not -1"),
        ("clips", [1, 1.0, "inf"], "clips", "1 is given twice"),
        ("iterations", ["1e3", 1000], "iterations", "1000 is given twice"),
        ("ema", ["none", None], "ema", "none is given twice"),
        ("data.name", "digit", "data.name", "did you mean digits?"),
        ("data.size", 4, "data.size", "must be at least 8, not 4"),
        ("training.device", "gpu", "training.device", "Known: cpu, cuda"),
        ("augmentations", ["flop"], "augmentations[0]", "did you mean flip?"),
        ("models.alexnet.width", 1e-3, "models.alexnet.width", "leaves a layer no channel"),
        ("models.alexnet.width", math.inf, "models.alexnet.width", "must be a finite number"),
        ("models.resnet18", {"width": 0.0625}, "models.resnet18.width", "multiple of 0.125"),
        (
            "optimizers.momentum.learning_rates",
            [0.03, 0],
            "optimizers.momentum.learning_rates[1]",
            "must be above 0, not 0",
        ),
        (
            "experiments.x.select.0.models",
            ["vgg11"],
            "experiments.x.select[0].models",
            "vgg11 is not among the study's models: alexnet",
        ),
        (
            "experiments.x.select.0.optimizers",
            ["rmsprop"],
            "experiments.x.select[0].optimizers",
            "rmsprop is not among the study's optimizers: momentum",
        ),
        ("experiments.x.select.0.clips", ["agcc1"], "experiments.x.select[0].clips[0]", "no clip"),
        (
            "experiments",
            {"Bad Name": {"title": "", "section": "", "select": [{}]}},
            "experiments.Bad Name",
            "lower-case letters, digits and hyphens",
        ),
        ("experiments.null", {}, "experiments.null", "read this name as no text; choose another"),
        ("experiments.inf", {}, "experiments.inf", "read this name as no text; choose another"),
        ("experiments.cells", {}, "experiments.cells", "has a page of this name already"),
        (
            "experiments." + "a" * 61,
            {},
            "experiments." + "a" * 61,
            "must be of up to 60 lower-case",
        ),
    ],
)
def test_a_fault_is_reported_with_its_key_and_what_would_be_right(config, path, value, where, hint):
    put(config, path, value)
    message = dict(line.split(": ", 1) for line in faults(config))
    assert hint in message[where]


@pytest.mark.parametrize("name", ["report", "store", "mine"])
def test_results_that_are_a_link_to_what_is_ours_are_refused(config, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(ROOT / name if name == "report" else tmp_path / name)
    if name == "mine":
        assert parse(config | {"results": "link"}).results == "link"
    else:
        config["results"] = "link/x"
        assert "link/x holds files of the project" in faults(config)[0]


def test_every_folder_of_the_project_is_kept_from_results():
    if (ROOT / ".git").exists():
        files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
        folders = {file.partition("/")[0] for file in files.stdout.splitlines() if "/" in file}
        assert {name for name in folders if not name.startswith(".")} <= set(paths.OURS)


@pytest.mark.parametrize("name", sorted(NO_NAMES))
def test_a_name_that_is_refused_would_be_read_as_no_text(name):
    table = io.StringIO(f"name\n{name}\n")
    assert yaml.safe_load(name) != name or pd.read_csv(table).name[0] != name


@given(st.from_regex(r"\A[a-z][a-z0-9-]{0,8}\Z") | st.sampled_from(LIKE_NO_TEXT))
def test_a_name_that_is_taken_is_text_to_yaml_and_to_pandas(name):
    with contextlib.suppress(ValidationError):
        assert TypeAdapter(Name).validate_python(name) == name
        assert yaml.safe_load(f"{name}: 1") == {name: 1}
        assert pd.read_csv(io.StringIO(f"name\n{name}\n")).name[0] == name


@pytest.mark.parametrize("x", [0, 7, 10**15, 10**16, 2**53, 1e15, 1e16, 1e30, 0.1, 1e-7])
def test_a_number_is_spelled_as_it_is_read(x):
    assert number(canonical(x)) == x
    assert not isinstance(x, int) or canonical(x) == str(x)


def test_seeds_that_leave_no_room_for_later_looks_are_a_fault(config):
    config |= {"seeds": [2**32 - 2], "looks": [1, 2]}
    assert parse(config).looks == [1, 2]
    assert faults(config | {"looks": [1, 3]}) == [
        "seeds: the seeds of later looks follow the largest one, and would be too large"
    ]


def test_a_message_is_of_bounded_length(config):
    config |= {"title": ["x" * 10**6] * 10**4, "y" * 10**6: 1, "clips": ["z" * 10**6]}
    assert all(len(line) < 500 for line in faults(config))


def test_one_fault_is_reported_alone(config):
    put(config, "training.batch_size", 1)
    assert faults(config) == ["training.batch_size: must be at least 2, not 1"]


def test_a_cuda_graph_of_a_batch_in_parts_is_one_fault(config):
    config["training"] |= {"device": "cuda", "compile": "reduce-overhead", "accumulation_steps": 2}
    assert faults(config) == [
        "training.compile: a CUDA graph's output is overwritten by the next part:"
        " with accumulation_steps above 1, take default"
    ]


def test_a_missing_key_is_named(config):
    del config["clips"]
    assert "clips: missing" in faults(config)


def test_a_width_too_large_for_any_number_is_a_fault_and_not_a_crash(config):
    put(config, "models.alexnet.width", 1e308)
    assert any(line.startswith("models.alexnet.width: ") for line in faults(config))


@pytest.mark.parametrize("optimizers", [{}, None, {"momentum": None}])
def test_a_study_without_any_optimizer_or_learning_rate_is_a_fault(config, optimizers):
    config["optimizers"] = optimizers
    assert any(line.startswith("optimizers") for line in faults(config))


@pytest.mark.parametrize(
    ("axis", "value", "spelling"),
    [
        ("clips", 3, "3"),
        ("iterations", 7, "7"),
        ("ema", 0.5, "0.5"),
        ("augmentations", "flip", "flip"),
        ("seeds", 9, "9"),
    ],
)
def test_a_value_that_no_experiment_takes_is_a_fault(config, axis, value, spelling):
    put(config, f"experiments.x.select.0.{axis}", parse(config).values(axis))
    config[axis] = [*parse(config).values(axis), value]
    (line,) = faults(config)
    assert line.startswith(f"{axis}: {spelling} is in no experiment, as each names its own {axis}")


def test_a_model_that_no_experiment_takes_is_a_fault(config):
    put(config, "experiments.x.select.0.models", ["alexnet"])
    put(config, "models.vgg11", {})
    assert faults(config)[0].startswith("models: vgg11 is in no experiment")


def test_a_value_more_is_trained_in_every_experiment_that_names_no_others(config):
    config["clips"] = [1, 3, "inf"]
    assert {c.trajectory.clip.word for c in grid.cells(parse(config))} == {"1", "3", "inf"}


@pytest.mark.parametrize("config", [None, [], "text", 3])
def test_a_config_that_is_no_mapping_is_a_fault(config):
    assert "dictionary" in faults(config)[0]


def test_all_faults_are_in_one_message(config):
    wrong = {
        "title": 5,
        "colour": "red",
        "data.name": "digit",
        "data.size": 4,
        "models.alexnet.width": 1e-3,
        "models.lenet": {},
        "optimizers.momentum.momentum": 1,
        "clips": [1, "inf", 0],
        "iterations": [5, 10, 1.5],
        "ema": ["none", 0.9, 2],
        "augmentations": ["none", "mirror"],
        "seeds": [0, 0],
        "training.device": "tpu",
        "experiments.x.select": [{"models": ["vgg11"], "learning_rates": [-7]}],
    }
    for path, value in wrong.items():
        put(config, path, value)
    del config["experiments"]["x"]["title"]
    assert sorted(line.split(": ")[0] for line in faults(config)) == [
        "augmentations[1]",
        "clips[2]",
        "colour",
        "data.name",
        "data.size",
        "ema[2]",
        "experiments.x.select[0].learning_rates[0]",
        "experiments.x.select[0].models",
        "experiments.x.title",
        "iterations[2]",
        "models.alexnet.width",
        "models.lenet",
        "optimizers.momentum.momentum",
        "seeds",
        "title",
        "training.device",
    ]


# ---- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("clips: [1]\nclips: [2]\n", id="a key twice"),
        pytest.param("data: {size: 8, size: 12}\n", id="a nested key twice"),
        pytest.param("clips: [1\n", id="an open bracket"),
        pytest.param("title: !!python/name:print\n", id="a tag of Python's"),
        pytest.param("title: 2001-13-45\n", id="a date that does not exist"),
    ],
)
def test_a_file_that_is_not_sound_yaml_is_refused_by_name(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(StudyError, match=r"study\.yaml can't be read"):
        load(path)


BOMB = "a: &a [x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in itertools.pairwise("abcdefghi")
)
MERGED = "a: &a {x: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in itertools.pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("? [a, b]\n: 1\n", "a key must be a word or a number", id="a list as a key"),
        pytest.param("{{a: 1}: 2}", "a key must be a word or a number", id="a mapping as a key"),
        pytest.param("title: " + "[" * 600 + "]" * 600, "nested too deeply", id="600 levels"),
        pytest.param(BOMB, "it has more than 100000 values", id="aliases"),
        pytest.param(MERGED, "it has more than 100000 values", id="merged keys"),
        pytest.param("a: &a [*a]", "it has more than 100000 values", id="an alias of itself"),
        pytest.param('title: "a\\0b"', "a control character", id="a control character"),
        pytest.param('title: "\\ud800"', "half a character", id="half a character"),
        pytest.param("seeds: [1" + "0" * 5000 + "]", "digits", id="a number of 5000 digits"),
    ],
)
def test_a_file_that_would_take_long_or_crash_is_refused_at_once(tmp_path, text, why):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    began = time.process_time()
    with pytest.raises(StudyError) as caught:
        load(path)
    assert time.process_time() - began < 1
    assert str(caught.value).startswith(f"{path} can't be read: ")
    assert why in str(caught.value)


def test_a_character_beyond_the_first_65536_makes_the_trip_through_json(config, tmp_path):
    path = tmp_path / "study.json"
    path.write_text(to_json(parse(config | {"title": "Grad \U0001f4c9"})))
    assert load(path).title == "Grad \U0001f4c9"


def test_a_key_that_stands_twice_is_named(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("clips: [1]\nclips: [2]\n")
    with pytest.raises(StudyError, match="key clips is given twice"):
        read(path)


def test_a_file_that_is_missing_or_not_text_is_refused_by_name(tmp_path):
    with pytest.raises(StudyError, match=r"none\.yaml can't be read"):
        load(tmp_path / "none.yaml")
    (tmp_path / "image.yaml").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(StudyError, match=r"image\.yaml can't be read"):
        load(tmp_path / "image.yaml")


def test_anchors_and_merged_keys_are_understood(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("a: &a {x: 1}\nb: {<<: *a, y: 2}\n")
    assert read(path) == {"a": {"x": 1}, "b": {"x": 1, "y": 2}}


@pytest.mark.parametrize("written", ["out/", "./out", "more/../out", "out"])
def test_a_folder_of_results_has_one_name(config, written):
    assert parse(config | {"results": written}).results == "out"

"""What a person gets who asks for something that can't be done: every fault at once, in words,
before anything is trained."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

A_JOB_A_RUN = "training={job_seconds: 0}"
BASE = "studies/smoke.yaml"
ROOT = Path(__file__).parents[2]


def assert_refused(run, project):
    """Snakemake has refused, in words of ours, and left nothing behind."""
    assert run.returncode != 0
    assert run.stdout.count("clipgrid: error: ") == 1
    assert not re.search(r"Traceback|Error in file|\.smk", run.stdout)
    assert not (project / "results").exists()
    assert not (project / "store").exists()


# ---- parts of one's own -------------------------------------------------------------------------

OWN = """
from torch import nn
from clipgrid.study.parts import model

@model("mine", label="mine")
def build(channels, size, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * size**2, classes))
"""


@pytest.fixture
def own_study(project):
    """A function: the options for a study of AlexNet and a model of this file."""

    def options(text):
        (project / "mine.py").write_text(text)
        config = yaml.safe_load((project / "docs/examples/smallest.yaml").read_text())
        config |= {"extensions": ["mine.py"], "iterations": [2]}
        config["models"]["mine"] = {}
        (project / "own.yaml").write_text(yaml.safe_dump(config))
        return "--cores", 2, "--configfile", "own.yaml"

    (project / "docs/examples").mkdir(parents=True)
    shutil.copy(ROOT / "docs/examples/smallest.yaml", project / "docs/examples")
    return options


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            "import no_such_module",
            "can't be loaded: No module named 'no_such_module' (line 1 of",
        ),
        (OWN.replace('"mine"', '"alexnet"'), "mine.py can't be loaded: model alexnet: both"),
        (
            OWN.replace("nn.Sequential", "(lambda *layers: [*layers])"),
            "model mine: its function gives list, and not a",
        ),
        (
            OWN.replace("size**2", "size"),
            "model mine: no image of 8 px passes: mat1 and",
        ),
    ],
)
def test_an_extension_that_can_not_be_planned_with_is_refused(
    project, own_study, snakemake, wrong, said
):
    run = snakemake(project, "-n", *own_study(wrong))
    assert_refused(run, project)
    assert said in run.stdout


def test_a_model_that_can_not_be_trained_is_refused_before_anything_is(
    project, own_study, snakemake
):
    options = own_study(OWN.replace("channels * size**2, classes", "channels * size**2, 3"))
    run = snakemake(project, *options)
    assert run.returncode != 0
    log = "results/first/logs/parts/model-mine.log"
    assert f"Not sound; its log is {log}, and ends with:\n" in run.stdout
    right = (
        "its logits are [8, 3], where [8, 10], a number for each image and class, would be right"
    )
    assert f"model mine: in training mode {right} (in {project}/mine.py)" in run.stdout
    assert "Traceback" not in run.stdout
    assert not list((project / "results/first").glob("packs/*mine*"))


# ---- the study file -----------------------------------------------------------------------------


def test_all_faults_of_a_study_are_reported_at_once_with_their_keys(project, snakemake):
    config = yaml.safe_load((project / BASE).read_text())
    config["models"]["alexnte"] = config["models"].pop("alexnet")
    config["clips"] = [1, 0, "agcc0.01", "autoclip0"]
    config["iterations"] = [1.5, 8]
    config["ema"] = ["none", 1]
    config["augmentations"] = ["none", "flip", "none"]
    config["seeds"] = []
    config["training"]["batchsize"] = 32
    config["sede"] = 3
    config["results"] = "report/../report"
    (project / "bad.yaml").write_text(yaml.safe_dump(config))

    run = snakemake(project, "--cores", 1, "--configfile", "bad.yaml")

    assert_refused(run, project)
    assert "bad.yaml" in run.stdout
    faults = dict(line.strip().split(": ", 1) for line in run.stdout.splitlines() if ": " in line)
    assert "did you mean alexnet?" in faults["models.alexnte"]
    assert "above 0" in faults["clips[1]"]
    assert "did you mean agc0.01?" in faults["clips[2]"]
    assert "must be above 0 and at most 100" in faults["clips[3]"]
    assert "whole number" in faults["iterations[0]"]
    assert "below 1" in faults["ema[1]"]
    assert "none is given twice" in faults["augmentations"]
    assert "at least one" in faults["seeds"]
    assert "did you mean batch_size?" in faults["training.batchsize"]
    assert "did you mean seeds?" in faults["sede"]
    assert "holds files of the project" in faults["results"]


def test_a_key_that_stands_twice_is_refused(project, snakemake):
    text = (project / BASE).read_text()
    (project / "twice.yaml").write_text(text + "\nclips: [5]\n")
    run = snakemake(project, "--cores", 1, "--configfile", "twice.yaml")
    assert_refused(run, project)
    assert "twice.yaml can't be read" in run.stdout
    assert "key clips is given twice" in run.stdout


@pytest.mark.parametrize("how", [(), ("--configfile", "config.yaml")], ids=["alone", "named"])
def test_a_study_that_snakemake_takes_for_code_is_refused(project, snakemake, clipgrid, how):
    study = (project / "config.yaml").read_text()
    code = "__use_yte__: true\n__definitions__: [\"import os; os.mkdir('ran')\"]\n"
    (project / "config.yaml").write_text(study + code)
    planned = clipgrid(project, "plan")
    assert "config.yaml can't be run; 1 fault:\n  __use_yte__: " in planned.stdout
    assert not (project / "ran").exists()
    run = snakemake(project, "--dry-run", *how)
    assert_refused(run, project)
    assert "config.yaml can't be run; 1 fault:\n  __use_yte__: " in run.stdout
    # A file that is named Snakemake reads, and runs, before anything of ours.
    assert (project / "ran").exists() == bool(how)


def test_a_fault_given_on_the_command_line_is_refused(project, snakemake):
    run = snakemake(project, "--cores", 1, "--config", "clips=[0]")
    assert_refused(run, project)
    assert "clips[0]: must be above 0, not 0" in run.stdout


def test_a_value_given_on_the_command_line_changes_the_study(project, snakemake, job_stats):
    changes = ("--config", "seeds=[5]", A_JOB_A_RUN)
    run = snakemake(project, "--dry-run", "--configfile", BASE, *changes)
    assert run.returncode == 0, run.stdout
    assert job_stats(run.stdout)["train"] == 19
    assert "_seed5.jsonl" in run.stdout
    assert "_seed0.jsonl" not in run.stdout


def test_a_start_page_that_is_not_there_is_refused(project, snakemake):
    run = snakemake(project, "-n", "--configfile", BASE, "--config", "start_page=none.html")
    assert_refused(run, project)
    assert "start_page: there is no file none.html below" in run.stdout


def test_a_study_file_that_does_not_exist_is_named(project, snakemake):
    """By Snakemake itself, which reads it first: its words, and its traceback."""
    run = snakemake(project, "--cores", 1, "--configfile", "studies/absent.yaml")
    assert run.returncode != 0
    assert "studies/absent.yaml" in run.stdout
    assert not (project / "results").exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("? [a, b]\n: 1\n", "a key must be a word or a number"),
        ("title: " + "[" * 600 + "]" * 600, "config.yaml can't be read: it is nested too deeply"),
        ("- 1\n", "the file: must be a dictionary of keys and values, not [1]"),
        (None, "config.yaml can't be read: "),
    ],
    ids=["a list as a key", "600 levels", "a list", "no file"],
)
def test_a_default_study_that_can_not_be_read_is_refused(project, snakemake, text, why):
    if text is None:
        (project / "config.yaml").unlink()
    else:
        (project / "config.yaml").write_text(text)
    run = snakemake(project, "--cores", 1)
    assert_refused(run, project)
    assert why in run.stdout


# ---- the claims file ----------------------------------------------------------------------------


def test_all_faults_of_the_claims_are_reported_at_once_and_before_anything_trains(
    project, snakemake
):
    claims = yaml.safe_load((project / "claims.yaml").read_text())
    claims["claims"]["C3"]["rules"][0]["statistic"] = "paired-t"
    claims["claims"]["C4"]["rules"][0]["margin"] = 0.5
    claims["claims"]["C9"]["rules"][1]["margin"] = "0.5 points"
    claims["claims"]["C6"]["rules"][0]["measure"] = "test_acuracy"
    claims["claims"]["C7"]["rules"] = []
    (project / "claims.yaml").write_text(yaml.safe_dump(claims))

    run = snakemake(project, "--cores", 1, "--configfile", BASE)

    assert_refused(run, project)
    assert "claims.yaml can't be judged" in run.stdout
    faults = dict(line.strip().split(": ", 1) for line in run.stdout.splitlines() if ": " in line)
    assert "did you mean paired t?" in faults["claims.C3.rules[0]"]
    assert "number with its unit" in faults["claims.C4.rules[0].margin"]
    assert "did you mean test_accuracy?" in faults["claims.C6.rules[0].measure"]
    assert "at least one" in faults["claims.C7.rules"]


def test_a_margin_in_another_unit_than_its_measures_is_refused(project, snakemake):
    text = (project / "claims.yaml").read_text()
    (project / "claims.yaml").write_text(text.replace("margin: 0.05 nats", "margin: 5 points"))
    run = snakemake(project, "--cores", 1, "--configfile", BASE)
    assert_refused(run, project)
    assert "claims.C4.rules[0].margin: must be in nats, the unit of loss_area" in run.stdout


def test_an_exhibit_that_the_report_lacks_is_refused_with_the_nearest_name(project, snakemake):
    claims = yaml.safe_load((project / "claims.yaml").read_text())
    claims["claims"]["C3"]["exhibit"] = "acuracy"
    (project / "claims.yaml").write_text(yaml.safe_dump(claims))
    run = snakemake(project, "--dry-run", "--configfile", BASE)
    assert_refused(run, project)
    assert "the claims in claims.yaml can't be shown; 1 fault" in run.stdout
    fault = "claims.C3.exhibit: the report has no 'acuracy'; did you mean accuracy? Known: "
    assert fault in run.stdout


def test_a_claims_file_that_does_not_exist_is_named(project, snakemake):
    run = snakemake(project, "--cores", 1, "--config", "claims=absent.yaml")
    assert_refused(run, project)
    assert "absent.yaml can't be read" in run.stdout


# ---- where it runs ------------------------------------------------------------------------------


def test_machines_that_share_no_folder_are_refused_with_the_reason(project, snakemake):
    run = snakemake(project, "--cores", 1, "--shared-fs-usage", "none")
    assert_refused(run, project)
    assert "clipgrid's jobs must share this folder" in run.stdout


@pytest.mark.parametrize("name", ["a:b", "{x}"])
def test_a_checkout_whose_path_is_taken_amiss_is_refused(new_project, snakemake, tmp_path, name):
    (tmp_path / name).mkdir()
    project = new_project(tmp_path / name / "project")
    run = snakemake(project, "--cores", 1)
    assert_refused(run, project)
    assert f"{name}/project/src has a colon or a brace in its path" in run.stdout


def test_in_a_locale_without_utf_8_everything_is_read_all_the_same(project, snakemake, monkeypatch):
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    run = snakemake(project, "--dry-run", "--quiet")
    assert run.returncode == 0, run.stdout


# ---- what fails, and what is stopped -----------------------------------------------------------


def test_of_a_failure_only_this_sessions_logs_are_quoted(project, snakemake):
    study = {"data": {"name": "imagefolder", "folder": "absent", "size": 8}, "title": "None"}
    study = yaml.safe_load((project / BASE).read_text()) | study
    (project / "mine.yaml").write_text(yaml.safe_dump(study))
    plan = snakemake(project, "--dry-run", "--configfile", "mine.yaml").stdout
    for log in re.findall(r"results/smoke/logs/train/\S+\.log", plan):
        (project / log).parent.mkdir(parents=True, exist_ok=True)
        (project / log).write_text("of an earlier session\n")
    run = snakemake(project, "--cores", 1, "--configfile", "mine.yaml")
    assert run.returncode == 1
    assert "Not prepared; its log is results/smoke/logs/prepare_data.log" in run.stdout
    assert "Not trained" not in run.stdout


def test_what_is_stopped_by_ctrl_c_says_so_and_no_error(project, start):
    study = yaml.safe_load((project / BASE).read_text())
    study |= {"iterations": [10**6], "experiments": {}, "seeds": [0]}
    del study["claims"]
    (project / "long.yaml").write_text(yaml.safe_dump(study))
    command = ("--cores", 2, "--configfile", "long.yaml")
    master = start(project, "snakemake", *command, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list((project / "store").glob("*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(2)
    os.killpg(master.pid, signal.SIGINT)
    said, _ = master.communicate(timeout=120)
    assert master.returncode == 128 + signal.SIGINT, said
    assert said.count("clipgrid: stopped; the same command goes on from here") == 1
    assert not re.search(r"Error|Traceback|non-zero", said), said


# ---- dry runs of a fresh clone ------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("-s", "workflow/Snakefile")], ids=["root", "workflow"])
def test_a_fresh_clone_plans_the_articles_whole_grid(project, snakemake, job_stats, arguments):
    run = snakemake(project, "--dry-run", *arguments, "--config", A_JOB_A_RUN)
    assert run.returncode == 0, run.stdout
    jobs = job_stats(run.stdout)
    assert jobs["train"] == 546
    assert jobs["experiment"] == 5
    assert not (project / "results").exists()


# ---- the command of one cell --------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(new_project, clipgrid, tmp_path_factory):
    """A project with prepared data, and with files that are none."""
    project = new_project(tmp_path_factory.mktemp("bad") / "project")
    run = clipgrid(project, "prepare", "--name", "digits", "--size", 8, "--out", "digits.pt")
    assert run.returncode == 0, run.stdout
    (project / "torn.pt").write_bytes((project / "digits.pt").read_bytes()[:3000])
    (project / "text.pt").write_text("no data\n")
    return project


SOUND = {
    "--model": "alexnet:width=0.125",
    "--optimizer": "momentum",
    "--learning-rate": 0.03,
    "--clip": 1,
    "--seed": 0,
    "--readouts": "T2",
    "--data": "digits.pt",
}


def train(home, clipgrid, out, **changed):
    flags = SOUND | {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
    arguments = [f"{flag}={value}" for flag, value in flags.items()]
    return clipgrid(home, "train", *arguments, f"--out={out}", f"--store={out}/store")


def test_a_sound_command_trains(home, clipgrid, tmp_path):
    run = train(home, clipgrid, tmp_path)
    assert run.returncode == 0, run.stdout
    assert (tmp_path / "cells.jsonl").exists()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        pytest.param({"data": "absent.pt"}, "absent.pt", id="no data file"),
        pytest.param({"data": "torn.pt"}, "torn.pt", id="a torn data file"),
        pytest.param({"data": "text.pt"}, "text.pt", id="a text as data file"),
        pytest.param({"readouts": "500"}, "readouts", id="no readout"),
        pytest.param({"readouts": "T2_ema1"}, "readouts", id="an average of decay 1"),
        pytest.param({"clip": -1}, "clip: must be above 0", id="a negative threshold"),
        pytest.param({"clip": 0}, "clip: must be above 0", id="a threshold of 0"),
        pytest.param({"clip": "nan"}, "clip", id="a threshold that is no number"),
        pytest.param({"clip": "agcc"}, "'agcc'", id="an unknown kind of clipping"),
        pytest.param(
            {"clip": "autoclip101"},
            "clip: must be above 0 and at most 100",
            id="a 101st percentile",
        ),
        pytest.param({"accumulation_steps": 3}, "accumulation_steps", id="a batch in 3 parts"),
        pytest.param({"ema_warmup": 0}, "ema_warmup", id="a warm-up of 0"),
        pytest.param({"precision": "float16"}, "precision", id="an unknown precision"),
        pytest.param({"compile": "yes"}, "compile", id="an unknown mode of compiling"),
        pytest.param({"checkpoint_every": 0}, "checkpoint_every", id="a checkpoint every 0 s"),
        pytest.param({"learning_rate": -0.1}, "learning_rate", id="a negative learning rate"),
        pytest.param({"batch_size": 0}, "batch_size", id="an empty batch"),
        pytest.param({"seed": -1}, "seed", id="a negative seed"),
        pytest.param({"model": "alexnte"}, "model", id="an unknown model"),
        pytest.param({"optimizer": "adamx"}, "optimizer", id="an unknown optimizer"),
        pytest.param({"augmentation": "flop"}, "augmentation", id="an unknown augmentation"),
        pytest.param({"device": "tpu"}, "device", id="an unknown device"),
        pytest.param({"model": "alexnet:width=1e-3"}, "width", id="a layer without channels"),
        pytest.param({"model": "resnet18:width=0.0625"}, "width", id="too narrow a ResNet"),
        pytest.param({"model": "alexnet:depth=3"}, "depth", id="a setting that a model lacks"),
        pytest.param({"extensions": "absent.py"}, "absent.py", id="an extension that is not there"),
    ],
)
def test_a_command_that_can_not_be_done_is_refused_in_one_error(
    home, clipgrid, tmp_path, changed, named
):
    run = train(home, clipgrid, tmp_path / "out", **changed)
    assert run.returncode != 0, run.stdout
    assert "Traceback" not in run.stdout
    assert len([line for line in run.stdout.splitlines() if "error" in line.lower()]) == 1
    said = run.stdout.partition("error:")[2]
    assert named in said.replace("-", "_") or named in said, said
    assert not list((tmp_path / "out").glob("*.json*"))


def test_who_reads_may_stop_reading(home, start):
    run = start(home, "clipgrid", "schema", stderr=subprocess.PIPE)
    run.stdout.close()  # as `head` does
    assert run.stderr.read() == ""
    assert run.wait() == 128 + signal.SIGPIPE

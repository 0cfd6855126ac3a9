"""A finished study as others get it: an archive that the real validator accepts and that runs as a
checkout; cells of it that are redone to the bit; curves that dashboards read."""

import hashlib
import json
import zipfile
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from switches import torch_as_it_was

from clipgrid.__main__ import main
from clipgrid.judging import sums
from clipgrid.reporting.unpacking import METADATA
from clipgrid.study import packs

RESULTS = Path("results/smoke")
CONTEXT = Path(__file__).with_name("ro-crate-1.1-context.jsonld")  # as w3id.org gives it


@pytest.fixture(scope="module")
def archived(finished, tmp_path_factory):
    """The archive of the smoke study."""
    out = tmp_path_factory.mktemp("archived") / "archive.zip"
    with pytest.MonkeyPatch.context() as here:
        here.chdir(finished)
        assert main(["archive", "--study", str(RESULTS / "study.json"), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def unzipped(archived):
    with zipfile.ZipFile(archived) as archive:
        archive.extractall(archived.parent / "unzipped")
    return archived.parent / "unzipped"


@pytest.fixture(scope="module")
def graph(unzipped):
    """{id: what the metadata say of it}"""
    said = json.loads((unzipped / METADATA).read_text())["@graph"]
    assert len({one["@id"] for one in said}) == len(said)
    return {one["@id"]: one for one in said}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    """Commands are typed there."""
    monkeypatch.chdir(tmp_path)
    with torch_as_it_was():
        yield


# ---- archive ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """What the validator would have fetched."""
    from requests import Request
    from requests.adapters import HTTPAdapter
    from requests_cache import CachedSession
    from urllib3 import HTTPResponse

    path = tmp_path_factory.mktemp("cache") / "http"
    request = Request("GET", "https://w3id.org/ro/crate/1.1/context").prepare()
    raw = HTTPResponse(
        CONTEXT.open("rb"),
        headers={"Content-Type": "application/ld+json"},
        status=200,
        preload_content=False,
        request_url=request.url,
    )
    response = HTTPAdapter().build_response(request, raw)
    CachedSession(str(path), backend="sqlite").cache.save_response(response)
    return path


UNKNOWN = {
    "The Application SHOULD have a url",
    "The `publisher` property of a `Root Data Entity` SHOULD be an `Organization`",
    "The organization SHOULD have a URL.",
    "The author SHOULD have an organizational affiliation.",
    "The author SHOULD have a Contextual Entity which specifies the organizational `affiliation`.",
    "The SoftwareApplication id SHOULD be an absolute URI",  # which it says of schema.org's classes
}
"""What it recommends, and what nobody knows before the archive is published."""


@pytest.mark.filterwarnings("ignore")  # of the libraries that it uses
def test_the_validator_of_ro_crate_finds_a_workflow_run_crate(unzipped, offline):
    from rocrate_validator import services
    from rocrate_validator.models import Severity

    settings = services.ValidationSettings(
        rocrate_uri=str(unzipped),
        profile_identifier="workflow-run-crate-0.5",
        requirement_severity=Severity.RECOMMENDED,
        offline=True,
        cache_path=offline,
    )
    issues = services.validate(settings).get_issues()
    assert {issue.message for issue in issues} <= UNKNOWN


def test_each_file_of_an_archive_has_its_checksum(unzipped, graph):
    there = {p.relative_to(unzipped).as_posix() for p in unzipped.rglob("*") if p.is_file()}
    said = {unquote(id): one["sha256"] for id, one in graph.items() if "sha256" in one}
    assert set(said) == there - {METADATA}
    for name, sha256 in said.items():
        assert hashlib.sha256((unzipped / name).read_bytes()).hexdigest() == sha256
    found = {f"results/{name}" for name in ("cells.csv", "report.html", "histories.parquet")}
    assert {*found, "envs/requirements.lock", "src/clipgrid/py.typed", "claims.yaml"} <= there
    assert not [name for name in there if name.endswith((".pt", ".pyc"))]


def test_each_tested_claim_is_reviewed_with_its_verdict_and_no_other(unzipped, graph):
    claims = pd.read_csv(unzipped / "results/claims.csv", keep_default_na=False).set_index("id")
    reviews = {id: one for id, one in graph.items() if one["@type"] == "ClaimReview"}
    tested = claims[claims.decided_by == "test"]
    assert sorted(reviews) == sorted(f"#{key}" for key in tested.index)
    assert len(tested) > 20
    for key, row in tested.iterrows():
        review = reviews[f"#{key}"]
        assert graph[review["reviewRating"]["@id"]]["alternateName"] == row.verdict
        claimed = graph[review["itemReviewed"]["@id"]]
        assert review["claimReviewed"] == claimed["name"] == row.statement
        assert ("citation" in claimed) == (row.section == "external")
    mentioned = {one["@id"] for one in graph["./"]["mentions"]}
    assert mentioned == {*reviews, "#run"}


def test_an_archive_says_what_ran_on_what(unzipped, graph):
    trained = json.loads((unzipped / "results/trained.json").read_text())
    run, workflow = graph["#run"], graph["workflow/Snakefile"]
    used = [graph[one["@id"]] for one in workflow["softwareRequirements"]]
    assert {one.get("softwareVersion") for one in used} >= {*trained["torch"], *trained["python"]}
    assert "envs/requirements.lock" in {one["@id"] for one in used}
    given = [graph[one["@id"]] for one in run["object"]]
    assert {one["value"] for one in given if "value" in one} == set(trained["processor"])
    assert {"results/study.json", "claims.yaml", "results/data.json"} < {o["@id"] for o in given}
    assert run["startTime"] <= run["endTime"]
    for commit in trained["commit"]:
        assert commit in workflow["version"]


def test_an_archive_is_a_checkout(unzipped, snakemake):
    run = snakemake(unzipped, "--dry-run", "--configfile", "studies/smoke.yaml")
    assert run.returncode == 0, run.stdout
    assert "html_report" in run.stdout


@pytest.fixture
def copy(unzipped, tmp_path):
    """The results of the archive, for one test."""
    for file in (unzipped / "results").iterdir():
        if file.is_file():
            (tmp_path / "copy").mkdir(exist_ok=True)
            (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    return tmp_path / "copy"


def fails(capsys, *words):
    """The one error of a command."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 1
    said = capsys.readouterr().err
    assert said.startswith("clipgrid: error: "), said
    return said


def test_results_that_are_not_whole_are_not_archived(copy, capsys):
    words = ("archive", "--study", copy / "study.json")
    (copy / "report.html").unlink()
    assert "lacks report.html: run the study to its end" in fails(capsys, *words)
    (copy / "report.html").write_text("")
    (copy / "claims.csv").write_text("id\n")
    assert "claims.csv isn't as it was written" in fails(capsys, *words)
    assert not (copy / "archive.zip").exists()


# ---- verify -------------------------------------------------------------------------------------


def test_cells_of_an_archive_are_the_same_bits_and_a_seed_draws_them_again(archived, capsys):
    words = ["verify", str(archived), "--cells", "3", "--seed", "7"]
    said = []
    for _ in range(2):
        assert main(words) == 0
        said.append(capsys.readouterr().out)
    assert "files are as they were archived\n3 of " in said[0]
    assert said[0].count(": the same bits\n") == 3
    assert said[0].endswith("3 of 3 cells agree to the bit\n")
    assert said[0] == said[1]
    assert main([*words[:-1], "8"]) == 0
    assert capsys.readouterr().out != said[0]


def test_results_are_verified_like_an_archive(copy, capsys):
    assert main(["verify", str(copy), "--cells", "1"]) == 0
    assert capsys.readouterr().out.endswith("1 of 1 cells agree to the bit\n")
    (copy / "cells.csv").write_text("cell\n")
    (copy / "findings.csv").unlink()
    said = fails(capsys, "verify", copy)
    assert "2 faults:\n  cells.csv: was changed\n  findings.csv: is gone\n" in said


@pytest.fixture
def falsified(copy):
    """Results whose accuracies were raised, and whose checksums were made anew."""
    table = pd.read_csv(copy / "cells.csv", dtype=str, keep_default_na=False)
    table["test_accuracy"] = "0.99"
    table.to_csv(copy / "cells.csv", index=False)
    trained = json.loads((copy / "trained.json").read_text())
    sums.seal(copy, {k: v for k, v in trained.items() if k not in ("files", "sha256")})
    return copy


def test_numbers_that_the_settings_do_not_give_are_found(falsified, capsys):
    words = ["verify", str(falsified), "--cells", "2", "--seed", "1"]
    assert main(words) == 1
    said = capsys.readouterr()
    assert said.out.count("recorded 0.99\n  python -m clipgrid train --") == 2
    assert said.out.endswith("0 of 2 cells agree to the bit\n")
    assert "2 of 2 cells came out otherwise" in said.err


def test_on_another_processor_it_is_said_by_how_much_bits_differ(falsified, capsys, monkeypatch):
    from clipgrid.training import machine

    here = {**machine.stamp("cpu"), "processor": "another"}
    monkeypatch.setattr("clipgrid.reporting.verify.machine.stamp", lambda device: here)
    assert main(["verify", str(falsified), "--cells", "1"]) == 0
    said = capsys.readouterr().out
    assert "test_accuracy 0." in said and ", recorded 0.99\n" in said
    assert "here another; torch" in said


def test_results_of_another_version_of_the_code_are_refused(copy, archived, capsys, monkeypatch):
    monkeypatch.setattr(packs, "TRAINER_VERSION", 99)
    for words in (("archive", "--study", copy / "study.json"), ("verify", archived)):
        assert "is another version, commit " in fails(capsys, *words)


def test_nothing_that_an_archive_names_is_run(copy, capsys):
    study = json.loads((copy / "study.json").read_text())
    evil = Path("evil.py")
    evil.write_text("open('ran', 'w')\n")
    (copy / "study.json").write_text(json.dumps({**study, "extensions": ["evil.py"]}))
    trained = json.loads((copy / "trained.json").read_text())
    sums.seal(copy, {k: v for k, v in trained.items() if k not in ("files", "sha256")})
    assert "name your own copies by --extensions" in fails(capsys, "verify", copy)
    assert not Path("ran").exists()
    main(["verify", str(copy), "--cells", "1", "--extensions", "evil.py"])
    assert Path("ran").exists()


def test_what_is_no_study_is_one_error(tmp_path, capsys):
    assert f"there is no {tmp_path / 'x'}" in fails(capsys, "verify", tmp_path / "x")
    assert "lacks study.json" in fails(capsys, "verify", tmp_path)


# ---- export -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def expected(finished):
    """{name of a run: its history}, {name of a cell: its row}"""
    steps = pd.read_parquet(finished / RESULTS / "histories.parquet")
    cells = pd.read_csv(finished / RESULTS / "cells.csv", keep_default_na=False).set_index("cell")
    return dict(list(steps.groupby("trajectory", observed=True))), cells


def export(finished, to, out, *more):
    study = str(finished / RESULTS / "study.json")
    return main(["export", "--study", study, "--to", to, "--out", str(out), *more])


def test_tensorboard_reads_what_is_exported(finished, expected, tmp_path, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert export(finished, "tensorboard", tmp_path / "board") == 0
    runs, cells = expected
    assert sorted(path.name for path in (tmp_path / "board").iterdir()) == sorted(runs)
    name = next(n for n, run in runs.items() if 0 < run.clipped.mean() < 1)
    events = EventAccumulator(str(tmp_path / "board" / name)).Reload()
    for tag, column in (("loss", "loss"), ("gradient_norm", "norm")):
        found = [(event.step, event.value) for event in events.Scalars(tag)]
        assert [step for step, _ in found] == runs[name].step.tolist()
        assert [value for _, value in found] == pytest.approx(runs[name][column].tolist())
    assert events.Scalars("clip_fraction")[-1].value == pytest.approx(runs[name].clipped.mean())
    looks = runs[name].dropna(subset="validation_accuracy")
    found = [event.value for event in events.Scalars("look/validation_accuracy")]
    assert found == pytest.approx(looks.validation_accuracy.tolist())
    (row,) = cells[cells.trajectory == name].iloc[-1:].itertuples()
    place = tmp_path / "board" / row.Index
    events = EventAccumulator(str(place)).Reload()
    accuracy = events.Scalars("cell/test_accuracy")[-1].value
    assert accuracy == pytest.approx(float(row.test_accuracy))
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"learning_rate" in content and row.model.encode() in content


def test_curves_have_no_more_points_than_asked_for(finished, expected, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert export(finished, "tensorboard", tmp_path / "board", "--points", "3") == 0
    name, run = next(iter(expected[0].items()))
    steps = [
        e.step for e in EventAccumulator(str(tmp_path / "board" / name)).Reload().Scalars("loss")
    ]
    assert len(steps) == 3
    assert (steps[0], steps[-1]) == (1, run.step.max())


def test_mlflow_reads_what_is_exported(finished, expected, tmp_path, capsys):
    from mlflow import MlflowClient

    assert export(finished, "mlflow", tmp_path / "flow") == 0
    uri = capsys.readouterr().out.split()[-1]
    client = MlflowClient(uri)
    (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
    found = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    runs, cells = expected
    assert set(found) == {*runs, *cells.index}
    name = next(n for n, run in runs.items() if 0 < run.clipped.mean() < 1)
    norms = client.get_metric_history(found[name].info.run_id, "gradient_norm")
    assert [norm.step for norm in norms] == runs[name].step.tolist()
    assert [norm.value for norm in norms] == runs[name].norm.tolist()
    (row,) = cells[cells.trajectory == name].iloc[-1:].itertuples()
    cell = found[row.Index]
    assert cell.data.metrics["test_accuracy"] == float(row.test_accuracy)
    assert cell.data.params["model"] == row.model
    assert cell.data.tags["mlflow.parentRunId"] == found[name].info.run_id


def test_an_export_that_cannot_be_is_one_error(finished, tmp_path, capsys, monkeypatch):
    study = finished / RESULTS / "study.json"
    words = ("export", "--study", study, "--to", "mlflow", "--out")
    assert "is there already" in fails(capsys, *words, tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    assert "pip install '.[export]'" in fails(capsys, *words, tmp_path / "x")

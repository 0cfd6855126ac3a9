"""The smallest study of every kind of cell, run to its end once: its files, its numbers, its
report, that it is not run again for nothing, and that it grows without training a step twice."""

import base64
import json
import math
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup

from clipgrid.study import axes, grid, packs, parts
from clipgrid.study import cells as study_cells
from clipgrid.study import config as study

RESULTS = Path("results/smoke")
MANUAL = Path(__file__).parents[2] / "docs/redo-a-cell.md"
STUDY = ("--configfile", "studies/smoke.yaml")
EXPERIMENTS = ["alexnet", "vgg", "resnet", "moving-average", "augmentation"]
ACROSS_STUDY = parts.names("figure")
assert {"heat-map", "forest", "accuracy", "external"} <= set(ACROSS_STUDY)
PAGES = ["cells", "settings", "claims", "external", "checklist", "judgements"]


@pytest.fixture(scope="module")
def moved(finished, tmp_path_factory):
    """The finished project, copied elsewhere with its times, for runs that change no result."""
    target = tmp_path_factory.mktemp("moved") / "elsewhere"
    return shutil.copytree(finished, target, symlinks=True)


@pytest.fixture
def copy(finished, tmp_path):
    """The finished project, copied for one test, and then deleted: it is large."""
    yield shutil.copytree(finished, tmp_path / "copy", symlinks=True)
    shutil.rmtree(tmp_path / "copy")


@pytest.fixture(scope="module")
def smoke(finished):
    return study.load(finished / "studies/smoke.yaml")


@pytest.fixture(scope="module")
def cells(finished):
    return pd.read_csv(finished / RESULTS / "cells.csv")


def runs_of(s):
    """The runs of a study, with their readouts."""
    return study_cells.runs_of(grid.cells(s))


def histories_in(project):
    """{name of a run: its history}"""
    files = sorted((project / RESULTS / "packs").glob("*.csv"))
    table = pd.concat(map(pd.read_csv, files))
    return {
        name: history.drop(columns="trajectory").reset_index(drop=True)
        for name, history in table.groupby("trajectory")
    }


@pytest.fixture(scope="module")
def histories(finished, smoke):
    """{trajectory: its history}"""
    by_name = histories_in(finished)
    return {trajectory: by_name[trajectory.name] for trajectory in runs_of(smoke)}


@pytest.fixture(scope="module")
def report(finished):
    return BeautifulSoup((finished / RESULTS / "report.html").read_text(), "html.parser")


@pytest.fixture(scope="module")
def of_snakemake(finished):
    return (finished / RESULTS / "workflow.html").read_text()


def value_in(report, name):
    """What the report's script assigns to the variable `name`."""
    start = re.search(rf"<script[^>]*>\s*var {name} = ", report).end()
    return json.JSONDecoder().raw_decode(report, start)[0]


def records(project, file="studies/smoke.yaml"):
    """{name of a cell: its record}, {name of a run: its record} of a study."""
    s = study.load(project / file)
    found = packs.read_all(project / RESULTS, packs.of_study(s, runs_of(s)))
    return {r["cell"]: r for r in found if "cell" in r}, {r["run"]: r for r in found if "run" in r}


def sessions(project, trajectory, file="studies/smoke.yaml"):
    return records(project, file)[1][trajectory]["sessions"]


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


# ---- files --------------------------------------------------------------------------------------


def test_one_command_makes_the_tables_and_the_report(smoke_run):
    project, run = smoke_run
    assert run.returncode == 0, run.stdout
    assert (project / RESULTS / "cells.csv").stat().st_size > 0
    for name in ("report.html", "explorer.html", "workflow.html"):
        assert (project / RESULTS / name).stat().st_size > 0


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_has_its_table_as_csv_html_and_tex(finished, experiment):
    tables = finished / RESULTS / "tables"
    assert len(pd.read_csv(tables / f"{experiment}.csv")) > 0
    assert "<table" in (tables / f"{experiment}.html").read_text()
    assert r"\begin{tabular}" in (tables / f"{experiment}.tex").read_text()


@pytest.mark.parametrize("figure", [*(f"{name}-curves" for name in EXPERIMENTS), *ACROSS_STUDY])
def test_every_figure_is_there_as_svg_and_pdf(finished, figure):
    figures = finished / RESULTS / "figures"
    assert "<svg" in (figures / f"{figure}.svg").read_text()
    assert (figures / f"{figure}.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("name", [*EXPERIMENTS, "study"])
def test_every_notebook_is_executed_without_an_error(finished, name):
    notebooks = finished / RESULTS / "notebooks"
    notebook = nbformat.read(notebooks / f"{name}.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    kinds = [output.output_type for cell in code for output in cell.outputs]
    assert all(cell.execution_count for cell in code)
    assert "display_data" in kinds
    assert "error" not in kinds
    assert "<html" in (notebooks / f"{name}.html").read_text()


# ---- run again ----------------------------------------------------------------------------------


def test_a_second_run_has_nothing_to_do_and_touches_no_file(finished, snakemake):
    made = files(finished / "results") + files(finished / "store")
    before = {path: path.stat().st_mtime_ns for path in made}
    run = snakemake(finished, "--cores", 2, *STUDY)
    made = files(finished / "results") + files(finished / "store")
    assert run.returncode == 0
    assert "Nothing to be done" in run.stdout
    assert {path: path.stat().st_mtime_ns for path in made} == before


def test_a_project_that_is_moved_has_nothing_to_do(moved, snakemake):
    run = snakemake(moved, "--dry-run", *STUDY)
    assert run.returncode == 0
    assert "Nothing to be done" in run.stdout


def test_what_is_deleted_is_made_again_from_the_store_without_training(
    finished, copy, snakemake, smoke
):
    shutil.rmtree(copy / RESULTS)
    run = snakemake(copy, RESULTS / "cells.csv", "--cores", 2, *STUDY)
    assert run.returncode == 0, run.stdout
    table = RESULTS / "cells.csv"
    assert (copy / table).read_bytes() == (finished / table).read_bytes()
    for trajectory in runs_of(smoke):
        assert sessions(copy, trajectory.name) == sessions(finished, trajectory.name)


@pytest.mark.parametrize(
    ("lost", "jobs"),
    [
        ("figures", {"across_study": 1, "experiment": len(EXPERIMENTS)}),
        ("figures/accuracy.pdf", {"across_study": 1}),
        ("tables/vgg.tex", {"experiment": 1}),
        ("tables/external.html", {"judge": 1, "across_study": 1, "pages": 1, "explorer": 1}),
    ],
)
def test_exhibits_that_are_deleted_are_made_again(lost, jobs, copy, snakemake, job_stats):
    lost = copy / RESULTS / lost
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    run = snakemake(copy, "--dry-run", *STUDY)
    assert job_stats(run.stdout) == jobs | {"all": 1, "html_report": 1, "snakemake_report": 1}


# ---- numbers ------------------------------------------------------------------------------------


def test_each_cell_of_the_grid_is_one_row(cells, smoke):
    assert sorted(cells.cell) == sorted(cell.name for cell in grid.cells(smoke))
    assert cells.cell.is_unique


def test_a_row_holds_the_place_of_its_cell_in_the_grid(cells, smoke):
    rows = cells.set_index("cell")
    for cell in grid.cells(smoke):
        for column, value in axes.row(cell).items():
            found = rows.loc[cell.name, column]
            assert (None if value is None and math.isnan(found) else found) == value


def test_a_row_holds_the_numbers_of_its_cells_record(finished, cells):
    measures = ["steps", "steps_clipped", "clip_fraction", "norm_median", "norm_max"]
    measures += [f"{split}_loss" for split in ("train", "validation", "test")]
    measures += [f"{split}_accuracy" for split in ("train", "validation", "test")]
    results, _ = records(finished)
    for row in cells.itertuples():
        result = results[row.cell]
        assert {name: getattr(row, name) for name in measures} == {
            name: result[name] for name in measures
        }


def test_without_clipping_no_step_is_clipped(cells):
    unclipped = cells[cells.threshold == math.inf]
    assert len(unclipped) > 0
    assert (unclipped.steps_clipped == 0).all()
    assert (unclipped.clip_fraction == 0).all()


def test_the_clip_fraction_is_the_share_of_steps_clipped(cells):
    assert (cells.clip_fraction == cells.steps_clipped / cells.steps).all()
    assert (cells.clip_fraction > 0).any()


def test_accuracies_lie_between_zero_and_one(cells):
    accuracies = cells[["train_accuracy", "validation_accuracy", "test_accuracy"]]
    assert accuracies.notna().all(axis=None)
    assert ((accuracies >= 0) & (accuracies <= 1)).all(axis=None)


def test_a_history_has_a_row_for_each_step(cells, histories):
    last = cells.groupby("trajectory").steps.max()
    for trajectory, history in histories.items():
        assert list(history.step) == list(range(1, last[trajectory.name] + 1))


def test_the_coefficient_of_each_step_is_lambda_over_the_norm_and_at_most_one(histories):
    of_norm = {t: h for t, h in histories.items() if t.clip.kind == "norm"}
    assert len(of_norm) > 0
    for trajectory, history in of_norm.items():
        expected = (trajectory.clip.threshold / history.norm).clip(upper=1)
        assert list(history.coefficient) == pytest.approx(list(expected), rel=1e-12, abs=0)
        assert list(history.observed) == list(history.norm)
        assert set(history.limit) == {trajectory.clip.threshold}


def test_the_limit_of_autoclip_is_the_percentile_of_the_norms_so_far(histories):
    of_autoclip = {t: h for t, h in histories.items() if t.clip.kind == "autoclip"}
    assert len(of_autoclip) > 0
    for trajectory, history in of_autoclip.items():
        expected = history.norm.expanding().quantile(trajectory.clip.threshold / 100)
        assert list(history.limit) == pytest.approx(list(expected), rel=1e-12, abs=0)


def test_a_step_is_clipped_where_what_is_observed_is_above_the_limit(histories):
    assert {trajectory.clip.kind for trajectory in histories} == {"norm", "agc", "autoclip"}
    for history in histories.values():
        fires = history.observed > history.limit
        assert list(history.clipped) == list(fires.astype(int))
        assert list(history.share > 0) == list(fires)
        assert list(history.coefficient < 1) == list(fires)


def test_a_cell_summarizes_the_first_t_steps_of_its_history(cells, histories):
    by_name = {trajectory.name: history for trajectory, history in histories.items()}
    assert set(cells.iterations) == {4, 8}
    for cell in cells.itertuples():
        prefix = by_name[cell.trajectory].head(cell.iterations)
        assert cell.steps == cell.iterations
        assert cell.steps_clipped == prefix.clipped.sum()
        assert cell.norm_max == prefix.norm.max()
        # torch's median: of an even number of norms, the lower of the two in the middle.
        assert cell.norm_median == prefix.norm.quantile(0.5, interpolation="lower")


def test_arms_of_one_seed_take_their_first_step_from_one_loss_and_gradient(histories):
    """Whatever their λ and their optimizer: weights, batch and augmentation are the same."""
    firsts: dict[tuple, list] = {}
    for trajectory, history in histories.items():
        images = (trajectory.augmentation, trajectory.train_images, trajectory.label_noise)
        shared = (trajectory.model, *images, trajectory.seed)
        firsts.setdefault(shared, []).append((history.loss[0], history.norm[0]))
    assert len(firsts) < len(histories)
    for of_one_seed in firsts.values():
        losses, norms = zip(*of_one_seed, strict=True)
        assert len(set(losses)) == 1
        assert norms == pytest.approx([norms[0]] * len(norms), rel=1e-6)  # AGC adds up by units
    assert len({losses[0] for losses in firsts.values()}) == len(firsts)


def test_clipping_changes_nothing_before_the_first_step_that_it_clips(moved, clipgrid, cells):
    row = cells[(cells.model == "alexnet") & (cells.iterations == 8) & (cells.clip_fraction > 0)]
    clipped = histories_in(moved)[row.trajectory.iloc[0]]
    arguments = shlex.split(row.command.iloc[0])[3:]
    arguments[arguments.index("--clip") + 1] = "inf"
    arguments[arguments.index("--out") + 1] = "unclipped"
    run = clipgrid(moved, *arguments)
    assert run.returncode == 0, run.stdout
    free = pd.read_csv(moved / "unclipped" / "histories.csv")
    first = int(clipped.clipped.idxmax())
    same = ["loss", "norm"]
    assert clipped[same].head(first + 1).equals(free[same].head(first + 1))
    assert clipped.norm[first] > 1
    assert not clipped[same].iloc[first + 1 :].equals(free[same].iloc[first + 1 :])


def test_each_step_is_trained_once_and_fewer_than_asked_for(finished, smoke):
    trained = json.loads((finished / RESULTS / "trained.json").read_text())
    runs = runs_of(smoke)
    longest = [max(readout.iterations for readout in readouts) for readouts in runs.values()]
    assert trained["steps_needed"] == sum(longest)
    taken_over = trained["steps_needed"] - trained["steps_trained"]  # from unclipped runs
    assert 0 <= taken_over < trained["steps_needed"] < trained["steps_asked"]
    cells = pd.read_csv(finished / RESULTS / "cells.csv")
    idle = cells[(cells["clip"] == "norm") & (cells.threshold == 1) & (cells.steps_clipped == 0)]
    assert taken_over <= idle.groupby("trajectory").iterations.max().sum()
    assert trained["trajectories"] == len(runs)


@pytest.mark.parametrize(
    "cell",
    [
        "alexnet_momentum_lr0.03_norm1_none_seed0/T4",
        "resnet18_momentum_lr0.03_norm1_none_seed1/T8",
        "vgg11_momentum_lr0.03_norminf_none_seed0/T8_ema0.9",
    ],
)
def test_the_command_of_a_row_makes_its_cell_again_bit_for_bit(moved, clipgrid, cells, cell):
    command = cells.set_index("cell").command[cell]
    assert command.startswith("python -m clipgrid train ")
    run = clipgrid(moved, *shlex.split(command)[3:])
    assert run.returncode == 0, run.stdout

    def line_in(*files):
        (line,) = [x for f in files for x in f.read_text().splitlines() if f'"{cell}"' in x]
        return line

    redone = line_in(moved / "redo" / "cells.jsonl")
    assert redone == line_in(*(moved / RESULTS / "packs").glob("*.jsonl"))
    # Trained, and not taken from the study's store: there is progress to report.
    assert re.search(r"^step \d+/", run.stdout, re.MULTILINE)
    # The manual compares the two by a command of its own.
    *_, shown = re.findall("```sh\n(.*?)```", MANUAL.read_text(), re.DOTALL)
    named = re.search('"cell": "(.*?)"', shown)[1]
    shown = shown.replace(named, cell).replace("results/", f"{RESULTS}/")
    for typed, alike in ((shown, True), (shown.replace("redo/", "absent/"), False)):
        done = subprocess.run(["bash", "-c", typed], cwd=moved, capture_output=True, text=True)
        assert (done.returncode == 0 and not done.stdout) == alike


# ---- report -------------------------------------------------------------------------------------


def test_the_report_has_every_claim_section_figure_and_cell(report, smoke, cells, finished):
    claims = pd.read_csv(finished / RESULTS / "claims.csv").id
    assert sorted(row["id"] for row in report("details", class_="claim")) == sorted(claims)
    ids = {tag["id"] for tag in report(id=True)}
    assert ids >= {f"{kind}-{name}" for name in EXPERIMENTS for kind in ("section", "curves")}
    assert {f"figure-{name}" for name in ACROSS_STUDY} <= ids
    data = json.loads(report.find(id="data").string)
    assert [row[0] for row in data["cells"]] == cells.cell.tolist()
    assert [row[-1] for row in data["cells"]] == cells.command.tolist()


def test_the_report_tells_what_was_trained_and_names_the_data_by_its_checksum(finished, report):
    text = report.find(id="provenance").get_text()
    trained = json.loads((finished / RESULTS / "trained.json").read_text())
    checksum = json.loads((finished / RESULTS / "data.json").read_text())["checksum"]
    assert re.fullmatch("[0-9a-f]{64}", checksum)
    for value in (checksum, *trained["commit"], *trained["torch"]):
        assert value in text


def test_snakemakes_report_has_every_section_table_figure_and_notebook(of_snakemake, smoke):
    documented = [e for e in smoke.experiments.values() if e.section]
    sections = [f"2 Section {e.section}, {e.title}" for e in documented]
    others = {"1 Verdicts", "3 Clipping at work", "4 External validation", "5 Provenance"}
    categories = value_in(of_snakemake, "categories")
    assert set(categories) == {*sections, *others}
    shown = {name for each in categories.values() for names in each.values() for name in names}
    expected = {f"tables/{name}.html" for name in [*EXPERIMENTS, *PAGES]}
    expected |= {f"figures/{name}-curves.svg" for name in EXPERIMENTS}
    expected |= {f"figures/{name}.svg" for name in ACROSS_STUDY}
    expected |= {f"notebooks/{name}.html" for name in [*EXPERIMENTS, "study"]}
    assert shown == {str(RESULTS / name) for name in expected}
    assert set(value_in(of_snakemake, "results")) == shown


OUTSIDE = [
    r"<(?:script|img|iframe|embed|source)\b[^>]*\bsrc\s*=\s*[\"']?(?:https?:)?//",
    r"<link\b[^>]*\bhref\s*=\s*[\"']?(?:https?:)?//",
    r"<image\b[^>]*\bhref\s*=\s*[\"']?(?:https?:)?//",
    r"@import\s+(?:url\(\s*)?[\"']?(?:https?:)?//",
    r"\burl\(\s*[\"']?(?:https?:)?//",
]


def test_the_reports_and_all_pages_in_them_load_nothing_from_outside(finished, of_snakemake):
    pages = {"report": (finished / RESULTS / "report.html").read_text(), "workflow": of_snakemake}
    for name, result in value_in(of_snakemake, "results").items():
        kind, _, content = result["data_uri"].partition(";base64,")
        assert kind.startswith(("data:text/html", "data:image/svg+xml"))
        pages[name] = base64.b64decode(content).decode()
    assert {name for name, page in pages.items() if re.search("|".join(OUTSIDE), page)} == set()


def test_a_notebooks_page_begins_with_what_it_is_about_and_hides_what_only_sets_up(finished):
    page = BeautifulSoup((finished / RESULTS / "notebooks/alexnet.html").read_text(), "html.parser")
    said = " ".join(page.body.get_text(" ").split())
    assert said.startswith("One experiment")
    assert "AlexNet: 8 cells, 2 seeds" in said
    assert "import" not in said
    assert "experiment_table" in said  # what makes the table is shown


def test_snakemakes_own_report_command_works_too(moved, snakemake):
    run = snakemake(moved, "--report", "out.html", *STUDY)
    assert run.returncode == 0, run.stdout
    assert "2 Section 3.3.1, AlexNet" in (moved / "out.html").read_text()


# ---- growth -------------------------------------------------------------------------------------


def edited(project, *edits):
    """The smoke study after `edits`, in a file beside it: same results folder."""
    config = yaml.safe_load((project / "studies/smoke.yaml").read_text())
    for edit in edits:
        edit(config)
    path = project / "studies/edited.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def add_seed(config):
    config["seeds"].append(2)


def add_threshold(config):
    config["clips"].append(10)


def add_model(config):
    config["models"]["vgg13"] = {"width": 0.0625}
    config["experiments"]["vgg"]["select"][0]["models"].append("vgg13")


def add_augmentation(config):
    config["augmentations"].append("flip+crop")


def add_iterations(config):
    config["iterations"].append(12)


def add_decay(config):
    config["ema"].append(0.99)


def add_optimizer_to_an_experiment(config):
    config["experiments"]["vgg"]["select"][0]["optimizers"].append("rmsprop")


def remove_iterations(config):
    config["iterations"].remove(4)
    for experiment in config["experiments"].values():
        for selection in experiment["select"]:
            if 4 in selection.get("iterations", []):
                selection["iterations"].remove(4)


def remove_experiment(config):
    del config["experiments"]["augmentation"]
    config["augmentations"] = ["none"]


def change_title(config):
    config["title"] = 'Another "title", of somebody\'s'


def change_batch_size(config):
    config["training"]["batch_size"] = 16


def smaller_jobs(config):
    config["training"]["job_seconds"] = 1


def packs_of(s):
    """{name: the runs of that pack} of a study."""
    found = packs.of_study(s, runs_of(s))
    return {pack.name: pack for pack in found}


TRAIN_NOTHING = [smaller_jobs, remove_iterations, remove_experiment, change_title]
TRAIN = [
    add_seed,
    add_threshold,
    add_model,
    add_augmentation,
    add_iterations,
    add_decay,
    add_optimizer_to_an_experiment,
    change_batch_size,
]


@pytest.mark.parametrize("edit", TRAIN + TRAIN_NOTHING, ids=lambda edit: edit.__name__)
def test_a_study_that_changes_makes_the_packs_that_change_and_no_others(
    moved, snakemake, job_stats, smoke, edit
):
    path = edited(moved, edit)
    run = snakemake(moved, "--dry-run", "--configfile", path)
    assert run.returncode == 0, run.stdout
    jobs = job_stats(run.stdout)
    old, new = packs_of(smoke), packs_of(study.load(path))
    changed = [name for name, pack in new.items() if name not in old or old[name] != pack]
    assert jobs.get("train", 0) == len(changed)
    assert "prepare_data" not in jobs


@pytest.mark.parametrize(
    "edits", [TRAIN[:-1], TRAIN[-1:], TRAIN_NOTHING], ids=["more", "anew", "nothing"]
)
def test_a_study_that_changes_trains_what_is_new_and_nothing_else(
    finished, copy, snakemake, smoke, edits
):
    path = edited(copy, *edits)
    run = snakemake(copy, RESULTS / "cells.csv", "--cores", 2, "--configfile", path)
    assert run.returncode == 0, run.stdout
    old, new = runs_of(smoke), runs_of(study.load(path))
    before, after = records(finished), records(copy, path)
    trained = set()
    for trajectory, readouts in new.items():
        pieces = after[1][trajectory.name]["sessions"]
        if trajectory not in old:
            trained.add(trajectory)
            assert not pieces or pieces[-1]["to"] == readouts[-1].iterations  # none: taken over
            continue
        known = before[1][trajectory.name]["sessions"]
        if pieces != known:
            trained.add(trajectory)
        # What was measured is the same line, whoever asks for it.
        for readout in set(readouts) & set(old[trajectory]):
            name = study_cells.Cell(trajectory, readout).name
            assert after[0][name] == before[0][name]
    needed = {t for t, readouts in new.items() if not set(readouts) <= set(old.get(t, []))}
    # Runs that were never clipped take over the steps of the unclipped ones.
    taken_over = {t for t in new if not after[1][t.name]["sessions"]}
    assert needed - taken_over <= trained <= needed
    assert bool(needed) is (edits != TRAIN_NOTHING)
    asked = {study_cells.Cell(t, r).name for t, readouts in new.items() for r in readouts}
    assert set(pd.read_csv(copy / RESULTS / "cells.csv").cell) == asked


def test_a_larger_t_trains_only_the_steps_that_are_new(finished, copy, snakemake):
    name = "vgg11_momentum_lr0.03_norminf_none_seed0"
    path = edited(copy, add_iterations)
    run = snakemake(copy, RESULTS / "cells.csv", "--cores", 2, "--configfile", path)
    assert run.returncode == 0, run.stdout

    *before, last = sessions(copy, name, path)
    assert before == sessions(finished, name)
    assert (last["from"], last["to"]) == (8, 12)
    before, after = histories_in(finished)[name], histories_in(copy)[name]
    assert after.head(len(before)).equals(before)
    assert len(after) == 12
    for readout in ("T4", "T8", "T8_ema0.9"):
        cell = f"{name}/{readout}"
        assert records(copy, path)[0][cell] == records(finished)[0][cell]


def test_data_that_are_prepared_again_retrain_no_step(finished, copy, snakemake, smoke):
    pack = next(iter(packs_of(smoke)))
    target = packs.files(RESULTS, pack)[0]
    study_file = ("--configfile", "studies/smoke.yaml", "--forcerun", "prepare_data")
    run = snakemake(copy, target, "--cores", 1, *study_file)
    assert run.returncode == 0, run.stdout
    assert "rule train:" in run.stdout or "Train " in run.stdout
    assert (copy / target).read_bytes() == (finished / target).read_bytes()


def test_code_that_changes_is_never_passed_off_as_old_results(finished, copy, snakemake):
    """Half a clip factor: what it made is made anew, and other numbers come of it."""
    file = copy / "src/clipgrid/clipping/shared.py"
    source = file.read_text()
    assert source.count("numbers[2] / numbers[1]") == 1  # λ/‖g‖, on a CPU
    file.write_text(source.replace("numbers[2] / numbers[1]", "0.5 * numbers[2] / numbers[1]"))
    run = snakemake(copy, RESULTS / "cells.csv", "--cores", 2, *STUDY)
    assert run.returncode == 0, run.stdout
    old, new = (pd.read_csv(p / RESULTS / "cells.csv").set_index("cell") for p in (finished, copy))
    assert list(old.index) == list(new.index)
    changed = old.weights_sha256 != new.weights_sha256
    by_norm = (old["clip"].isin(["norm", "autoclip"])) & (old.steps_clipped > 0)
    assert changed[by_norm].all()
    assert not changed[~by_norm].any()


def test_the_plan_of_a_finished_study_sets_beside_its_estimates_what_it_took(finished, clipgrid):
    run = clipgrid(finished, "plan", "studies/smoke.yaml")
    assert run.returncode == 0, run.stdout
    lines = [re.split(r"\s{2,}", line) for line in run.stdout.splitlines()]
    everything = {line[0]: line[-1] for line in lines if len(line) > 1}
    assert everything["cells"] == str(len(pd.read_csv(finished / RESULTS / "cells.csv")))
    estimated, taken = (float(everything[row]) for row in ("disk, GB", "disk as measured, GB"))
    assert estimated == pytest.approx(taken, rel=0.2)
    assert float(everything["hours as measured"]) > 0

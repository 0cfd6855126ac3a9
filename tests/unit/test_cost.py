"""What training costs, by estimate, held against counts of torch's and runs of the trainer's."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

import clipgrid
from clipgrid import models
from clipgrid.__main__ import main
from clipgrid.study import cells, cost, grid, looks, packs, parts, plan
from clipgrid.study.cells import Readout, Trajectory, replace
from clipgrid.study.config import Data, load

ROOT = Path(__file__).parents[2]
DIGITS = Data(name="digits", size=12)
RUN = Trajectory(
    model="alexnet:width=0.125", optimizer="momentum", learning_rate=0.03, clip=1, seed=0
)
WIDE = replace(RUN, model="alexnet")


def test_the_table_of_costs_is_what_torch_counts(capsys):
    assert main(["costs"]) == 0
    assert capsys.readouterr().out == (ROOT / "src" / "clipgrid" / "study/costs.csv").read_text(), (
        "make it anew: PYTHONPATH=src python -m clipgrid costs > src/clipgrid/study/costs.csv"
    )


def test_the_counts_are_those_that_torchvision_publishes():
    """Of its classification models at 224 px: 10⁹ multiply-adds, with 1000 classes."""
    published = {"alexnet": 0.71, "vgg11": 7.61, "vgg16": 15.47, "resnet18": 1.81, "resnet50": 4.09}
    counted = {
        m: cost.network(parts.choose("model", m), 224).multiply_adds / 1e9 for m in published
    }
    assert counted == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize("model", ["alexnet", "vgg11", "vgg11_bn", "resnet18"])
@pytest.mark.parametrize(("size", "width"), [(12, 0.125), (30, 0.25), (100, 0.5)])
def test_a_narrow_net_at_a_size_that_is_not_listed_is_not_far_off(model, size, width):
    with torch.device("meta"):
        net = models.build(model, 3, size, 10, width)
    parameters = sum(p.numel() for p in net.parameters())
    choice = parts.choose("model", model, {"width": width})
    assert cost.network(choice, size).parameters == pytest.approx(parameters, rel=0.4)


def test_a_model_that_is_not_in_the_table_is_counted():
    with torch.device("meta"):
        net = parts.choose("model", "squeezenet1_1")(3, 64, 10)
    counted = cost.network(parts.choose("model", "squeezenet1_1"), 64)
    assert counted.parameters == sum(p.numel() for p in net.parameters())
    assert counted.multiply_adds > 1e6


def test_every_data_set_has_as_many_images_as_it_is_said_to(clipgrid_data):
    said, about = parts.find("dataset", "digits").about, clipgrid_data.about
    assert said["channels"] == about["channels"]
    assert said["images"] == tuple(about["images"].values())


@pytest.fixture(scope="module")
def clipgrid_data(tmp_path_factory):
    from clipgrid.images.data import Dataset, prepare

    folder = tmp_path_factory.mktemp("data")
    prepare("digits", 8, 0, folder, folder / "data.pt", folder / "store")
    return Dataset.load(folder / "data.pt")


def test_what_is_more_costs_more():
    def seconds(**changes):
        return cost.seconds(replace(RUN, **changes), [Readout(500)], DIGITS)

    assert seconds() < seconds(batch_size=64) < seconds(batch_size=64, model="alexnet:width=0.5")
    assert seconds() < seconds(accumulation_steps=2)
    assert seconds() < seconds(evaluate_every=1)
    assert seconds() < cost.seconds(RUN, [Readout(500), Readout(501)], DIGITS)
    assert cost.disk_bytes(RUN, [Readout(5)], DIGITS) < cost.disk_bytes(
        RUN, [Readout(5), Readout(5, 0.9)], DIGITS
    )


def test_gpus_that_share_a_run_divide_its_time_and_its_activations():
    large, data = replace(RUN, model="resnet50", batch_size=128), Data(size=224)
    two = replace(large, gpus_per_run=2, device="cuda")
    one = replace(large, device="cuda")
    seconds = [cost.seconds(run, [Readout(500)], data) for run in (one, two)]
    assert 0.5 < seconds[1] / seconds[0] < 0.6
    memory = [cost.memory_mb(run, [Readout(5)], data)[1] for run in (one, two)]
    assert 0.5 < memory[1] / memory[0] < 0.6


def test_a_set_that_is_read_from_its_file_is_not_held():
    small, large = Data(name="digits", size=224), Data(name="imagenet", size=224)
    gpu = [cost.memory_mb(replace(RUN, device="cuda"), [Readout(5)], d)[1] for d in (small, large)]
    assert gpu[1] < gpu[0]
    assert cost.dataset_bytes(large) > 10 * looks.RESIDENT_BYTES


def test_what_reads_a_large_set_for_a_gpu_is_asked_for():
    small, large = Data(name="digits", size=224), Data(name="imagenet", size=224)
    gpu = replace(RUN, device="cuda")
    assert [cost.cpus(gpu, data) for data in (small, large)] == [1, 2]
    assert cost.cpus(RUN, large) == 1
    assert cost.cpus(replace(gpu, gpus_per_run=2), large) == 4


def test_no_state_is_counted_from_which_nothing_can_go_on():
    constant, cosine = RUN, replace(RUN, schedule="cosine", schedule_steps=1000)

    def megabytes(run, *steps):
        return cost.disk_bytes(run, [Readout(T) for T in steps], DIGITS) / 1e6

    state = cost.weights_bytes(RUN, [Readout(1000)], DIGITS) / 1e6
    assert megabytes(constant, 1000) - megabytes(cosine, 1000) == pytest.approx(state, rel=0.05)
    assert megabytes(constant, 500) == megabytes(cosine, 500)
    assert 0 < megabytes(cosine, 1000) < state / 10


def test_a_gpu_holds_what_a_core_would():
    host, none = cost.memory_mb(WIDE, [Readout(5)], DIGITS)
    gpu_host, gpu = cost.memory_mb(replace(WIDE, device="cuda"), [Readout(5)], DIGITS)
    assert none == 0
    assert host - cost.PROCESS_MB["cpu"] == pytest.approx(gpu, abs=2)
    assert gpu_host == pytest.approx(cost.PROCESS_MB["cuda"], abs=2)


@given(st.lists(st.floats(0.1, 100), min_size=1), st.integers(1, 20))
def test_jobs_end_no_sooner_than_they_can_and_within_grahams_bound(seconds, jobs):
    soonest = max(max(seconds), sum(seconds) / jobs)
    end = plan.makespan(seconds, jobs)
    assert soonest * (1 - 1e-9) <= end <= (2 - 1 / jobs) * soonest * (1 + 1e-9)


def test_jobs_that_do_not_overtake_end_when_they_are_seen_to():
    assert plan.makespan([3, 3, 4], 2) == 7
    assert plan.makespan([3, 3, 4], 3) == 4
    assert plan.makespan([3, 3, 4], 1) == 10


def rows(text, columns=4):
    """{row: its figures} of a plan's table, a column a model and one of all."""
    lines = [line.rsplit(maxsplit=columns) for line in text.splitlines() if line[:1].islower()]
    return {line[0].strip(): line[1:] for line in lines if len(line) == 1 + columns}


def test_a_plan_counts_cells_and_asks_for_gpus(config, tmp_path, capsys):
    config |= {
        "models": {"alexnet": {}, "vgg16": {}, "resnet50": {}},
        "clips": [1, 10, "inf"],
        "iterations": [500, 1000, 5000],
        "ema": ["none", 0.99, 0.999],
        "augmentations": ["none", "flip", "crop", "flip+crop"],
        "optimizers": {"momentum": {"learning_rates": [0.01]}},
        "seeds": [0, 1, 2],
        "training": {"batch_size": 128, "device": "cuda"},
    }
    del config["experiments"]
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    assert main(["plan", str(tmp_path / "study.yaml")]) == 0
    text = capsys.readouterr().out
    table = rows(text)
    # 3 models × 3 λ × 4 augmentations × 3 seeds, of 3 T × 3 decays each; all trained to T = 5000.
    assert table["runs"] == ["36", "36", "36", "108"]
    assert table["cells"] == ["324", "324", "324", "972"]
    assert table["steps trained"] == ["180,000"] * 3 + ["540,000"]
    assert table["steps, if each cell were trained alone"][-1] == "2,106,000"
    assert "CUDA hours" in text
    assert "not measured" in text
    assert "as measured" not in text


@pytest.mark.parametrize(
    "more", [{"seeds": [0, 1]}, {"iterations": [5, 1000]}, {"training": {"batch_size": 8}}],
    ids=["a seed", "a T", "a batch size"],
)  # fmt: skip
def test_a_plan_says_what_was_measured_until_the_study_changes(
    config, more, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path, results = tmp_path / "study.yaml", tmp_path / "results"
    path.write_text(yaml.safe_dump(config))
    study = load(path)
    (results / "packs").mkdir(parents=True)
    (results / "data.json").write_text('{"checksum": "0"}')
    session = {"training_seconds": 3000, "evaluation_seconds": 500}
    for pack in packs.of_study(study, cells.runs_of(grid.cells(study))):
        for t, readouts in pack.runs.items():
            rows = [{"cell": cells.Cell(t, r).name, **t.model_dump(mode="json")} for r in readouts]
            run = {"run": t.name, "sessions": [session], "readout_seconds": 100}
            with packs.files(results, pack.name)[0].open("a") as file:
                file.write(packs.lines(rows, run, "", ""))
    assert main(["plan", str(path)]) == 0
    said = rows_of_plan(capsys)
    assert said["hours as measured"] == ["2", "2"]  # of 2 runs
    assert said["runs that are trained"] == ["2", "2"]
    assert "hours still to go" not in said
    path.write_text(yaml.safe_dump(config | more))
    assert main(["plan", str(path)]) == 0
    said = rows_of_plan(capsys)
    assert "hours as measured" not in said
    if "seeds" in more:
        assert said["runs that are trained"] == ["2", "2"]
        assert "hours still to go" in said


def rows_of_plan(capsys):
    return rows(capsys.readouterr().out, columns=2)


def test_a_plan_for_longer_jobs_has_fewer(capsys):
    study = str(ROOT / "studies" / "imagenet.yaml")
    jobs = []
    for more in ([], ["--job-seconds", "7200"]):
        assert main(["plan", study, *more]) == 0
        jobs.append(int(rows(capsys.readouterr().out, 5)["jobs"][-1]))
    assert jobs[0] > jobs[1]


def test_the_plan_of_a_file_that_is_none_is_one_error(tmp_path, capsys):
    assert main(["plan", str(tmp_path / "absent.yaml")]) == 1
    assert "absent.yaml can't be read" in capsys.readouterr().err


def test_costs_and_plan_do_not_import_torch():
    code = "import sys, clipgrid.study.cost, clipgrid.study.plan; sys.exit('torch' in sys.modules)"
    source = Path(clipgrid.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(source)})


def test_the_table_has_every_model_at_every_listed_size():
    text = (ROOT / "src" / "clipgrid" / "study/costs.csv").read_text()
    listed = {(row["model"], int(row["size"])) for row in csv.DictReader(io.StringIO(text))}
    assert listed == {(model, size) for model in parts.names("model") for size in cost.SIZES}

"""`snakemake --profile slurm` on a real cluster: what clusters do to jobs ends in the results of a
local run, bit for bit."""

import json
import re
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest
import yaml
from cluster import Cluster, missing, wait_for

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

RESULTS = Path("results/slurm")
STUDY = {
    "title": "On a cluster",
    "results": str(RESULTS),
    "data": {"name": "digits", "size": 8},
    "models": {"alexnet": {"width": 0.125}},
    "optimizers": {"momentum": {"learning_rates": [0.03]}},
    "clips": [1],
    "iterations": [100, 2500],
    "ema": ["none", 0.99],
    "augmentations": ["flip+crop"],
    "seeds": [0, 1, 2, 3, 4, 5],
    "training": {"checkpoint_every": 0.5, "evaluate_every": 50, "job_seconds": 0},
    "experiments": {"only": {"title": "Only", "section": "1", "select": [{}]}},
}
UNDISTURBED, PAIR = 5, (0, 1)  # seeds
# The profile, that looks after jobs more often than a real cluster would like.
QUICK = ("--slurm-init-seconds-before-status-checks", 2, "--latency-wait", 20)
SLURM = ("--profile", "slurm", *QUICK, "--config", "training={job_seconds: 0}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("slurm") / "cluster", nodes=6, cpus=1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def prepared(new_project, tmp_path_factory, snakemake):
    """A project with the study, whose data are prepared."""
    project = new_project(tmp_path_factory.mktemp("prepared") / "project")
    (project / "study.yaml").write_text(yaml.safe_dump(STUDY))
    run = snakemake(project, RESULTS / "data.pt", "--cores", 1, "--configfile", "study.yaml")
    assert run.returncode == 0, run.stdout
    return project


@pytest.fixture
def home(prepared, cluster, tmp_path, monkeypatch):
    """A copy of it on the cluster's login node."""
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    return shutil.copytree(prepared, tmp_path / "project")


@pytest.fixture(scope="module")
def local(prepared, tmp_path_factory, snakemake):
    """Another, in which the study was run on this machine."""
    project = shutil.copytree(prepared, tmp_path_factory.mktemp("local") / "project")
    run = snakemake(project, *runs(STUDY["seeds"]), "--cores", 2)
    assert run.returncode == 0, run.stdout
    return project


def runs(seeds):
    """What to make: the runs of these seeds."""
    return [*(rows(seed) for seed in seeds), "--configfile", "study.yaml"]


def rows(seed):
    """The rows of a run, which is a pack of its own."""
    return RESULTS / "packs" / f"{name(seed)}.jsonl"


def measured(project, seeds=STUDY["seeds"]):
    """All that was measured of these seeds: the lines of cells, and histories."""
    lines = [line for s in seeds for line in (project / rows(s)).read_text().splitlines()]
    cells = [line for line in lines if "cell" in json.loads(line)]
    assert len(cells) == 4 * len(seeds)
    histories = [(project / rows(s)).with_suffix(".csv").read_text() for s in seeds]
    return cells, histories


def sessions(project, seed):
    """[(first step, last step)] of each go at training a run."""
    *_, run = (json.loads(line) for line in (project / rows(seed)).read_text().splitlines())
    return [(s["from"], s["to"]) for s in run["sessions"]]


def name(seed):
    return f"alexnet_momentum_lr0.03_norm1_flip+crop_seed{seed}"


def job_of(cluster, seed):
    """The running job of a run; None where there is none."""
    for job, (state, _, comment) in cluster.jobs().items():
        if state == "RUNNING" and comment.endswith(name(seed)):
            return job
    return None


def trainer_of(project, seed):
    """The process that trains a run; None where there is none."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = process.info["cmdline"] or []
        trains = command[1:4] == ["-m", "clipgrid", "train-pack"]
        if (
            trains
            and process.info["cwd"] == str(project)
            and f"/{name(seed)}.jsonl" in " ".join(command)
        ):
            return process
    return None


def steps_of(project, seed):
    """How far the log of a run's job says that it is."""
    log = project / RESULTS / "logs" / "train" / f"{name(seed)}.log"
    lines = log.read_text().splitlines() if log.exists() else []
    steps = [line.split()[1] for line in lines if line.startswith("step ")]
    return int(steps[-1].partition("/")[0]) if steps else 0


def stop_midway(project, cluster, seed):
    """Wait until a run has been trained for some steps, halt it there; its job and process."""
    wait_for("training", lambda: trainer_of(project, seed) and steps_of(project, seed) >= 150)
    trainer = trainer_of(project, seed)
    trainer.suspend()
    assert steps_of(project, seed) < 2500
    return job_of(cluster, seed), trainer


def wait_for_end(master, cluster):
    """Requeued jobs needn't wait for the two minutes that SLURM gives a node to clean up."""
    deadline = time.monotonic() + 300
    while master.poll() is None:
        assert time.monotonic() < deadline, "Snakemake doesn't end"
        for job, (state, *_) in cluster.jobs().items():
            if state == "PENDING":
                cluster.command("scontrol", "update", f"JobId={job}", "StartTime=now")
        time.sleep(1)


def details(cluster, job):
    return cluster.command("scontrol", "show", "job", job)


def test_what_clusters_do_to_jobs_costs_only_the_steps_since_the_last_checkpoint(
    home, cluster, local, start
):
    log = home / "log"
    with (
        log.open("w") as file,
        start(home, "snakemake", *runs(STUDY["seeds"]), *SLURM, stdout=file) as master,
    ):
        canceled, over_time, preempted, dead, cut_off = (
            stop_midway(home, cluster, seed) for seed in range(5)
        )
        node_of = {job: node for job, (_, node, _) in cluster.jobs().items()}
        cluster.command("scancel", canceled[0])
        cluster.command("scontrol", "update", f"JobId={over_time[0]}", "TimeLimit=1")
        # A partition of higher priority wants the node.
        urgent = ("-p", "high", "-w", node_of[preempted[0]], "-o", "/dev/null", "--wrap", "true")
        cluster.command("sbatch", *urgent)
        # A node dies with all that runs there; another one can't be reached, and its job runs on.
        cluster.crash(node_of[dead[0]])
        cluster.cut_off(node_of[cut_off[0]])
        wait_for("requeued", lambda: "Restarts=1" in details(cluster, cut_off[0]))
        cut_off[1].resume()
        wait_for_end(master, cluster)
    assert master.returncode == 0, log.read_text()
    assert measured(home) == measured(local)

    # It did happen: the two that SLURM ended were submitted again, the others requeued.
    states = {job: state for job, (state, *_) in cluster.jobs().items()}
    assert states[canceled[0]] == "CANCELLED"
    assert states[over_time[0]] == "TIMEOUT"
    assert states[preempted[0]] == states[dead[0]] == "COMPLETED"
    assert all("Restarts=1" in details(cluster, job) for job, _ in (preempted, dead, cut_off))
    # Straight through, a run is trained in two goes: to each T.
    assert all(len(sessions(home, seed)) > 2 for seed in range(4)), "nothing was interrupted"
    assert sessions(home, UNDISTURBED) == [(0, 100), (100, 2500)]
    for seed in STUDY["seeds"]:
        pieces = sessions(home, seed)
        assert [first for first, _ in pieces[1:]] == [last for _, last in pieces[:-1]]
        assert (pieces[0][0], pieces[-1][1]) == (0, 2500)


def test_a_snakemake_that_is_interrupted_and_then_killed_goes_on(
    home, cluster, local, start, snakemake
):
    command = ("snakemake", *runs(PAIR), *SLURM)
    with (home / "log").open("w") as file:
        with start(home, *command, stdout=file) as master:
            job, trainer = stop_midway(home, cluster, 0)
            trainer.resume()
            master.send_signal(signal.SIGINT)
        # It takes its jobs with it.
        wait_for("cancelled", lambda: cluster.jobs()[job][0] == "CANCELLED")
        wait_for("saved", lambda: not job_of(cluster, 0))
        with start(home, *command, stdout=file) as master:
            _, trainer = stop_midway(home, cluster, 1)
            master.kill()
        # Its jobs go on, and are still there when the next one submits them again.
        refused = snakemake(home, *command[1:])
        assert "--unlock" in refused.stdout
        assert snakemake(home, "--unlock", "--configfile", "study.yaml").returncode == 0
        trainer.resume()
    run = snakemake(home, *command[1:])
    assert run.returncode == 0, run.stdout
    assert measured(home, PAIR) == measured(local, PAIR)
    assert len(sessions(home, 0)) > 2


SITE = {"default-resources": {"slurm_partition": "high", "gpu_model": "fake", "qos": "normal"}}


def test_gpu_jobs_ask_for_one_each_and_those_that_fail_name_their_logs(home, cluster, snakemake):
    site = home / "site"
    site.mkdir()
    (site / "config.yaml").write_text(yaml.safe_dump(SITE))
    (home / RESULTS / "data.pt").unlink()  # a job without a GPU comes first
    how = (*SLURM[:2], "--profile", "site", *QUICK, "--retries", 0)
    device = "training={job_seconds: 0, device: cuda}"
    run = snakemake(home, *runs(PAIR), *how, "--config", device)
    assert run.returncode == 1
    preparing, *training = re.findall(r"submitted with SLURM jobid (\d+)", run.stdout)
    assert len(training) == len(PAIR)
    assert "TresPerJob=gres:gpu:fake:0" in details(cluster, preparing)
    assert all("TresPerJob=gres:gpu:fake:1" in details(cluster, job) for job in training)
    assert all("Partition=high" in details(cluster, job) for job in (preparing, *training))
    # None waits for the other, as on a machine with one GPU.
    assert run.stdout.index("Error in rule") > run.stdout.rindex("submitted with SLURM jobid")
    for seed in PAIR:
        log = RESULTS / "logs" / "train" / f"{name(seed)}.log"
        said = run.stdout.partition(f"Not trained; its log is {log}")[2]
        assert "device: torch finds no CUDA device here" in said.splitlines()[1]


def test_the_smoke_study_makes_its_report_on_the_cluster(home, cluster, snakemake, smoke_run):
    run = snakemake(home, "--profile", "slurm", *QUICK, "--configfile", "studies/smoke.yaml")
    assert run.returncode == 0, run.stdout
    here, there = (project / "results" / "smoke" for project in (home, smoke_run[0]))
    for table in ("cells.csv", "claims.csv"):
        assert (here / table).read_text() == (there / table).read_text()
    assert (here / "report.html").stat().st_size > 1e5

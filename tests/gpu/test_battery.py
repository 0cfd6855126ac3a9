"""In order of value: a machine may be lent for minutes."""

import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from where import DEVICE, SMALL

import clipgrid
from clipgrid.clipping import Clipper, Flat
from clipgrid.images import loading
from clipgrid.images.data import Dataset
from clipgrid.images.loading import Images
from clipgrid.study import parts
from clipgrid.study.cells import Clip, Readout, Trajectory, replace
from clipgrid.study.packs import Pack
from clipgrid.training import distributed
from clipgrid.training.loop import advance, update
from clipgrid.training.machine import set_up_process
from clipgrid.training.readouts import measure
from clipgrid.training.run import Run
from clipgrid.training.states import Store

SOURCE = Path(clipgrid.__file__).parents[1]
NETS = ("alexnet:width=0.25", "vgg11:width=0.25", "resnet18:width=0.25")
THRESHOLDS = {"norm": 1, "l1norm": 50, "maxnorm": 0.1, "value": 0.05, "layer": 0.5, "agc": 0.01}
BASE = Trajectory(
    model=NETS[0],
    optimizer="momentum:weight_decay=0.0005",
    learning_rate=0.01,
    clip=1,
    augmentation="flip+crop",
    seed=0,
    batch_size=16 if SMALL else 128,
    evaluate_every=10,
    device=DEVICE,
)
FLOP_OF_RESNET18 = 3.33e9  # of an image of 32 px: forward, and twice as many backward
STEPS = 4 if SMALL else 100
cuda = pytest.mark.cuda


def clips():
    for kind in parts.names("clip_kind"):
        most = parts.find("clip_kind", kind).about["most"]
        yield Clip.of(kind, THRESHOLDS.get(kind, min(50, most)))


def variants():
    """All nets with all clip kinds and two optimizers; all augmentations; AdamW."""
    for net in NETS[:1] if SMALL else NETS:
        for clip in clips():
            yield replace(BASE, model=net, clip=clip)
            yield replace(BASE, model=net, clip=clip, optimizer="rmsprop", learning_rate=1e-3)
    for augmentation in parts.names("augmentation"):
        yield replace(BASE, augmentation=augmentation)
    yield replace(BASE, optimizer="adamw", learning_rate=1e-3)


def command(runs, data, folder, store="store"):
    pack = Pack({t: [Readout.parse(name) for name in names] for t, names in runs.items()})
    files = ("--cells", folder / "cells.jsonl", "--histories", folder / "histories.csv")
    return [
        *(sys.executable, "-m", "clipgrid", "train-pack", "--pack", pack.text, "--data", data),
        *(*files, "--store", folder / store),
    ]


def train(*arguments):
    """Of a process of its own: the rows of its cells, and its file of histories."""
    subprocess.run(command(*arguments), env=os.environ | {"PYTHONPATH": str(SOURCE)}, check=True)
    _, _, folder, *_ = arguments
    return results(folder)


def results(folder):
    rows = map(json.loads, (folder / "cells.jsonl").read_text().splitlines())
    cells = [row for row in rows if "cell" in row]
    return cells, (folder / "histories.csv").read_bytes()


def synchronized():
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


@contextmanager
def no_waiting():
    """On a GPU, waiting for it is an error."""
    if DEVICE == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if DEVICE == "cuda":
            torch.cuda.set_sync_debug_mode("default")


def seconds_a_step(step, steps=STEPS):
    """Median of five rounds, after a warm-up."""
    for _ in range(min(steps, 20)):
        step()
    rounds = []
    for _ in range(2 if SMALL else 5):
        started = synchronized()
        for _ in range(steps):
            step()
        rounds.append((synchronized() - started) / steps)
    return statistics.median(rounds)


def test_a_cell_of_each_net_is_trained_and_read_out(small, tmp_path, found):
    runs = {replace(BASE, model=net): ["T20", "T20_ema0.9"] for net in NETS}
    cells, _ = train(runs, small, tmp_path)
    assert len(cells) == 6
    assert all(cell["status"] != "diverged" for cell in cells)  # 20 steps may not teach much
    found["accuracies after 20 steps"] = [cell["test_accuracy"] for cell in cells]


def test_two_processes_give_the_same_bits(small, tmp_path):
    runs = {trajectory: ["T20", "T20_ema0.9"] for trajectory in variants()}
    one, other = (train(runs, small, tmp_path / name) for name in ("one", "other"))
    assert one == other


def test_a_run_that_is_continued_or_killed_has_the_bits_of_one_that_was_not(small, tmp_path):
    runs = [{replace(BASE, model=net): [T] for net in NETS} for T in ("T20", "T40")]
    train(runs[0], small, tmp_path / "continued")
    assert train(runs[1], small, tmp_path / "continued") == train(runs[1], small, tmp_path / "one")

    long = {replace(BASE, model=NETS[2], evaluate_every=1): [f"T{100 * STEPS}"]}
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    killed = subprocess.Popen(
        command(long, small, tmp_path / "killed"),
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not killed.stderr.readline().startswith("step "):
        assert killed.poll() is None
    killed.send_signal(signal.SIGTERM)
    assert killed.communicate()[1].count("stopped by SIGTERM") == 1
    assert killed.returncode == 128 + signal.SIGTERM
    assert train(long, small, tmp_path / "killed") == train(long, small, tmp_path / "whole")


@cuda
@pytest.mark.parametrize("resident", [True, False])
def test_no_step_waits_for_the_gpu(small, device, monkeypatch, resident):
    monkeypatch.setattr(loading, "RESIDENT_BYTES", 8e9 * resident)
    dataset = Dataset.load(small)
    for trajectory in variants():
        if trajectory.clip.choice.name == "spectral":  # torch waits in a decomposition
            continue
        run = Run(trajectory, dataset, {0.9})
        for _ in range(30):  # past a warm-up
            update(run)
        with no_waiting():
            for _ in range(3):
                update(run)


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", 1e-5), pytest.param("tf32", 1e-3, marks=cuda)]
)
@pytest.mark.parametrize("net", NETS)
def test_a_gradient_is_that_of_a_cpu(small, monkeypatch, found, net, precision, tolerance):
    monkeypatch.setattr(nn.Dropout, "forward", lambda self, x: x)  # each device has its own masks
    dataset = Dataset.load(small)
    set_up_process(precision)
    gradients = []
    for where in (DEVICE, "cpu"):
        kind = precision if where == DEVICE else "float32"
        run = Run(replace(BASE, model=net, device=where, precision=kind), dataset, set())
        images, labels = next(run.upcoming)
        run.backward(images, labels, 0)
        gradients.append(torch.cat([g.cpu().flatten().double() for g in run.weights.gradients]))
    set_up_process()
    error = ((gradients[0] - gradients[1]).norm() / gradients[1].norm()).item()
    found[f"relative error of a gradient, {net}, {precision}"] = error
    assert error < tolerance


@pytest.mark.parametrize("clip", list(clips()), ids=lambda clip: clip.kind)
def test_clipping_is_that_of_a_cpu(device, clip):
    draws = torch.Generator().manual_seed(0)
    gradients = [torch.randn(size, generator=draws) for size in ((300, 300), (7,), (40, 3, 5, 5))]
    seen, clipped = [], []
    for where in (device, torch.device("cpu")):
        flat = Flat([gradient.to(where) for gradient in gradients])
        flat.fill(gradients)
        weights, state = [torch.ones_like(gradient) for gradient in flat], {}
        told = clip.choice(flat, weights, clip.threshold, state)
        seen.append([x.item() for x in told])
        clipped.append(torch.cat([gradient.cpu().flatten() for gradient in flat]))
    assert seen[0] == pytest.approx(seen[1], rel=1e-6)
    assert seen[0][0] == pytest.approx(seen[1][0], rel=1e-8)
    torch.testing.assert_close(*clipped, rtol=1e-6, atol=0)


@pytest.mark.parametrize("clip", list(clips()), ids=lambda clip: clip.kind)
def test_a_clipper_sees_what_it_sees_on_a_cpu_and_waits_for_nothing(device, clip):
    draws = torch.Generator().manual_seed(0)
    steps = [[10 * torch.randn(4, 3, generator=draws), torch.randn(7, generator=draws)]
             for _ in range(8)]  # fmt: skip
    steps[5][1][2] = torch.inf
    tables, clipped = [], []
    for where in (device, torch.device("cpu")):
        parameters = [nn.Parameter(torch.ones_like(g, device=where)) for g in steps[0]]
        clipper = Clipper(parameters, str(clip), by_layer=True)
        for gradients in steps:
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient.to(where, copy=True)
            with nullcontext() if clip.choice.name == "spectral" else no_waiting():
                clipper()
            clipped.append([parameter.grad.cpu() for parameter in parameters])
        tables.append(torch.tensor(list(clipper.table().values())).nan_to_num())
        assert clipper.first_not_finite == (6, ("1",))
    torch.testing.assert_close(*tables, rtol=1e-6, atol=1e-9)
    there, here = clipped[: len(steps)], clipped[len(steps) :]
    torch.testing.assert_close(there, here, rtol=1e-5, atol=1e-7, equal_nan=True)


@pytest.mark.parametrize("width", [0.25, 1.0])
@pytest.mark.parametrize("net", ["alexnet", "resnet18"])
def test_speed_of_a_step(small, found, net, width):
    dataset = Dataset.load(small)
    images = Images(dataset, torch.device(DEVICE))
    trajectory = replace(BASE, model=f"{net}:width={0.125 if SMALL else width}")
    modes = ("none", "default", "reduce-overhead") if DEVICE == "cuda" else ("none",)
    for mode in modes:
        run = Run(replace(trajectory, compile=mode), dataset, {0.9, 0.99}, images)
        seconds = seconds_a_step(lambda run=run: update(run))
        found[f"ms a step, {net}, width {width}, compile {mode}"] = 1000 * seconds


@cuda
def test_whether_a_graph_has_the_bits_of_eager_steps(small, found):
    dataset = Dataset.load(small)
    shas = []
    for mode in ("none", "reduce-overhead"):
        run = Run(replace(BASE, compile=mode, augmentation="none"), dataset, set())
        advance(run, 20)
        shas.append(measure(run, None)["weights_sha256"])
    found["compiled steps have the bits of eager ones"] = shas[0] == shas[1]


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_runs_at_once(small, tmp_path, found, processes):
    processes = min(processes, 2) if SMALL else processes
    commands = [
        command({replace(BASE, seed=seed): [f"T{20 * STEPS}"]}, small, tmp_path / str(seed))
        for seed in range(processes)
    ]
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    started = time.perf_counter()
    running = [subprocess.Popen(c, env=environment, stderr=subprocess.DEVNULL) for c in commands]
    assert [process.wait() for process in running] == [0] * processes
    steps = processes * 20 * STEPS
    found[f"steps a second, {processes} processes"] = steps / (time.perf_counter() - started)


@cuda
@pytest.mark.parametrize("batch", [512, 1024])
def test_share_of_the_peak_that_resnet18_reaches(small, found, batch):
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    peak = 2 * 8192**3 / seconds_a_step(lambda: a @ b, 20)
    found["bfloat16 TFLOP/s of a matrix product"] = peak / 1e12
    dataset = Dataset.load(small)
    trajectory = replace(BASE, model="resnet18", batch_size=batch, precision="bfloat16")
    for mode in ("none", "default"):
        run = Run(replace(trajectory, compile=mode), dataset, set())
        images = batch / seconds_a_step(lambda run=run: update(run), 30)
        name = f"ResNet-18, batch {batch}, bfloat16, compile {mode}"
        found[f"{name}: images a second"] = images
        found[f"{name}: share of the peak"] = images * FLOP_OF_RESNET18 / peak


@pytest.mark.parametrize("net", ["alexnet", "resnet50"])
def test_a_large_set_is_read_while_the_gpu_computes(large, monkeypatch, found, net):
    model = f"{net}:width={0.125 if SMALL else 1}"
    trajectory = replace(BASE, model=model, batch_size=8 if SMALL else 128, precision="bfloat16")
    for resident in (True, False):
        monkeypatch.setattr(loading, "RESIDENT_BYTES", 8e9 * resident)
        run = Run(trajectory, large, set())
        assert run.images.resident == resident
        seconds = seconds_a_step(lambda run=run: update(run), 2 if SMALL else 20)
        found[f"ms a step at 224 px, {net}, resident {resident}"] = 1000 * seconds


def test_what_a_state_takes_to_write(small, tmp_path, found):
    run = Run(
        replace(BASE, model=f"alexnet:width={0.125 if SMALL else 1}"), Dataset.load(small), {0.9}
    )
    store = Store(tmp_path, {}, DEVICE)
    update(run)
    for _ in range(2):
        started = synchronized()
        assert store.save_state(run.state_dict())
        seconds = synchronized() - started
    megabytes = (tmp_path / "00000001.pt").stat().st_size / 1e6
    found["seconds to write a state, MB of it"] = seconds, megabytes


def test_alexnet_takes_images_of_256_px(noise, device):
    run = Run(
        replace(BASE, model="alexnet:width=0.125", batch_size=8),
        Dataset.load(noise(64, 256)),
        set(),
    )
    advance(run, 2)
    assert run.diverged_at is None


@pytest.mark.parametrize("net", [NETS[0], NETS[2]])
def test_a_process_that_shares_its_batches_with_none_has_the_bits_of_one_alone(
    small, tmp_path, net
):
    set_up_process()
    trajectory, dataset = replace(BASE, model=net, accumulation_steps=2), Dataset.load(small)
    alone, shared = (Run(trajectory, dataset, set()) for _ in range(2))
    file = f"file://{tmp_path / 'meeting'}"
    dist.init_process_group(distributed.BACKENDS[DEVICE], init_method=file, rank=0, world_size=1)
    try:
        shared.forward = nn.parallel.DistributedDataParallel(shared.model)
        for run in (alone, shared):
            advance(run, 20)
    finally:
        dist.destroy_process_group()
    assert measure(shared, None)["weights_sha256"] == measure(alone, None)["weights_sha256"]


def test_two_processes_take_the_steps_of_one(small, tmp_path):
    """To float tolerance: their gradients add up in another order."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    told = []
    for processes, launcher in ((1, []), (2, torchrun)):
        runs = {replace(BASE, gpus_per_run=processes): ["T20"]}
        folder = tmp_path / str(processes)
        _, _, _, *arguments = command(runs, small, folder)
        script = Path(__file__).with_name("shared.py")
        environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *launcher, script, *arguments], env=environment, check=True)
        histories = (folder / "histories.csv").read_text().splitlines()
        told.append(list(csv.DictReader(histories)))
    for one, two in zip(*told, strict=True):
        for column in ("loss", "norm", "coefficient"):
            assert float(two[column]) == pytest.approx(float(one[column]), rel=1e-3)

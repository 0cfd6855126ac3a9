"""What training costs, estimated from its settings, before anything runs. Imports no torch.

An estimate only decides how runs are packed into jobs and what a job asks a scheduler for: the
results don't depend on it.
"""

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from clipgrid.study.cells import Readout, Training, Trajectory
from clipgrid.study.looks import (
    CURVE_IMAGES,
    RESIDENT_BYTES,
    TRANSFORMATIONS,
    TRANSFORMED_IMAGES,
    evaluation_batch,
)
from clipgrid.study.parts import Choice

if TYPE_CHECKING:
    from clipgrid.study.config import Data

SIZES = (8, 12, 16, 20, 23, 24, 28, 32, 48, 63, 64, 96, 128, 160, 192, 224, 256)
"""Sides of the images in costs.csv, px; other sizes are scaled from the next larger one."""

FLOAT = 4  # bytes


@dataclass(frozen=True)
class Processor:
    """A step's seconds a layer, whatever its size, and floating-point operations a second beyond
    them; `source` says where both come from."""

    layer_seconds: float
    flops: float
    source: str


PROCESSORS = {
    "cpu": Processor(8e-5, 4e10, "one core; fitted to steps measured at 12 and 16 px"),
    "cuda": Processor(4e-5, 2e13, "assumed of a data-centre GPU, not measured"),
}
START_SECONDS, RUN_SECONDS = 2.5, 0.2  # of a process, with torch and the data; of a run
PROCESS_MB = {
    "cpu": 1000,
    "cuda": 4000,
}  # of a process with torch, and the Snakemake that starts it


@dataclass(frozen=True)
class Network:
    """What one image takes in a network: multiply-adds and activations (values; all layers', and
    the largest one's) of a forward pass, layers, parameters."""

    multiply_adds: float
    activations: float
    largest_activation: float
    layers: float
    parameters: float


COUNTERS: list[Callable[[Choice, int], dict[str, int]]] = []


def counter(count: Callable[[Choice, int], dict[str, int]]) -> Callable:
    """The decorator of what counts a model that is not in costs.csv; the fields of Network."""
    COUNTERS.append(count)
    return count


@cache
def network(model: Choice, size: int) -> Network:
    """Of images of shape [3, size, size], from costs.csv: layers that join two hidden ones have
    width² of the published one's weights, and all but a few do. A model that is not in the table is
    counted by torch."""
    listed = min((s for s in SIZES if s >= size), default=SIZES[-1])
    if (model.name, listed) not in table():
        return Network(**COUNTERS[-1](model, size))
    area = (size / listed) ** 2
    width = dict(model.settings)["width"]
    row = {k: float(v) for k, v in table()[model.name, listed].items()}
    return Network(
        multiply_adds=row["multiply_adds"] * area * width**2,
        activations=row["activations"] * area * width,
        largest_activation=row["largest_activation"] * area * width,
        layers=row["layers"],
        parameters=row["parameters"] * width**2,
    )


@cache
def table() -> dict[tuple[str, int], dict[str, str]]:
    """costs.csv, which `python -m clipgrid costs` prints: counted by torch, of width 1."""
    with Path(__file__).with_name("costs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {(row.pop("model"), int(row.pop("size"))): row for row in rows}


def images_of(data: "Data") -> int:
    return sum(data.about["images"])


def dataset_bytes(data: "Data") -> int:
    """Of the prepared file: uint8 images."""
    return images_of(data) * data.about["channels"] * data.size**2


def training_seconds(trajectory: Trajectory, steps: int, data: "Data") -> float:
    """Of `steps` iterations: a backward pass takes two forward passes' operations."""
    net = network(trajectory.model, data.size)
    processor = PROCESSORS[trajectory.device]
    operations = 6 * net.multiply_adds * trajectory.batch_size / trajectory.gpus_per_run
    layers = net.layers * trajectory.accumulation_steps
    return steps * (layers * processor.layer_seconds + operations / processor.flops)


def seconds(trajectory: Trajectory, readouts: list[Readout], data: "Data") -> float:
    """Of a run: its training, the looks at its learning curve, its readouts."""
    training, validation, test = data.about["images"]
    steps = readouts[-1].iterations
    trained_on = trajectory.train_images or training
    curve = min(CURVE_IMAGES, trained_on) + min(CURVE_IMAGES, validation)
    # A readout looks at as many training as validation images (training.readouts.measure).
    splits = min(training, validation) + validation + test
    transformed = len(TRANSFORMATIONS) * min(TRANSFORMED_IMAGES, test)
    images = steps // trajectory.evaluate_every * curve + len(readouts) * (splits + transformed)
    net = network(trajectory.model, data.size)
    operations = 2 * net.multiply_adds * images / trajectory.gpus_per_run
    evaluation = operations / PROCESSORS[trajectory.device].flops
    return RUN_SECONDS + training_seconds(trajectory, steps, data) + evaluation


def weights_bytes(trajectory: Trajectory, readouts: list[Readout], data: "Data") -> float:
    """Of a state: weights, the optimizer's buffers, an average for each decay."""
    net = network(trajectory.model, data.size)
    buffers = trajectory.optimizer.part.about["buffers"]
    decays = len({readout.ema for readout in readouts} - {None})
    return net.parameters * FLOAT * (1 + buffers + decays)


def ends(trajectory: Trajectory, step: int) -> bool:
    """Whether a run's schedule ends with that step: nothing goes on from there."""
    return trajectory.schedule.part.about["ends"] and step == trajectory.schedule_steps


def disk_bytes(trajectory: Trajectory, readouts: list[Readout], data: "Data") -> float:
    """What a run leaves in the store and in the results: a record a T, and a state from which it
    can go on."""
    stops = sorted({readout.iterations for readout in readouts})
    states = [T for T in stops if not ends(trajectory, T)]
    weights = len(states) * weights_bytes(trajectory, readouts, data)
    histories = HISTORY_BYTES * (sum(states) + sum(stops)) + CSV_BYTES * stops[-1]
    return weights + histories + RESULT_BYTES * len(readouts)


# Of a step: in a state and in a record; in the results. Of a cell.
HISTORY_BYTES, CSV_BYTES, RESULT_BYTES = 48, 175, 1800


def memory_mb(trajectory: Trajectory, readouts: list[Readout], data: "Data") -> tuple[int, int]:
    """Memory of the job, and of the GPU if there is one, in MB: the data, the weights with
    gradients and a copy for clipping, activations with their gradients or an evaluation."""
    net = network(trajectory.model, data.size)
    weights = weights_bytes(trajectory, readouts, data) + 2 * net.parameters * FLOAT
    part = trajectory.batch_size / trajectory.accumulation_steps / trajectory.gpus_per_run
    training = 2 * part * net.activations * FLOAT
    evaluation = 3 * evaluation_batch(data.size) * net.largest_activation * FLOAT
    computing = weights + max(training, evaluation)
    # A larger set is read from its file; what the system keeps of that isn't asked for.
    dataset = dataset_bytes(data) if dataset_bytes(data) <= RESIDENT_BYTES else 0
    host = trajectory.gpus_per_run * (PROCESS_MB[trajectory.device] + dataset / 1e6)
    if trajectory.device == "cuda":
        return math.ceil(host), math.ceil((dataset + computing) / 1e6)
    return math.ceil(host + computing / 1e6), 0


def cpus(training: Training, data: "Data") -> int:
    """Of a job that trains: one a process, and one more that reads for a GPU from a set that it
    can't hold. (Four threads do, as they wait for the disk. On a CPU, computing takes so much
    longer than reading that one will do.)"""
    reads = training.device == "cuda" and dataset_bytes(data) > RESIDENT_BYTES
    return training.gpus_per_run * (2 if reads else 1)


def analysis_mb(steps: int) -> int:
    """Memory of a job that reads the histories of so many steps in all, in MB."""
    return math.ceil(2000 + 500 * steps / 1e6)


PREPARATION_MB = 3000  # memory of the job that prepares the data


def preparation_minutes(data: "Data") -> int:
    """Of image files, by an estimate with room: 100 a second."""
    return 30 + (images_of(data) // 6000 if data.about["files"] else 0)

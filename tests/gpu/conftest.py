"""The battery that only a GPU can pass: `make test-gpu`. It needs torch, pydantic, numpy, tqdm and
pytest, no Snakemake, and writes what it measured to build/gpu.json.

Without a GPU it is skipped. CLIPGRID_REHEARSE=1 runs on the CPU, small, what a CPU can: so all that
isn't about CUDA itself has been run before a GPU is at hand.
"""

import json
import os
import platform
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from where import DEVICE, SMALL

from clipgrid.images.data import Dataset, prepare
from clipgrid.study import parts
from clipgrid.training.machine import provenance, set_up_process

HERE = Path(__file__).parent
RECORD = HERE.parents[1] / "build" / ("rehearsal.json" if SMALL else "gpu.json")


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE not in item.path.parents:
            continue
        if SMALL and not os.environ.get("CLIPGRID_REHEARSE"):
            item.add_marker(pytest.mark.skip(reason="torch finds no CUDA device here"))
        elif SMALL and item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skip(reason="only a GPU can do it"))


@pytest.fixture(scope="session")
def device():
    set_up_process()
    return torch.device(DEVICE)


@pytest.fixture(scope="session")
def noise(tmp_path_factory):
    """A function: the prepared file of so many images of this size."""
    parts.load([str(HERE / "noise.py")])
    folder = tmp_path_factory.mktemp("noise")

    def file(images, size):
        path = folder / f"{images}-{size}.pt"
        if not path.exists():
            os.environ["CLIPGRID_NOISE_IMAGES"] = str(images)
            prepare("noise", size, 0, folder, path, folder / "store", threads=8)
        return path

    return file


@pytest.fixture(scope="session")
def small(noise):
    """The file of a set like CIFAR-10."""
    return noise(600 if SMALL else 60_000, 32)


@pytest.fixture(scope="session")
def large(noise):
    """A set of 224 px; of fewer images than it says, which repeat."""
    dataset = Dataset.load(noise(64 if SMALL else 8_000, 224))
    return replace(dataset, train=dataset.train.repeat(100))


@pytest.fixture(scope="session")
def found(device):
    """What is measured, by name: it is written at the end."""
    figures = {}
    started = time.time()
    yield figures
    RECORD.parent.mkdir(exist_ok=True)
    about = {**provenance(DEVICE), "machine": platform.machine(), "seconds": time.time() - started}
    RECORD.write_text(json.dumps({"about": about, "figures": figures}, indent=1) + "\n")

"""How fast images are prepared and brought to the model, and in how much memory.

    python benchmarks/loading.py             # 10 minutes; writes benchmarks/results/loading.json
    python benchmarks/loading.py readers     # 2 minutes; writes benchmarks/results/readers.json

Photographs are synthetic: smooth noise as JPEG files of 500x375 px, as ImageNet often has. Beside
clipgrid stand torchvision's DataLoader over ImageFolder, and WebDataset over the same JPEGs in a
tar (`pip install webdataset`), both with two workers. Each way is timed in a process of its own,
all of them in turn, several times; images a second are medians. The memory is that of a process
that prepares and then trains on a set of 10 GB: RssAnon, what is its own, as the system can drop
what it keeps of a mapped file at any time.

`readers` are the threads that read batches of 128 images of 227 px ahead, from a file of 0.6 GB
that the system keeps in memory: as many as there are, and one; and one that indexes the images in
place of selecting them, as it was before.
"""

import argparse
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

from record import ENVIRONMENT, record

BATCH = 64
LARGE = 10e9  # bytes
SIZES = (32, 224)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=("readers",))
    parser.add_argument("--images", type=int, default=4000, help="photographs")
    parser.add_argument("--repetitions", type=int, default=3, help="rounds through all ways")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        way, *more = arguments.one
        print(json.dumps(WAYS[way](*more)))
        return
    if arguments.what == "readers":
        record("readers", compare_readers(5), "python benchmarks/loading.py readers", ("torch",))
        return
    speeds: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_photographs(folder, arguments.images)
        for size in SIZES:
            one("prepare", folder, size, 2, "data")
        for _ in range(arguments.repetitions):
            for size in SIZES:
                for threads in (1, 2):
                    key = f"preparing at {size} px: clipgrid, {threads} threads"
                    speeds[key].append(one("prepare", folder, size, threads, "again"))
                key = f"preparing at {size} px: DataLoader, 2 workers"
                speeds[key].append(one("decode", folder, size))
                for way in ("resident", "read ahead"):
                    key = f"batches at {size} px: clipgrid, {way}"
                    speeds[key].append(one("batches", folder, size, way))
                for way in ("DataLoader", "WebDataset"):
                    key = f"batches at {size} px: {way}, 2 workers"
                    speeds[key].append(one(way, folder, size))
        figures: dict = {
            "images_per_second": {key: round(statistics.median(x)) for key, x in speeds.items()}
        }
        figures["memory_of_10_GB"] = one("memory", folder)
    options = f"--images {arguments.images} --repetitions {arguments.repetitions}"
    libraries = ("torch", "torchvision", "webdataset")
    record("loading", figures, f"python benchmarks/loading.py {options}", libraries)


def one(*way: object):
    """What a way prints, in a process of its own."""
    command = [sys.executable, __file__, "--one", *map(str, way)]
    done = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True)
    print(*way, done.stdout, file=sys.stderr)
    return json.loads(done.stdout)


def write_photographs(folder: Path, n: int) -> None:
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    with tarfile.open(folder / "photographs.tar", "w") as tar:
        for i in range(n):
            coarse = Image.fromarray(random.integers(0, 256, (30, 40, 3), np.uint8))
            photograph = coarse.resize((500, 375), Image.Resampling.BICUBIC)
            file = folder / "photographs" / str(i % 10) / f"{i:05d}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            photograph.save(file, quality=90)
            tar.add(file, f"{i:05d}.jpg")
            label = folder / "label"
            label.write_text(str(i % 10))
            tar.add(label, f"{i:05d}.cls")


# ---- ways: each prints images a second ----------------------------------------------------------


def prepare(folder: str, size: str, threads: str, name: str) -> float:
    # What preparing imports, before it is timed: the loaders beside it are timed without.
    import sklearn.model_selection  # noqa: F401

    from clipgrid.images.data import prepare
    from clipgrid.torchvision_on_cpu import torchvision  # noqa: F401

    out = Path(folder, name, size)
    for file in out.rglob("*.pt"):
        file.unlink()
    photographs = Path(folder, "photographs")
    started = time.perf_counter()
    prepare("imagefolder", int(size), 0, photographs, out / "data.pt", out, int(threads))
    return len(list(photographs.rglob("*.jpg"))) / (time.perf_counter() - started)


def decode(folder: str, size: str) -> float:
    """What preparation takes with a DataLoader: each image once, as it is, none kept."""
    import torch

    from clipgrid.torchvision_on_cpu import torchvision

    t = torchvision.transforms
    steps = [t.Resize(int(size)), t.CenterCrop(int(size)), t.PILToTensor()]
    images = torchvision.datasets.ImageFolder(Path(folder, "photographs"), t.Compose(steps))
    loader = torch.utils.data.DataLoader(images, BATCH, num_workers=2)
    started = time.perf_counter()
    n = sum(len(labels) for _, labels in loader)
    return n / (time.perf_counter() - started)


def speed(batches, warm_up: int = 5, seconds: float = 5.0) -> float:
    """Images a second of batches (images, labels) that never end."""
    for _ in range(warm_up):
        next(batches)
    n, started = 0, time.perf_counter()
    while (now := time.perf_counter()) - started < seconds:
        n += len(next(batches)[1])
    return n / (now - started)


def batches(folder: str, size: str, way: str) -> float:
    """clipgrid's, flipped, cropped and normalised, as the model gets them."""
    from clipgrid.images import loading

    if way == "read ahead":
        loading.RESIDENT_BYTES = 0
    run = narrow_run(Path(folder, "data", size, "data.pt"), "flip+inception-crop")
    return speed(run.upcoming)


def compare_readers(repetitions: int) -> dict:
    """Batches a second, medians."""
    speeds: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/images"
        mapped(path).random_()
        for _ in range(repetitions):
            for way in ("indexed by 1", "selected by 1", "selected by 4"):
                speeds[way].append(one("readers", path, way))
    return {"batches_per_second": {way: round(statistics.median(x)) for way, x in speeds.items()}}


def mapped(path: str):
    import torch

    shape = 4000, 3, 227, 227
    return torch.from_file(path, True, math.prod(shape), dtype=torch.uint8).view(shape)


def readers(path: str, way: str) -> float:
    import torch

    from clipgrid.images import loading

    torch.set_num_threads(1)
    loading.RESIDENT_BYTES = 0
    loading.READERS = loading.AHEAD = int(way[-1])
    file, batch = mapped(path), 128
    whole = SimpleNamespace(images=file, take=lambda index: file.index_select(0, index))
    images = loading.Images(whole, torch.device("cpu"))
    if way.startswith("indexed"):
        images.read = lambda index: (index, file[index])
    indices = (torch.randint(len(file), (batch,)) for _ in itertools.count())
    return speed((index, index) for index, _ in images.batches(indices)) / batch


def narrow_run(data: Path, augmentation: str):
    from clipgrid.images.data import Dataset
    from clipgrid.study.cells import Trajectory
    from clipgrid.training.machine import set_up_process
    from clipgrid.training.run import Run

    set_up_process()
    settings = {"optimizer": "momentum", "learning_rate": 0.01, "clip": 1, "seed": 0}
    model = "alexnet:width=0.0625"
    trajectory = Trajectory(model=model, augmentation=augmentation, batch_size=BATCH, **settings)
    return Run(trajectory, Dataset.load(data), set())


def train_transform(size: str):
    from clipgrid.torchvision_on_cpu import torchvision

    t = torchvision.transforms
    normalize = t.Normalize([0.5] * 3, [0.25] * 3)
    crop = t.RandomResizedCrop(int(size))
    return t.Compose([crop, t.RandomHorizontalFlip(), t.ToTensor(), normalize])


def endless(loader):
    while True:
        yield from loader


def data_loader(folder: str, size: str) -> float:
    import torch

    from clipgrid.torchvision_on_cpu import torchvision

    photographs = Path(folder, "photographs")
    images = torchvision.datasets.ImageFolder(photographs, train_transform(size))
    settings = {"num_workers": 2, "shuffle": True, "persistent_workers": True, "drop_last": True}
    return speed(endless(torch.utils.data.DataLoader(images, BATCH, **settings)))


def web_dataset(folder: str, size: str) -> float:
    import torch
    import webdataset

    transform = train_transform(size)
    tar = str(Path(folder, "photographs.tar"))
    images = webdataset.WebDataset([tar, tar], shardshuffle=False).shuffle(1000).decode("pil")
    images = images.to_tuple("jpg", "cls").map_tuple(transform, int).batched(BATCH, partial=False)
    loader = torch.utils.data.DataLoader(images, None, num_workers=2, persistent_workers=True)
    return speed(endless(loader))


def memory(folder: str) -> dict:
    """MB at the start, and the most while a set of 10 GB is prepared and trained on."""
    import numpy as np
    import torch

    from clipgrid.images import data, reading
    from clipgrid.study import parts
    from clipgrid.training import loop

    size = 224
    n = math.ceil(LARGE / (3 * size**2))

    def read(chunk: slice, size: int):
        images = np.full((chunk.stop - chunk.start, 3, size, size), 0, np.uint8)
        images += np.arange(size, dtype=np.uint8)  # a ramp
        return images, reading.READ, None

    source = reading.Source(
        labels=torch.arange(n) % 10,
        split=torch.zeros(n, dtype=torch.uint8),
        classes=[str(k) for k in range(10)],
        **{"channels": 3, "names": [], "fingerprint": "synthetic", "digests": [b"0" * 32]},
        **{"read": read, "origin": "synthetic", "licence": "none"},
    )
    declare = parts.dataset("synthetic", label="synthetic", channels=3, images=(n, 0, 0))
    declare(lambda folder, size: source)
    own = {"at_start": [own_mb()], "preparing": [], "training": []}
    update = loop.update

    def read_and_watch(chunk: slice, size: int):
        own["preparing"].append(own_mb())
        return read(chunk, size)

    object.__setattr__(source, "read", read_and_watch)
    started = time.perf_counter()
    data.prepare("synthetic", size, 0, Path(folder), Path(folder, "large.pt"), Path(folder), 2)
    own["preparing"].append(own_mb())
    minutes = (time.perf_counter() - started) / 60

    def update_and_watch(run):
        own["training"].append(own_mb())
        return update(run)

    loop.update = update_and_watch
    run = narrow_run(Path(folder, "large.pt"), "flip+crop")
    assert not run.images.resident
    loop.advance(run, 200)
    return {
        "gigabytes": round(n * 3 * size**2 / 1e9, 1),
        "minutes_of_preparation": round(minutes, 1),
        "own_megabytes": {when: round(max(each)) for when, each in own.items()},
        "own_megabytes_after_training_steps": {
            step: round(own["training"][step]) for step in (5, 50, 199)
        },
    }


def own_mb() -> float:
    status = Path(f"/proc/{os.getpid()}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1e3


WAYS = {
    "prepare": prepare,
    "decode": decode,
    "batches": batches,
    "DataLoader": data_loader,
    "WebDataset": web_dataset,
    "memory": memory,
    "readers": readers,
}

if __name__ == "__main__":
    main()

"""clipgrid's training loop against those that people use, for a cell and for the article's grid.

    pip install lightning timm        # beside what clipgrid needs itself
    python benchmarks/peers.py        # both, about 35 minutes; writes benchmarks/results/
    python benchmarks/peers.py loops  # images a second of one cell's training, 8 minutes
    python benchmarks/peers.py grid   # wall time of the grid, against the fastest peer of loops

Wants a machine with nothing else to do: two threads of torch that wait for a core that another
program has make a run ten times as long.

The peers are PyTorch Lightning, a loop like torchvision's reference script and one like timm's.
All train clipgrid's networks on its prepared images, with the settings of config.yaml. Each peer
has what its users have: DataLoader workers, torchvision's transforms image by image, its own
moving average, the loss logged at every step. Where they have a choice, it is the faster one:
persistent workers or none, the first version of transforms, the moving average that takes all
tensors at once, channels last by timm's flag. Of a peer's cell only the last test accuracy is
asked; clipgrid also looks at validation images on its way, records norms and writes states.

`peers.py run PEER MODEL STEPS` is one process of these: it trains STEPS steps from scratch.
"""

import argparse
import itertools
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from record import ENVIRONMENT, ROOT, copy_checkout, prepare, record, timed

MODELS = {"alexnet": 0.125, "vgg11": 0.0625, "resnet18": 0.125}  # and their widths
AUGMENTATIONS = ("none", "flip", "crop")
DECAY = 0.999
WARM_UP = 20  # steps before the time is taken
TARGET = ("--cores", "2", "results/cells.csv", "--configfile", "grid.yaml")  # of snakemake
PACKAGES = ("torch", "torchvision", "lightning", "timm", "snakemake")


class Way(NamedTuple):
    """A way of using two cores: processes at once, and for each its threads and loader workers."""

    processes: int
    threads: int
    workers: int

    def __str__(self) -> str:
        return f"processes {self.processes}, threads {self.threads}, workers {self.workers}"


OWN_WAYS = (Way(1, 2, 0), Way(2, 1, 0))  # clipgrid has no loader
PEER_WAYS = (Way(1, 2, 2), Way(2, 1, 2), Way(2, 1, 0))


# ---- One process: a cell, trained from scratch ---------------------------------------------------


@dataclass
class Job:
    """A cell to train, and the stopwatch that runs from the warm-up's end to the last step."""

    trajectory: Any
    dataset: Any
    steps: int
    decay: float | None
    workers: int
    gate: bool
    seconds: float = 0.0

    @property
    def warm_up(self) -> int:
        return min(WARM_UP, self.steps // 2)

    def after(self, step: int) -> None:
        """To be called after each step, or at least after the warm-up and the last."""
        if step == self.warm_up:
            if self.gate:  # until the twin process is there too
                print("ready", flush=True)
                sys.stdin.readline()
            self.seconds = -time.perf_counter()
        elif step == self.steps:
            self.seconds += time.perf_counter()

    def model(self):
        about = self.dataset.about
        return self.trajectory.model(about["channels"], about["size"], len(about["classes"]))

    def images(self, *finish):
        """The training images as torchvision's own small data sets have them, augmented as PIL
        images one at a time. `finish` makes a tensor of each."""
        from PIL import Image
        from torch.utils.data import Dataset
        from torchvision import transforms  # not v2, which takes 1.4 times as long

        size = self.dataset.about["size"]
        augment = {
            "none": [],
            "flip": [transforms.RandomHorizontalFlip()],
            "crop": [transforms.RandomCrop(size, padding=max(1, size // 8))],
        }[str(self.trajectory.augmentation)]

        class Images(Dataset):
            def __init__(self, images, labels) -> None:
                self.images, self.labels = images, labels
                self.transform = transforms.Compose([*augment, *finish])

            def __len__(self) -> int:
                return len(self.labels)

            def __getitem__(self, i: int):
                image = Image.fromarray(self.images[i, 0].numpy())
                return self.transform(image), int(self.labels[i])

        train = self.dataset.train
        return Images(self.dataset.images[train], self.dataset.labels[train])

    def loader(self):
        from torch.utils.data import DataLoader
        from torchvision import transforms

        about = self.dataset.about
        normalize = transforms.Normalize(about["mean"], about["std"])
        return DataLoader(
            self.images(transforms.ToTensor(), normalize),
            batch_size=self.trajectory.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )

    def test_accuracy(self, model) -> float:
        """What a cell is trained for; here it also shows that all train the same."""
        import torch

        about, test = self.dataset.about, self.dataset.test
        mean, std = (torch.tensor(about[key])[:, None, None] for key in ("mean", "std"))
        with torch.no_grad():
            logits = model.eval()((self.dataset.images[test] / 255 - mean) / std)
        return (logits.argmax(1) == self.dataset.labels[test]).float().mean().item()

    def sgd(self, model):
        import torch

        settings = dict(self.trajectory.optimizer.settings)
        return torch.optim.SGD(model.parameters(), lr=self.trajectory.learning_rate, **settings)


def clipgrid(job: Job):
    import torch

    from clipgrid.training.loop import advance
    from clipgrid.training.machine import set_up_process
    from clipgrid.training.readouts import measure
    from clipgrid.training.run import Run

    threads = torch.get_num_threads()
    set_up_process()
    torch.set_num_threads(threads)
    run = Run(job.trajectory, job.dataset, decays={job.decay} if job.decay else set())
    for step in (job.warm_up, job.steps):
        advance(run, step)
        job.after(step)
    return measure(run, job.decay)["test_accuracy"]


def lightning(job: Job):
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.callbacks import EMAWeightAveraging
    from torch.nn.functional import cross_entropy

    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Classifier(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = job.model()

        def training_step(self, batch, _):
            images, labels = batch
            loss = cross_entropy(self.model(images), labels)
            self.log("loss", loss)
            return loss

        def configure_optimizers(self):
            return job.sgd(self.model)

    class Stopwatch(Callback):
        def on_train_batch_end(self, trainer, *_) -> None:
            job.after(trainer.global_step)

    average = [EMAWeightAveraging(decay=job.decay)] if job.decay else []
    classifier = Classifier()
    Trainer(
        accelerator="cpu",
        max_steps=job.steps,
        max_epochs=-1,
        gradient_clip_val=job.trajectory.clip.threshold,
        gradient_clip_algorithm="norm",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*average, Stopwatch()],
    ).fit(classifier, job.loader())
    return job.test_accuracy(classifier.model)  # holds the average by now


def reference(job: Job):
    import torch
    from torch.nn.functional import cross_entropy
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    class Meter:
        """The last values and the mean of all, to be printed now and then."""

        def __init__(self) -> None:
            self.last, self.total, self.count = deque(maxlen=20), 0.0, 0

        def update(self, value: float, n: int = 1) -> None:
            self.last.append(value)
            self.total += value * n
            self.count += n

    model, loader = job.model(), job.loader()
    optimizer = job.sgd(model)
    if job.decay:
        average = AveragedModel(
            model, multi_avg_fn=get_ema_multi_avg_fn(job.decay), use_buffers=True
        )
    meters = defaultdict(Meter)
    model.train()
    for step, (images, labels) in enumerate(batches(loader, job.steps), start=1):
        logits = model(images)
        loss = cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), job.trajectory.clip.threshold)
        optimizer.step()
        if job.decay:
            average.update_parameters(model)
        hits = logits.topk(5).indices == labels[:, None]
        meters["loss"].update(loss.item())
        for k in (1, 5):
            meters[f"top{k}"].update(hits[:, :k].any(1).float().mean().item(), len(labels))
        job.after(step)
    return job.test_accuracy(average.module if job.decay else model)


def timm(job: Job):
    import torch
    from timm.data import create_loader
    from timm.data.transforms import MaybePILToTensor
    from timm.optim import create_optimizer_v2
    from timm.utils import AverageMeter, ModelEmaV3, dispatch_clip_grad

    t, about, model = job.trajectory, job.dataset.about, job.model()
    images = job.images(MaybePILToTensor())
    ours = images.transform
    # timm's loader makes batches of bytes and normalises a batch at once.
    loader = create_loader(
        images,
        (about["channels"], about["size"], about["size"]),
        t.batch_size,
        is_training=True,
        mean=about["mean"],
        std=about["std"],
        num_workers=job.workers,
        device=torch.device("cpu"),
    )
    images.transform = ours  # and puts its own augmentation in the place of ours
    optimizer = create_optimizer_v2(
        model,
        opt="momentum",
        lr=t.learning_rate,
        **dict(t.optimizer.settings),
        filter_bias_and_bn=False,
    )
    model.to(memory_format=torch.channels_last)  # a flag of timm's script, 10% faster
    average = ModelEmaV3(model, decay=job.decay) if job.decay else None
    loss_of = torch.nn.CrossEntropyLoss()
    losses, step_time = AverageMeter(), AverageMeter()
    model.train()
    optimizer.zero_grad()
    now = time.time()
    for step, (batch, labels) in enumerate(batches(loader, job.steps), start=1):
        batch = batch.contiguous(memory_format=torch.channels_last)
        loss = loss_of(model(batch), labels)
        loss.backward()
        dispatch_clip_grad(model.parameters(), t.clip.threshold, mode="norm")
        optimizer.step()
        losses.update(loss.item(), len(labels))
        optimizer.zero_grad()
        if average:
            average.update(model, step=step)
        step_time.update(time.time() - now)
        now = time.time()
        job.after(step)
    return job.test_accuracy(average.module if average else model)


PEERS = {"clipgrid": clipgrid, "lightning": lightning, "reference": reference, "timm": timm}


def batches(loader: Iterable, steps: int) -> Iterator:
    """`steps` batches, epoch after epoch."""
    return itertools.islice(itertools.chain.from_iterable(itertools.repeat(loader)), steps)


def trajectory_of(model: str, augmentation: str):
    """What all train, but for its T and its average."""
    from clipgrid.study.cells import Trajectory

    return Trajectory(
        model=f"{model}:width={MODELS[model]}",
        optimizer="momentum:weight_decay=0.0005",
        learning_rate=0.03,
        clip=1,
        augmentation=augmentation,
        seed=0,
    )


def run(
    peer: str,
    model: str,
    steps: int,
    threads: int | None,
    workers: int,
    augmentation: str,
    decay: float | None,
    data: Path,
    gate: bool,
) -> None:
    """Train one cell, print what it took."""
    import torch

    from clipgrid.images.data import Dataset

    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    job = Job(trajectory_of(model, augmentation), Dataset.load(data), steps, decay, workers, gate)
    if peer != "clipgrid":
        from clipgrid import torchvision_on_cpu  # noqa: F401, before a peer imports torchvision
    test_accuracy = PEERS[peer](job)
    images = (steps - job.warm_up) * job.trajectory.batch_size
    result = {
        "peer": peer,
        "model": model,
        "steps": steps - job.warm_up,
        "threads": torch.get_num_threads(),
        "workers": workers,
        "seconds": round(job.seconds, 3),
        "images_per_second": round(images / job.seconds, 1),
        "test_accuracy": round(test_accuracy, 3),
    }
    print(json.dumps(result))


# ---- All of them ---------------------------------------------------------------------------------


def command(peer: str, model: str, steps: int, way: Way, data: Path, *more: str) -> list[str]:
    ways = f"--threads {way.threads} --workers {way.workers}".split()
    settings = [peer, model, str(steps), *ways, "--data", str(data), *more]
    return [sys.executable, __file__, "run", *settings]


def speed(peer: str, model: str, steps: int, way: Way, data: Path) -> float:
    """Images a second of all processes of `way` together, which start their steps together."""
    with tempfile.TemporaryFile("w+") as log:
        processes = [
            subprocess.Popen(
                command(peer, model, WARM_UP + steps, way, data, "--gate"),
                env=ENVIRONMENT,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
            for _ in range(way.processes)
        ]
        for process in processes:
            while (line := process.stdout.readline()) != "ready\n":
                if not line:
                    log.seek(0)
                    sys.exit(log.read())
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        printed = [process.communicate()[0] for process in processes]
    return sum(json.loads(text.splitlines()[-1])["images_per_second"] for text in printed)


def loops(data: Path, steps: int, repetitions: int) -> dict:
    """Medians of images a second. All ways are tried twice; those that were at no time near the
    best are then left out."""
    measured: dict[tuple[str, str], dict[Way, list[float]]] = {
        (model, peer): {way: [] for way in (OWN_WAYS if peer == "clipgrid" else PEER_WAYS)}
        for model in MODELS
        for peer in PEERS
    }
    for repetition in range(repetitions):
        for (model, peer), ways in measured.items():
            peaks = {way: max(each, default=0.0) for way, each in ways.items()}
            for way, each in ways.items():
                if repetition < 2 or peaks[way] > 0.9 * max(peaks.values()):
                    each.append(speed(peer, model, steps, way, data))
                    print(f"{model}, {peer}, {way}: {each[-1]:.0f} images/s", file=sys.stderr)

    figures: dict = {"batch_size": 32, "steps": steps, "repetitions": repetitions}
    for model in MODELS:
        best = {}
        for peer in PEERS:
            whole = {w: e for w, e in measured[model, peer].items() if len(e) == repetitions}
            best[peer] = max(whole, key=lambda way, of=whole: statistics.median(of[way]))
        own = measured[model, "clipgrid"][best["clipgrid"]]
        figures[model] = {}
        for peer, way in best.items():
            ways = measured[model, peer]
            # Round by round, because what else the machine does changes slowly.
            ratios = [a / b for a, b in zip(own, ways[way], strict=True)]
            figures[model][peer] = {
                "images_per_second": round(statistics.median(ways[way])),
                "way": way._asdict(),
                "clipgrid_is_times_as_fast": round(statistics.median(ratios), 2),
                "each": {str(w): [round(x) for x in each] for w, each in ways.items()},
            }
    return figures


def axes_of_grid(scale: float) -> dict[str, list]:
    """The article's, for each net, of one seed; each T divided by `scale`."""
    return {
        "clips": [1, 10],
        "iterations": [max(2, round(t / scale)) for t in (500, 1000, 5000)],
        "ema": ["none", DECAY],
        "augmentations": list(AUGMENTATIONS),
        "seeds": [0],
    }


def fastest_peer(model: str, speeds: dict) -> str:
    """By the figures of `loops`."""
    return max(PEERS.keys() - {"clipgrid"}, key=lambda p: speeds[model][p]["images_per_second"])


def clipgrids_grid(axes: dict[str, list], folder: Path) -> tuple[float, dict]:
    """clipgrid's wall time, from a fresh checkout in `folder` to the table, and what it trained."""
    study = {
        "title": "The article's grid",
        "data": {"name": "digits", "size": 12, "split": 0},
        "models": {model: {"width": width} for model, width in MODELS.items()},
        "optimizers": {"momentum": {"learning_rates": [0.03], "weight_decay": 5e-4}},
        "training": {"evaluate_every": 50, "job_seconds": 60},
        **axes,
    }
    copy_checkout(folder)
    (folder / "grid.yaml").write_text(yaml.safe_dump(study))
    seconds = timed("snakemake", *TARGET, cwd=folder)
    return seconds, json.loads((folder / "results" / "trained.json").read_text())


def grid(data: Path, folder: Path, scale: float, speeds: dict) -> dict:
    """Wall time of the article's grid: clipgrid's, and the fastest peer's, cell by cell: as many
    at once as is fastest for it, and one at a time, with torch's threads and two workers."""
    axes = axes_of_grid(scale)
    peers = {}
    for model in MODELS:
        peer = fastest_peer(model, speeds)
        way = Way(**speeds[model][peer]["way"])
        # A threshold costs no time, and so one stands for all; an augmentation does.
        cells = [(t, d, a) for a in AUGMENTATIONS for t in axes["iterations"] for d in axes["ema"]]
        seconds = wall(peer, model, way, cells, data)
        peers[model] = {"peer": peer, "way": str(way), "seconds_of_clip_1": round(seconds, 1)}
        one_at_a_time = wall(
            peer, model, PEER_WAYS[0], [cell for cell in cells if cell[2] == "flip"], data
        )
        peers[model]["seconds_of_clip_1_flip_one_at_a_time"] = round(one_at_a_time, 1)
        print(f"{model}, {peer}: {seconds:.1f} s for {len(cells)} cells", file=sys.stderr)

    own, trained = clipgrids_grid(axes, folder)
    scaled_by = len(axes["clips"])
    theirs = scaled_by * sum(p["seconds_of_clip_1"] for p in peers.values())
    alone_by = scaled_by * len(AUGMENTATIONS)
    alone = alone_by * sum(p["seconds_of_clip_1_flip_one_at_a_time"] for p in peers.values())
    return {
        "grid": {"models": list(MODELS), **axes},
        "cells": trained["cells"],
        "steps_asked": trained["steps_asked"],
        "clipgrid": {"wall_seconds": round(own, 1), "steps_trained": trained["steps_trained"]},
        "peers": {
            "wall_seconds": round(theirs, 1),
            "steps_trained": trained["steps_asked"],
            "measured": "all cells of clip 1",
            "scaled_by": scaled_by,
            "models": peers,
        },
        "clipgrid_is_times_as_fast": round(theirs / own, 2),
        "peers_one_cell_at_a_time": {
            "way": str(PEER_WAYS[0]),
            "wall_seconds": round(alone, 1),
            "measured": "all cells of clip 1, flip",
            "scaled_by": alone_by,
            "clipgrid_is_times_as_fast": round(alone / own, 2),
        },
    }


def wall(peer: str, model: str, way: Way, cells: list[tuple], data: Path) -> float:
    """Wall time of `cells`, each from scratch in a process of its own, as many at once as `way`
    has processes: what a shell loop does."""

    def train(cell: tuple[int, float | str, str]) -> None:
        steps, decay, augmentation = cell
        flags = ("--decay", str(decay), "--augmentation", augmentation)
        done = subprocess.run(
            command(peer, model, steps, way, data, *flags),
            env=ENVIRONMENT,
            text=True,
            capture_output=True,
        )
        if done.returncode:
            sys.exit(done.stderr)

    started = time.perf_counter()
    with ThreadPoolExecutor(way.processes) as pool:
        list(pool.map(train, cells))
    return time.perf_counter() - started


def main() -> None:
    if sys.argv[1:2] == ["run"]:
        parser = argparse.ArgumentParser(prog="peers.py run")
        parser.add_argument("peer", choices=PEERS)
        parser.add_argument("model", choices=MODELS)
        parser.add_argument("steps", type=int)
        parser.add_argument("--threads", type=int, help="torch's own number, if not given")
        parser.add_argument("--workers", type=int, default=2, help="of the peers' loader")
        parser.add_argument("--augmentation", choices=AUGMENTATIONS, default="crop")
        parser.add_argument("--decay", type=decay, default=DECAY, help="or none")
        parser.add_argument("--data", type=Path, required=True, help="made by `clipgrid prepare`")
        parser.add_argument("--gate", action="store_true", help="wait for a line after the warm-up")
        run(**vars(parser.parse_args(sys.argv[2:])))
        return

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=("loops", "grid"))
    parser.add_argument("--steps", type=int, default=300, help="loops: that are timed in a run")
    parser.add_argument("--repetitions", type=int, default=3, help="loops: rounds through all")
    parser.add_argument("--scale", type=float, default=1, help="grid: divide each T by it; a trial")
    arguments = parser.parse_args()
    results = ROOT / "benchmarks" / "results" / "loops.json"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = prepare(folder)
        if arguments.what in (None, "loops"):
            figures = loops(data, arguments.steps, arguments.repetitions)
            options = f"--steps {arguments.steps} --repetitions {arguments.repetitions}"
            record("loops", figures, f"python benchmarks/peers.py loops {options}", PACKAGES)
        if arguments.what in (None, "grid"):
            if not results.exists():
                sys.exit("which peer is the fastest? run `python benchmarks/peers.py loops` first")
            speeds = json.loads(results.read_text())["figures"]
            figures = grid(data, folder, arguments.scale, speeds)
            if arguments.scale == 1:
                record("grid", figures, "python benchmarks/peers.py grid", PACKAGES)
            else:
                print(json.dumps(figures, indent=1))


def decay(text: str) -> float | None:
    return None if text == "none" else float(text)


if __name__ == "__main__":
    main()

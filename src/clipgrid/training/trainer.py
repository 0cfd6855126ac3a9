"""The clipped trainer: one trajectory, from its seed to the last T asked for, told in order.

What is random at step t is a pure function of (seed, purpose, t). So a state holds no loader and
no generator, and a run continued from one is bit for bit the run that was never interrupted.
"""

import ctypes
import hashlib
import itertools
import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from clipgrid import InputError, clipping, models
from clipgrid.images.augment import augment, draw, transform
from clipgrid.images.data import Dataset
from clipgrid.images.loading import Images
from clipgrid.study.grid import (
    CURVE_IMAGES,
    TRANSFORMATIONS,
    TRANSFORMED_IMAGES,
    Cell,
    Readout,
    Trajectory,
    digest,
    evaluation_batch,
)
from clipgrid.training import distributed


def train(
    trajectory: Trajectory,
    readouts: list[Readout],
    data: Path,
    out: Path,
    store: Path,
    checkpoint_every: float = 60.0,
) -> None:
    """Train `trajectory` through the T's of `readouts` and write what was measured below `out`:
    a JSON a readout, `history.csv` (a row a step) and `run.json` (who trained which steps).

    The states at each T go to, and come from, `store`: a step found there isn't trained again.
    On the way a checkpoint is kept there, every `checkpoint_every` seconds and on a signal (see
    `Checkpoints`), from which the next call goes on; the end removes it.
    """
    set_up_process()
    if not checkpoint_every > 0:
        raise InputError(f"checkpoint_every: must be above 0 seconds, not {checkpoint_every}")
    if trajectory.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device: torch finds no CUDA device here")
    if trajectory.compile != "none" and not shutil.which("c++"):
        raise InputError("compile: torch.compile needs a C++ compiler, and finds no c++ here")
    distributed.start(trajectory.gpus_per_run, trajectory.device)
    dataset = Dataset.load(data)
    spec = trajectory.spec(dataset.checksum)
    states = StateStore(store / digest(spec), spec)
    run = Run(trajectory, dataset, decays={r.ema for r in readouts if r.ema is not None})
    out.mkdir(parents=True, exist_ok=True)
    measuring = 0.0
    with Checkpoints(states, checkpoint_every) as checkpoints:
        for iterations in sorted({readout.iterations for readout in readouts}):
            if state := states.newest(run.step + 1, iterations, run.decays):
                run.load_state_dict(state)
            if run.step < iterations:
                run.advance(iterations, checkpoints)
                states.save(run.state_dict())
            now = time.perf_counter()
            for readout in (r for r in readouts if r.iterations == iterations):
                result = {
                    "cell": Cell(trajectory, readout).name,
                    **spec,
                    "iterations": iterations,
                    "ema": readout.ema,
                    **run.measure(readout.ema),
                    "torch": torch.__version__,
                }
                write(out / f"{readout.name}.json", json.dumps(result, indent=1))
            measuring += time.perf_counter() - now
    write(out / "history.csv", run.history.to_csv(trajectory))
    record = {"name": trajectory.name, "sessions": run.sessions, "readout_seconds": measuring}
    write(out / "run.json", json.dumps(record, indent=1))
    states.remove_checkpoints()


def train_pack(
    runs: dict[Trajectory, list[Readout]],
    data: Path,
    out: Path,
    store: Path,
    checkpoint_every: float = 60.0,
) -> None:
    """Train `runs` one after another, each into its folder of `out`. One that fails keeps none of
    the others; InputError names those that did, in the end."""
    failed: dict[str, list[str]] = {}  # reason: runs
    for number, (trajectory, readouts) in enumerate(runs.items(), start=1):
        print(f"run {number} of {len(runs)}: {trajectory.name}", file=sys.stderr, flush=True)
        try:
            train(trajectory, readouts, data, out / trajectory.name, store, checkpoint_every)
        except Exception as error:
            if distributed.PROCESSES > 1 and not isinstance(error, InputError):
                raise  # the others of this run wait for this process
            failed.setdefault(str(error), []).append(trajectory.name)
            if not isinstance(error, InputError | OSError):
                traceback.print_exc()
    if failed:
        count = sum(map(len, failed.values()))
        reasons = "; ".join(f"{reason} ({', '.join(names)})" for reason, names in failed.items())
        raise InputError(f"{count} of {len(runs)} runs failed: {reasons}")


def set_up_process() -> None:
    """One thread, the same bits each time, and memory that is kept from step to step."""
    torch.set_num_threads(1)  # the number of threads changes bits, and jobs run side by side
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs 4%
    torch.backends.cudnn.benchmark = False
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # glibc gives the megabytes that a step frees back to the system, and the next step faults them
    # in again: up to 15% of a small net's step.
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, the largest allowed


def derive(seed: int, purpose: str, step: int) -> int:
    """The seed of what is random for `purpose` at `step`."""
    key = f"{seed} {purpose} {step}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest())


def generator(seed: int, purpose: str, step: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive(seed, purpose, step))


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seed the global generator that dropout draws from, on `device` alone: torch.manual_seed
    seeds all devices, and without CUDA it queues a stack trace each time, 0.3 ms a step."""
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


class Batches:
    """Indices into the training set: each epoch is one permutation, batches run on across them."""

    def __init__(self, seed: int, size: int, batch_size: int) -> None:
        self.seed, self.size, self.batch_size = seed, size, batch_size
        self.permutations: dict[int, Tensor] = {}

    def __getitem__(self, step: int) -> Tensor:
        """The `batch_size` indices of step `step`."""
        start = step * self.batch_size
        first, last = start // self.size, (start + self.batch_size - 1) // self.size
        self.permutations = {
            epoch: self.permutations[epoch]
            if epoch in self.permutations
            else torch.randperm(self.size, generator=generator(self.seed, "epoch", epoch))
            for epoch in range(first, last + 1)
        }
        stream = torch.cat(list(self.permutations.values()))
        return stream[start - first * self.size :][: self.batch_size]


def train_subset(dataset: Dataset, trajectory: Trajectory) -> Tensor:
    """Indices of the images trained on. InputError for more than there are."""
    n, available = trajectory.train_images, len(dataset.train)
    if n == 0:
        return dataset.train
    if n > available:
        raise InputError(f"train_images: {n} is more than the training set's {available}")
    drawn = torch.randperm(available, generator=generator(trajectory.seed, "subset", 0))[:n]
    return dataset.train[drawn]


def noisy_labels(dataset: Dataset, trajectory: Trajectory) -> Tensor:
    """The labels, of which a share of the training images' is exchanged for another class's, each
    as likely (symmetric noise)."""
    if not trajectory.label_noise:
        return dataset.labels
    draws = generator(trajectory.seed, "label noise", 0)
    classes, n = len(dataset.about["classes"]), len(dataset.train)
    exchanged = dataset.train[torch.rand(n, generator=draws) < trajectory.label_noise]
    shift = torch.randint(1, classes, (len(exchanged),), generator=draws)
    labels = dataset.labels.clone()
    labels[exchanged] = (labels[exchanged] + shift) % classes
    return labels


@dataclass
class History:
    """Telemetry: row t of `steps` [T, 6] is the loss of step t and what clipping tells of it (see
    clipping.Telemetry); a row of `validation` [K, 3] is (step, loss, accuracy) after that many
    steps. All float64."""

    steps: Tensor = field(default_factory=lambda: torch.empty(0, 6, dtype=torch.float64))
    validation: Tensor = field(default_factory=lambda: torch.empty(0, 3, dtype=torch.float64))

    def to_csv(self, trajectory: Trajectory) -> str:
        looks = {int(step): (loss, accuracy) for step, loss, accuracy in self.validation.tolist()}
        lines = [
            "step,loss,norm,observed,limit,coefficient,share,clipped,finite,learning_rate,"
            "validation_loss,validation_accuracy"
        ]
        for step, row in enumerate(self.steps.tolist(), start=1):
            loss, norm, *_, share = row
            finite = math.isfinite(loss) and math.isfinite(norm)
            look = "{!r},{!r}".format(*looks[step]) if step in looks else ","
            lines.append(
                f"{step},{','.join(map(repr, row))},{int(share > 0)},{int(finite)},"
                f"{trajectory.learning_rate_at(step - 1)!r},{look}"
            )
        return "\n".join(lines) + "\n"


def collapsed_below(classes: int) -> float:
    """Rule for a run that is finite but dead: the accuracy on its training images that it doesn't
    reach is twice chance, or with fewer than ten classes a ninth of the way from chance to 1."""
    return min(2 / classes, (classes + 8) / (9 * classes))


class Run:
    """A trajectory under way: the weights after `step` steps and all that led to them."""

    def __init__(self, trajectory: Trajectory, dataset: Dataset, decays: set[float]) -> None:
        self.trajectory, self.dataset = trajectory, dataset
        self.device = torch.device(trajectory.device)
        about = dataset.about
        torch.manual_seed(derive(trajectory.seed, "weights", 0))
        self.model = models.build(
            trajectory.model,
            about["channels"],
            about["size"],
            len(about["classes"]),
            trajectory.width,
        )
        self.model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.forward: Callable = distributed.wrap(self.model, self.device)
        if trajectory.compile != "none":
            torch.compiler.reset()  # else after some runs torch would give up compiling, silently
            self.forward = torch.compile(self.forward, mode=trajectory.compile)
        self.optimizer = make_optimizer(trajectory, self.model)
        self.parameters = list(self.model.parameters())
        classifier = set(models.classifier(self.model).parameters())
        self.agc_weights = [None if p in classifier else p.detach() for p in self.parameters]
        self.clip_state: dict[str, Tensor] = {}  # of the kinds that look back
        self.train_index = train_subset(dataset, trajectory)
        self.batches = Batches(trajectory.seed, len(self.train_index), trajectory.batch_size)
        self.images = Images(dataset.images, self.device)
        self.labels = noisy_labels(dataset, trajectory).to(self.device)
        self.mean, self.std = (
            torch.tensor(about[key], device=self.device)[:, None, None] for key in ("mean", "std")
        )
        # The state dict's tensors are the model's own: they follow it from step to step.
        self.weights = {
            name: tensor
            for name, tensor in self.model.state_dict().items()
            if tensor.is_floating_point()
        }
        self.averages = {
            decay: {name: tensor.clone() for name, tensor in self.weights.items()}
            for decay in sorted(decays)
        }
        self.step = 0
        self.share = distributed.share(trajectory.batch_size)
        self.upcoming = self.batches_from(0)
        self.diverged_at: int | None = None
        self.history = History()
        self.sessions: list[dict] = []

    def batches_from(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(indices, images) of each step from `step` on: this process's share of the batch."""
        steps = itertools.count(step)
        return self.images.batches(self.train_index[self.batches[t]][self.share] for t in steps)

    @property
    def decays(self) -> set[float]:
        return set(self.averages)

    def advance(self, goal: int, checkpoints: "Checkpoints | None" = None) -> None:
        """Train to step `goal`, or to the step whose loss or gradient isn't finite."""
        if self.diverged_at is None:
            session: dict = {
                "from": self.step,
                "training_seconds": 0.0,
                "evaluation_seconds": 0.0,
                **provenance(self.device),
            }
            self.sessions = [*self.sessions, session]
        every = self.trajectory.evaluate_every
        while self.step < goal and self.diverged_at is None:
            started = time.perf_counter()
            rows: list[Tensor] = []
            while True:
                rows.append(self.train_step())
                due = checkpoints is not None and checkpoints.due()
                if due or self.step == goal or self.step % every == 0:
                    break
            # Telemetry is fetched here and not in the step, which never waits for the device.
            self.record(torch.stack(rows).cpu())
            session["to"] = len(self.history.steps)
            session["training_seconds"] += time.perf_counter() - started
            if self.diverged_at is None and self.step % every == 0:
                now = time.perf_counter()
                loss, accuracy = self.evaluate(self.dataset.validation[:CURVE_IMAGES])
                look = torch.tensor([[self.step, loss, accuracy]], dtype=torch.float64)
                self.history.validation = torch.cat([self.history.validation, look])
                session["evaluation_seconds"] += time.perf_counter() - now
            self.report(goal, len(rows) / (time.perf_counter() - started))
            if checkpoints and due and self.step < goal and self.diverged_at is None:
                checkpoints.save(self.state_dict())
        self.step = goal

    def record(self, rows: Tensor) -> None:
        """Append the telemetry of the latest steps to the history, up to the first step whose
        loss or gradient wasn't finite: with it the run has diverged, and what came of that step
        and those after it is thrown away, with the weights."""
        finite = rows[:, :2].isfinite().all(1)
        if not finite.all():
            bad = int(finite.int().argmin())
            self.diverged_at = self.step - len(rows) + bad + 1
            rows = rows[: bad + 1]
        self.history.steps = torch.cat([self.history.steps, rows])

    def train_step(self) -> Tensor:
        """One iteration. Its (loss, *clipping.Telemetry), float64 [6], on the device."""
        t, seed = self.step, self.trajectory.seed
        index, images = next(self.upcoming)
        n, size = self.trajectory.batch_size, images.shape[-1]
        draws = draw(self.trajectory.augmentation, n, size, generator(seed, "augmentation", t))
        images = augment(images, self.trajectory.augmentation, [x[self.share] for x in draws])
        images, labels = self.normalize(images), self.labels[index]
        seed_dropout(derive(seed, "dropout", t) + distributed.RANK, self.device)
        if not self.model.training:
            self.model.train()
        parts = self.trajectory.accumulation_steps
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        for some_images, some_labels in zip(images.chunk(parts), labels.chunk(parts), strict=True):
            with self.autocast():
                logits = self.forward(some_images)
            part = nn.functional.cross_entropy(logits.float(), some_labels) / parts
            part.backward()
            loss += part.detach()
        loss = distributed.mean(loss)
        clip = self.clip()
        for group in self.optimizer.param_groups:
            group["lr"] = self.trajectory.learning_rate_at(t)
        self.optimizer.step()
        self.optimizer.zero_grad()
        for decay, average in self.averages.items():
            # Warm-up: a plain decay of 0.999 would still hold 37% of the initial weights at T=1000.
            decay = min(decay, (1 + t) / (self.trajectory.ema_warmup + t))
            update = get_ema_multi_avg_fn(decay)
            update(list(average.values()), list(self.weights.values()), None)
        self.step = t + 1
        return torch.stack([loss, *clip])

    def clip(self) -> clipping.Telemetry:
        """Clip the gradient of the whole batch, before the optimizer adds weight decay to it."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        threshold = self.trajectory.threshold
        match self.trajectory.clip:
            case "l1norm":
                return clipping.clip_by_global_norm(gradients, threshold, p=1)
            case "maxnorm":
                return clipping.clip_by_global_norm(gradients, threshold, p=math.inf)
            case "value":
                return clipping.clip_by_value(gradients, threshold)
            case "layer":
                return clipping.clip_by_layer_norm(gradients, threshold)
            case "agc":
                return clipping.clip_adaptively(gradients, self.agc_weights, threshold)
            case "autoclip":
                return clipping.clip_by_percentile(gradients, threshold, self.clip_state)
            case "zclip":
                return clipping.clip_by_z_score(gradients, threshold, self.clip_state)
        return clipping.clip_by_global_norm(gradients, threshold)

    def autocast(self) -> torch.autocast:
        """The forward pass in the precision asked for; the loss and all else are float32."""
        reduced = self.trajectory.precision != "float32"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=reduced)

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 [N, C, H, W] → float32, channels last, by the training set's mean and std."""
        images = images.float().div_(255).sub_(self.mean).div_(self.std)
        return images.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def evaluate(
        self, index: Tensor, decay: float | None = None, transformation: str | None = None
    ) -> tuple[float, float]:
        """Mean cross-entropy (nats) and accuracy over the un-augmented images `index`, in eval
        mode, with the raw weights or with their average of that decay (batch norm's running
        statistics are averaged with the same decay); of the images transformed, if so named."""
        self.model.eval()
        weights = self.weights if decay is None else self.averages[decay]
        loss, correct = 0.0, 0
        parts = index.split(evaluation_batch(self.dataset.images.shape[-1]))
        for part, images in self.images.batches(parts[distributed.RANK :: distributed.PROCESSES]):
            images = self.normalize(transform(images, transformation) if transformation else images)
            logits = torch.func.functional_call(self.model, weights, (images,))
            labels = self.labels[part]
            losses = nn.functional.cross_entropy(logits, labels, reduction="none")
            loss += losses.double().sum().item()
            correct += int((logits.argmax(1) == labels).sum())
        sums = distributed.total(torch.tensor([loss, correct], dtype=torch.float64))
        loss, correct = sums.tolist()
        return loss / len(index), correct / len(index)

    def measure(self, decay: float | None) -> dict:
        """What a cell reports of the present state. Values of a diverged run are None."""
        norms, share = self.history.steps[:, 1], self.history.steps[:, -1]
        clipped = int((share > 0).sum())
        splits = {
            "train": self.train_index[: len(self.dataset.validation)],
            "validation": self.dataset.validation,
            "test": self.dataset.test,
        }
        looks = {} if self.diverged_at else {s: self.evaluate(i, decay) for s, i in splits.items()}
        # The last step may have been taken well and led to weights whose loss overflows.
        sound = bool(looks) and all(math.isfinite(loss) for loss, _ in looks.values())
        result: dict = {
            "status": "finished" if sound else "diverged",
            "diverged_at": None if sound else self.diverged_at or self.step,
            "steps": len(norms),
            "steps_clipped": clipped,
            "clip_fraction": clipped / len(norms),
            "norm_median": finite_or_none(norms.nanmedian()),
            "norm_max": finite_or_none(norms.nan_to_num(-math.inf, posinf=-math.inf).max()),
        }
        for split in splits:
            loss, accuracy = looks[split] if sound else (None, None)
            result |= {f"{split}_loss": loss, f"{split}_accuracy": accuracy}
        for name in TRANSFORMATIONS:
            some = self.dataset.test[:TRANSFORMED_IMAGES]
            accuracy = self.evaluate(some, decay, name)[1] if sound else None
            result[f"{name}_accuracy"] = accuracy
        if sound:
            if result["train_accuracy"] < collapsed_below(len(self.dataset.about["classes"])):
                result["status"] = "collapsed"
            weights = self.weights if decay is None else self.averages[decay]
            result["weights_sha256"] = sha256_of(weights)
        return result

    def report(self, goal: int, speed: float) -> None:
        """Progress: one line that moves on a terminal, lines in a log."""
        if distributed.RANK:
            return
        loss, norm = self.history.steps[-1, :2].tolist()
        line = f"step {self.step}/{goal}  loss {loss:.4f}  norm {norm:.3g}  {speed:.0f} steps/s"
        if self.diverged_at:
            line = f"diverged at step {self.diverged_at}: loss {loss}, norm {norm}"
        if sys.stderr.isatty():
            done = 30 * self.step // goal
            end = "\n" if self.step >= goal or self.diverged_at else ""
            print(f"\r[{'#' * done:30}] {line}\033[K", end=end, file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def state_dict(self) -> dict:
        """All that decides the steps to come, and the record of those done. Of a diverged run,
        which has none to come, the record alone: its weights are of no use."""
        weights = (
            {}
            if self.diverged_at
            else {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "clip": self.clip_state,
            }
        )
        return {
            "step": self.step,
            "diverged_at": self.diverged_at,
            **weights,
            "averages": dict.fromkeys(self.averages) if self.diverged_at else self.averages,
            "history": vars(self.history),
            "sessions": self.sessions,
        }

    def load_state_dict(self, state: dict) -> None:
        self.step, self.diverged_at = state["step"], state["diverged_at"]
        self.upcoming = self.batches_from(self.step)
        self.history = History(**state["history"])
        self.sessions = state["sessions"]
        if self.diverged_at is None:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.clip_state = {k: v.to(self.device) for k, v in state["clip"].items()}
            for decay, average in self.averages.items():
                for name, tensor in average.items():
                    tensor.copy_(state["averages"][decay][name])


def make_optimizer(trajectory: Trajectory, model: nn.Module) -> torch.optim.Optimizer:
    t = trajectory
    if t.optimizer == "momentum":
        return torch.optim.SGD(
            model.parameters(),
            lr=t.learning_rate,
            momentum=t.momentum,
            weight_decay=t.weight_decay,
            fused=True,
        )
    return torch.optim.RMSprop(
        model.parameters(),
        lr=t.learning_rate,
        alpha=t.alpha,
        eps=t.eps,
        momentum=t.momentum,
        weight_decay=t.weight_decay,
        foreach=True,
    )


class StateStore:
    """The states of one trajectory, a file a step, stamped with its spec: `00000500.pt` is the
    one at T=500, which stays; `checkpoint-00000730.pt` was made on the way to the next T.

    Files are written aside and renamed. One that can't be read is passed over, and one that can't
    be written is done without, with a warning: the steps that it held are trained again. Of the
    processes that share a run, which all have the same state, the first writes.
    """

    def __init__(self, folder: Path, spec: dict) -> None:
        self.folder, self.spec = folder, spec
        folder.mkdir(parents=True, exist_ok=True)

    def newest(self, first: int, last: int, decays: set[float]) -> dict | None:
        """The latest state in steps `first` to `last` that holds the averages of `decays`."""
        steps = {p: p.stem.removeprefix("checkpoint-") for p in self.folder.glob("*.pt")}
        found = {p: int(step) for p, step in steps.items() if step.isdigit()}
        # A checkpoint at `last` is none: its steps would be done, and its T's state not kept.
        found = {p: n for p, n in found.items() if first <= n < last + (p.stem == steps[p])}
        for path in sorted(found, key=lambda p: found[p], reverse=True):
            try:
                state = torch.load(path, weights_only=True)
                if state["spec"] != self.spec:
                    raise ValueError("it is of another trajectory")
                if decays <= set(state["averages"]):
                    return state
            except Exception as error:  # a torn or foreign file fails in many ways
                warn(f"passing over {path}, not a state of this run", error)
        return None

    def save(self, state: dict, prefix: str = "") -> bool:
        """Whether it could be done."""
        if distributed.RANK:
            return True
        path = self.folder / f"{prefix}{state['step']:08d}.pt"
        aside = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            torch.save({"spec": self.spec, **state}, aside)
            aside.replace(path)
        except (OSError, RuntimeError) as error:  # torch says RuntimeError where the disk is full
            aside.unlink(missing_ok=True)
            warn(f"{path} can't be written; is the disk full?", error)
            return False
        return True

    def save_checkpoint(self, state: dict) -> bool:
        if distributed.RANK:
            return True
        older = set(self.folder.glob("checkpoint-*.pt"))
        saved = self.save(state, "checkpoint-")
        if saved:
            for path in older - {self.folder / f"checkpoint-{state['step']:08d}.pt"}:
                path.unlink(missing_ok=True)
        return saved

    def remove_checkpoints(self) -> None:
        """And what a killed process left half written."""
        if distributed.RANK:
            return
        for path in [*self.folder.glob("checkpoint-*"), *self.folder.glob("*.tmp")]:
            path.unlink(missing_ok=True)


class Checkpoints:
    """When to save a run under way: every so many seconds, and when a signal asks to stop.

    As a context it catches the signals: SIGTERM and SIGUSR1, by which schedulers announce a time
    limit or a preemption, and Ctrl-C. The step under way is finished and saved, and the process
    ends with exit code 128 + the signal's number, so that whoever started it can start it again.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

    def __init__(self, states: StateStore, seconds: float) -> None:
        self.states, self.seconds = states, seconds
        self.caught: int | None = None
        self.stopped_by: int | None = None
        self.last = time.monotonic()

    def __enter__(self) -> "Checkpoints":
        self.handlers = {s: signal.signal(s, self.catch) for s in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def catch(self, number: int, _: object) -> None:
        self.caught = number

    def due(self) -> bool:
        """In all processes that share a run, or in none."""
        timed = time.monotonic() - self.last >= self.seconds
        reason = distributed.largest(self.caught or int(timed))  # a signal's number is above 1
        self.stopped_by = reason if reason > 1 else None
        return reason > 0

    def save(self, state: dict) -> None:
        saved = self.states.save_checkpoint(state)
        self.last = time.monotonic()
        if self.stopped_by:
            name = signal.Signals(self.stopped_by).name
            outcome = "is saved" if saved else "could not be saved"
            if not distributed.RANK:
                print(f"stopped by {name}; step {state['step']} {outcome}", file=sys.stderr)
            raise SystemExit(128 + self.stopped_by)


def warn(what: str, error: Exception) -> None:
    reason = str(error).partition("\n")[0]
    print(f"clipgrid: warning: {what}: {reason}", file=sys.stderr)


def sha256_of(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over the tensors' values in their order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def finite_or_none(x: Tensor) -> float | None:
    """JSON has no NaN and no infinity."""
    return x.item() if x.isfinite() else None


def provenance(device: torch.device) -> dict[str, str]:
    """Where steps are trained: device, versions, commit."""
    describe = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:  # the instruction set, because it changes bits
        name = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return {
        "device": device.type,
        "processor": name,
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # a subclass of str, which weights_only won't load
        "commit": describe.stdout.strip() or "unknown",
    }


def write(path: Path, text: str) -> None:
    if distributed.RANK:
        return
    try:
        path.write_text(text if text.endswith("\n") else text + "\n")
    except OSError as error:  # a full disk's doesn't name the file
        raise OSError(error.errno, error.strerror, str(path)) from None

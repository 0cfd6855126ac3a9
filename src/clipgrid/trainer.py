"""The clipped trainer: one trajectory, from its seed to the last T asked for, told in order.

What is random at step t is a pure function of (seed, purpose, t). So a state holds no loader and
no generator, and a run continued from one is bit for bit the run that was never interrupted.
"""

import hashlib
import json
import math
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from clipgrid import InputError, models
from clipgrid.augment import augment
from clipgrid.clipping import clip_by_global_norm
from clipgrid.data import Dataset
from clipgrid.grid import Cell, Readout, Trajectory, digest

CURVE_IMAGES = 512  # validation images looked at during the run; all of them are at each T


def train(trajectory: Trajectory, readouts: list[Readout], data: Path, out: Path, store: Path):
    """Train `trajectory` through the T's of `readouts` and write what was measured below `out`:
    a JSON a readout, `history.csv` (a row a step) and `run.json` (who trained which steps).

    The states at each T go to, and come from, `store`: a step found there isn't trained again.
    """
    torch.set_num_threads(1)  # the number of threads changes bits, and jobs run side by side
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    if trajectory.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device: torch finds no CUDA device here")
    dataset = Dataset.load(data)
    spec = trajectory.spec(dataset.checksum)
    states = StateStore(store / digest(spec), spec)
    run = Run(trajectory, dataset, decays={r.ema for r in readouts if r.ema is not None})
    out.mkdir(parents=True, exist_ok=True)
    measuring = 0.0
    for iterations in sorted({readout.iterations for readout in readouts}):
        if state := states.newest(run.step + 1, iterations, run.decays):
            run.load_state_dict(state)
        if run.step < iterations:
            run.advance(iterations)
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
    write(out / "history.csv", run.history.to_csv(trajectory.learning_rate))
    record = {"name": trajectory.name, "sessions": run.sessions, "readout_seconds": measuring}
    write(out / "run.json", json.dumps(record, indent=1))


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


@dataclass
class History:
    """Telemetry: row t of `steps` [T, 3] is (loss, norm, coefficient) of step t; a row of
    `validation` [K, 3] is (step, loss, accuracy) after that many steps. All float64."""

    steps: Tensor = field(default_factory=lambda: torch.empty(0, 3, dtype=torch.float64))
    validation: Tensor = field(default_factory=lambda: torch.empty(0, 3, dtype=torch.float64))

    def to_csv(self, learning_rate: float) -> str:
        looks = {int(step): (loss, accuracy) for step, loss, accuracy in self.validation.tolist()}
        lines = [
            "step,loss,norm,coefficient,clipped,finite,learning_rate,"
            "validation_loss,validation_accuracy"
        ]
        for step, (loss, norm, coefficient) in enumerate(self.steps.tolist(), start=1):
            finite = math.isfinite(loss) and math.isfinite(norm)
            look = "{!r},{!r}".format(*looks[step]) if step in looks else ","
            lines.append(
                f"{step},{loss!r},{norm!r},{coefficient!r},{int(coefficient < 1)},{int(finite)},"
                f"{learning_rate!r},{look}"
            )
        return "\n".join(lines) + "\n"


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
        self.optimizer = make_optimizer(trajectory, self.model)
        self.batches = Batches(trajectory.seed, len(dataset.train), trajectory.batch_size)
        self.images = dataset.images.to(self.device)
        self.labels = dataset.labels.to(self.device)
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
        self.diverged_at: int | None = None
        self.history = History()
        self.sessions: list[dict] = []

    @property
    def decays(self) -> set[float]:
        return set(self.averages)

    def advance(self, goal: int) -> None:
        """Train to step `goal`, or to the step whose loss or gradient isn't finite."""
        started, first = time.perf_counter(), self.step
        evaluating = 0.0
        every = self.trajectory.evaluate_every
        while self.step < goal and self.diverged_at is None:
            rows = []
            for _ in range(self.step, min(goal, (self.step // every + 1) * every)):
                rows.append(self.train_step())
            # Telemetry is fetched here and not in the step, which never waits for the device.
            chunk = torch.stack(rows).cpu()
            finite = chunk.isfinite().all(1)
            if not finite.all():
                # What came after the first non-finite gradient is thrown away, with the weights.
                bad = int(finite.int().argmin())
                self.diverged_at = self.step - len(chunk) + bad + 1
                chunk = chunk[: bad + 1]
            self.history.steps = torch.cat([self.history.steps, chunk])
            if self.diverged_at is None and self.step % every == 0:
                now = time.perf_counter()
                loss, accuracy = self.evaluate(self.dataset.validation[:CURVE_IMAGES])
                look = torch.tensor([[self.step, loss, accuracy]], dtype=torch.float64)
                self.history.validation = torch.cat([self.history.validation, look])
                evaluating += time.perf_counter() - now
            self.report(goal, started, first)
        trained = len(self.history.steps) - first
        if trained > 0:
            self.sessions.append(
                {
                    "from": first,
                    "to": first + trained,
                    "training_seconds": time.perf_counter() - started - evaluating,
                    "evaluation_seconds": evaluating,
                    **provenance(self.device),
                }
            )
        self.step = goal

    def train_step(self) -> Tensor:
        """One iteration. Its (loss, norm, coefficient), float64 [3], on the device."""
        t, seed = self.step, self.trajectory.seed
        index = self.dataset.train[self.batches[t]].to(self.device)
        images = augment(
            self.images[index], self.trajectory.augmentation, generator(seed, "augmentation", t)
        )
        seed_dropout(derive(seed, "dropout", t), self.device)
        self.model.train()
        loss = nn.functional.cross_entropy(self.model(self.normalize(images)), self.labels[index])
        loss.backward()
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm, coefficient = clip_by_global_norm(gradients, self.trajectory.threshold)
        self.optimizer.step()
        self.optimizer.zero_grad()
        for decay, average in self.averages.items():
            # Warm-up: a plain decay of 0.999 would still hold 37% of the initial weights at T=1000.
            decay = min(decay, (1 + t) / (10 + t))
            torch._foreach_lerp_(list(average.values()), list(self.weights.values()), 1 - decay)
        self.step = t + 1
        return torch.stack([loss.detach().double(), norm, coefficient])

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 [N, C, H, W] → float32, channels last, by the training set's mean and std."""
        images = ((images / 255) - self.mean) / self.std
        return images.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def evaluate(self, index: Tensor, decay: float | None = None) -> tuple[float, float]:
        """Mean cross-entropy (nats) and accuracy over the un-augmented images `index`, in eval
        mode, with the raw weights or with their average of that decay (batch norm's running
        statistics are averaged with the same decay)."""
        self.model.eval()
        weights = self.weights if decay is None else self.averages[decay]
        loss, correct = 0.0, 0
        for part in index.to(self.device).split(1024):
            images = self.normalize(self.images[part])
            logits = torch.func.functional_call(self.model, weights, (images,))
            labels = self.labels[part]
            losses = nn.functional.cross_entropy(logits, labels, reduction="none")
            loss += losses.double().sum().item()
            correct += int((logits.argmax(1) == labels).sum())
        return loss / len(index), correct / len(index)

    def measure(self, decay: float | None) -> dict:
        """What a cell reports of the present state. Values of a diverged run are None."""
        _, norms, coefficients = self.history.steps.T
        clipped = int((coefficients < 1).sum())
        splits = {
            "train": self.dataset.train[: len(self.dataset.validation)],
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
        if sound:
            # Rule for a run that is finite but dead: not even twice chance on its training images.
            if result["train_accuracy"] < 2 / len(self.dataset.about["classes"]):
                result["status"] = "collapsed"
            weights = self.weights if decay is None else self.averages[decay]
            result["weights_sha256"] = sha256_of(weights)
        return result

    def report(self, goal: int, started: float, first: int) -> None:
        """Progress: one line that moves on a terminal, lines in a log."""
        loss, norm, _ = self.history.steps[-1].tolist()
        speed = (self.step - first) / (time.perf_counter() - started)
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
        """All that decides the steps to come, and the record of those done."""
        return {
            "step": self.step,
            "diverged_at": self.diverged_at,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averages": self.averages,
            "history": vars(self.history),
            "sessions": self.sessions,
        }

    def load_state_dict(self, state: dict) -> None:
        self.step, self.diverged_at = state["step"], state["diverged_at"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for decay, average in self.averages.items():
            for name, tensor in average.items():
                tensor.copy_(state["averages"][decay][name])
        self.history = History(**state["history"])
        self.sessions = state["sessions"]


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
    """The states of one trajectory, a file a step, stamped with its spec.

    Files are written aside and renamed. One that can't be read is passed over, with a warning:
    the steps that it held are trained again.
    """

    def __init__(self, folder: Path, spec: dict) -> None:
        self.folder, self.spec = folder, spec

    def newest(self, first: int, last: int, decays: set[float]) -> dict | None:
        """The latest state in steps `first` to `last` that holds the averages of `decays`."""
        found = {int(p.stem): p for p in self.folder.glob("*.pt") if p.stem.isdigit()}
        for step in sorted((s for s in found if first <= s <= last), reverse=True):
            try:
                state = torch.load(found[step], weights_only=True)
                if state["spec"] == self.spec and decays <= set(state["averages"]):
                    return state
            except Exception as error:  # a torn or foreign file fails in many ways
                reason = str(error).partition("\n")[0]
                print(f"passing over {found[step]}, not a state: {reason}", file=sys.stderr)
        return None

    def save(self, state: dict) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{state['step']:08d}.pt"
        aside = path.with_suffix(f".{os.getpid()}.tmp")
        torch.save({"spec": self.spec, **state}, aside)
        aside.replace(path)


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
    path.write_text(text if text.endswith("\n") else text + "\n")

"""A run: the weights after a number of steps, and all that leads to the next ones."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from clipgrid import InputError, models
from clipgrid.images.dataset import Dataset
from clipgrid.images.loading import Images
from clipgrid.study.cells import Trajectory
from clipgrid.training import distributed, weights
from clipgrid.training.batches import Batches
from clipgrid.training.history import History
from clipgrid.training.machine import provenance
from clipgrid.training.randomness import derive, seed_dropout, split
from clipgrid.training.stateful import Average, Clipper


class Run:
    """A trajectory under way: the weights after `step` steps and all that led to them."""

    def __init__(
        self,
        trajectory: Trajectory,
        dataset: Dataset,
        decays: set[float],
        images: Images | None = None,
    ) -> None:
        """`decays` are those of the moving averages; `images` are the set's, on the device."""
        self.trajectory, self.dataset = trajectory, split(dataset, trajectory)
        self.device = torch.device(trajectory.device)
        about = dataset.about
        torch.manual_seed(derive(trajectory.seed, "weights", 0))
        shape = about["channels"], about["size"], len(about["classes"])
        self.model: nn.Module = models.built(trajectory.model, *shape)
        with about_the_model(trajectory):
            weights.check(self.model)
        self.model.to(self.device).to(memory_format=torch.channels_last)
        at_once = trajectory.optimizer.part.about["elementwise"]
        self.weights = weights.Weights(self.model, at_once)
        self.optimizer: torch.optim.Optimizer = trajectory.optimizer(
            self.weights.optimized, trajectory.learning_rate
        )
        self.clip = Clipper(trajectory.clip, self.weights.parameters, models.classifier(self.model))
        self.averages = {
            decay: Average(decay, trajectory.ema_warmup, self.weights.flat)
            for decay in sorted(decays)
        }
        # Compiled within: torch compiles nothing of a model that shares its batches, silently.
        self.forward = distributed.wrap(compiled(self.model, trajectory, shape), self.device)
        self.images = images or Images(dataset, self.device)
        self.batches = Batches(trajectory, self.dataset, self.images)
        self.step = 0
        self.upcoming = self.batches.since(0)
        self.history = History()
        self.sessions: list[dict] = []

    def backward(self, images: Tensor, labels: Tensor, t: int) -> Tensor:
        """Gradients of the batch's mean loss, which is given."""
        seed = derive(self.trajectory.seed, "dropout", t)
        seed_dropout(seed + distributed.RANK, self.device)
        if not self.model.training:
            self.model.train()
        parts = self.trajectory.accumulation_steps
        losses: list[Tensor] = []
        for some_images, some_labels in zip(images.chunk(parts), labels.chunk(parts), strict=True):
            last = len(losses) == parts - 1
            # Processes that share a batch add their gradients up once, at its last part.
            with nullcontext() if last else distributed.no_sync(self.forward):
                with self.autocast():
                    logits = self.forward(some_images)
                loss = self.trajectory.objective(logits.float(), some_labels)
                loss = loss if parts == 1 else loss / parts
                loss.backward()
            losses.append(loss.detach())
        self.weights.gather()
        return distributed.mean(functools.reduce(torch.add, losses))

    def check(self) -> None:
        """InputError where the model isn't the one that is trained any more."""
        with about_the_model(self.trajectory):
            self.weights.check()

    @property
    def diverged_at(self) -> int | None:
        """The step, counted from 1, whose loss or gradient wasn't finite."""
        return self.history.diverged_at

    @property
    def is_looked_at(self) -> bool:
        """Whether the present state is a point of the learning curve."""
        return self.step % self.trajectory.evaluate_every == 0

    def next_look(self, T: int) -> int:
        """The step after which there is a point of the learning curve, or T."""
        every = self.trajectory.evaluate_every
        return min(T, (self.step // every + 1) * every)

    def autocast(self) -> torch.autocast:
        """The forward pass in the precision asked for; the loss and all else are float32."""
        reduced = self.trajectory.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=reduced)

    def weights_of(self, decay: float | None) -> dict[str, Tensor]:
        """The raw weights, or their average of that decay, by name."""
        flat = self.weights.flat if decay is None else self.averages[decay].average
        return self.weights.named(flat)

    # ---- what is kept of it ----------------------------------------------------------------------

    def new_session(self) -> dict[str, Any]:
        """The record of who trains the steps to come, and how long it takes."""
        session = {
            "from": self.step,
            "training_seconds": 0.0,
            "evaluation_seconds": 0.0,
            **provenance(self.trajectory.device),
        }
        if not self.diverged_at:
            self.sessions = [*self.sessions, session]
        return session

    def record(self) -> dict[str, Any]:
        """What was seen of the steps done, and who trained them."""
        return {"step": self.step, "history": vars(self.history), "sessions": self.sessions}

    def state_dict(self) -> dict[str, Any]:
        """The record, and all that decides the steps to come. A diverged run has none to come: its
        weights are of no use."""
        if self.diverged_at:
            return {**self.record(), "averages": dict.fromkeys(self.averages)}
        return {
            **self.record(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "clip": self.clip.state,
            "averages": {decay: self.weights_of(decay) for decay in self.averages},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.sessions = state["step"], state["sessions"]
        self.history = History(**state["history"])
        self.upcoming = self.batches.since(self.step)
        if self.diverged_at is None:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.clip.state = {k: v.to(self.device) for k, v in state["clip"].items()}
            for decay in self.averages:
                for name, tensor in self.weights_of(decay).items():
                    tensor.copy_(state["averages"][decay][name])


def compiled(model: nn.Module, trajectory: Trajectory, shape: tuple[int, int, int]) -> nn.Module:
    """The model, compiled if so asked. What was compiled for one run serves the next ones of the
    same net and batches. (A CUDA graph is of one run's memory, and serves no other.)"""
    if trajectory.compile == "none":
        return model
    torch.use_deterministic_algorithms(True)  # for the compiler as well
    if trajectory.compile == "reduce-overhead":
        compile_only.cache_clear()
    batch = trajectory.batch_size // trajectory.accumulation_steps
    compile_only(trajectory.model, shape, batch, trajectory.precision, trajectory.device)
    return cast(nn.Module, torch.compile(model, mode=trajectory.compile))


@functools.lru_cache(maxsize=1)
def compile_only(*settings: object) -> None:
    """The compiler forgets what it knows of any other settings: after some that differ it would
    give up, silently."""
    torch.compiler.reset()


@contextmanager
def about_the_model(trajectory: Trajectory) -> Iterator[None]:
    """An InputError in it names the model."""
    try:
        yield
    except InputError as error:
        raise InputError(f"model {trajectory.model}: {error}") from None

"""A run: the weights after a number of steps, and all that leads to the next ones."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from clipgrid import models
from clipgrid.images.data import Dataset
from clipgrid.images.loading import Images
from clipgrid.study.cells import Trajectory
from clipgrid.training import distributed
from clipgrid.training.history import History
from clipgrid.training.machine import provenance
from clipgrid.training.randomness import (
    Batches,
    derive,
    generator,
    noisy_labels,
    seed_dropout,
    train_subset,
)
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
        self.trajectory, self.dataset = trajectory, dataset
        self.device = torch.device(trajectory.device)
        about = dataset.about
        torch.manual_seed(derive(trajectory.seed, "weights", 0))
        shape = about["channels"], about["size"], len(about["classes"])
        self.model: nn.Module = trajectory.model(*shape)
        self.model.to(self.device).to(memory_format=torch.channels_last)
        self.forward: Callable = distributed.wrap(self.model, self.device)
        if trajectory.compile != "none":
            torch.compiler.reset()  # else after some runs torch would give up compiling, silently
            self.forward = torch.compile(self.forward, mode=trajectory.compile)
        self.parameters = list(self.model.parameters())
        self.optimizer: torch.optim.Optimizer = trajectory.optimizer(
            self.parameters, trajectory.learning_rate
        )
        classifier = models.classifier(self.model)
        exempt = set(classifier.parameters()) if classifier else set()
        weights = [None if p in exempt else p.detach() for p in self.parameters]
        self.clip = Clipper(trajectory.clip, weights)
        self.train_index = train_subset(dataset, trajectory)
        self.batches = Batches(trajectory.seed, len(self.train_index), trajectory.batch_size)
        self.augmentations = [choice() for choice in trajectory.augmentation.choices]
        self.images = images or Images(dataset.images, self.device)
        self.labels = noisy_labels(dataset, trajectory).to(self.device)
        self.mean, self.std = (
            torch.tensor(about[key])[:, None, None].to(self.device) for key in ("mean", "std")
        )
        # The state dict's tensors are the model's own: they follow it from step to step.
        self.weights = {
            name: tensor
            for name, tensor in self.model.state_dict().items()
            if tensor.is_floating_point()
        }
        self.averages = {
            decay: Average(decay, trajectory.ema_warmup, self.weights) for decay in sorted(decays)
        }
        self.step = 0
        self.share = distributed.share(trajectory.batch_size)
        self.upcoming = self.batches_from(0)
        self.history = History()
        self.sessions: list[dict] = []

    def batches_from(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(indices, images) of each step from `step` on: this process's share of the batch."""
        index, batches, share = self.train_index, self.batches, self.share  # not self, a cycle
        return self.images.batches(index[batches[t]][share] for t in itertools.count(step))

    def batch(self, t: int) -> tuple[Tensor, Tensor]:
        """Images, ready for the model, and labels of step `t`, which is the next one."""
        index, images = next(self.upcoming)
        draws = generator(self.trajectory.seed, "augmentation", t)
        n, size = self.trajectory.batch_size, images.shape[-1]
        drawn = [augmentation.draw(n, size, draws) for augmentation in self.augmentations]
        for augmentation, its in zip(self.augmentations, drawn, strict=True):
            images = augmentation.apply(images, its[self.share])
        return self.normalize(images), self.labels[index]

    def backward(self, images: Tensor, labels: Tensor, t: int) -> Tensor:
        """Gradients of the batch's mean loss, which is given."""
        seed = derive(self.trajectory.seed, "dropout", t)
        seed_dropout(seed + distributed.RANK, self.device)
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
        return distributed.mean(loss)

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

    @property
    def gradients(self) -> list[Tensor | None]:
        """Of all parameters; None of one that took no part."""
        return [p.grad for p in self.parameters]

    def autocast(self) -> torch.autocast:
        """The forward pass in the precision asked for; the loss and all else are float32."""
        reduced = self.trajectory.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=reduced)

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 [N, C, H, W] → float32, channels last, by the training set's mean and std."""
        images = images.float().div_(255).sub_(self.mean).div_(self.std)
        return images.contiguous(memory_format=torch.channels_last)

    def weights_of(self, decay: float | None) -> dict[str, Tensor]:
        """The raw weights, or their average of that decay."""
        return self.weights if decay is None else self.averages[decay].weights

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
            "averages": {decay: average.weights for decay, average in self.averages.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.sessions = state["step"], state["sessions"]
        self.history = History(**state["history"])
        self.upcoming = self.batches_from(self.step)
        if self.diverged_at is None:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.clip.state = {k: v.to(self.device) for k, v in state["clip"].items()}
            for decay, average in self.averages.items():
                average.load(state["averages"][decay])

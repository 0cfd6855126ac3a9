"""What is random in a run: a pure function of (seed, purpose, step). So a state holds no loader and
no generator, and a run continued from one is bit for bit the run that was never interrupted."""

import hashlib

import torch
from torch import Tensor

from clipgrid import InputError
from clipgrid.images.dataset import Dataset
from clipgrid.study.cells import Trajectory


def derive(seed: int, purpose: str, step: int) -> int:
    """The seed of what is random for `purpose` at `step`."""
    key = f"{seed} {purpose} {step}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest())


def generator(seed: int, purpose: str, step: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive(seed, purpose, step))


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seed the global generator that dropout draws from, on `device` alone: torch.manual_seed
    seeds all devices, and without CUDA it queues a stack trace each time, 0.3 ms a step."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.get_device_module(device).manual_seed(seed)


class Epochs:
    """Indices into the training set: each epoch is one permutation, batches run on across them."""

    def __init__(self, seed: int, size: int, batch_size: int) -> None:
        self.seed, self.size, self.batch_size = seed, size, batch_size
        self.permutations: dict[int, Tensor] = {}

    def __getitem__(self, step: int) -> Tensor:
        """The `batch_size` indices of step `step`."""
        start = step * self.batch_size
        end = start + self.batch_size
        epochs = range(start // self.size, (end - 1) // self.size + 1)
        self.permutations = {epoch: self.permutation(epoch) for epoch in epochs}
        return torch.cat(
            [
                permutation[max(0, start - epoch * self.size) : end - epoch * self.size]
                for epoch, permutation in self.permutations.items()
            ]
        )

    def permutation(self, epoch: int) -> Tensor:
        if epoch in self.permutations:
            return self.permutations[epoch]
        return torch.randperm(self.size, generator=generator(self.seed, "epoch", epoch))


def split(dataset: Dataset, trajectory: Trajectory) -> Dataset:
    """The data set with the trajectory's split into training, validation and test images."""
    if trajectory.split == "prepared":
        return dataset
    return dataset.split_anew(generator(trajectory.seed, "split", 0))


def train_subset(dataset: Dataset, trajectory: Trajectory) -> Tensor:
    """Indices of the images trained on. InputError for more than there are."""
    n, available = trajectory.train_images, len(dataset.train)
    if n is None:
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

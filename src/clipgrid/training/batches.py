"""The batches of a run, ready for its model: drawn, augmented, normalised."""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from clipgrid.clipping.flat import ALIGNED
from clipgrid.images.data import Dataset
from clipgrid.images.loading import Images
from clipgrid.study.cells import Trajectory
from clipgrid.training import distributed
from clipgrid.training.randomness import Epochs, generator, noisy_labels, train_subset

TOGETHER = 2**19  # bytes of the images, as float32, of the steps that are made ready at once


class Batches:
    """Of each step of a run, this process's share of the batch. Small images are made ready for
    several steps at once: nearly all of the time goes to starting operators."""

    def __init__(self, trajectory: Trajectory, dataset: Dataset, images: Images) -> None:
        self.trajectory, self.images = trajectory, images
        self.index = train_subset(dataset, trajectory)
        self.epochs = Epochs(trajectory.seed, len(self.index), trajectory.batch_size)
        self.labels = noisy_labels(dataset, trajectory).to(images.device)
        choices = trajectory.augmentation.choices
        self.augmentations = [choice() for choice in choices]
        self.share = distributed.share(trajectory.batch_size)
        self.mean, self.std = (
            torch.tensor(dataset.about[key])[:, None, None].to(images.device)
            for key in ("mean", "std")
        )
        _, *shape = dataset.images.shape
        self.size = shape[-1]
        step_bytes = 4 * torch.Size(shape).numel() * (self.share.stop - self.share.start)
        # Another's augmentation may mix the images of a batch. And bits may depend on where in
        # memory a batch begins: so it has to be the same wherever a run is continued.
        alone = not all(choice.part.is_ours for choice in choices) or step_bytes % ALIGNED
        self.steps = 1 if alone else max(1, TOGETHER // step_bytes)

    def since(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images, ready for the model, and labels of each step from `step` on."""
        firsts = itertools.count(step, self.steps)
        indices = (torch.cat([self.indices(t) for t in self.block(first)]) for first in firsts)
        blocks = zip(itertools.count(step, self.steps), self.images.batches(indices))
        for first, (index, images) in blocks:
            images, labels = self.normalize(self.augment(images, first)), self.labels[index]
            yield from zip(images.chunk(self.steps), labels.chunk(self.steps), strict=True)

    def block(self, first: int) -> range:
        """The steps that are made ready with step `first`."""
        return range(first, first + self.steps)

    def indices(self, step: int) -> Tensor:
        return self.index[self.epochs[step]][self.share]

    def augment(self, images: Tensor, first: int) -> Tensor:
        """Of the steps from `first` on, by what is drawn for each of them."""
        drawn = [self.draw(t) for t in self.block(first)] if self.augmentations else []
        for augmentation, draws in zip(self.augmentations, zip(*drawn, strict=True), strict=True):
            images = augmentation.apply(images, torch.cat(draws))
        return images

    def draw(self, step: int) -> list[Tensor]:
        """Of each augmentation, what is random at a step."""
        draws, n = generator(self.trajectory.seed, "augmentation", step), self.trajectory.batch_size
        return [a.draw(n, self.size, draws)[self.share] for a in self.augmentations]

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 [N, C, H, W] → float32, channels last, by the training set's mean and std."""
        images = images.float().div_(255).sub_(self.mean).div_(self.std)
        return images.contiguous(memory_format=torch.channels_last)

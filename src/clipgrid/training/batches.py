"""The batches of a run, ready for its model: drawn, augmented, normalised."""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from clipgrid.clipping.flat import ALIGNED
from clipgrid.images.augmentations import augment, draw
from clipgrid.images.dataset import Dataset
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
        self.augmentations = trajectory.augmentation.choices
        self.share = distributed.share(trajectory.batch_size)
        self.mean, self.std = (
            torch.tensor(dataset.about[key])[:, None, None].to(images.device)
            for key in ("mean", "std")
        )
        _, *shape = dataset.images.shape
        self.size = shape[-1]
        step_bytes = 4 * torch.Size(shape).numel() * (self.share.stop - self.share.start)
        # Bits may depend on where in memory a batch begins: it has to be as round a place wherever
        # a run is continued.
        self.steps = 1 if step_bytes % ALIGNED else max(1, TOGETHER // step_bytes)

    def since(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images, ready for the model, and labels of each step from `step` on."""
        firsts = itertools.count(step, self.steps)
        indices = (torch.cat([self.indices(t) for t in self.block(first)]) for first in firsts)
        blocks = zip(itertools.count(step, self.steps), self.images.batches(indices))
        for first, (index, images) in blocks:
            if self.augmentations:  # which may mix the images of a batch, but not those of several
                batches = zip(images.chunk(self.steps), self.block(first), strict=True)
                images = torch.cat([self.augment(batch, t) for batch, t in batches])
            images, labels = self.normalize(images), self.labels[index]
            yield from zip(images.chunk(self.steps), labels.chunk(self.steps), strict=True)

    def block(self, first: int) -> range:
        """The steps that are made ready with step `first`."""
        return range(first, first + self.steps)

    def indices(self, step: int) -> Tensor:
        return self.index[self.epochs[step]][self.share]

    def augment(self, images: Tensor, step: int) -> Tensor:
        """A step's images, by what is drawn for the whole batch."""
        draws = generator(self.trajectory.seed, "augmentation", step)
        drawn = draw(self.augmentations, self.trajectory.batch_size, self.size, draws)
        return augment(images, self.augmentations, [its[self.share] for its in drawn])

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 [N, C, H, W] → float32, channels last, by the training set's mean and std."""
        images = images.float().div_(255).sub_(self.mean).div_(self.std)
        return images.contiguous(memory_format=torch.channels_last)

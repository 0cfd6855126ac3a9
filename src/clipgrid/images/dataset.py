"""A prepared data set, read from its file. What is read is held against checksums: all but the
images when the file is opened, each image when it is read for the first time."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipgrid import InputError
from clipgrid.images.reading import CONVERSIONS, SPLITS, sha256
from clipgrid.lazy import np, torch

if TYPE_CHECKING:
    from torch import Tensor

REMEDY = (
    "`python -m clipgrid prepare` makes one; in a study, `snakemake --forcerun prepare_data` before"
    " the rest of your command"
)


@dataclass(frozen=True)
class Dataset:
    """A prepared data set, of the file at `path`: `images` uint8 [N, C, S, S], which `take` reads,
    `labels` int64 [N], and three sets of indices into them that share none. `sums` int64 [N, 2, C]
    are of each image's values and of their squares; `unread` bool [N] are those that weren't held
    against them yet."""

    path: Path
    images: Tensor
    labels: Tensor
    sums: Tensor
    unread: Tensor
    train: Tensor
    validation: Tensor
    test: Tensor
    about: dict

    @property
    def checksum(self) -> str:
        return self.about["checksum"]

    @classmethod
    def load(cls, path: Path) -> Dataset:
        """Map a file made by `prepare`. InputError where it is missing or isn't one."""
        try:
            file = torch.load(path, weights_only=True, mmap=True)
            *splits, left_out = file["order"].split(file["sizes"].tolist())
            content, sources, rest = (bytes(sha256.tolist()) for sha256 in file["checksums"])
            sound = rest == checksum_of_the_rest(file)
        except Exception:  # a torn or foreign file fails in many ways
            sound = False
        if not sound:
            reason = "it is damaged, or another's" if path.exists() else "there is no such file"
            raise InputError(f"{path}: no prepared data set ({reason}); {REMEDY}")
        converted = {
            what: int((file["notes"] & flag != 0).sum()) for flag, what in CONVERSIONS.items()
        }
        about = {
            **file["about"],
            "images": {name: len(split) for name, split in zip(SPLITS, splits, strict=True)},
            "unreadable": left_out.tolist(),
            "converted": {what: count for what, count in converted.items() if count},
            "checksum": content.hex(),
            "sources": {"files": len(file["digests"]), "sha256": sources.hex()},
        }
        unread = torch.ones(len(file["labels"]), dtype=torch.bool)
        data = path, file["images"], file["labels"], file["sums"], unread
        train, validation, test = splits
        return cls(*data, train, validation, test, about).normalized()

    def take(self, index: Tensor) -> Tensor:
        """The images `index`. InputError where one isn't what was prepared."""
        images = self.images.index_select(0, index)  # images[index] would take ten times as long
        unread = self.unread[index]
        if unread.any():
            self.check(images[unread], index[unread])
        return images

    def check(self, images: Tensor, index: Tensor) -> None:
        """InputError where `images`, on any device, aren't the prepared images `index`."""
        values = images.flatten(2)
        if values.device.type == "cpu":  # where numpy takes a tenth of torch's time
            sums = torch.from_numpy(values.numpy().sum(-1, dtype=np.int64))
        else:
            sums = values.sum(-1, dtype=torch.int64).cpu()
        if (wrong := (sums != self.sums[index, 0]).any(1)).any():
            raise InputError(
                f"{self.path}: its image {int(index[wrong][0])} is damaged on the disk; {REMEDY}"
            )
        self.unread[index] = False

    def split_anew(self, draws: torch.Generator) -> Dataset:
        """The data set with another split of what doesn't come split: in each class, images change
        places, so that the sets keep their sizes and each class its share."""
        splits = {name: getattr(self, name) for name in SPLITS}
        drawn = [name for name in SPLITS if name not in self.about["own_splits"]]
        if drawn == ["train"]:
            return self
        places = torch.cat([splits[name] for name in drawn])
        labels = self.labels[places]
        others = torch.randperm(len(places), generator=draws)
        others = others[labels[others].argsort(stable=True)]  # class by class, in random order
        images = torch.empty_like(places)
        images[labels.argsort(stable=True)] = places[others]
        parts = images.split([len(splits[name]) for name in drawn])
        return replace(self, **dict(zip(drawn, parts, strict=True))).normalized()

    def normalized(self) -> Dataset:
        """Its `about` has the mean and standard deviation of the training images' values, 0 to 1, a
        channel each. A channel of one value has the deviation 1: it is only shifted."""
        n = len(self.train) * self.images.shape[-1] ** 2
        totals, squares = self.sums[self.train].sum(0).tolist()
        # Whole numbers, as large as need be: nothing is lost where a variance is small.
        deviations = [
            math.sqrt((n * square - total**2) / (n * (n - 1))) / 255
            for total, square in zip(totals, squares, strict=True)
        ]
        mean, std = [total / n / 255 for total in totals], [one or 1.0 for one in deviations]
        return replace(self, about={**self.about, "mean": mean, "std": std})


def checksum_of(images: Tensor, labels: Tensor, splits: Iterable[Tensor]) -> bytes:
    named = dict(zip(SPLITS, splits, strict=False))
    return sha256({"images": images, "labels": labels, **named})


def checksum_of_the_rest(file: dict) -> bytes:
    """Of all but the images and itself."""
    tensors = {k: v for k, v in file.items() if isinstance(v, torch.Tensor) and k != "images"}
    rest = sha256({**tensors, "checksums": file["checksums"][:-1]})
    return hashlib.sha256(rest + json.dumps(file["about"], sort_keys=True).encode()).digest()

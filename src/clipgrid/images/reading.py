"""Raw images and their labels, from arrays or image files: what a data set's function gives."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clipgrid import InputError
from clipgrid.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    Arrays = tuple[np.ndarray | Tensor, np.ndarray | Tensor]

SPLITS = ("train", "validation", "test")

# How an image was read. 0: not yet; all but UNREADABLE are images of the data set.
READ, UNREADABLE = 1, 2
GRAYSCALE, CMYK, DEEP, FRAMES, TRANSPARENCY = 4, 8, 16, 32, 64  # added to READ
CONVERSIONS = {
    GRAYSCALE: "grayscale",
    CMYK: "CMYK",
    DEEP: "16 bits",
    FRAMES: "several frames",
    TRANSPARENCY: "transparency",
}


@dataclass(frozen=True)
class Source:
    """Raw images and what is known of them before they are read.

    `read(chunk, size)` gives images `chunk` at `size` px, uint8 [n, C, size, size], how each was
    read, and the SHA-256 of each one's file (where files have many images, `digests` has theirs).
    """

    labels: Tensor  # int64 [N]
    split: Tensor  # uint8 [N], where the data set says it: 1 + the place in SPLITS, else 0
    classes: list[str]
    channels: int
    names: list[str]  # of the files with an image each; none of other sets
    fingerprint: str  # changes when the raw files do
    read: Callable[[slice, int], tuple[Any, Any, Any]]
    digests: list[bytes]
    origin: str
    licence: str


def resize(images: Tensor, size: int) -> Tensor:
    """uint8 images [N, C, H, W] at `size` px, bilinear, antialiased where they shrink."""
    if images.shape[-2:] == (size, size):
        return images
    resized = torch.nn.functional.interpolate(
        images.float(), (size, size), mode="bilinear", antialias=True
    )
    return resized.round().clamp(0, 255).byte()


def decode(content: bytes, size: int) -> tuple[np.ndarray, int]:
    """An image file's content as uint8 [3, size, size], its middle square resized (bilinear,
    antialiased), and how it was read.

    Grayscale is repeated in three channels, 16 bits are rounded to 8, CMYK becomes RGB without a
    profile, transparency is dropped, and of several frames the first is taken: as torchvision does,
    but for the 16 bits, which it cuts off at 255. Any error for what can't be read.
    """
    from PIL import Image, ImageOps

    how = READ
    with Image.open(io.BytesIO(content)) as image:
        if getattr(image, "n_frames", 1) > 1:
            how |= FRAMES
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            how |= TRANSPARENCY
        picture: Image.Image = image
        if image.mode.startswith("I;16"):
            how |= DEEP
            values = np.asarray(image).astype(np.float64) / 257
            picture = Image.fromarray(values.round().astype(np.uint8))
        elif image.mode in ("I", "F"):
            raise ValueError(f"values of mode {image.mode} have no known range")
        if picture.mode in ("1", "L", "LA"):
            how |= GRAYSCALE
        if picture.mode == "CMYK":
            how |= CMYK
        square = ImageOps.fit(picture.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
    return np.asarray(square).transpose(2, 0, 1), how


def of_arrays(
    train: Arrays,
    test: Arrays | None = None,
    *,
    classes: Sequence[str],
    files: Sequence[Path] = (),
    origin: str = "not known",
    licence: str = "not known",
) -> Source:
    """A data set whose images are in memory.

    `train`, and `test` where the set has its own, are each (images, labels), of numpy or torch:
    uint8 [n, C, H, W], and whole numbers [n] that count the `classes` from 0. The validation images
    are drawn from `train`, and so are the test images where there are none. `files` are those that
    all was read from. InputError for another type or shape.

        @dataset("stripes", label="stripes", channels=1, images=(128, 32, 40))
        def stripes(folder, size):
            random = np.random.default_rng(0)
            images = random.integers(0, 128, (200, 1, 8, 8), np.uint8)
            labels = np.arange(200) % 2
            images[labels == 0, :, 4, :] += 100
            images[labels == 1, :, :, 4] += 100
            return of_arrays((images, labels), classes=["row", "column"])
    """
    sets = [train] if test is None else [train, test]
    pairs = [(torch.as_tensor(images), torch.as_tensor(labels)) for images, labels in sets]
    for x, y in pairs:
        if x.dtype != torch.uint8 or x.ndim != 4:
            raise InputError(f"images must be uint8 [n, C, H, W], not {x.dtype} {list(x.shape)}")
        if y.dtype.is_floating_point or y.shape != x.shape[:1]:
            raise InputError(
                f"labels must be {len(x)} whole numbers, not {y.dtype} {list(y.shape)}"
            )
    images, labels = torch.cat([x for x, _ in pairs]), torch.cat([y.long() for _, y in pairs])
    split = torch.zeros(len(labels), dtype=torch.uint8)
    if test is not None:
        split[len(pairs[0][0]) :] = 1 + SPLITS.index("test")
    content = sha256({"images": images, "labels": labels})
    return Source(
        labels,
        split,
        list(classes),
        channels=images.shape[1],
        names=[],
        fingerprint=content.hex(),
        read=lambda chunk, size: (resize(images[chunk], size), READ, None),
        digests=[hashlib.sha256(file.read_bytes()).digest() for file in files] or [content],
        origin=origin,
        licence=licence,
    )


def of_files(
    folders: Mapping[str, Path], *, origin: str = "not known", licence: str = "not known"
) -> Source:
    """A data set of image files: of folders that have a folder for each class. The key of each in
    `folders` is the split that it is, and "" that of what is still to be split."""
    sets = [files_in(folder) for folder in folders.values()]
    classes = classes_of(list(folders.values()), [names for names, _ in sets])
    samples = [sample for _, some in sets for sample in some]
    root = Path(os.path.commonpath(list(folders.values())))
    names = [str(path.relative_to(root)) for path, _ in samples]
    with ThreadPoolExecutor(16) as pool:  # a shared file system takes its time for each
        stats = pool.map(lambda sample: sample[0].stat(), samples)
        listing = [(name, s.st_size, s.st_mtime_ns) for name, s in zip(names, stats, strict=True)]
    split = [0 if name == "" else 1 + SPLITS.index(name) for name in folders]
    return Source(
        labels=torch.tensor([label for _, label in samples]),
        split=torch.repeat_interleave(
            torch.tensor(split, dtype=torch.uint8), torch.tensor([len(some) for _, some in sets])
        ),
        classes=classes,
        channels=3,
        names=names,
        fingerprint=hashlib.sha256(repr(listing).encode()).hexdigest(),
        read=lambda chunk, size: read_files([path for path, _ in samples[chunk]], size),
        digests=[],
        origin=origin,
        licence=licence,
    )


def files_in(folder: Path) -> tuple[list[str], list[tuple[Path, int]]]:
    """The classes of a folder, and its image files, each with its class; a warning for others."""
    from clipgrid.torchvision_on_cpu import torchvision

    classes = folders_in(folder)
    if not classes:
        raise InputError(f"{folder}: no folders in it, where each class must have one")
    suffixes = torchvision.datasets.folder.IMG_EXTENSIONS
    places = {name: i for i, name in enumerate(classes)}
    files = torchvision.datasets.folder.make_dataset(str(folder), places, suffixes)
    walk = os.walk(folder, followlinks=True)  # as torchvision
    if ignored := sum(len(names) for _, _, names in walk) - len(files):
        known = ", ".join(suffixes)
        print(
            f"clipgrid: warning: {ignored} files are not among {known}, or are in no class's folder"
            f" (in {folder})",
            file=sys.stderr,
        )
    return classes, [(Path(path), label) for path, label in files]


def classes_of(folders: Sequence[Path], classes: Sequence[list[str]]) -> list[str]:
    """Those that all of the folders have."""
    for folder, others in zip(folders, classes, strict=True):
        if unlike := set(classes[0]) ^ set(others):
            raise InputError(
                f"{folder} and {folders[0]} must have the same classes, and differ in"
                f" {', '.join(sorted(unlike)[:5])}"
            )
    return classes[0]


def read_files(files: Sequence[Path], size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The images of `files` at `size` px, how each was read, and the SHA-256 of each file."""
    from PIL import UnidentifiedImageError

    images = np.zeros((len(files), 3, size, size), np.uint8)
    how, digests = np.empty(len(files), np.uint8), np.empty((len(files), 32), np.uint8)
    for i, file in enumerate(files):
        content = file.read_bytes()
        digests[i] = list(hashlib.sha256(content).digest())
        try:
            images[i], how[i] = decode(content, size)
        except Exception as error:  # a corrupt image fails in many ways
            how[i] = UNREADABLE
            if isinstance(error, UnidentifiedImageError):  # whose text has no more than this
                error = ValueError("it is no image that Pillow knows")
            print(f"clipgrid: warning: {file} is left out: {error}", file=sys.stderr)
    return images, how, digests


def folders_in(folder: Path) -> list[str]:
    """Their names, but for hidden ones."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def sha256(tensors: dict[str, Tensor]) -> bytes:
    """One checksum over names, shapes and contents."""
    digest = hashlib.sha256()
    for key, tensor in sorted(tensors.items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.digest()

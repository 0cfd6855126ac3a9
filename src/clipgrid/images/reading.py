"""Raw images and their labels, from arrays or image files: what a data set's function gives."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import stat
import threading
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from clipgrid import InputError
from clipgrid.files import warn
from clipgrid.lazy import torch

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile
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

# Pillow's readers of the suffixes that torchvision takes, and of what is often named so. Others
# start programs (EPS: Ghostscript).
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
MOST_PIXELS = (
    89_478_485  # of an image: from there on Pillow warns. Each takes some 4 bytes of memory
)
MOST_BYTES = 2**28  # of its file
LARGE_PIXELS, LARGE = 2**22, threading.Lock()  # larger ones are decoded one at a time


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

    Grayscale is repeated in three channels, 16 bits become 8 (of gray they are rounded, of colour
    Pillow keeps the high byte), CMYK becomes RGB without a profile, transparency is dropped, and of
    several frames the first is taken: as torchvision does, but for the gray of 16 bits, which it
    cuts off at 255. Any error for what can't be read.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        opened = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:  # whose text has no more than this
        raise ValueError(f"it is none of {', '.join(FORMATS)}") from None
    if (pixels := opened.width * opened.height) > MOST_PIXELS:
        raise ValueError(f"its {pixels:,} pixels are more than {MOST_PIXELS:,}")
    how = READ
    with LARGE if pixels > LARGE_PIXELS else nullcontext(), opened as image:
        if getattr(image, "is_animated", False):
            how |= FRAMES
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            how |= TRANSPARENCY
        if is_deep(image):
            how |= DEEP
        picture: Image.Image = image
        if image.mode.startswith("I;16"):
            eight = (np.arange(2**16) / 257).round().astype(np.uint8)
            picture = Image.fromarray(eight[np.asarray(image)])
        elif image.mode in ("I", "F"):
            raise ValueError(f"values of mode {image.mode} have no known range")
        if picture.mode in ("1", "L", "LA"):
            how |= GRAYSCALE
        if picture.mode == "CMYK":
            how |= CMYK
        rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
        square = ImageOps.fit(rgb, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(square).transpose(2, 0, 1), how


def is_deep(image: ImageFile) -> bool:
    """Whether its values have 16 bits. Of colour only what says how they are unpacked tells it."""
    said = [tile.args for tile in image.tile]
    if image.format == "PPM":
        return any(isinstance(args, tuple) and args[1] > 255 for args in said)
    return image.mode.startswith("I;16") or any(re.search(r";16[BLN]", str(args)) for args in said)


def of_arrays(
    train: Arrays,
    test: Arrays | None = None,
    *,
    classes: Sequence[str],
    files: Sequence[Path | bytes] = (),
    origin: str = "not known",
    licence: str = "not known",
) -> Source:
    """A data set whose images are in memory.

    `train`, and `test` where the set has its own, are each (images, labels), of numpy or torch:
    uint8 [n, C, H, W], and whole numbers [n] that count the `classes` from 0. The validation images
    are drawn from `train`, and so are the test images where there are none. `files` are those that
    all was read from, or what was in them. InputError for another type or shape.

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
        digests=[hashlib.sha256(content_of(file)).digest() for file in files] or [content],
        origin=origin,
        licence=licence,
    )


def content_of(file: Path | bytes) -> bytes:
    return file if isinstance(file, bytes) else file.read_bytes()


def of_files(
    folders: Mapping[str, Path], *, origin: str = "not known", licence: str = "not known"
) -> Source:
    """A data set of image files: of folders that have a folder for each class. The key of each in
    `folders` is the split that it is, and "" that of what is still to be split."""
    from PIL import Image

    sets = files_in(list(folders.values()))
    classes = classes_of(list(folders.values()), [names for names, _ in sets])
    samples = [sample for _, some in sets for sample in some]
    root = Path(os.path.commonpath(list(folders.values())))
    names = [str(path.relative_to(root)) for path, _ in samples]
    # What they say is said when an image is left out.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    with ThreadPoolExecutor(16) as pool:  # a shared file system takes its time for each
        found = list(pool.map(lambda sample: state_of(sample[0]), samples))
    listing = [(name, *state) for name, state in zip(names, found, strict=True)]
    files = [(path, trouble) for (path, _), (*_, trouble) in zip(samples, found, strict=True)]
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
        read=lambda chunk, size: read_files(files[chunk], size),
        digests=[],
        origin=origin,
        licence=licence,
    )


def files_in(folders: Sequence[Path]) -> list[tuple[list[str], list[tuple[Path, int]]]]:
    """Of each of the folders its classes, and its image files, each with its class; a warning for
    others. A file that links lead to as well counts once: where it lies."""
    from clipgrid.torchvision_on_cpu import torchvision

    suffixes = torchvision.datasets.folder.IMG_EXTENSIONS
    sets = []
    for folder in folders:
        classes = folders_in(folder)
        if not classes:
            raise InputError(f"{folder}: no folders in it, where each class must have one")
        images = [
            (file, label)
            for label, name in enumerate(classes)
            for file in files_below(folder / name)
            if file.path.name.lower().endswith(suffixes)
        ]
        all_files = {file.real for file in files_below(folder)}
        if ignored := len(all_files - {file.real for file, _ in images}):
            known = ", ".join(suffixes)
            warn(
                f"{ignored} files are not among {known}, or are in no class's folder (in {folder})"
            )
        sets.append((classes, images))
    owners: dict[Path, Path] = {}
    for file, _ in sorted((one for _, some in sets for one in some), key=lambda f: f[0].linked):
        owners.setdefault(file.real, file.path)
    kept = [
        (classes, [(f.path, label) for f, label in images if owners[f.real] == f.path])
        for classes, images in sets
    ]
    if twice := sum(len(some) for _, some in sets) - len(owners):
        warn(
            f"{twice} links lead to images that are there already: each counts once, where it lies"
        )
    for folder, (classes, some) in zip(folders, kept, strict=True):
        if empty := sorted(set(range(len(classes))) - {label for _, label in some}):
            lacking = ", ".join(classes[label] for label in empty[:5])
            raise InputError(f"{folder}: no valid file for the classes {lacking}")
    return kept


class File(NamedTuple):
    path: Path
    real: Path  # without links
    linked: bool  # whether a link leads to it


def files_below(folder: Path) -> list[File]:
    """In the order of torchvision. What lies there comes before what links lead to, and each folder
    is walked once, so that a link to a folder above comes to an end."""
    todo, walked, found = deque([(folder, folder.is_symlink())]), set(), []
    while todo:
        here, linked = todo.popleft()
        if (real := here.resolve()) in walked:
            continue
        walked.add(real)
        for entry in os.scandir(here):
            path, by_link = Path(entry.path), linked or entry.is_symlink()
            if not (path.is_dir() if entry.is_symlink() else entry.is_dir()):
                place = Path(os.path.realpath(path)) if entry.is_symlink() else real / entry.name
                found.append(File(path, place, by_link))
            elif by_link:
                todo.append((path, True))
            else:
                todo.appendleft((path, False))
    return sorted(found, key=lambda file: os.path.split(file.path))


def state_of(file: Path) -> tuple[int, int, str]:
    """Size and time of a file, and what keeps it from being read: nothing, mostly."""
    try:
        found = file.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP, errno.EACCES):
            raise  # of the file system, and not of this file
        return 0, 0, f"{error.strerror}"
    trouble = ""
    if not stat.S_ISREG(found.st_mode):
        trouble = "it is no regular file"
    elif not os.access(file, os.R_OK):
        trouble = "it may not be read"
    elif found.st_size > MOST_BYTES:
        trouble = f"its {found.st_size:,} bytes are more than {MOST_BYTES:,}"
    return found.st_size, found.st_mtime_ns, trouble


def classes_of(folders: Sequence[Path], classes: Sequence[list[str]]) -> list[str]:
    """Those that all of the folders have."""
    for folder, others in zip(folders, classes, strict=True):
        if unlike := set(classes[0]) ^ set(others):
            raise InputError(
                f"{folder} and {folders[0]} must have the same classes, and differ in"
                f" {', '.join(sorted(unlike)[:5])}"
            )
    return classes[0]


def read_files(
    files: Sequence[tuple[Path, str]], size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The images of `files` at `size` px, how each was read, and the SHA-256 of each file. With
    each file comes what keeps it from being read, if anything does."""
    images = np.zeros((len(files), 3, size, size), np.uint8)
    how, digests = np.empty(len(files), np.uint8), np.empty((len(files), 32), np.uint8)
    for i, (file, trouble) in enumerate(files):
        content = b"" if trouble else file.read_bytes()
        digests[i] = list(hashlib.sha256(content).digest())
        try:
            if trouble:
                raise ValueError(trouble)
            images[i], how[i] = decode(content, size)
        except Exception as error:  # a corrupt image fails in many ways
            how[i] = UNREADABLE
            warn(f"{file} is left out: {error}")
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

"""Data sets as their publishers have them, or a folder of one's own: raw images, labels, and what
is known of both. They are read by torchvision's and scikit-learn's own classes."""

import gzip
import hashlib
import io
import os
import sys
import tempfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipgrid import InputError
from clipgrid.study.grid import DATASETS

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


# ---- images -------------------------------------------------------------------------------------


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


# ---- sources ------------------------------------------------------------------------------------


def open_source(name: str, folder: Path, size: int) -> Source:
    """InputError where the raw files of `name` can't be had from `folder`, or are others."""
    try:
        source = SOURCES[name](folder, size)
    except InputError:
        raise
    except (OSError, EOFError, zlib.error, RuntimeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        fetched = "" if name in NOT_DOWNLOADED else " (data.folder), nor downloaded"
        raise InputError(f"{name} can't be had from {folder}{fetched}: {reason}") from error
    if name != "imagefolder" and len(source.labels) != sum(DATASETS[name][1]):
        raise InputError(
            f"{folder}: {len(source.labels):,} images, where {name} has {sum(DATASETS[name][1]):,}"
        )
    if len(source.classes) < 2:
        raise InputError(f"{folder}: one class alone, {source.classes[0]}; nothing to tell apart")
    if not 0 <= source.labels.min() <= source.labels.max() < len(source.classes):
        raise InputError(
            f"{folder}: labels from {source.labels.min()} to {source.labels.max()}, where"
            f" {len(source.classes)} classes have 0 to {len(source.classes) - 1}"
        )
    return source


def of_arrays(
    parts: list[tuple[Tensor, Tensor]],
    files: list[Path],
    classes: list[str],
    origin: str,
    licence: str,
) -> Source:
    """Of images in memory, uint8 [n, C, H, W], and their labels: those for training, and those for
    test if there are any; `files` are what they were read from."""
    images, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    split = torch.zeros(len(labels), dtype=torch.uint8)
    if len(parts) == 2:
        split[len(parts[0][0]) :] = 1 + SPLITS.index("test")
    return Source(
        labels,
        split,
        classes,
        channels=images.shape[1],
        names=[],
        fingerprint=sha256({"images": images, "labels": labels}).hex(),
        read=lambda chunk, size: (resize(images[chunk], size), READ, None),
        digests=[hashlib.sha256(file.read_bytes()).digest() for file in files],
        origin=origin,
        licence=licence,
    )


def of_files(folders: dict[str, Path], origin: str, licence: str) -> Source:
    """Of folders with a folder of image files for each class: by the split that they are, and
    those that are still to be split by ""."""
    from PIL import UnidentifiedImageError

    from clipgrid.torchvision_on_cpu import torchvision

    class Folder(torchvision.datasets.ImageFolder):
        def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
            classes = folders_in(Path(directory))
            if not classes:
                raise InputError(f"{directory}: no folders in it, where each class must have one")
            return classes, {name: i for i, name in enumerate(classes)}

    sets = {split: Folder(folder) for split, folder in folders.items()}
    first, *others = sets.values()
    for other in others:
        if unlike := set(first.classes) ^ set(other.classes):
            raise InputError(
                f"{other.root} and {first.root} must have the same classes, and differ in"
                f" {', '.join(sorted(unlike)[:5])}"
            )
    samples = [(Path(path), label) for one in sets.values() for path, label in one.samples]
    root = Path(os.path.commonpath(list(folders.values())))
    walks = (os.walk(folder, followlinks=True) for folder in folders.values())  # as torchvision
    if ignored := sum(len(files) for walk in walks for _, _, files in walk) - len(samples):
        suffixes = ", ".join(torchvision.datasets.folder.IMG_EXTENSIONS)
        print(f"clipgrid: warning: {ignored} files are not among {suffixes}", file=sys.stderr)
    names = [str(path.relative_to(root)) for path, _ in samples]
    with ThreadPoolExecutor(16) as pool:  # a shared file system takes its time for each
        stats = pool.map(lambda sample: sample[0].stat(), samples)
        listing = [(name, s.st_size, s.st_mtime_ns) for name, s in zip(names, stats, strict=True)]

    def read(chunk: slice, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        files = [path for path, _ in samples[chunk]]
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

    split = [0 if name == "" else 1 + SPLITS.index(name) for name in sets]
    return Source(
        labels=torch.tensor([label for _, label in samples]),
        split=torch.repeat_interleave(
            torch.tensor(split, dtype=torch.uint8),
            torch.tensor([len(one) for one in sets.values()]),
        ),
        classes=first.classes,
        channels=3,
        names=names,
        fingerprint=hashlib.sha256(repr(listing).encode()).hexdigest(),
        read=read,
        digests=[],
        origin=origin,
        licence=licence,
    )


def digits(folder: Path, size: int) -> Source:
    """scikit-learn's digits: 1797 real images of handwriting, 8x8, that need no download."""
    import sklearn.datasets

    bunch = sklearn.datasets.load_digits()
    images = torch.from_numpy(bunch.images * 255 / 16).round().byte()[:, None]
    return of_arrays(
        [(images, torch.from_numpy(bunch.target).long())],
        [Path(sklearn.datasets.__file__).parent / "data" / "digits.csv.gz"],
        [str(name) for name in bunch.target_names],
        origin="scikit-learn, load_digits; UCI Optical Recognition of Handwritten Digits",
        licence="CC BY 4.0",
    )


def mnist(kind: str, origin: str, licence: str, folder: Path, size: int) -> Source:
    """MNIST, or a set in its format: 70,000 images, 28x28, of which 10,000 are for test.

    `folder` may hold the four published .gz files as such (a mirror, a distribution's package);
    else torchvision finds them in, or downloads them to, its own layout below `folder`.
    """
    from clipgrid.torchvision_on_cpu import torchvision

    source = getattr(torchvision.datasets, kind)
    with tempfile.TemporaryDirectory() as scratch:
        published = [folder / name for name, _ in source.resources]
        if any(file.exists() for file in published):
            if missing := [file.name for file in published if not file.exists()]:
                raise InputError(f"{folder} has no {', '.join(missing)}")
            raw = Path(scratch) / kind / "raw"
            raw.mkdir(parents=True)
            for file in published:
                try:
                    (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
                except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                    raise InputError(f"{file} is truncated or corrupt: {error}") from error
            folder = Path(scratch)
        parts = [source(folder, train=train, download=True) for train in (True, False)]
        files = sorted(Path(parts[0].raw_folder).glob("*-ubyte"))
        return of_arrays(
            [(part.data[:, None], part.targets) for part in parts],
            files,
            parts[0].classes,
            origin,
            licence,
        )


def cifar(kind: str, folder: Path, size: int) -> Source:
    """CIFAR-10 or -100: 60,000 images, 32x32, of which 10,000 are for test."""
    from clipgrid.torchvision_on_cpu import torchvision

    source = getattr(torchvision.datasets, kind)
    listed = [*source.train_list, *source.test_list, list(source.meta.values())[::2]]
    files = {folder / source.base_folder / file: md5 for file, md5 in listed}
    for file, md5 in files.items():
        if file.exists() and not torchvision.datasets.utils.check_integrity(file, md5):
            raise InputError(
                f"{file} is not the published file (its MD5 is not {md5}): remove it, and the set"
                " is downloaded anew"
            )
    parts = [source(folder, train=train, download=True) for train in (True, False)]
    return of_arrays(
        [
            (torch.from_numpy(part.data).permute(0, 3, 1, 2), torch.tensor(part.targets))
            for part in parts
        ],
        list(files),
        parts[0].classes,
        origin="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
        licence="none stated",
    )


def imagenette(folder: Path, size: int) -> Source:
    """Ten classes of ImageNet, 13,394 images; of its three versions the smallest that is not
    smaller than `size`."""
    from clipgrid.torchvision_on_cpu import torchvision

    version = "160px" if size <= 160 else "320px" if size <= 320 else "full"
    one = torchvision.datasets.Imagenette(folder, size=version, download=True)
    root = Path(one._size_root)
    return of_files(
        {"": root / "train", "test": root / "val"},
        origin=f"fast.ai, Imagenette, {version}: a part of ImageNet",
        licence="Apache 2.0; the images' owners' terms",
    )


def imagenet(folder: Path, size: int) -> Source:
    """ImageNet 2012: a folder with `train` and `val`, each with a folder for each class, or with
    the three published archives, which torchvision then unpacks there."""
    from clipgrid.torchvision_on_cpu import torchvision

    lacking = [part for part in ("train", "val") if not (folder / part).is_dir()]
    if lacking and not (folder / "ILSVRC2012_devkit_t12.tar.gz").exists():
        raise InputError(
            f"{folder} (data.folder) has no {' and no '.join(lacking)}, with a folder for each"
            " class, nor the archives to unpack: ILSVRC2012_devkit_t12.tar.gz,"
            " ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar"
        )
    for part in lacking:
        torchvision.datasets.ImageNet(folder, part)
    return of_files(
        {"": folder / "train", "test": folder / "val"},
        origin="Russakovsky et al. 2015, ImageNet Large Scale Visual Recognition Challenge 2012",
        licence="ImageNet's terms of access: research and education",
    )


# Folders that are no classes, whatever else they may be.
PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def folders_in(folder: Path) -> list[str]:
    """Their names, but for hidden ones."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def imagefolder(folder: Path, size: int) -> Source:
    """A folder of one's own: with a folder for each class; or with `train`, and with `val` and
    `test` or without, that have one each."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; data.folder names that of the images")
    here, parts = folders_in(folder), {"": "train", "validation": "val", "test": "test"}
    unlike = set(here) - set(parts.values()) if "train" in here else set(here) & PARTS
    if unlike:
        raise InputError(
            f"{folder}: folders are to be classes, or parts that have them: train, and val and test"
            f" if you like; what is {', '.join(sorted(unlike)[:5])}?"
        )
    return of_files(
        {split: folder / name for split, name in parts.items() if name in here} or {"": folder},
        origin="a folder of images",
        licence="not known",
    )


SOURCES: dict[str, Callable[[Path, int], Source]] = {
    "digits": digits,
    "fashion-mnist": partial(
        mnist, "FashionMNIST", "Xiao, Rasul, Vollgraf 2017, Fashion-MNIST, arXiv:1708.07747", "MIT"
    ),
    "mnist": partial(
        mnist,
        "MNIST",
        "LeCun, Cortes, Burges, The MNIST database of handwritten digits",
        "CC BY-SA 3.0",
    ),
    "cifar10": partial(cifar, "CIFAR10"),
    "cifar100": partial(cifar, "CIFAR100"),
    "imagenette": imagenette,
    "imagenet": imagenet,
    "imagefolder": imagefolder,
}
NOT_DOWNLOADED = ("digits", "imagenet", "imagefolder")


def sha256(tensors: dict[str, Tensor]) -> bytes:
    """One checksum over names, shapes and contents."""
    digest = hashlib.sha256()
    for key, tensor in sorted(tensors.items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.digest()

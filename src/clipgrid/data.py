"""Data sets → one file: uint8 images, labels, a fixed split, and where it all came from."""

import gzip
import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from clipgrid import InputError
from clipgrid.grid import SMALLEST_IMAGE

VALIDATION = 0.2  # of the images that are not test images
TEST = 0.2  # of all images, where the data set comes without a test set


@dataclass(frozen=True)
class Dataset:
    """A prepared data set: `images` uint8 [N, C, S, S], `labels` int64 [N], and three sets of
    indices into them that share none."""

    images: Tensor
    labels: Tensor
    train: Tensor
    validation: Tensor
    test: Tensor
    about: dict

    @property
    def checksum(self) -> str:
        return self.about["checksum"]

    @classmethod
    def load(cls, path: Path) -> "Dataset":
        """Map a file written by `save`. InputError where it is missing or isn't one."""
        try:
            return cls(**torch.load(path, weights_only=True, mmap=True))
        except Exception as error:  # a torn or foreign file fails in many ways
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"{path}: no prepared data set ({reason}); `clipgrid prepare` makes one"
            ) from error


def prepare(name: str, size: int, split_seed: int, folder: Path) -> Dataset:
    """The data set `name` at `size` px, split by `split_seed`.

    `folder` is where its raw files lie or are downloaded to; InputError where they can't be had.
    """
    from sklearn.model_selection import train_test_split

    if size < SMALLEST_IMAGE:
        raise InputError(f"size: must be at least {SMALLEST_IMAGE}, not {size}")
    try:
        images, labels, official_test, about = SOURCES[name](folder)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{name} can't be had from {folder}, nor downloaded: {error}") from error
    images = resize(images, size)
    everything = torch.arange(len(labels))
    if official_test:
        rest, test = everything[:-official_test], everything[-official_test:]
    else:
        rest, test = train_test_split(
            everything, test_size=TEST, stratify=labels, random_state=split_seed
        )
    train, validation = train_test_split(
        rest, test_size=VALIDATION, stratify=labels[rest], random_state=split_seed
    )
    tensors = {
        "images": images,
        "labels": labels,
        "train": train,
        "validation": validation,
        "test": test,
    }
    pixels = images[train].double() / 255
    about = {
        "name": name,
        "size": size,
        "split_seed": split_seed,
        **about,
        "channels": images.shape[1],
        "images": {split: len(tensors[split]) for split in ("train", "validation", "test")},
        "mean": pixels.mean((0, 2, 3)).tolist(),
        "std": pixels.std((0, 2, 3)).tolist(),
        "checksum": sha256(tensors),
    }
    return Dataset(**tensors, about=about)


def save(dataset: Dataset, path: Path) -> None:
    """Write `path`, and beside it what the data are, as JSON for people."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(vars(dataset), path)
    path.with_suffix(".json").write_text(json.dumps(dataset.about, indent=2) + "\n")


def resize(images: Tensor, size: int) -> Tensor:
    """uint8 images [N, C, H, W] at `size` px, bilinear, antialiased where they shrink."""
    if images.shape[-2:] == (size, size):
        return images
    resized = torch.nn.functional.interpolate(
        images.float(), (size, size), mode="bilinear", antialias=True
    )
    return resized.round().clamp(0, 255).byte()


def sha256(tensors: dict[str, Tensor]) -> str:
    """One checksum over names, shapes and contents."""
    digest = hashlib.sha256()
    for key, tensor in sorted(tensors.items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().cpu().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def digits(folder: Path) -> tuple[Tensor, Tensor, int, dict]:
    """scikit-learn's digits: 1797 real images of handwriting, 8x8, that need no download."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images * 255 / 16).round().byte()[:, None]
    about = {
        "classes": [str(name) for name in bunch.target_names],
        "source": "scikit-learn, load_digits; UCI Optical Recognition of Handwritten Digits",
        "licence": "CC BY 4.0",
    }
    return images, torch.from_numpy(bunch.target).long(), 0, about


def fashion_mnist(folder: Path) -> tuple[Tensor, Tensor, int, dict]:
    """Zalando's Fashion-MNIST: 70,000 images, 28x28, its own 10,000 test images last.

    `folder` may hold the four published .gz files as such (a mirror, a distribution's package);
    else torchvision finds them in, or downloads them to, its own layout below `folder`.
    """
    from clipgrid.torchvision_on_cpu import torchvision

    source = torchvision.datasets.FashionMNIST
    with tempfile.TemporaryDirectory() as scratch:
        if (folder / "train-images-idx3-ubyte.gz").exists():
            raw = Path(scratch) / "FashionMNIST" / "raw"
            raw.mkdir(parents=True)
            for file in folder.glob("*-ubyte.gz"):
                (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
            folder = Path(scratch)
        parts = [source(folder, train=train, download=True) for train in (True, False)]
    about = {
        "classes": parts[0].classes,
        "source": "Xiao, Rasul, Vollgraf 2017, Fashion-MNIST, arXiv:1708.07747",
        "licence": "MIT",
    }
    images = torch.cat([part.data for part in parts])[:, None]
    return images, torch.cat([part.targets for part in parts]), len(parts[1]), about


SOURCES = {"digits": digits, "fashion-mnist": fashion_mnist}

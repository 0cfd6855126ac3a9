"""The data sets: as their publishers have them, or a folder of one's own. They are read by
torchvision's and scikit-learn's own classes."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

from clipgrid import InputError
from clipgrid.images.reading import Source, folders_in, of_arrays, of_files
from clipgrid.lazy import np, torch
from clipgrid.study.parts import dataset

# ---- arrays -------------------------------------------------------------------------------------


@dataset(
    "digits", label="digits", channels=1, images=(1149, 288, 360), downloads=False,
    changed_by=("flip",),
)  # fmt: skip
def digits(folder: Path, size: int) -> Source:
    """scikit-learn's digits: 1797 real images of handwriting, 8x8, that need no download."""
    import sklearn.datasets

    bunch = sklearn.datasets.load_digits()
    images = torch.from_numpy(bunch.images * 255 / 16).round().byte()[:, None]
    return of_arrays(
        (images, bunch.target),
        classes=[str(name) for name in bunch.target_names],
        files=[Path(sklearn.datasets.__file__).parent / "data" / "digits.csv.gz"],
        origin="scikit-learn, load_digits; UCI Optical Recognition of Handwritten Digits",
        licence="CC BY 4.0",
    )


@dataset("fashion-mnist", label="Fashion-MNIST", channels=1, images=(48_000, 12_000, 10_000))
def fashion_mnist(folder: Path, size: int) -> Source:
    """70,000 images of clothes, 28x28, in MNIST's format."""
    return of_idx_files(
        "FashionMNIST",
        folder,
        origin="Xiao, Rasul, Vollgraf 2017, Fashion-MNIST, arXiv:1708.07747",
        licence="MIT",
    )


@dataset("mnist", label="MNIST", channels=1, images=(48_000, 12_000, 10_000), changed_by=("flip",))
def mnist(folder: Path, size: int) -> Source:
    """70,000 images of handwritten digits, 28x28."""
    return of_idx_files(
        "MNIST",
        folder,
        origin="LeCun, Cortes, Burges, The MNIST database of handwritten digits",
        licence="CC BY-SA 3.0",
    )


IDX_FILES = {  # the MD5 of what is in them: mirrors and distributions pack the files anew
    "MNIST": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
LONGEST_IDX = 47_040_016  # bytes: 60,000 images and their header


def of_idx_files(kind: str, folder: Path, *, origin: str, licence: str) -> Source:
    """`folder` may hold the four published .gz files as such (a mirror, a distribution's package);
    else they are in torchvision's own layout below `folder`, or torchvision downloads them to it.
    InputError where the content of one isn't what was published."""
    from clipgrid.torchvision_on_cpu import torchvision

    source, raw = getattr(torchvision.datasets, kind), folder / kind / "raw"
    packed = {name: folder / f"{name}.gz" for name in IDX_FILES[kind]}
    files = {name: raw / name for name in IDX_FILES[kind]}
    if any(file.exists() for file in packed.values()):
        if missing := [file.name for file in packed.values() if not file.exists()]:
            raise InputError(f"{folder} has no {', '.join(missing)}")
        files = packed
    elif not all(file.exists() for file in files.values()):
        if (old := folder / kind / "processed").exists():  # torchvision would unpickle it
            raise InputError(f"{old} is of an old torchvision: remove it, or give {raw} its files")
        source(folder, download=True)
    content = {name: idx_content(file, IDX_FILES[kind][name]) for name, file in files.items()}
    train, test = (
        (
            idx(content[f"{part}-images-idx3-ubyte"])[:, None],
            idx(content[f"{part}-labels-idx1-ubyte"]),
        )
        for part in ("train", "t10k")
    )
    return of_arrays(
        train,
        test,
        classes=source.classes,
        files=[content[name] for name in sorted(content)],
        origin=origin,
        licence=licence,
    )


def idx_content(file: Path, md5: str) -> bytes:
    """What is in a file, packed or not; no more of it is read than a published one has."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            content = stream.read(LONGEST_IDX + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{file} is truncated or corrupt: {error}") from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise InputError(
            f"{file} is not the published file (the MD5 of what is in it is not {md5}); put that in"
            " its place"
        )
    return content


def idx(content: bytes) -> np.ndarray:
    """The array of an idx file: 2 bytes 0, the type (uint8), the number of sizes; sizes; values."""
    sizes = np.frombuffer(content, ">i4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(sizes)).reshape(sizes).copy()


@dataset("cifar10", label="CIFAR-10", channels=3, images=(40_000, 10_000, 10_000))
def cifar10(folder: Path, size: int) -> Source:
    """60,000 photographs of ten classes, 32x32."""
    return of_pickles("CIFAR10", folder)


@dataset("cifar100", label="CIFAR-100", channels=3, images=(40_000, 10_000, 10_000))
def cifar100(folder: Path, size: int) -> Source:
    """60,000 photographs of a hundred classes, 32x32."""
    return of_pickles("CIFAR100", folder)


def of_pickles(kind: str, folder: Path) -> Source:
    """The files are unpickled only where they are the published ones, by their MD5."""
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
    train, test = (source(folder, train=train, download=True) for train in (True, False))
    return of_arrays(
        *((part.data.transpose(0, 3, 1, 2), part.targets) for part in (train, test)),
        classes=train.classes,
        files=list(files),
        origin="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
        licence="none stated",
    )


# ---- image files --------------------------------------------------------------------------------


@dataset("imagenette", label="Imagenette", channels=3, images=(7_575, 1_894, 3_925), files=True)
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


@dataset(
    "imagenet",
    label="ImageNet",
    channels=3,
    images=(1_231_167, 50_000, 50_000),
    files=True,
    downloads=False,
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


NO_CLASSES = {"train", "training", "val", "valid", "validation", "test", "testing"}
"""Names of folders that are parts of a set, whatever else they may be."""


@dataset(
    "imagefolder",
    label="a folder of images",
    channels=3,
    images=(6_400, 1_600, 2_000),  # only estimates of cost take it to be so large
    files=True,
    downloads=False,
    any_number=True,
)
def imagefolder(folder: Path, size: int) -> Source:
    """A folder of one's own: with a folder for each class; or with `train`, and with `val` and
    `test` or without, that have one each."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; data.folder names that of the images")
    here, parts = folders_in(folder), {"": "train", "validation": "val", "test": "test"}
    unlike = {
        name
        for name in here
        if (name not in parts.values() if "train" in here else name.lower() in NO_CLASSES)
    }
    if unlike:
        raise InputError(
            f"{folder}: folders are to be classes, or parts that have them: train, and val and test"
            f" if you like; what is {', '.join(sorted(unlike)[:5])}?"
        )
    return of_files(
        {split: folder / name for split, name in parts.items() if name in here} or {"": folder},
        origin="a folder of images",
    )

"""Prepared data sets: what is in which split, that files give back what was put in, that what can't
be used is said, and that what was begun is continued."""

import errno
import gzip
import hashlib
import io
import json
import math
import os
import pickle
import re
import struct
import subprocess
import sys
import textwrap
import time
import tracemalloc
import urllib.error
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import clipgrid
from clipgrid import InputError
from clipgrid.__main__ import main
from clipgrid.images import data, datasets, reading
from clipgrid.images.data import SPLITS, Dataset
from clipgrid.images.reading import decode, of_arrays, resize
from clipgrid.study import config, parts
from clipgrid.torchvision_on_cpu import torchvision

transforms = torchvision.transforms
NAMES = parts.names("dataset")
DOWNLOADED = [name for name in NAMES if parts.find("dataset", name).about["downloads"]]


def prepare(name, size, split_seed, folder, out=None, **options):
    """A data set, made below `out` or `folder`."""
    out = out or folder / "prepared"
    data.prepare(name, size, split_seed, folder, out / "data.pt", out / "store", **options)
    return Dataset.load(out / "data.pt")


def about(dataset, out):
    """What the JSON beside a prepared file says."""
    return json.loads((out / "data.json").read_text())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return prepare("digits", 12, 0, tmp_path_factory.mktemp("raw"))


def test_the_digits_are_1797_grey_images_of_ten_classes(dataset):
    assert (dataset.images.shape, dataset.images.dtype) == ((1797, 1, 12, 12), torch.uint8)
    assert (dataset.labels.shape, dataset.labels.dtype) == ((1797,), torch.int64)
    assert dataset.labels.unique().tolist() == list(range(10))
    assert dataset.about["classes"] == [str(digit) for digit in range(10)]
    assert dataset.images.max() > 200


def test_the_splits_share_no_image_and_leave_none_out(dataset):
    together = torch.cat([dataset.train, dataset.validation, dataset.test])
    assert torch.equal(together.sort().values, torch.arange(1797))


def test_a_fifth_is_for_test_and_a_fifth_of_the_rest_for_validation(dataset):
    sizes = {split: len(getattr(dataset, split)) for split in SPLITS}
    assert sizes == {"train": 1149, "validation": 288, "test": 360}
    assert dataset.about["images"] == sizes


@pytest.mark.parametrize("split", SPLITS)
def test_each_split_has_its_share_of_each_class(dataset, split):
    index = getattr(dataset, split)
    share = len(index) / 1797
    counts = torch.bincount(dataset.labels[index], minlength=10)
    expected = torch.bincount(dataset.labels) * share
    assert (counts - expected).abs().max() <= 1


def test_mean_and_std_are_of_the_training_images_only(dataset):
    pixels = dataset.images[dataset.train].numpy() / 255
    assert dataset.about["mean"] == pytest.approx([pixels.mean()], rel=1e-9)
    assert dataset.about["std"] == pytest.approx([pixels.std()], rel=1e-4)
    assert dataset.about["mean"] != pytest.approx([dataset.images.numpy().mean() / 255], rel=1e-9)


# ---- a split anew -------------------------------------------------------------------------------


def anew(dataset, seed):
    return dataset.split_anew(torch.Generator().manual_seed(seed))


def test_a_split_anew_is_another_that_shares_no_image_and_leaves_none_out(dataset):
    splits = [dataset, anew(dataset, 0), anew(dataset, 1)]
    for split in splits:
        together = torch.cat([split.train, split.validation, split.test])
        assert torch.equal(together.sort().values, torch.arange(1797))
    for name in SPLITS:
        assert len({tuple(sorted(getattr(split, name).tolist())) for split in splits}) == 3
    assert torch.equal(anew(dataset, 1).test, splits[-1].test)
    assert splits[-1].checksum == dataset.checksum  # what it is drawn from


@pytest.mark.parametrize("name", SPLITS)
def test_a_split_anew_has_as_many_images_of_each_class_in_each_set(dataset, name):
    before, after = (
        torch.bincount(split.labels[getattr(split, name)]) for split in (dataset, anew(dataset, 3))
    )
    assert torch.equal(before, after)


def test_each_image_of_a_class_is_as_likely_in_each_set(dataset):
    n = 400
    found = sum(torch.bincount(anew(dataset, s).test, minlength=1797) for s in range(n))
    counts = torch.bincount(dataset.labels[dataset.test]) / torch.bincount(dataset.labels)
    share = counts[dataset.labels]
    deviations = (found - n * share) / (n * share * (1 - share)).sqrt()
    assert deviations.abs().max() < 5
    assert 0.9 < deviations.std() < 1.1


def test_mean_and_std_of_a_split_anew_are_of_its_training_images(dataset):
    split = anew(dataset, 5)
    values = dataset.images[split.train].numpy().astype(np.float64) / 255
    assert split.about["mean"] == pytest.approx([values.mean()], rel=1e-12)
    assert split.about["std"] == pytest.approx([values.std(ddof=1)], rel=1e-12)
    assert split.about["mean"] != dataset.about["mean"]


def test_the_same_settings_give_the_same_data(dataset, tmp_path):
    again = prepare("digits", 12, 0, tmp_path)
    assert again.checksum == dataset.checksum
    assert again.about == dataset.about
    assert torch.equal(again.train, dataset.train)


@pytest.mark.parametrize(("size", "split_seed"), [(12, 1), (8, 0)])
def test_another_split_or_size_has_another_checksum(dataset, size, split_seed, tmp_path):
    assert prepare("digits", size, split_seed, tmp_path).checksum != dataset.checksum


@pytest.mark.parametrize("split_seed", [-1, 2**32])
def test_a_number_that_draws_no_split_is_one_error(split_seed, tmp_path):
    with pytest.raises(InputError, match=r"split_seed: must be from 0 to 2\^32 - 1, not"):
        prepare("digits", 8, split_seed, tmp_path)


def test_a_set_that_is_in_the_store_is_not_prepared_again(tmp_path, monkeypatch):
    first = prepare("digits", 8, 0, tmp_path)
    monkeypatch.setattr(data, "fill", lambda *_: pytest.fail("prepared twice"))
    data.prepare("digits", 8, 0, tmp_path, tmp_path / "other.pt", tmp_path / "prepared" / "store")
    assert Dataset.load(tmp_path / "other.pt").about == first.about


def test_beside_the_file_lies_what_it_is(tmp_path):
    made = prepare("digits", 8, 0, tmp_path)
    assert about(made, tmp_path / "prepared") == made.about
    assert made.about["licence"] == "CC BY 4.0"
    assert made.about["sources"]["files"] == 1


@pytest.mark.parametrize("content", [b"", b"no data set", None])
def test_a_file_that_is_none_is_one_error(tmp_path, dataset, content):
    path = tmp_path / "data.pt"
    if content is None:  # torn
        prepare("digits", 8, 0, tmp_path)
        content = (tmp_path / "prepared" / "data.pt").read_bytes()[:50_000]
    path.write_bytes(content)
    said = r"data\.pt: no prepared data set .* `python -m clipgrid prepare` makes one"
    with pytest.raises(InputError, match=said):
        Dataset.load(path)


def test_resizing_to_the_same_size_changes_nothing(dataset):
    assert torch.equal(resize(dataset.images, 12), dataset.images)


@pytest.mark.parametrize("size", [8, 9, 24])
def test_resized_images_are_uint8_of_that_size(dataset, size):
    resized = resize(dataset.images[:5], size)
    assert (resized.shape, resized.dtype) == ((5, 1, size, size), torch.uint8)


@pytest.mark.parametrize("value", [0, 77, 255])
def test_an_even_image_stays_even_when_it_is_resized(value):
    resized = resize(torch.full((1, 3, 10, 10), value, dtype=torch.uint8), 16)
    assert torch.equal(resized, torch.full((1, 3, 16, 16), value, dtype=torch.uint8))


def test_prepared_files_keep_their_names_and_their_content(tmp_path):
    """Stored states are found by the checksum, and the set itself by the name."""
    checksum = prepare("digits", 8, 0, tmp_path).checksum
    assert checksum == "50a0492de63ccaf0e411044f18610a94bd5e52d103f9a358c72dd35b513920be"
    stored = [path.name for path in (tmp_path / "prepared" / "store" / "data").iterdir()]
    assert stored == ["1542804bbb48c993.pt"]


# ---- data sets as parts -------------------------------------------------------------------------


def test_the_study_knows_the_data_sets():
    found = {name: config.Data(name=name).about for name in NAMES}
    assert {n: (about["channels"], about["images"]) for n, about in found.items()} == {
        "digits": (1, (1149, 288, 360)),
        "fashion-mnist": (1, (48_000, 12_000, 10_000)),
        "mnist": (1, (48_000, 12_000, 10_000)),
        "cifar10": (3, (40_000, 10_000, 10_000)),
        "cifar100": (3, (40_000, 10_000, 10_000)),
        "imagenette": (3, (7_575, 1_894, 3_925)),
        "imagenet": (3, (1_231_167, 50_000, 50_000)),
        "imagefolder": (3, (6_400, 1_600, 2_000)),  # one's own: for estimates alone
    }
    of_files = {n for n, about in found.items() if about["files"]}
    assert of_files == {"imagenette", "imagenet", "imagefolder"}
    assert {n for n, about in found.items() if about["any_number"]} == {"imagefolder"}
    assert set(NAMES) - set(DOWNLOADED) == {"digits", "imagenet", "imagefolder"}


@pytest.fixture
def known_sets(monkeypatch):
    """Data sets that a test declares are forgotten after it."""
    monkeypatch.setitem(parts.KINDS, "dataset", dict(parts.KINDS["dataset"]))


def test_a_data_set_of_ones_own_is_one_file(tmp_path, known_sets):
    """The example of of_arrays, as an extension."""
    _, start, code = of_arrays.__doc__.partition("        @dataset")
    example = textwrap.dedent(start + code)
    (tmp_path / "stripes.py").write_text(
        "import numpy as np\n"
        "from clipgrid.images.reading import of_arrays\n"
        "from clipgrid.study.parts import dataset\n\n"
        f"{example}"
    )
    parts.load(["stripes.py"], tmp_path)
    dataset = prepare("stripes", 8, 0, tmp_path)
    assert dataset.images.shape == (200, 1, 8, 8)
    assert dataset.about["images"] == {"train": 128, "validation": 32, "test": 40}
    assert dataset.about["classes"] == ["row", "column"]
    assert dataset.images[dataset.labels == 0][:, 0, 4].min() >= 100


IMAGES, LABELS = np.zeros((20, 1, 8, 8), np.uint8), np.arange(20) % 2
BAD_ARRAYS = {
    "floats": ((IMAGES / 255, LABELS), r"uint8 \[n, C, H, W\], not torch.float64 \[20, 1, 8, 8\]"),
    "no channels": ((IMAGES[:, 0], LABELS), r"not torch.uint8 \[20, 8, 8\]"),
    "too few labels": ((IMAGES, LABELS[:9]), r"labels must be 20 whole numbers, .* \[9\]"),
    "labels that are no classes": ((IMAGES, LABELS / 2), r"20 whole numbers, not torch.float64"),
}


@pytest.mark.parametrize(("arrays", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_arrays_that_are_no_data_set_are_one_error(arrays, message):
    with pytest.raises(InputError, match=message):
        of_arrays(arrays, classes=["even", "odd"])


def test_arrays_may_be_torchs_and_have_a_test_set():
    test = torch.from_numpy(IMAGES[:4]), torch.from_numpy(LABELS[:4])
    source = of_arrays((IMAGES, LABELS), test, classes=("even", "odd"))
    assert source.split.tolist() == [0] * 20 + [1 + SPLITS.index("test")] * 4
    assert source.labels.tolist() == [*LABELS, *LABELS[:4]]
    assert source.classes == ["even", "odd"]
    images, *_ = source.read(slice(18, 22), 8)
    assert images.shape == (4, 1, 8, 8)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: None, "its function gives NoneType, and not a Source"),
        (
            lambda: of_arrays((IMAGES, LABELS), classes=["even", "odd"]),
            "20 images, where odd has 9",
        ),
        (
            lambda: of_arrays((IMAGES[:9].repeat(3, 1), LABELS[:9]), classes=["even", "odd"]),
            "images of 3 channels, where odd has 1",
        ),
    ],
)
def test_a_data_set_that_is_not_as_declared_is_one_error(given, message, tmp_path, known_sets):
    parts.dataset("odd", label="odd", channels=1, images=(5, 2, 2))(lambda folder, size: given())
    with pytest.raises(InputError, match=message):
        prepare("odd", 8, 0, tmp_path)


# ---- sets of arrays, in the formats of their publishers ------------------------------------------


def write_idx(path, array):
    """An idx file, as MNIST's are: magic number, sizes, bytes."""
    header = struct.pack(f">{1 + array.ndim}i", 2048 + array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def publish(monkeypatch):
    """A function: from then on the files of a folder are the published ones of both sets."""

    def as_they_are(folder):
        content = {f.stem: gzip.decompress(f.read_bytes()) for f in folder.glob("*-ubyte.gz")}
        sums = {name: hashlib.md5(some).hexdigest() for name, some in content.items()}
        for kind in ("MNIST", "FashionMNIST"):
            monkeypatch.setitem(datasets.IDX_FILES, kind, sums)

    return as_they_are


@pytest.fixture
def idx_files(tmp_path, monkeypatch, publish):
    """A folder of four files like MNIST's, of 60 and 20 images: (folder, images, labels)."""
    for name in ("mnist", "fashion-mnist"):
        monkeypatch.setitem(parts.find("dataset", name).about, "images", (48, 12, 20))
    folder = tmp_path / "raw"
    folder.mkdir()
    random = np.random.default_rng(0)
    shapes = {"train": (60, 8, 8), "t10k": (20, 8, 8)}
    images = {part: random.integers(0, 256, shape, np.uint8) for part, shape in shapes.items()}
    labels = {part: np.arange(len(x), dtype=np.uint8) % 10 for part, x in images.items()}
    for part in images:
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images[part])
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels[part])
    publish(folder)
    return folder, images, labels


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_mnist_and_its_like_are_read_from_a_folder_of_their_four_files(name, idx_files, tmp_path):
    folder, images, labels = idx_files
    files = sorted(folder.iterdir())
    dataset = prepare(name, 8, 0, folder, tmp_path)

    both = [np.concatenate([x["train"], x["t10k"]]) for x in (images, labels)]
    assert np.array_equal(dataset.images[:, 0].numpy(), both[0])
    assert np.array_equal(dataset.labels.numpy(), both[1])
    assert sorted(dataset.test.tolist()) == list(range(60, 80))
    rest = torch.cat([dataset.train, dataset.validation])
    assert sorted(rest.tolist()) == list(range(60))
    assert len(dataset.validation) == math.ceil(0.2 * 60)
    assert len(dataset.about["classes"]) == 10
    assert dataset.about["sources"]["files"] == 4
    assert sorted(folder.iterdir()) == files


@pytest.mark.parametrize("damage", ["truncated", "corrupt", "shortened inside"])
def test_a_damaged_file_of_mnist_is_one_error(damage, idx_files, tmp_path):
    file = idx_files[0] / "train-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    file.write_bytes(
        {
            "truncated": whole[:200],
            "corrupt": whole[:100] + b"xxxx" + whole[104:],
            "shortened inside": gzip.compress(gzip.decompress(whole)[:-10]),
        }[damage]
    )
    with pytest.raises(
        InputError, match=r"raw/train-images.* is (truncated|not the published file)"
    ):
        prepare("mnist", 8, 0, idx_files[0], tmp_path)


def test_a_missing_file_of_mnist_is_one_error(idx_files, tmp_path):
    (idx_files[0] / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match=r"raw has no t10k-labels-idx1-ubyte\.gz"):
        prepare("mnist", 8, 0, idx_files[0], tmp_path)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_other_images_in_the_place_of_mnists_are_one_error(name, idx_files, tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (60, 8, 8), np.uint8)
    write_idx(idx_files[0] / "train-images-idx3-ubyte.gz", noise)
    said = r"train-images-idx3-ubyte\.gz is not the published file \(the MD5 of what is in it"
    with pytest.raises(InputError, match=said):
        prepare(name, 8, 0, idx_files[0], tmp_path)


def test_mnist_is_known_by_what_is_in_its_files(idx_files, tmp_path):
    """Mirrors and distributions, such as Debian's package, pack the files anew."""
    folder, *_ = idx_files
    before = prepare("mnist", 8, 0, folder, tmp_path / "before")
    for file in folder.iterdir():
        packed = file.read_bytes()
        file.write_bytes(gzip.compress(gzip.decompress(packed), compresslevel=1, mtime=1))
        assert file.read_bytes() != packed
    assert prepare("mnist", 8, 0, folder, tmp_path / "after").checksum == before.checksum


def test_files_that_torchvision_unpacked_are_read_from_its_layout(idx_files, tmp_path):
    folder, *_ = idx_files
    raw = tmp_path / "theirs" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in folder.iterdir():
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    (raw.parent / "processed").mkdir()
    (raw.parent / "processed" / "training.pt").write_bytes(b"nobody unpickles it")
    here, there = (prepare("mnist", 8, 0, f, f / "made") for f in (folder, tmp_path / "theirs"))
    assert here.about == there.about
    (raw / "train-images-idx3-ubyte").unlink()
    with pytest.raises(InputError, match="MNIST/processed is of an old torchvision: remove it"):
        prepare("mnist", 8, 0, tmp_path / "theirs")


def test_fewer_images_than_labels_are_one_error(idx_files, tmp_path, publish):
    folder, images, _ = idx_files
    write_idx(folder / "train-images-idx3-ubyte.gz", images["t10k"])
    publish(folder)
    with pytest.raises(InputError, match="labels must be 20 whole numbers"):
        prepare("mnist", 8, 0, folder, tmp_path)


def test_no_more_is_unpacked_than_a_file_of_mnist_has(idx_files, tmp_path, monkeypatch):
    (idx_files[0] / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(20_000_000), 1))
    monkeypatch.setattr(datasets, "LONGEST_IDX", 10_000)
    tracemalloc.start()
    with pytest.raises(InputError, match="is not the published file"):
        prepare("mnist", 8, 0, idx_files[0], tmp_path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2_000_000


def test_labels_out_of_range_are_one_error(idx_files, tmp_path, publish):
    write_idx(idx_files[0] / "t10k-labels-idx1-ubyte.gz", np.full(20, 77, np.uint8))
    publish(idx_files[0])
    with pytest.raises(InputError, match=r"labels from 0 to 77, where 10 classes have 0 to 9"):
        prepare("mnist", 8, 0, idx_files[0], tmp_path)


def test_another_number_of_images_than_the_set_has_is_one_error(idx_files, tmp_path, monkeypatch):
    monkeypatch.setitem(parts.find("dataset", "mnist").about, "images", (48_000, 12_000, 10_000))
    with pytest.raises(InputError, match=r"raw: 80 images, where mnist has 70,000"):
        prepare("mnist", 8, 0, idx_files[0], tmp_path)


@pytest.fixture
def cifar_files(tmp_path, monkeypatch):
    """A folder of the files of CIFAR-10, with the right checksums, of 4 images each."""
    source = torchvision.datasets.CIFAR10
    folder = tmp_path / "raw" / source.base_folder
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    lists = {"train_list": [], "test_list": []}
    for kind, made in lists.items():
        for name, _ in getattr(source, kind):
            pixels = random.integers(0, 256, (4, 3 * 32 * 32), np.uint8)
            (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": [0, 1, 0, 1]}))
            made.append([name, torchvision.datasets.utils.calculate_md5(folder / name)])
        monkeypatch.setattr(source, kind, made)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["cat", "dog"]}))
    md5 = torchvision.datasets.utils.calculate_md5(folder / "batches.meta")
    monkeypatch.setattr(source, "meta", {**source.meta, "md5": md5})
    monkeypatch.setitem(parts.find("dataset", "cifar10").about, "images", (16, 4, 4))
    return folder


def test_cifar_is_read_as_torchvision_reads_it(cifar_files, tmp_path):
    dataset = prepare("cifar10", 32, 0, tmp_path / "raw", tmp_path)
    theirs = torchvision.datasets.CIFAR10(tmp_path / "raw", train=True)
    assert dataset.about["classes"] == ["cat", "dog"]
    for i in (0, 7, 19):
        image, label = theirs[i]
        assert np.array_equal(dataset.images[i].permute(1, 2, 0).numpy(), np.asarray(image))
        assert dataset.labels[i] == label
    assert sorted(dataset.test.tolist()) == [20, 21, 22, 23]
    assert dataset.about["sources"]["files"] == 7


def test_a_file_of_cifar_with_a_wrong_checksum_is_one_error(cifar_files, tmp_path):
    with (cifar_files / "data_batch_3").open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff\x00")
    with pytest.raises(InputError, match=r"data_batch_3 is not the published file \(its MD5"):
        prepare("cifar10", 32, 0, tmp_path / "raw", tmp_path)


@pytest.mark.parametrize("name", DOWNLOADED)
def test_no_network_is_one_error(name, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refused)
    with pytest.raises(InputError, match=f"{name} can't be had from .*, nor downloaded") as error:
        prepare(name, 32, 0, tmp_path)
    assert "\n" not in str(error.value)


def test_imagenet_without_its_archives_says_which_it_wants(tmp_path):
    with pytest.raises(InputError, match=r"has no train and no val, with .* ILSVRC2012_devkit_t12"):
        prepare("imagenet", 32, 0, tmp_path)


# ---- image files --------------------------------------------------------------------------------


def photograph(seed, width=40, height=30):
    """Smooth noise, so that JPEG keeps most of it."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def write_images(folder, counts, **size):
    """Folders of JPEG files: {class: how many}."""
    for k, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            photograph(1000 * k + i, **size).save(folder / name / f"{i}.jpg")
    return folder


@pytest.fixture
def pets(tmp_path):
    return write_images(tmp_path / "pets", {"cat": 10, "dog": 10})


def test_a_folder_of_images_is_split_by_class(pets, tmp_path):
    dataset = prepare("imagefolder", 16, 0, pets, tmp_path)
    assert dataset.images.shape == (20, 3, 16, 16)
    assert dataset.about["classes"] == ["cat", "dog"]
    assert dataset.labels.tolist() == [0] * 10 + [1] * 10
    assert dataset.about["images"] == {"train": 12, "validation": 4, "test": 4}
    assert dataset.labels[dataset.test].tolist().count(1) == 2
    assert dataset.about["sources"]["files"] == 20
    assert sorted(p.name for p in pets.rglob("*.*")) == sorted([f"{i}.jpg" for i in range(10)] * 2)


def test_images_are_those_of_torchvision(tmp_path):
    """Its Resize and CenterCrop round the place of the crop to whole pixels; where there is nothing
    to crop, the images are the same."""
    pets = write_images(tmp_path / "pets", {"cat": 10, "dog": 10}, width=400, height=301)
    Image.fromarray(np.asarray(photograph(7, 200, 200))).save(pets / "cat" / "0.png")
    dataset = prepare("imagefolder", 128, 0, pets, tmp_path)
    theirs = torchvision.datasets.ImageFolder(
        pets,
        transforms.Compose(
            [transforms.Resize(128), transforms.CenterCrop(128), transforms.PILToTensor()]
        ),
    )
    places = {
        Path(path).relative_to(pets).as_posix(): i for i, (path, _) in enumerate(theirs.samples)
    }
    i = places["cat/0.png"]
    assert torch.equal(dataset.images[i], theirs[i][0])
    for i in range(len(theirs)):
        assert (dataset.images[i].float() - theirs[i][0]).abs().mean() < 2


def test_the_parts_that_a_folder_has_are_kept(tmp_path):
    folder = tmp_path / "pets"
    for part, n in (("train", 6), ("val", 3), ("test", 2)):
        write_images(folder / part, {"cat": n, "dog": n})
    dataset = prepare("imagefolder", 8, 0, folder, tmp_path)
    assert dataset.about["images"] == {"train": 12, "validation": 6, "test": 4}
    assert sorted(dataset.train.tolist()) == list(range(12))
    assert sorted(dataset.validation.tolist()) == list(range(12, 18))
    assert dataset.about["own_splits"] == ["validation", "test"]
    assert anew(dataset, 1) is dataset


def test_the_images_of_a_part_that_is_kept_are_in_no_order(tmp_path):
    """Looks take the first of them, and files lie class by class."""
    folder = tmp_path / "pets"
    for part, n in (("train", 20), ("val", 20), ("test", 20)):
        write_images(folder / part, {"cat": n, "dog": n})
    dataset = prepare("imagefolder", 8, 0, folder, tmp_path)
    for name in SPLITS:
        assert 4 < dataset.labels[getattr(dataset, name)][:20].sum() < 16


def test_a_folder_with_a_test_set_has_its_validation_images_drawn(tmp_path):
    folder = tmp_path / "pets"
    for part, n in (("train", 5), ("test", 2)):
        write_images(folder / part, {"cat": n, "dog": n})
    dataset = prepare("imagefolder", 8, 0, folder, tmp_path)
    assert dataset.about["images"] == {"train": 8, "validation": 2, "test": 4}
    splits = [anew(dataset, seed) for seed in range(20)]
    assert len({tuple(sorted(split.validation.tolist())) for split in splits}) > 10
    for split in splits:
        assert torch.equal(split.test, dataset.test)
        assert sorted(torch.cat([split.train, split.validation]).tolist()) == list(range(10))


KINDS = {
    "grayscale": ("L", "png", None),
    "one bit": ("1", "png", "grayscale"),
    "palette": ("P", "png", "nothing"),
    "CMYK": ("CMYK", "jpg", None),
    "transparency": ("RGBA", "png", None),
}


@pytest.mark.parametrize(("mode", "suffix", "counted"), KINDS.values(), ids=KINDS)
def test_other_modes_become_rgb_and_are_counted(mode, suffix, counted, pets, tmp_path, request):
    file = pets / "cat" / f"0.{suffix}"
    (pets / "cat" / "0.jpg").unlink()
    image = photograph(3, 16, 16).convert(mode)
    image.save(file)
    dataset = prepare("imagefolder", 16, 0, pets, tmp_path)
    with Image.open(file) as stored:
        expected = np.asarray(stored.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(dataset.images[0].numpy(), expected)
    what = counted or request.node.callspec.id
    assert dataset.about["converted"] == ({} if what == "nothing" else {what: 1})


def test_16_bits_are_rounded_to_8(pets, tmp_path):
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257 + 100
    values[0, :2] = 0, 65535
    (pets / "cat" / "0.jpg").unlink()
    Image.fromarray(values).save(pets / "cat" / "0.png")
    dataset = prepare("imagefolder", 16, 0, pets, tmp_path)
    assert np.array_equal(dataset.images[0, 1].numpy(), np.round(values / 257).astype(np.uint8))
    assert dataset.about["converted"] == {"grayscale": 1, "16 bits": 1}


def deep_png(side):
    """A PNG of random values of 16 bits in three colours, which Pillow can't write."""

    def chunk(kind, content):
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    values = np.random.default_rng(0).integers(0, 2**16, (side, side, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", side, side, 16, 2, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(rows), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks.items()), values


def test_colours_of_16_bits_are_counted_and_keep_their_high_bytes(pets, tmp_path):
    content, values = deep_png(16)
    for i in (0, 1):
        (pets / "cat" / f"{i}.jpg").unlink()
    (pets / "cat" / "0.png").write_bytes(content)
    (pets / "cat" / "1.ppm").write_bytes(b"P6 16 16 65535\n" + values.tobytes())
    dataset = prepare("imagefolder", 16, 0, pets, tmp_path)
    assert np.array_equal(dataset.images[0].permute(1, 2, 0).numpy(), values >> 8)
    assert dataset.about["converted"] == {"16 bits": 2}


def test_of_several_frames_the_first_is_taken(pets, tmp_path):
    (pets / "cat" / "0.jpg").unlink()
    frames = [photograph(seed, 16, 16) for seed in range(3)]
    frames[0].save(pets / "cat" / "0.tiff", save_all=True, append_images=frames[1:])
    dataset = prepare("imagefolder", 16, 0, pets, tmp_path)
    assert np.array_equal(dataset.images[0].permute(1, 2, 0).numpy(), np.asarray(frames[0]))
    assert dataset.about["converted"] == {"several frames": 1}


def encoded(image, format):
    buffer = io.BytesIO()
    image.save(buffer, format)
    return buffer.getvalue()


JPEG, PNG = encoded(photograph(1), "JPEG"), encoded(photograph(1), "PNG")
CHUNK = PNG.index(b"IDAT")
CORRUPT = {
    "empty": b"",
    "text": b"not an image",
    "truncated JPEG": JPEG[: len(JPEG) // 2],
    "truncated PNG": PNG[: len(PNG) // 2],
    "corrupt PNG": PNG[: CHUNK + 8] + b"\0" * 40 + PNG[CHUNK + 48 :],
}


@pytest.mark.parametrize("content", CORRUPT.values(), ids=CORRUPT)
def test_a_corrupt_image_is_left_out_and_named(content, pets, tmp_path, capfd):
    (pets / "dog" / "3.jpg").write_bytes(content)
    dataset = prepare("imagefolder", 16, 0, pets, tmp_path)
    assert dataset.about["images"] == {"train": 12, "validation": 3, "test": 4}
    assert dataset.about["unreadable"] == [13]
    for split in (dataset, anew(dataset, 0), anew(dataset, 1)):
        together = torch.cat([split.train, split.validation, split.test]).tolist()
        assert sorted(together) == [i for i in range(20) if i != 13]
    assert about(dataset, tmp_path)["unreadable"] == ["dog/3.jpg"]
    assert "dog/3.jpg is left out: " in capfd.readouterr().err


def test_values_without_a_known_range_are_left_out(pets, tmp_path):
    (pets / "dog" / "3.jpg").unlink()
    Image.fromarray(np.linspace(0, 7, 256, dtype=np.float32).reshape(16, 16)).save(
        pets / "dog" / "3.tiff"
    )
    assert prepare("imagefolder", 16, 0, pets, tmp_path).about["unreadable"] == [13]


BAD_FOLDERS = {
    "absent": (lambda folder: None, r"pets is no folder; data\.folder names"),
    "no classes": (
        lambda folder: folder.mkdir(),
        r"pets: no folders in it, where each class must have one",
    ),
    "an empty class": (
        lambda folder: (write_images(folder, {"cat": 5, "dog": 5}), (folder / "eel").mkdir()),
        r"no valid file for the classes eel",
    ),
    "one class": (lambda folder: write_images(folder, {"cat": 5}), r"one class alone, cat"),
    "a class of one image": (
        lambda folder: write_images(folder, {"cat": 5, "dog": 1}),
        r"pets: at least 3 images of each class .* fewer of dog",
    ),
    "train and validation": (
        lambda folder: [
            write_images(folder / part, {"cat": 5, "dog": 5}) for part in ("train", "validation")
        ],
        r"pets: folders are to be classes, or parts .* what is validation\?",
    ),
    "training and testing": (
        lambda folder: [
            write_images(folder / part, {"cat": 5, "dog": 5}) for part in ("training", "testing")
        ],
        r"pets: folders are to be classes, or parts .* what is testing, training\?",
    ),
    "a class called train": (
        lambda folder: write_images(folder, {"bus": 5, "car": 5, "train": 5}),
        r"pets: folders are to be classes, or parts .* what is bus, car\?",
    ),
    "another class for test": (
        lambda folder: [
            write_images(folder / "train", {"cat": 5, "dog": 5}),
            write_images(folder / "test", {"cat": 5, "eel": 5}),
        ],
        r"test and .*train must have the same classes, and differ in dog, eel",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD_FOLDERS.values(), ids=BAD_FOLDERS)
def test_a_folder_that_is_no_data_set_is_one_error(make, message, tmp_path, capsys):
    make(tmp_path / "pets")
    paths = ["--folder", str(tmp_path / "pets"), "--out", str(tmp_path / "data.pt")]
    paths += ["--store", str(tmp_path / "store")]
    assert main(["prepare", "--name", "imagefolder", "--size", "16", *paths]) == 1
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.startswith("clipgrid: error: ")
    assert captured.err.count("\n") == 1
    assert re.search(message, captured.err)
    assert not (tmp_path / "data.pt").exists()


def test_fewer_images_than_can_be_split_by_class_are_one_error(tmp_path):
    folder = write_images(tmp_path / "pets", {f"pet{k}": 4 for k in range(10)})
    with pytest.raises(InputError, match="too few images of 10 classes: a fifth of 40 can't"):
        prepare("imagefolder", 8, 0, folder, tmp_path)


def test_a_class_whose_images_are_corrupt_is_one_error(pets, tmp_path):
    for i in range(8):
        (pets / "dog" / f"{i}.jpg").write_bytes(b"")
    store = tmp_path / "store" / "data"
    with pytest.raises(InputError, match=r"at least 3 images of each class .* fewer of dog"):
        prepare("imagefolder", 16, 0, pets, tmp_path)
    assert list(store.iterdir()) == []


def test_an_image_that_changes_makes_another_set(pets, tmp_path):
    before = prepare("imagefolder", 16, 0, pets, tmp_path)
    photograph(99).save(pets / "cat" / "0.jpg")
    after = prepare("imagefolder", 16, 0, pets, tmp_path)
    assert not torch.equal(after.images[0], before.images[0])
    assert after.checksum != before.checksum
    assert after.about["sources"]["sha256"] != before.about["sources"]["sha256"]


def test_hidden_folders_are_no_classes_and_other_files_are_counted(pets, tmp_path, capfd):
    (pets / ".ipynb_checkpoints").mkdir()
    (pets / "cat" / "notes.txt").write_text("asleep")
    (pets / "dog" / "dog.gif").write_bytes(b"")
    assert prepare("imagefolder", 16, 0, pets, tmp_path).about["classes"] == ["cat", "dog"]
    assert "warning: 2 files are not among .jpg, .jpeg, .png" in capfd.readouterr().err


def test_what_is_no_image_is_said_in_words(pets, tmp_path, capfd):
    (pets / "cat" / "0.jpg").write_bytes(b"text")
    prepare("imagefolder", 16, 0, pets, tmp_path)
    known = "JPEG, PNG, PPM, BMP, TIFF, WEBP, GIF"
    assert capfd.readouterr().err.endswith(f"0.jpg is left out: it is none of {known}\n")


def test_an_image_starts_no_program(pets, tmp_path, monkeypatch, capfd):
    """EPS is a language, which Pillow would give to Ghostscript, whatever the file's name."""
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    text = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    (pets / "cat" / "0.jpg").write_text(text)
    assert prepare("imagefolder", 16, 0, pets, tmp_path).about["unreadable"] == [0]
    assert "cat/0.jpg is left out: it is none of JPEG, " in capfd.readouterr().err


# ---- links, and what is no file ------------------------------------------------------------------


@pytest.mark.parametrize("links", [{"cat/loop": "."}, {"cat/loop": "..", "dog/loop": ".."}])
def test_a_link_to_a_folder_above_adds_nothing(links, pets, tmp_path):
    before = prepare("imagefolder", 16, 0, pets, tmp_path / "before")
    for link, target in links.items():
        (pets / link).symlink_to(target)
    after = prepare("imagefolder", 16, 0, pets, tmp_path / "after")
    assert after.about == before.about


def test_an_image_that_links_lead_to_as_well_counts_once_where_it_lies(pets, tmp_path, capfd):
    before = prepare("imagefolder", 16, 0, pets, tmp_path / "before")
    (pets / "cat" / "a.jpg").symlink_to("../dog/3.jpg")
    (pets / "dog" / "cats").symlink_to("../cat")
    after = prepare("imagefolder", 16, 0, pets, tmp_path / "after")
    assert after.about == before.about
    said = "12 links lead to images that are there already: each counts once, where it lies"
    assert said in capfd.readouterr().err


def test_folders_that_links_lead_to_from_outside_count(pets, tmp_path):
    before = prepare("imagefolder", 16, 0, pets, tmp_path / "before")
    (pets / "cat").rename(tmp_path / "cats")
    (pets / "cat").mkdir()
    (pets / "cat" / "more").symlink_to(tmp_path / "cats")
    assert prepare("imagefolder", 16, 0, pets, tmp_path / "after").checksum == before.checksum


def test_images_are_not_for_training_and_for_test(tmp_path):
    folder = write_images(tmp_path / "pets" / "train", {"cat": 5, "dog": 5}).parent
    (folder / "test").symlink_to("train")
    with pytest.raises(InputError, match="test: no valid file for the classes cat, dog"):
        prepare("imagefolder", 8, 0, folder, tmp_path)


def test_what_can_not_be_read_is_left_out_counted_and_named(pets, tmp_path, monkeypatch, capfd):
    for name in ("gone", "round", "pipe", "secret"):
        (pets / "dog" / f"{name}.jpg").unlink(missing_ok=True)
    (pets / "dog" / "gone.jpg").symlink_to("nowhere")
    (pets / "dog" / "round.jpg").symlink_to("round.jpg")
    os.mkfifo(pets / "dog" / "pipe.jpg")
    photograph(77).save(pets / "dog" / "secret.jpg")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, how: "secret" not in str(path))  # root may all
    dataset = prepare("imagefolder", 16, 0, pets, tmp_path)
    monkeypatch.setattr(os, "access", access)
    assert dataset.about["images"] == {"train": 12, "validation": 4, "test": 4}
    left_out = about(dataset, tmp_path)["unreadable"]
    assert left_out == [f"dog/{name}.jpg" for name in ("gone", "pipe", "round", "secret")]
    said = capfd.readouterr().err
    assert "dog/gone.jpg is left out: No such file or directory" in said
    assert "dog/pipe.jpg is left out: it is no regular file" in said
    assert "dog/secret.jpg is left out: it may not be read" in said


# ---- what is too large ---------------------------------------------------------------------------


def test_images_and_files_that_are_too_large_are_left_out(pets, tmp_path, monkeypatch, capfd):
    photograph(5, 50, 40).save(pets / "cat" / "0.jpg")
    (pets / "cat" / "1.jpg").write_bytes(JPEG + bytes(5000))
    monkeypatch.setattr(reading, "MOST_PIXELS", 1999)
    monkeypatch.setattr(reading, "MOST_BYTES", 5000)
    assert prepare("imagefolder", 16, 0, pets, tmp_path).about["unreadable"] == [0, 1]
    said = capfd.readouterr().err
    assert "0.jpg is left out: its 2,000 pixels are more than 1,999" in said
    assert re.search(r"1.jpg is left out: its 5,\d+ bytes are more than 5,000", said)


@pytest.mark.parametrize(("large", "at_once"), [(10**9, 3), (0, 1)])
def test_large_images_are_decoded_one_at_a_time(large, at_once, pets, tmp_path, monkeypatch):
    under_way, most = [], []

    def watched(*arguments):
        under_way.append(1)
        time.sleep(0.02)
        most.append(len(under_way))
        under_way.pop()
        return fit(*arguments)

    fit = ImageOps.fit
    monkeypatch.setattr(ImageOps, "fit", watched)
    monkeypatch.setattr(reading, "LARGE_PIXELS", large)
    monkeypatch.setattr(data, "CHUNK", 2)
    prepare("imagefolder", 16, 0, pets, tmp_path, threads=3)
    assert max(most) == at_once


def test_ctrl_c_is_one_line(tmp_path, monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "fill", stopped)
    paths = ["--out", str(tmp_path / "data.pt"), "--store", str(tmp_path / "store")]
    assert main(["prepare", "--name", "digits", "--size", "8", *paths]) == 130
    assert capsys.readouterr().err == "clipgrid: stopped; the same command goes on from here\n"


@pytest.mark.parametrize("value", [0, 201])
def test_a_channel_of_one_value_can_be_trained_on(pets, tmp_path, value):
    for file in pets.rglob("*.jpg"):
        pixels = np.asarray(Image.open(file)).copy()
        pixels[..., 2] = value
        file.unlink()
        Image.fromarray(pixels).save(file.with_suffix(".png"))
    dataset = prepare("imagefolder", 16, 0, pets, tmp_path)
    assert (dataset.about["mean"][2], dataset.about["std"][2]) == (value / 255, 1)
    assert min(dataset.about["std"][:2]) < 0.5


def test_folders_of_classes_may_be_links(pets, tmp_path, capfd):
    linked = tmp_path / "linked"
    linked.mkdir()
    for folder in pets.iterdir():
        (linked / folder.name).symlink_to(folder)
    here, there = (prepare("imagefolder", 16, 0, f, tmp_path / f.name) for f in (pets, linked))
    assert there.checksum == here.checksum
    assert "warning" not in capfd.readouterr().err


def test_the_number_of_threads_changes_nothing(pets, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CHUNK", 3)
    one, four = (prepare("imagefolder", 16, 0, pets, tmp_path / str(n), threads=n) for n in (1, 4))
    assert one.about == four.about


# ---- damaged on the disk, and prepared at once --------------------------------------------------


def stored(tmp_path):
    (file,) = (tmp_path / "store" / "data").iterdir()
    return file


DAMAGES = {
    "torn": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "an image": lambda content: content.replace(b"\xff" * 8, b"\xff" * 7 + b"\xfe", 1),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_in_the_store_is_made_anew(damage, pets, tmp_path, capfd):
    Image.new("RGB", (40, 30), "white").save(pets / "cat" / "0.jpg")
    before = prepare("imagefolder", 16, 0, pets, tmp_path)
    file = stored(tmp_path)
    whole = file.read_bytes()
    file.unlink()  # torch has mapped it
    file.write_bytes(damage(whole))
    assert file.read_bytes() != whole
    assert prepare("imagefolder", 16, 0, pets, tmp_path).about == before.about
    assert f"{file} is damaged: the data set is prepared anew" in capfd.readouterr().err
    assert file.read_bytes() == whole
    assert prepare("imagefolder", 16, 0, pets, tmp_path).about == before.about
    assert "damaged" not in capfd.readouterr().err


def test_an_image_that_is_damaged_on_the_disk_is_not_given(pets, tmp_path):
    Image.new("RGB", (40, 30), "white").save(pets / "cat" / "0.jpg")
    prepare("imagefolder", 16, 0, pets, tmp_path)
    (tmp_path / "data.pt").unlink()
    (tmp_path / "data.pt").write_bytes(DAMAGES["an image"](stored(tmp_path).read_bytes()))
    dataset = Dataset.load(tmp_path / "data.pt")
    assert torch.equal(dataset.take(torch.arange(1, 20)), dataset.images[1:])
    with pytest.raises(
        InputError, match=r"data\.pt: its image 0 is damaged .* --forcerun prepare_"
    ):
        dataset.take(torch.tensor([5, 0]))


def test_what_was_begun_and_is_torn_is_begun_anew(pets, tmp_path, monkeypatch):
    expected = prepare("imagefolder", 16, 0, pets, tmp_path / "whole").about
    with monkeypatch.context() as context, pytest.raises(ZeroDivisionError):
        context.setattr(data, "fill", lambda *_: 1 / 0)
        prepare("imagefolder", 16, 0, pets, tmp_path)
    part = stored(tmp_path)
    assert part.suffix == ".part"
    part.write_bytes(part.read_bytes()[:500])
    assert prepare("imagefolder", 16, 0, pets, tmp_path).about == expected


def test_an_image_that_was_damaged_before_a_set_is_complete_is_read_again(
    pets, tmp_path, monkeypatch
):
    expected = prepare("imagefolder", 16, 0, pets, tmp_path / "whole").about
    with monkeypatch.context() as context, pytest.raises(ZeroDivisionError):
        context.setattr(data, "split", lambda *_: 1 / 0)
        prepare("imagefolder", 16, 0, pets, tmp_path)
    file = data.open_to_write(stored(tmp_path))
    file["images"][3, 0, 0, 0] += 1
    del file
    assert prepare("imagefolder", 16, 0, pets, tmp_path).about == expected


def test_studies_that_prepare_the_same_set_at_once_wait_for_the_first(
    pets, tmp_path, monkeypatch, capfd
):
    read = []

    def slowly(*arguments):
        read.append(1)
        time.sleep(0.02)
        return decode(*arguments)

    monkeypatch.setattr(reading, "decode", slowly)
    with ThreadPoolExecutor(3) as pool:  # each opens its own lock, as a process does
        made = pool.map(lambda i: prepare_to(pets, tmp_path / f"{i}.pt", tmp_path / "store"), "abc")
        assert len({dataset.checksum for dataset in made}) == 1
    assert len(read) == 20
    assert "waiting for another process that prepares imagefolder" in capfd.readouterr().err
    assert stored(tmp_path).suffix == ".pt"


def prepare_to(folder, out, store):
    data.prepare("imagefolder", 16, 0, folder, out, store)
    return Dataset.load(out)


def test_a_store_that_is_no_folder_is_one_error(pets, tmp_path):
    (tmp_path / "store").touch()
    with pytest.raises(InputError, match="store/data can't be written to: Not a directory"):
        prepare("imagefolder", 16, 0, pets, tmp_path)


# ---- broken off, and continued; no space ---------------------------------------------------------


def test_what_was_read_before_a_kill_is_not_read_again(pets, tmp_path, monkeypatch):
    """A preparation that is killed by the system, half way, and the same command again."""
    expected = prepare("imagefolder", 16, 0, pets, tmp_path / "whole")
    code = f"""
import os, sys
from pathlib import Path
from clipgrid.images import data, reading
data.CHUNK = 2
decode, calls = reading.decode, []
def dying(*arguments):
    calls.append(1)
    if len(calls) == 12:
        os.kill(os.getpid(), 9)
    return decode(*arguments)
reading.decode = dying
data.prepare("imagefolder", 16, 0, Path({str(pets)!r}), Path("data.pt"), Path("store"))
"""
    source = Path(clipgrid.__file__).parents[1]
    (tmp_path / "killed").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "killed",
        env={**os.environ, "PYTHONPATH": str(source)},
        check=False,
    )
    assert done.returncode == -9
    assert not (tmp_path / "killed" / "data.pt").exists()

    read = []
    monkeypatch.setattr(reading, "decode", lambda *a: read.append(1) or decode(*a))
    monkeypatch.setattr(data, "CHUNK", 2)
    continued = prepare("imagefolder", 16, 0, pets, tmp_path / "killed")
    assert len(read) == 10  # the first 10 were read, of the chunk under way none counts
    assert continued.about == expected.about
    assert torch.equal(continued.images, expected.images)
    assert [p.suffix for p in (tmp_path / "killed" / "store" / "data").iterdir()] == [".pt"]


def test_a_system_that_reserves_no_space_prepares_the_same(pets, tmp_path, monkeypatch):
    """As macOS."""
    here = prepare("imagefolder", 16, 0, pets, tmp_path / "here")
    monkeypatch.delattr(os, "posix_fallocate")
    assert prepare("imagefolder", 16, 0, pets, tmp_path / "there").about == here.about


def test_an_image_is_on_the_disk_before_it_is_noted_as_read(pets, tmp_path, monkeypatch):
    """Else a power failure would leave black images that count as read."""
    monkeypatch.setattr(data, "CHUNK", 2)
    fsync, flushed, described = os.fsync, set(), []

    def watched(descriptor):
        (part,) = (tmp_path / "store" / "data").glob("*.part")
        file = data.open_to_write(part)
        assert set(torch.nonzero(file["notes"])[:, 0].tolist()) <= flushed
        flushed.update(torch.nonzero(file["images"].flatten(1).any(1))[:, 0].tolist())
        described.append(bool(file["checksums"].any()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    dataset = prepare("imagefolder", 16, 0, pets, tmp_path)
    assert flushed == set(range(len(dataset.labels)))
    assert described[-2:] == [False, True]


def test_a_folder_that_can_no_longer_be_read_keeps_what_was(pets, tmp_path, monkeypatch):
    """An error of the file system is not a corrupt image."""
    read_bytes = Path.read_bytes

    def failing(path):
        if path.name == "7.jpg":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read_bytes(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", failing)
        with pytest.raises(OSError, match=r"7\.jpg"):
            prepare("imagefolder", 16, 0, pets, tmp_path)
    assert prepare("imagefolder", 16, 0, pets, tmp_path).about["unreadable"] == []


def test_no_space_is_said_before_anything_is_read(pets, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(reading, "decode", lambda *_: pytest.fail("read"))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"20 images of 16 px need .* GB, and .* GB are free"):
        prepare("imagefolder", 16, 0, pets, tmp_path)
    assert list((tmp_path / "store" / "data").iterdir()) == []


def test_a_set_that_is_larger_than_the_disk_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"1,797 images of 100000 px need 1\.8e\+04 GB"):
        prepare("digits", 100_000, 0, tmp_path)


def test_validation_images_are_not_more_than_fifty_thousand(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "MOST_VALIDATION", 3)
    folder = write_images(tmp_path / "pets" / "train", {"cat": 10, "dog": 10}).parent
    write_images(folder / "test", {"cat": 1, "dog": 1})
    images = prepare("imagefolder", 8, 0, folder, tmp_path).about["images"]
    assert images == {"train": 17, "validation": 3, "test": 2}

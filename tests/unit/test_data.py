"""Prepared data sets: what is in which split, and that files give back what was put in."""

import gzip
import json
import math
import struct

import numpy as np
import pytest
import torch

from clipgrid.data import Dataset, prepare, resize, save

SPLITS = ("train", "validation", "test")


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


def test_the_same_settings_give_the_same_data(dataset, tmp_path):
    again = prepare("digits", 12, 0, tmp_path)
    assert again.checksum == dataset.checksum
    assert again.about == dataset.about
    assert torch.equal(again.train, dataset.train)


@pytest.mark.parametrize(("size", "split_seed"), [(12, 1), (8, 0)])
def test_another_split_or_size_has_another_checksum(dataset, size, split_seed, tmp_path):
    assert prepare("digits", size, split_seed, tmp_path).checksum != dataset.checksum


def test_a_saved_data_set_is_loaded_as_it_was(dataset, tmp_path):
    save(dataset, tmp_path / "data.pt")
    loaded = Dataset.load(tmp_path / "data.pt")
    for field in ("images", "labels", *SPLITS):
        assert torch.equal(getattr(loaded, field), getattr(dataset, field))
    assert loaded.about == dataset.about
    assert json.loads((tmp_path / "data.json").read_text()) == dataset.about


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


def write_idx(path, array):
    """An idx file, as MNIST's are: magic number, sizes, bytes."""
    header = struct.pack(f">{1 + array.ndim}i", 2048 + array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def test_fashion_mnist_is_read_from_a_folder_of_its_four_files(tmp_path):
    random = np.random.default_rng(0)
    images = {"train": (20, 8, 8), "t10k": (6, 8, 8)}
    images = {part: random.integers(0, 256, shape, np.uint8) for part, shape in images.items()}
    labels = {part: np.arange(len(x), dtype=np.uint8) % 2 for part, x in images.items()}
    for part in images:
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images[part])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", labels[part])
    files = sorted(tmp_path.iterdir())

    dataset = prepare("fashion-mnist", 8, 0, tmp_path)

    both = [np.concatenate([x["train"], x["t10k"]]) for x in (images, labels)]
    assert np.array_equal(dataset.images[:, 0].numpy(), both[0])
    assert np.array_equal(dataset.labels.numpy(), both[1])
    assert dataset.test.tolist() == list(range(20, 26))
    rest = torch.cat([dataset.train, dataset.validation])
    assert sorted(rest.tolist()) == list(range(20))
    assert len(dataset.validation) == math.ceil(0.2 * 20)
    assert len(dataset.about["classes"]) == 10
    assert sorted(tmp_path.iterdir()) == files

"""Whatever chance does to the files of a data set: an image is read, or left out and counted; an
archive is the published one, or refused in one error that names it."""

import gzip
import hashlib
import io
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from spoilt import FIRST, MANY, spoil_bytes

from clipgrid import InputError
from clipgrid.images import data, datasets
from clipgrid.images.reading import FORMATS

RANDOM = np.random.default_rng(0)
PIXELS = {
    "P": RANDOM.integers(0, 256, (9, 11), np.uint8),
    "L": RANDOM.integers(0, 256, (9, 11), np.uint8),
    "RGB": RANDOM.integers(0, 256, (9, 11, 3), np.uint8),
    "RGBA": RANDOM.integers(0, 256, (9, 11, 4), np.uint8),
}


def encoded():
    """An image in each format, in each mode that it can have."""
    for format in FORMATS:
        for mode, pixels in PIXELS.items():
            buffer = io.BytesIO()
            try:
                Image.fromarray(pixels, None if mode == "P" else mode).convert(mode).save(
                    buffer, format
                )
            except OSError:  # JPEG has no alpha
                continue
            yield buffer.getvalue()


@pytest.mark.filterwarnings("ignore")  # Pillow has its own to say of such files
def test_spoilt_images_are_read_or_left_out_and_counted(tmp_path, capfd):
    sound = list(encoded())
    pets = tmp_path / "pets"
    for pet in ("cat", "dog"):
        (pets / pet).mkdir(parents=True)
        for number, content in enumerate(sound):
            (pets / pet / f"sound{number}.png").write_bytes(content)
    for number in range(FIRST, FIRST + MANY):
        content = sound[number % len(sound)]
        spoilt = pets / ("cat", "dog")[number % 2] / f"spoilt{number}.png"
        spoilt.write_bytes(spoil_bytes(content, number))
    data.prepare("imagefolder", 8, 0, pets, tmp_path / "data.pt", tmp_path / "store")
    dataset = data.Dataset.load(tmp_path / "data.pt")
    out = len(dataset.about["unreadable"])
    used = torch.cat([dataset.train, dataset.validation, dataset.test])
    assert len(used) + out == len(dataset.labels) == 2 * len(sound) + MANY
    assert 0 < out <= MANY or MANY < 50
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert not [line for line in said.splitlines() if "sound" in line and "is left out" in line]


def idx(array):
    return struct.pack(f">{1 + array.ndim}i", 2048 + array.ndim, *array.shape) + array.tobytes()


def test_a_spoilt_archive_is_the_published_one_or_refused(tmp_path):
    content = idx(RANDOM.integers(0, 256, (20, 8, 8), np.uint8))
    file = tmp_path / "train-images-idx3-ubyte.gz"
    found = set()
    published = hashlib.md5(content).hexdigest()
    for number in range(FIRST, FIRST + MANY):
        file.write_bytes(spoil_bytes(gzip.compress(content, mtime=0), number))
        try:
            assert datasets.idx_content(file, published) == content
            found.add(True)
        except InputError as error:
            assert str(error).startswith(f"{file} is ")
            found.add(False)
    assert False in found

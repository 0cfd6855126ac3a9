"""Data sets → one file: uint8 images, labels, a split, and where it all came from.

The file is laid out at its full size first and filled in afterwards, in place. So preparing needs
the space before it begins, no memory to speak of, and goes on where it was broken off; and training
maps the file and reads of it what it needs.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import shutil
import sys
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipgrid import InputError
from clipgrid.files import alone, check_writable, warn
from clipgrid.images.dataset import Dataset, checksum_of, checksum_of_the_rest
from clipgrid.images.reading import SPLITS, UNREADABLE, Source
from clipgrid.lazy import torch
from clipgrid.study import parts
from clipgrid.study.cells import digest
from clipgrid.study.looks import SMALLEST_IMAGE

if TYPE_CHECKING:
    from torch import Tensor

VALIDATION, MOST_VALIDATION = 0.2, 50_000  # of the images that are not test images
TEST = 0.2  # of all images, where the data set comes without a test set
VERSION = 3  # of the files' layout and of how images are read: raise it when either changes
CHUNK = 256  # images read at once


def prepare(
    name: str, size: int, split_seed: int, folder: Path, out: Path, store: Path, threads: int = 1
) -> None:
    """Make `out`, the data set `name` at `size` px, split by `split_seed`, and beside it what it
    is, as JSON for people.

    `folder` is where its raw files lie or are downloaded to; InputError where they can't be had, or
    can't be used. The file itself goes to `store`, where every study finds it again, and `out` is a
    link to it.
    """
    if size < SMALLEST_IMAGE:
        raise InputError(f"size: must be at least {SMALLEST_IMAGE}, not {size}")
    if not 0 <= split_seed < 2**32:
        raise InputError(f"split_seed: must be from 0 to 2^32 - 1, not {split_seed}")
    if out.suffix == ".json":
        raise InputError(f"{out}: a .json beside it describes it; give it another ending")
    source = open_source(name, folder.expanduser(), size)
    about: dict = {
        "name": name,
        "size": size,
        "split_seed": split_seed,
        "own_splits": [name for i, name in enumerate(SPLITS) if (source.split == 1 + i).any()],
        "classes": source.classes,
        "source": source.origin,
        "licence": source.licence,
        "channels": source.channels,
    }
    part = parts.find("dataset", name)
    code = {} if part.is_ours else {"code": part.source}  # ours have VERSION
    key = digest({"version": VERSION, "fingerprint": source.fingerprint, **about, **code})
    check_writable(store / "data")
    path = store / "data" / f"{key}.pt"
    with alone(path.with_suffix(".lock"), f"another process that prepares {name}"):
        if path.exists() and not is_sound(path):
            warn(f"{path} is damaged: the data set is prepared anew")
            path.unlink()
        if not path.exists():
            make(path, source, about, folder, threads)
        link(path, out)
    about = Dataset.load(path).about
    for_people = {**about, "unreadable": [source.names[i] for i in about["unreadable"]]}
    out.with_suffix(".json").write_text(json.dumps(for_people, indent=2) + "\n")


def open_source(name: str, folder: Path, size: int) -> Source:
    """InputError where the raw files of `name` can't be had from `folder`, or are others."""
    about = parts.find("dataset", name).about
    try:
        source = parts.choose("dataset", name)(folder, size)
    except InputError:
        raise
    except (OSError, EOFError, zlib.error, RuntimeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        fetched = " (data.folder), nor downloaded" if about["downloads"] else ""
        raise InputError(f"{name} can't be had from {folder}{fetched}: {reason}") from error
    if not isinstance(source, Source):
        raise InputError(f"{name}: its function gives {type(source).__name__}, and not a Source")
    number = sum(about["images"])
    if not about["any_number"] and len(source.labels) != number:
        raise InputError(f"{folder}: {len(source.labels):,} images, where {name} has {number:,}")
    if source.channels != about["channels"]:
        raise InputError(
            f"{folder}: images of {source.channels} channels, where {name} has {about['channels']}"
        )
    if len(source.classes) < 2:
        raise InputError(f"{folder}: one class alone, {source.classes[0]}; nothing to tell apart")
    if not 0 <= source.labels.min() <= source.labels.max() < len(source.classes):
        raise InputError(
            f"{folder}: labels from {source.labels.min()} to {source.labels.max()}, where"
            f" {len(source.classes)} classes have 0 to {len(source.classes) - 1}"
        )
    return source


# ---- the file -----------------------------------------------------------------------------------


def is_sound(path: Path) -> bool:
    """Whether the file is what was prepared, to the last image."""
    try:
        dataset = Dataset.load(path)
    except InputError:
        return False
    splits = (getattr(dataset, name) for name in SPLITS)
    return checksum_of(dataset.images, dataset.labels, splits).hex() == dataset.checksum


def make(path: Path, source: Source, about: dict, folder: Path, threads: int) -> None:
    """Go on with what was begun, or begin."""
    unfinished = path.with_suffix(".part")
    file = begun(unfinished, about)
    if file is None:
        lay_out(unfinished, source, about)
        file = open_to_write(unfinished)
    fill(file, unfinished, source, about["size"], threads)
    try:
        split(file, source, about["split_seed"], folder)
    except InputError:
        unfinished.unlink()  # other images will have another name
        raise
    add_checksums(file)
    flush(unfinished)
    unfinished.rename(path)


def begun(path: Path, about: dict) -> dict | None:
    """What is there of the file, where it can be gone on with."""
    try:
        file = open_to_write(path)
        return file if file["about"] == about else None
    except Exception:  # there is none, or it is torn
        return None


def lay_out(path: Path, source: Source, about: dict) -> None:
    """A file for the data set of `source`, all zeros. InputError where there is no space for it."""
    n, size = len(source.labels), about["size"]
    shape = (n, source.channels, size, size)
    path.parent.mkdir(parents=True, exist_ok=True)
    values, free = int(np.prod(shape)), shutil.disk_usage(path.parent).free
    no_space = InputError(
        f"{path.parent}: {n:,} images of {size} px need {values / 1e9:.3g} GB, and"
        f" {free / 1e9:.3g} GB are free"
    )
    if values > free:
        raise no_space
    aside = path.with_suffix(".tmp")
    with tempfile.NamedTemporaryFile(dir=path.parent) as sparse:
        images = torch.from_file(sparse.name, shared=True, size=values, dtype=torch.uint8)
        file = {
            "images": images.view(shape),
            "labels": source.labels,
            # Indices: those of SPLITS, one after another, and what is left out.
            "order": torch.empty(n, dtype=torch.int64),
            "sizes": torch.empty(len(SPLITS) + 1, dtype=torch.int64),
            "notes": torch.empty(n, dtype=torch.uint8),
            "digests": torch.empty(len(source.digests) or n, 32, dtype=torch.uint8),
            "sums": torch.empty(n, 2, source.channels, dtype=torch.int64),
            "checksums": torch.empty(3, 32, dtype=torch.uint8),
            "about": about,
        }
        with torch.serialization.skip_data():
            torch.save(file, aside)
    try:
        with aside.open("r+b") as whole:  # a disk that is full later would kill who writes to a map
            if hasattr(os, "posix_fallocate"):  # macOS has none
                os.posix_fallocate(whole.fileno(), 0, aside.stat().st_size)
    except OSError as error:
        aside.unlink()
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise no_space from None
        raise
    aside.rename(path)


def open_to_write(path: Path) -> dict:
    """The file with its tensors mapped: what is written to them is written to the file."""
    with torch.serialization.set_default_mmap_options(mmap.MAP_SHARED):
        return torch.load(path, weights_only=True, mmap=True)


def flush(path: Path) -> None:
    """To the disk, so that what is called done outlives a power failure."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def fill(file: dict, path: Path, source: Source, size: int, threads: int) -> None:
    """Read the images that haven't been yet into the `file` at `path`."""
    from tqdm import tqdm

    images, sums, notes, digests = (
        file[key].numpy() for key in ("images", "sums", "notes", "digests")
    )
    n = len(notes)
    file["labels"].copy_(source.labels)
    if source.digests:
        digests[:] = np.array([list(sha256) for sha256 in source.digests], np.uint8)
    chunks = [slice(start, min(n, start + CHUNK)) for start in range(0, n, CHUNK)]

    def values_of(chunk: slice) -> np.ndarray:
        return images[chunk].reshape(len(images[chunk]), images.shape[1], -1)

    def is_done(chunk: slice) -> bool:
        right = values_of(chunk).sum(-1, dtype=np.int64) == sums[chunk, 0]
        return bool(notes[chunk].all() and right.all())

    def work(chunk: slice) -> int:
        images[chunk], how, sha256 = source.read(chunk, size)
        if not source.digests:
            digests[chunk] = sha256
        values = values_of(chunk)
        sums[chunk, 0] = values.sum(-1, dtype=np.int64)
        sums[chunk, 1] = np.einsum("ncp,ncp->nc", values, values, dtype=np.int64)
        flush(path)
        notes[chunk] = how  # last: what has a note is done
        return chunk.stop - chunk.start

    done = int((notes != 0).sum())
    every = 0.1 if sys.stderr.isatty() else 30.0  # seconds
    progress = tqdm(total=n, initial=done, unit=" images", mininterval=every, delay=2)
    pool = ThreadPoolExecutor(threads)  # decoding and resizing let go of Python's lock
    try:
        for future in as_completed([pool.submit(work, c) for c in chunks if not is_done(c)]):
            progress.update(future.result())
    finally:
        pool.shutdown(cancel_futures=True)
        progress.close()


def split(file: dict, source: Source, split_seed: int, folder: Path) -> None:
    """Draw what doesn't come split, each class by its share."""
    from sklearn.model_selection import train_test_split

    labels = source.labels
    sound = file["notes"] != UNREADABLE
    rest, _, validation, test = (
        torch.nonzero(sound & (source.split == part))[:, 0] for part in range(4)
    )
    draws = [not len(validation), not len(test)]
    counts = torch.bincount(labels[rest], minlength=len(source.classes))
    if few := [source.classes[k] for k, n in enumerate(counts) if n <= sum(draws)]:
        names = ", ".join(few[:5]) + (", …" if len(few) > 5 else "")
        raise InputError(
            f"{folder}: at least {sum(draws) + 1} images of each class are needed to split them,"
            f" and there are fewer of {names}"
        )

    def drawn(index: Tensor, size: float) -> list[Tensor]:
        if size * len(index) < len(counts) and size < 1:
            raise InputError(
                f"{folder}: too few images of {len(counts)} classes: a fifth of"
                f" {len(index)} can't have each; about 7 of each class are needed"
            )
        return train_test_split(
            index, test_size=size, stratify=labels[index], random_state=split_seed
        )

    def shuffled(index: Tensor) -> Tensor:
        """What comes split may lie class by class, and looks take the first images of a set."""
        order = torch.Generator().manual_seed(split_seed)
        return index[torch.randperm(len(index), generator=order)]

    train = rest if any(draws) else shuffled(rest)
    validation, test = shuffled(validation), shuffled(test)
    if not len(test):
        train, test = drawn(train, TEST)
    if not len(validation):
        all_of_them = VALIDATION * len(train) <= MOST_VALIDATION
        train, validation = drawn(train, VALIDATION if all_of_them else MOST_VALIDATION)
    parts = [train, validation, test, torch.nonzero(~sound)[:, 0]]
    file["order"].copy_(torch.cat(parts))
    file["sizes"].copy_(torch.tensor([len(part) for part in parts]))


def add_checksums(file: dict) -> None:
    """Of the images with their labels and split, of what they were made from, and of the rest."""
    splits = file["order"].split(file["sizes"].tolist())
    content = checksum_of(file["images"], file["labels"], splits)
    sources = hashlib.sha256(file["digests"].numpy().data).digest()
    for row, one in zip(file["checksums"], (content, sources), strict=False):
        row.copy_(torch.tensor(list(one), dtype=torch.uint8))
    rest = list(checksum_of_the_rest(file))
    file["checksums"][-1].copy_(torch.tensor(rest, dtype=torch.uint8))


def link(path: Path, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)
    try:
        os.link(path, out)
    except OSError:  # another file system
        out.symlink_to(path.resolve())

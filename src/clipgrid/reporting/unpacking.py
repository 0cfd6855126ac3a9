"""Archives that come from anywhere. They are data: names in them name no file here, their size is
bounded before they are read, and nothing of them is run."""

import hashlib
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from clipgrid import InputError
from clipgrid.study.faults import listed

METADATA = "ro-crate-metadata.json"
NEEDED = ("study.json", "data.json", "trained.json", "cells.csv")  # to redo cells
MOST_METADATA = 100_000_000  # bytes
MOST_TIMES = 100  # what is in an archive may be larger than it; tables of numbers are 3 to 20 times
TORN = (
    *(zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError),
    *(RuntimeError, ValueError, OverflowError, OSError),
)
"""What zipfile raises of files that are no zip, or none that it reads; OSError where it seeks what
is before their beginning."""


def unpacked(path: Path, folder: Path) -> int:
    """Hold each file of the archive at `path` against its checksum, and write to `folder` those of
    the results that redo cells. How many files there are. InputError for what is no archive of
    clipgrid, and where files were changed, with their names."""
    try:
        archive = zipfile.ZipFile(path)
    except TORN as error:
        if isinstance(error, OSError) and error.filename:
            raise
        raise InputError(f"{path} is no archive, or is torn: {error}") from None
    with archive:
        names = sound_names(path, archive.infolist())
        if METADATA not in names:
            raise InputError(f"{path} is no archive of clipgrid: it lacks {METADATA}")
        said = checksums(path, archive)
        if lacking := [name for name in NEEDED if f"results/{name}" not in said]:
            why = f"{METADATA} names no results/{lacking[0]}"
            raise InputError(f"{path} is no archive of clipgrid: {why}")
        faults = list(changed(archive, said, names - {METADATA}))
        if faults:
            raise InputError(listed(faults, f"{path} isn't as it was archived"))
        for name in NEEDED:
            (folder / name).write_bytes(archive.read(f"results/{name}"))
    return len(said)


def sound_names(path: Path, entries: list[zipfile.ZipInfo]) -> set[str]:
    """The names of all files. InputError for names that lead elsewhere, and for more than anybody
    would have packed into so small a file."""
    names: set[str] = set()
    for entry in entries:
        name = PurePosixPath(entry.filename)
        link = entry.external_attr >> 28 == 0xA  # as Unix marks it
        leads = name.is_absolute() or ".." in name.parts or "\\" in entry.filename or link
        if leads or not name.name:
            raise InputError(f"{path} is refused: {shown(entry.filename)} leads out of it")
        if entry.filename in names:
            raise InputError(f"{path} is refused: it has {shown(entry.filename)} twice")
        if not entry.filename.endswith("/"):
            names.add(entry.filename)
    size, whole = path.stat().st_size, sum(entry.file_size for entry in entries)
    if whole > MOST_TIMES * size:
        raise InputError(
            f"{path} is refused: unpacked it would be {whole / 1e6:,.0f} MB, more than"
            f" {MOST_TIMES} times its size"
        )
    return names


def checksums(path: Path, archive: zipfile.ZipFile) -> dict[str, str]:
    """{name: SHA-256} of the files, as the metadata say."""
    try:
        if archive.getinfo(METADATA).file_size > MOST_METADATA:
            raise ValueError("it is too large")
        graph = json.loads(archive.read(METADATA))["@graph"]
        return {unquote(one["@id"]): one["sha256"] for one in graph if has_checksum(one)}
    except (*TORN, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = str(error) or type(error).__name__
        raise InputError(f"{path} can't be checked: {METADATA} can't be read ({why})") from None


def shown(name: str) -> str:
    """A name on a line; what else can't be shown, InputError spells out."""
    return name.replace("\n", "\\n")


def has_checksum(one: dict[str, Any]) -> bool:
    return isinstance(one.get("sha256"), str) and isinstance(one["@id"], str)


def changed(
    archive: zipfile.ZipFile, said: dict[str, str], names: set[str]
) -> Iterator[tuple[str, str]]:
    """(name, what is wrong) of the files that aren't what their checksums say."""
    for name in sorted({*names, *said}):
        if name not in names:
            yield shown(name), "is gone"
        elif name not in said:
            yield shown(name), "was added"
        elif sha256(archive, name) != said[name]:
            yield shown(name), "was changed"


def sha256(archive: zipfile.ZipFile, name: str) -> str:
    """Of a file in an archive; of one that can't be unpacked, nothing."""
    try:
        with archive.open(name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except TORN:
        return ""

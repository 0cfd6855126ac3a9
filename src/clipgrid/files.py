"""Files that several processes write and read at once, and that a kill must not leave torn."""

import errno
import fcntl
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from clipgrid import InputError

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)  # of some file systems of clusters
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def held(path: Path, mode: str, waiting: str = "", **options: Any) -> Iterator[IO]:
    """`path`, opened. Meanwhile who else asks for it waits, and says that it is `waiting`. The
    system ends the hold of a process that dies."""
    while True:
        with path.open(mode, **options) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting:
                    print(f"clipgrid: waiting for {waiting}", file=sys.stderr, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
            with suppress(FileNotFoundError):  # who held it before may have removed it
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    yield file
                    return


@contextmanager
def alone(path: Path, waiting: str) -> Iterator[None]:
    """One process at a time is here, of those that name the same `path`, a file that is there
    meanwhile."""
    with held(path, "ab", waiting):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def aside(path: Path, mode: str = "wb") -> Iterator[IO]:
    """A file to write that takes the place of `path` once it is whole and on the disk."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "")
    try:
        with held(temporary, mode, encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
    except OSError as error:  # a full disk's doesn't name the file
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half written. What a living one writes, it holds."""
    for path in folder.glob("*.tmp"):
        with suppress(OSError), path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def check_writable(folder: Path) -> None:
    """Make it, if need be. InputError where nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        if error.errno not in FULL:  # which is said where it matters
            reason = error.strerror
            raise InputError(f"{folder} can't be written to: {reason}; name another") from None


def read_json(path: Path) -> Any:
    """InputError where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        remedy = "remove it, and run the study again, which makes it anew"
        raise InputError(f"{path} can't be read ({error}): {remedy}") from None


@cache
def warn(what: str) -> None:
    """Each warning is said once."""
    print(f"clipgrid: warning: {what}", file=sys.stderr, flush=True)

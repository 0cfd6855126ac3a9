"""The tables of a study are held against checksums before they are read again. `trained.json` has
them, and its own."""

import hashlib
import json
from pathlib import Path
from typing import Any

from clipgrid import InputError
from clipgrid.files import read_json

TABLES = ("study.json", "data.json", "cells.csv", "histories.parquet")


def seal(results: Path, summary: dict[str, Any]) -> None:
    """Write `trained.json`: the summary, and the checksums of what lies beside it."""
    sums = {name: sha256(results / name) for name in TABLES if (results / name).exists()}
    whole = {**summary, "files": sums}
    text = json.dumps({**whole, "sha256": digest(whole)}, indent=1)
    (results / "trained.json").write_text(text + "\n")


def summary(results: Path) -> dict[str, Any]:
    """What `trained.json` says. InputError where it isn't as it was written."""
    whole = read_json(results / "trained.json")
    if not isinstance(whole, dict) or whole.pop("sha256", "") != digest(whole):
        raise altered(results / "trained.json")
    return whole


def checked(results: Path, name: str) -> Path:
    """Where a table lies. InputError where it isn't as it was written."""
    if sha256(results / name) != summary(results)["files"].get(name):
        raise altered(results / name)
    return results / name


def sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def altered(file: Path) -> InputError:
    return InputError(
        f"{file} isn't as it was written: remove it, and run the study again, which makes it anew"
    )

"""The tables of a study are held against checksums before they are read again. `trained.json` and
`judged.json` have them, and their own."""

import hashlib
import json
from pathlib import Path
from typing import Any

from clipgrid import InputError
from clipgrid.files import aside, read_json

TRAINED, JUDGED = "trained.json", "judged.json"
TABLES = {
    TRAINED: ("study.json", "data.json", "cells.csv", "histories.parquet"),
    JUDGED: ("claims.csv", "findings.csv"),
}


def seal(results: Path, summary: dict[str, Any], name: str = TRAINED) -> None:
    """Write the file `name`: the summary, and the checksums of the tables that lie beside it."""
    sums = {table: sha256(results / table) for table in TABLES[name] if (results / table).exists()}
    whole = {**summary, "files": sums}
    text = json.dumps({**whole, "sha256": digest(whole)}, indent=1)
    with aside(results / name, "w") as file:
        file.write(text + "\n")


def summary(results: Path, name: str = TRAINED) -> dict[str, Any]:
    """What the file `name` says. InputError where it isn't as it was written."""
    whole = read_json(results / name)
    if not isinstance(whole, dict) or whole.pop("sha256", "") != digest(whole):
        raise altered(results / name)
    return whole


def checked(results: Path, table: str) -> Path:
    """Where a table lies. InputError where it isn't as it was written."""
    name = JUDGED if table in TABLES[JUDGED] else TRAINED
    if sha256(results / table) != summary(results, name)["files"].get(table):
        raise altered(results / table)
    return results / table


def sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def altered(file: Path) -> InputError:
    return InputError(
        f"{file} isn't as it was written: remove it, and run the study again, which makes it anew"
    )

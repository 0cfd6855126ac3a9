"""Cells of published results, redone: whether the bits are the same, or by how much not."""

import csv
import random
import secrets
import tempfile
from pathlib import Path
from typing import Any

from clipgrid import InputError, printable
from clipgrid.files import read_json
from clipgrid.images.data import prepare
from clipgrid.images.dataset import Dataset
from clipgrid.judging import sums
from clipgrid.judging.aggregate import MEASURES, command
from clipgrid.reporting.archive import same_code
from clipgrid.reporting.overview import duration
from clipgrid.reporting.unpacking import NEEDED, unpacked
from clipgrid.study import config, cost, grid, packs, reading
from clipgrid.study.cells import Cell
from clipgrid.study.config import Study
from clipgrid.study.faults import listed
from clipgrid.training import machine, pack

TOLD = ("status", "test_accuracy", "test_loss")
"""Measures of which one wants to know by how much they differ."""


def verify(
    what: Path,
    cells: int,
    own: list[str],
    store: Path,
    seed: int | None = None,
    folder: Path | None = None,
) -> None:
    """Hold an archive, or a folder of results, against its checksums; train some `cells` of it that
    `seed` draws from nothing, and compare them to the bit.

    `own` are one's own files of the study's extensions, `folder` has its raw images; nothing of
    `what` is run. InputError where files were changed, and where bits differ on the kind of
    processor that trained them.
    """
    if not what.exists():
        raise InputError(f"there is no {what}")
    with tempfile.TemporaryDirectory(prefix="clipgrid-") as name:
        place = Path(name)
        results = place / "results" if what.is_file() else what
        if what.is_file():
            results.mkdir()
            print(f"{what}: {unpacked(what, results)} files are as they were archived")
        check(what, results)
        study, trained = study_of(what, results, place, own, folder), sums.summary(results)
        same_code(study, trained, str(what))
        rows = recorded(results / "cells.csv")
        data = images(study, results, place, store)
        seed = secrets.randbelow(2**32) if seed is None else seed
        drawn = draw(study, cells, seed)
        seconds = sum(cost.seconds(c.trajectory, [c.readout], study.data) for c in drawn)
        print(
            f"{len(drawn)} of {len(rows)} cells, drawn by --seed {seed}, take about"
            f" {duration(seconds)}",
            flush=True,
        )
        same = 0
        for number, cell in enumerate(drawn):
            found = redone(cell, data, place / str(number))
            if cell.name not in rows:
                raise InputError(f"{what}: cells.csv has no row of {cell.name}")
            differs = differences(rows[cell.name], found)
            same += not differs
            said = "; ".join(differs) if differs else "the same bits"
            print(printable(f"{cell.name}: {said}"), flush=True)
            if differs:
                print(f"  {command(cell, study)}")
        conclude(same, len(drawn), trained, machine.stamp(study.training.device))


def conclude(same: int, of: int, trained: dict[str, Any], here: dict[str, str]) -> None:
    """Say what came out. InputError where it should have been the same."""
    print(f"{same} of {of} cells agree to the bit")
    if same == of:
        return
    there = {key: trained.get(key) for key in ("processor", "torch")}
    if all(there[key] == [here[key]] for key in there):
        raise InputError(
            f"{of - same} of {of} cells came out otherwise, on the kind of processor and with the"
            " torch that trained them: these results are not what their settings give"
        )
    on = "; ".join(f"{key} {shown(there[key])}, here {here[key]}" for key in there)
    print(printable(f"Others round otherwise, and a run of many steps drifts apart ({on})"))


def shown(values: Any) -> str:
    return " or ".join(map(str, values)) if isinstance(values, list) else "unknown"


def check(what: Path, results: Path) -> None:
    """InputError that names each table that isn't as it was written."""
    if lacking := [name for name in NEEDED if not (results / name).is_file()]:
        raise InputError(f"{what} is no folder of a finished study: it lacks {lacking[0]}")
    tables = [
        (table, said)
        for seal in (sums.TRAINED, sums.JUDGED)
        if (results / seal).exists()
        for table, said in sums.summary(results, seal)["files"].items()
    ]
    altered = [
        (table, "was changed")
        for table, said in tables
        if (results / table).is_file() and sums.sha256(results / table) != said
    ]
    if what.is_dir():  # of an archive not all are unpacked
        altered += [(table, "is gone") for table, _ in tables if not (results / table).is_file()]
    if altered:
        raise InputError(listed(altered, f"{what} isn't as it was written"))


def study_of(what: Path, results: Path, place: Path, own: list[str], folder: Path | None) -> Study:
    """The study of these results, with one's own files in the place of those that it names."""
    content = reading.read(results / "study.json")
    if not isinstance(content, dict):
        return config.parse(content, str(what))
    named = content.get("extensions") or []
    if named and not own:
        raise InputError(
            f"{what}: its study has extensions, {named}. They are code, which is not taken from"
            " there: name your own copies by --extensions"
        )
    data = content.get("data")
    if isinstance(data, dict):
        data = {key: value for key, value in data.items() if key != "folder"}
        data |= {"folder": str(folder)} if folder else {}
    mine = {"extensions": own, "data": data, "results": str(place / "made")}
    return config.parse({**content, **mine}, str(what))


def images(study: Study, results: Path, place: Path, store: Path) -> Path:
    """The file of the study's images: that beside its results, or one that is prepared. InputError
    where the images are others than those of the results."""
    file = results / "data.pt"
    if not file.exists():
        file, data = place / "data.pt", study.data
        prepare(data.name, data.size, data.split_seed, Path(data.folder), file, store)
    said, found = read_json(results / "data.json"), Dataset.load(file).checksum
    if not isinstance(said, dict) or said.get("checksum") != found:
        raise InputError(
            f"the images of {study.data.name} here are not those of the study: their checksum is"
            f" {found}"
        )
    return file


def recorded(file: Path) -> dict[str, dict[str, str]]:
    """The rows of cells.csv by their names, as text: what pandas reads may be rounded."""
    try:
        with file.open(encoding="utf-8", newline="") as text:
            return {row["cell"]: row for row in csv.DictReader(text)}
    except (csv.Error, KeyError, ValueError) as error:
        raise InputError(f"{file.name} can't be read: {error}") from None


def draw(study: Study, number: int, seed: int) -> list[Cell]:
    """Cells of the study, in its order."""
    known = grid.cells(study)
    places = random.Random(seed).sample(range(len(known)), min(number, len(known)))
    return [known[place] for place in sorted(places)]


def redone(cell: Cell, data: Path, place: Path) -> dict[str, Any]:
    """What the command of a cell measures; its store is empty, so that all of it is trained."""
    rows = place / "cells.jsonl"
    pack.train({cell.trajectory: [cell.readout]}, data, rows, place / "h.csv", place / "store")
    return next(record for record in packs.read(rows) if record.get("cell") == cell.name)


def differences(row: dict[str, str], found: dict[str, Any]) -> list[str]:
    """What differs between a row of cells.csv and what was measured: first by how much."""
    differs = [name for name in MEASURES if not same(row.get(name) or "", found.get(name))]
    said = [name for name in TOLD if name in differs] or differs[:1]
    return [f"{name} {found.get(name)}, recorded {row.get(name)}" for name in said]


def same(text: str, value: Any) -> bool:
    """Whether a text of cells.csv is exactly this value."""
    if value is None or isinstance(value, str):
        return text == (value or "")
    try:
        return float(text) == value
    except ValueError:
        return False

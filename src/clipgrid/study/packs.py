"""Packs: the runs that one job trains in one process, as two files of results."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipgrid import InputError
from clipgrid.study import cost
from clipgrid.study.cells import TRAINER_VERSION, Cell, Readout, Runs, Trajectory
from clipgrid.study.fields import on_a_line

if TYPE_CHECKING:
    from clipgrid.study.config import Study

MOST_RUNS, MOST_CELLS = 250, 2000  # of a pack: one command names them, and its length has a limit
LONGEST_NAME = 200  # bytes; it names files
VERSION = 3  # of the two files: raise it when their layout changes


@dataclass(frozen=True)
class Pack:
    """Runs that lie near each other in the grid."""

    runs: Runs

    @cached_property
    def name(self) -> str:
        """That of its first run."""
        return next(iter(self.runs)).name

    @property
    def description(self) -> str:
        """What a job says that it does."""
        return f"{len(self.runs)} runs from {self.name}" if len(self.runs) > 1 else self.name

    @property
    def text(self) -> str:
        """The runs and their readouts, as JSON: settings that all share are given once."""
        changed = [trajectory.changed for trajectory in self.runs]
        shared = {k: v for k, v in changed[0].items() if all(c.get(k) == v for c in changed)}
        runs = [
            {k: v for k, v in settings.items() if k not in shared}
            | {"readouts": [readout.name for readout in readouts]}
            for settings, readouts in zip(changed, self.runs.values(), strict=True)
        ]
        return json.dumps({"shared": shared, "runs": runs}, separators=(",", ":"))

    @property
    def code(self) -> str:
        """What its results depend on beside settings and data: the loop, the source of its parts,
        the layout of its files."""
        keys = [trajectory.key("") for trajectory in self.runs]
        sources = {str(choice) for key in keys for choice in sources_in(key)}
        return " ".join([f"trainer {TRAINER_VERSION}", f"files {VERSION}", *sorted(sources)])


def files(results: Path, name: str) -> tuple[Path, Path]:
    """Where the rows of a pack's cells lie, and the histories of its runs."""
    return results / "packs" / f"{name}.jsonl", results / "packs" / f"{name}.csv"


def lines(cells: Iterable[dict[str, Any]], run: dict[str, Any], head: str, rows: str) -> str:
    """The records of a run: a line a cell, and a line that says who trained it, and by which these
    lines are known again, and the run's `rows` below the `head` of the histories."""
    seen = {"bytes": len(rows.encode()), "sha256": sha256(head + rows)}
    records = [json.dumps(record, allow_nan=False) for record in (*cells, {**run, "history": seen})]
    *of_cells, of_run = (f"{record}\n" for record in records)
    whole = {**json.loads(of_run), "sha256": sha256("".join([*of_cells, of_run]))}
    return "".join([*of_cells, json.dumps(whole), "\n"])


def read(rows: Path) -> list[dict[str, Any]]:
    """A record a cell (it has `cell`) and a record a run (it has `run`). InputError where they
    aren't as they were written."""
    records: list[dict[str, Any]] = []
    of_run: list[str] = []  # lines before that of their run
    try:
        for line in rows.read_text(encoding="utf-8").splitlines(keepends=True):
            record = json.loads(line)
            if "run" in record:
                said = record.pop("sha256")
                if said != sha256("".join([*of_run, json.dumps(record), "\n"])):
                    raise ValueError
                of_run = []
            else:
                of_run.append(line)
            records.append(record)
    except (ValueError, KeyError, TypeError):
        raise damaged(rows) from None
    if of_run or not records:
        raise damaged(rows)
    return records


def read_whole(results: Path, pack: Pack) -> list[dict[str, Any]]:
    """The records of a pack. InputError where the file has another's."""
    file, _ = files(results, pack.name)
    records = read(file)
    measured = {record["cell"]: record for record in records if "cell" in record}
    for trajectory, readouts in pack.runs.items():
        settings = trajectory.model_dump(mode="json")
        for readout in readouts:
            asked = {**settings, "iterations": readout.iterations, "ema": readout.ema}
            found = measured.get(Cell(trajectory, readout).name, {})
            if not asked.items() <= found.items() or not has_its_steps(found):
                raise damaged(file)
    return records


def has_its_steps(cell: dict[str, Any]) -> bool:
    """Whether a cell saw as many steps as it asks for, or diverged at the last that it saw."""
    return cell["steps"] == min(cell["iterations"], cell["diverged_at"] or cell["iterations"])


def histories(results: Path, pack: Pack, records: list[dict[str, Any]]) -> bytes:
    """The CSV of a pack with these records. InputError where it isn't as it was written."""
    _, file = files(results, pack.name)
    content = file.read_bytes()
    end = content.find(b"\n") + 1
    head = content[:end]
    for seen in (record["history"] for record in records if "run" in record):
        start, end = end, end + seen["bytes"]
        if sha256(head + content[start:end]) != seen["sha256"]:
            raise damaged(file)
    if end != len(content):
        raise damaged(file)
    return content


def damaged(file: Path) -> InputError:
    return InputError(
        f"{file} isn't as it was written: remove it, and run the study again; what store/ holds of"
        " its runs isn't trained again"
    )


def sha256(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def of_study(study: "Study", runs: Runs) -> list[Pack]:
    """What each job of a study trains."""
    return pack(runs, lambda t, r: cost.seconds(t, r, study.data), study.training.job_seconds)


def seconds(pack: Pack, study: "Study") -> float:
    """What the job that trains a pack takes, by estimate."""
    return cost.START_SECONDS + sum(cost.seconds(t, r, study.data) for t, r in pack.runs.items())


def read_all(results: Path, of: Iterable[Pack]) -> list[dict[str, Any]]:
    """The records of all these packs. (Packs that a study had before may lie beside them.)"""
    return [record for pack in of for record in read(files(results, pack.name)[0])]


def sources_in(key: Any) -> Iterable[str]:
    """`name source` of each part in a key."""
    if isinstance(key, dict):
        if "source" in key:
            yield f"{key['name']} {key['source']}"
        for value in key.values():
            yield from sources_in(value)
    elif isinstance(key, list):
        for value in key:
            yield from sources_in(value)


def parse(text: str) -> Runs:
    """The runs in a pack's text. InputError for what is none."""
    try:
        content = json.loads(text)
        runs = {}
        for run in content["runs"]:
            readouts = [Readout.parse(name) for name in run.pop("readouts")]
            runs[Trajectory.model_validate({**content["shared"], **run})] = readouts
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"pack: {error}") from None
    return runs


def pack(
    runs: Runs, seconds: Callable[[Trajectory, list[Readout]], float], limit: float
) -> list[Pack]:
    """The runs in packs: all whose names begin alike, where they take at most `limit` seconds by
    the estimate `seconds`; else as many seeds of them as that allows, with all their clips, as a
    clipped run may go on from the unclipped one; and one run at least. InputError where two runs
    have one name."""
    times = {trajectory: seconds(trajectory, readouts) for trajectory, readouts in runs.items()}
    words = {t: (model, rate, rest) for t in runs for model, rate, _, rest, _ in [t.words]}
    if len({t.name for t in runs}) < len(runs):
        raise InputError("two runs of the study have the same name")
    if long := next((t.name for t in runs if len(t.name.encode()) > LONGEST_NAME), ""):
        right = (
            "take fewer augmentations at once, or leave settings of clips and schedules by default"
        )
        raise InputError(f"the name {on_a_line(long)} is too long for a file; {right}")

    def fits(some: list[Trajectory]) -> bool:
        few = len(some) <= MOST_RUNS and sum(len(runs[t]) for t in some) <= MOST_CELLS
        return few and sum(times[t] for t in some) <= limit

    def groups(some: list[Trajectory], of: Callable[[Trajectory], Any]) -> list[list[Trajectory]]:
        found: dict[Any, list[Trajectory]] = {}
        for trajectory in some:
            found.setdefault(of(trajectory), []).append(trajectory)
        return list(found.values())

    def split(some: list[Trajectory], depth: int) -> Iterable[list[Trajectory]]:
        if depth and fits(some):
            yield some
        elif depth < 3:
            for group in groups(some, lambda t: words[t][depth]):
                yield from split(group, depth + 1)
        else:
            chunk: list[Trajectory] = []
            for of_seed in groups(some, lambda t: t.seed):
                for more in [of_seed] if fits(of_seed) else [[t] for t in of_seed]:
                    if chunk and not fits([*chunk, *more]):
                        yield chunk
                        chunk = []
                    chunk = [*chunk, *more]
            yield chunk

    return [Pack({t: runs[t] for t in some}) for some in split(list(runs), 0)]

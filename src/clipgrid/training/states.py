"""The store: what is kept of a trajectory, written and read so that it can be trusted."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipgrid import files
from clipgrid.files import aside, warn
from clipgrid.study.cells import Readout
from clipgrid.study.faults import first_line
from clipgrid.training import distributed, machine


class Store:
    """What is kept of one trajectory, in a folder, a file each:

    - `00000500.pt` is the state after 500 steps, a T: from it the run is continued. Where its
      schedule ends nothing is, and once all is measured there, that state goes.
      `checkpoint-00000730.pt` is one made on the way to the next T, and goes when the run is done.
    - `history-00000500.pt` is the record of those steps: what they saw, and who trained them.
    - `T500_ema0.9.json` is what was measured there.

    Each holds its content, the trajectory's `key`, the `stamp` of the machine that made it, and a
    checksum of these. Files are written aside, flushed and renamed. One that can't be trusted is
    passed over, and one that can't be written is done without, with a warning: what it held is
    trained again. Of the processes that share a run, which all have the same state, the first
    writes. Processes that happen to train the same run write the same bits.
    """

    def __init__(self, folder: Path, key: dict[str, Any], device: str) -> None:
        self.folder, self.key, self.device = folder, key, device
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def stamp(self) -> dict[str, str]:
        """Of this machine."""
        return machine.stamp(self.device)

    # ---- what there is ---------------------------------------------------------------------------

    def newest_state(self, first: int, last: int, decays: set[float]) -> dict[str, Any] | None:
        """The latest state in steps `first` to `last` that holds the averages of `decays`, and that
        this kind of machine made."""
        found = self.steps("") | self.steps("checkpoint-")
        # A checkpoint at `last` is none: its steps would be done, and its T's state not kept.
        found = {p: n for p, n in found.items() if first <= n < last + p.stem.isdigit()}
        for path in sorted(found, key=lambda p: found[p], reverse=True):
            kept = self.read(path)
            if kept and kept["stamp"] != self.stamp:
                theirs, ours = (", ".join(s.values()) for s in (kept["stamp"], self.stamp))
                reason = f"it was made by {theirs}, and bits differ on {ours}"
                warn(f"passing over {path}, not a state of this machine: {reason}")
            elif kept and decays <= set(kept["content"]["averages"]):
                return kept["content"]
        return None

    def steps(self, prefix: str) -> dict[Path, int]:
        """The states, or the checkpoints, by their steps; files of other names are none of ours."""
        named = {p: p.stem.removeprefix(prefix) for p in self.folder.glob(f"{prefix}*.pt")}
        return {path: int(step) for path, step in named.items() if step.isdigit()}

    def record(self, step: int) -> dict[str, Any] | None:
        """The record of a run's first `step` steps, with the stamp of whoever trained them."""
        return self.read(self.folder / f"history-{step:08d}.pt")

    def readout(self, readout: Readout) -> dict[str, Any] | None:
        """What was measured, with the stamp of whoever did."""
        return self.read(self.folder / f"{readout.name}.json")

    def read(self, path: Path) -> dict[str, Any] | None:
        """What a file of the store holds, where it can be trusted."""
        try:
            if path.suffix == ".json":
                kept = json.loads(path.read_text())  # noqa: PLW1514
            else:
                kept = torch.load(path, weights_only=True, map_location="cpu")
            altered = kept.pop("checksum") != checksum(kept)
            reason = "its content was altered" if altered else "it is of another trajectory"
            if not altered and kept["key"] == self.key:
                return kept
        except FileNotFoundError:  # also where another process has just removed it
            return None
        except Exception:  # a torn or foreign file fails in many ways
            reason = "it is torn, or was written by something else"
        what = "readout" if path.suffix == ".json" else "state"
        warn(f"passing over {path}, not a {what} of this run: {reason}")
        return None

    # ---- what is added ---------------------------------------------------------------------------

    def save_state(self, state: dict[str, Any]) -> bool:
        """Whether it could be done; so with the others."""
        return self.write(f"{state['step']:08d}.pt", state)

    def save_checkpoint(self, state: dict[str, Any]) -> bool:
        found = self.steps("checkpoint-")
        older = [path for path, step in found.items() if step < state["step"]]
        saved = self.write(f"checkpoint-{state['step']:08d}.pt", state)
        if saved and not distributed.RANK:
            for path in older:
                path.unlink(missing_ok=True)
        return saved

    def save_record(self, record: dict[str, Any]) -> bool:
        return self.write(f"history-{record['step']:08d}.pt", record)

    def save_readout(self, readout: Readout, content: dict[str, Any]) -> bool:
        return self.write(f"{readout.name}.json", content)

    def write(self, name: str, content: dict[str, Any]) -> bool:
        if distributed.RANK:
            return True
        kept: dict[str, Any] = {"key": self.key, "stamp": self.stamp, "content": content}
        kept["checksum"] = checksum(kept)
        try:
            with aside(self.folder / name) as file:
                if name.endswith(".json"):
                    file.write(json.dumps(kept, allow_nan=False).encode())
                else:
                    torch.save(kept, file)
        except (OSError, RuntimeError) as error:  # torch says RuntimeError where the disk is full
            what = f"{self.folder / name} can't be written; is the disk full?"
            warn(f"{what}: {first_line(error)}")
            return False
        return True

    def sweep(self, last: int) -> None:
        """Remove the checkpoints of a run that is done to step `last`, and what a killed process
        left half written."""
        if distributed.RANK:
            return
        for path, step in self.steps("checkpoint-").items():
            if step <= last:
                path.unlink(missing_ok=True)
        files.sweep(self.folder)

    def drop_state(self, step: int, readouts: list[Readout]) -> None:
        """Remove the state after `step` steps, where all that is asked of it is kept."""
        names = [f"history-{step:08d}.pt", *(f"{readout.name}.json" for readout in readouts)]
        if not distributed.RANK and all((self.folder / name).exists() for name in names):
            (self.folder / f"{step:08d}.pt").unlink(missing_ok=True)


def checksum(content: Any) -> str:
    """SHA-256 over nested dicts and lists of tensors and plain values."""
    digest = hashlib.sha256()
    feed(content, digest.update)
    return digest.hexdigest()


def feed(content: Any, update: Callable[[Any], None]) -> None:
    if isinstance(content, Tensor):
        update(f"{content.dtype}{list(content.shape)}".encode())
        update(content.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    elif isinstance(content, dict | list | tuple):
        update(f"{len(content)}:".encode())
        for item in content.items() if isinstance(content, dict) else content:
            feed(item, update)
    else:
        update(f"{content!r};".encode())

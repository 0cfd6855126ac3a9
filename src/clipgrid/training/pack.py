"""A pack: runs that one process trains, one after another, and the two files of their results."""

import csv
import gc
import io
import math
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import torch

from clipgrid import InputError
from clipgrid.files import aside, check_writable
from clipgrid.images.dataset import Dataset
from clipgrid.images.loading import Images
from clipgrid.study import cost, packs
from clipgrid.study.cells import TRAINER_VERSION, Cell, Clip, Readout, Runs, Trajectory, digest
from clipgrid.study.faults import first_line
from clipgrid.training import distributed, loop, machine
from clipgrid.training.history import COLUMNS, History
from clipgrid.training.pause import Pause
from clipgrid.training.progress import Progress
from clipgrid.training.readouts import measure
from clipgrid.training.run import Run
from clipgrid.training.states import Store

Measured = dict[Readout, dict[str, Any]]  # what the store holds of each, with its stamp


def train(
    runs: Runs,
    data: Path,
    out_cells: Path,
    out_histories: Path,
    store: Path,
    checkpoint_every: float = 60.0,
) -> None:
    """Train `runs` one after another through the T's of their readouts, and write two files:

    `out_cells`, lines of JSON: one for each cell, which says what it is and what was measured, and
    one for each run, which says who trained it when. `out_histories`, a CSV with a row for each
    step of each run (see history.COLUMNS).

    What `store` holds isn't trained or measured again. On the way a checkpoint is kept there, every
    `checkpoint_every` seconds and on a signal (see Pause), from which the next call goes on. A run
    that fails keeps none of the others from being trained; InputError names those that did in the
    end, and neither file is written.
    """
    workplace = Workplace(data, store, checkpoint_every)
    results: dict[Trajectory, Result] = {}
    failed: dict[str, list[str]] = {}  # reason: runs
    # Unclipped runs first: others may go on from them.
    order = sorted(runs, key=lambda trajectory: not trajectory.clip.observes)
    for number, trajectory in enumerate(order, start=1):
        print(f"run {number} of {len(runs)}: {trajectory.name}", file=sys.stderr, flush=True)
        try:
            results[trajectory] = workplace.result(trajectory, runs[trajectory])
            continue
        except torch.AcceleratorError:
            raise  # after a fault of CUDA nothing in this process works
        except Exception as error:
            if distributed.PROCESSES > 1 and not isinstance(error, InputError):
                raise  # the others of this run wait for this process
            failed.setdefault(first_line(error), []).append(trajectory.name)
            if not isinstance(error, InputError | OSError):
                traceback.print_exc()
        gc.collect()  # a run that lacked memory leaves none behind
        torch.cuda.empty_cache()
    if failed:
        count = sum(map(len, failed.values()))
        reasons = "; ".join(f"{reason} ({', '.join(names)})" for reason, names in failed.items())
        raise InputError(f"{count} of {len(runs)} runs failed: {reasons}")
    write([results[trajectory] for trajectory in runs], out_cells, out_histories)
    distributed.stop()


class Result(NamedTuple):
    """What a run gives: a mapping for each of its cells, and its record."""

    trajectory: Trajectory
    cells: list[dict[str, Any]]
    history: History
    sessions: list[dict[str, Any]]
    readout_seconds: float


class Workplace:
    """What the runs of a process share: the data, the folder of all stores, the images."""

    def __init__(self, data: Path, store: Path, checkpoint_every: float) -> None:
        if not checkpoint_every > 0:
            raise InputError(f"checkpoint_every: must be above 0 seconds, not {checkpoint_every}")
        self.dataset, self.folder, self.seconds = Dataset.load(data), store, checkpoint_every
        check_writable(store)
        self.images: dict[str, Images] = {}  # by device

    def result(self, trajectory: Trajectory, readouts: list[Readout]) -> Result:
        """From the store, if all is there and of one kind of machine; else trained and measured."""
        key = trajectory.key(self.dataset.checksum)
        store = Store(self.folder / digest(key), key, trajectory.device)
        last = max(readout.iterations for readout in readouts)
        record = store.record(last)
        measured = {r: found for r in readouts if (found := store.readout(r))}
        stamps = [found["stamp"] for found in (record, *measured.values()) if found]
        if len(stamps) <= len(readouts) or any(stamp != stamps[0] for stamp in stamps):
            record = self.train(trajectory, readouts, store, measured)
        store.sweep(last)
        if cost.ends(trajectory, last):
            store.drop_state(last, readouts)
        assert record
        cells = [
            {
                "cell": Cell(trajectory, readout).name,
                "trajectory": trajectory.name,
                **trajectory.model_dump(mode="json"),
                "iterations": readout.iterations,
                "ema": readout.ema,
                **measured[readout]["content"]["measures"],
                "trainer": TRAINER_VERSION,
                "data": self.dataset.checksum,
                **measured[readout]["stamp"],
            }
            for readout in readouts
        ]
        seconds = sum(found["content"]["seconds"] for found in measured.values())
        history, sessions = record["content"]["history"], record["content"]["sessions"]
        return Result(trajectory, cells, History(**history), sessions, seconds)

    def train(
        self, trajectory: Trajectory, readouts: list[Readout], store: Store, measured: Measured
    ) -> dict[str, Any]:
        """Train, and measure what this kind of machine hasn't: it is added to `measured`. The
        run's record."""
        machine.set_up_process(trajectory.precision)
        machine.check(trajectory)
        distributed.start(trajectory.gpus_per_run, trajectory.device)
        for readout in [r for r, found in measured.items() if found["stamp"] != store.stamp]:
            del measured[readout]
        missing = [readout for readout in readouts if readout not in measured]
        last = max(readout.iterations for readout in readouts)
        stops = sorted({*(readout.iterations for readout in missing), last})
        decays = {r.ema for r in readouts if r.ema is not None}
        self.adopt(trajectory, stops, decays, store)
        distributed.wait()
        run = self.run(trajectory, decays)
        with Pause(store, self.seconds) as pause, Progress(last) as progress:
            for T in loop.train(run, stops, store, pause, progress):
                store.save_record(run.record())
                for readout in (r for r in missing if r.iterations == T):
                    started = time.perf_counter()
                    measures = measure(run, readout.ema)
                    content = {"measures": measures, "seconds": time.perf_counter() - started}
                    store.save_readout(readout, content)
                    measured[readout] = {"stamp": store.stamp, "content": content}
        return {"stamp": store.stamp, "content": run.record()}

    def adopt(
        self, trajectory: Trajectory, stops: list[int], decays: set[float], store: Store
    ) -> None:
        """Until its first clipped step a run is the one that isn't clipped, bit for bit: of the
        states of that run, if the store has it, those before are taken over."""
        clip = trajectory.clip
        if clip.kind != "norm" or clip.observes:
            return
        twin = trajectory.model_copy(update={"clip": Clip.of("norm", math.inf)})
        key = twin.key(self.dataset.checksum)
        if not (self.folder / digest(key)).exists():
            return
        unclipped = Store(self.folder / digest(key), key, trajectory.device)
        for T in stops:
            state = unclipped.newest_state(T, T, decays)
            if not state or not (state["history"]["steps"]["norm"] <= clip.threshold).all():
                return
            if not store.newest_state(T, T, decays):
                state["history"]["steps"]["limit"].fill_(clip.threshold)
                store.save_state({**state, "sessions": []})  # no step was trained for this run

    def run(self, trajectory: Trajectory, decays: set[float]) -> Run:
        """A run at its beginning."""
        device = trajectory.device
        if device not in self.images:  # a set that fits is uploaded once
            self.images[device] = Images(self.dataset, torch.device(device))
        return Run(trajectory, self.dataset, decays, self.images[device])


def write(results: list[Result], out_cells: Path, out_histories: Path) -> None:
    """The two files, of the first process."""
    if distributed.RANK:
        return
    for path in (out_cells, out_histories):
        path.parent.mkdir(parents=True, exist_ok=True)
    head = ",".join(("trajectory", *COLUMNS)) + "\n"
    lines: list[str] = []
    with aside(out_histories, "w") as table:
        table.write(head)
        for result in results:
            name, rates = result.trajectory.name, result.trajectory.learning_rate_at
            rows = io.StringIO()
            steps = ((name, *row) for row in result.history.rows(rates))
            csv.writer(rows, lineterminator="\n").writerows(steps)
            table.write(rows.getvalue())
            run = {
                "run": name,
                "sessions": result.sessions,
                "readout_seconds": result.readout_seconds,
            }
            lines.append(packs.lines(result.cells, run, head, rows.getvalue()))
    with aside(out_cells, "w") as file:
        file.writelines(lines)

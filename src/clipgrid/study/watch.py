"""What a person sees while a study runs, in place of Snakemake's many lines: one that tells how
much of the training is done, how fast it is, how long it takes, and what is at work. It moves on a
terminal; elsewhere it comes anew every ten seconds."""

import logging
import re
import shutil
import sys
import threading
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from math import ceil
from pathlib import Path

from clipgrid import printable
from clipgrid.study import cost
from clipgrid.study.config import Study
from clipgrid.study.packs import Pack

LINE_SECONDS = 10  # between two lines where they don't move
SETTLED = 30  # s of estimated training, after which the estimate follows what was measured


class Watch(logging.Handler):
    """Hears from Snakemake's logger what is at work, and looks at the logs of what trains."""

    def __init__(self, study: Study, of: Iterable[Pack], cores: int) -> None:
        super().__init__()
        self.study, self.of, self.cores = study, of, cores
        self.packs: dict[str, Training] = {}
        self.running: dict[int, str] = {}  # by the job's number: a pack, or what a rule does
        self.moves = sys.stderr.isatty()
        self.ended = threading.Event()
        self.at_first = 0, 0.0  # steps and estimated seconds that were done before

    # ---- what Snakemake says ----

    def emit(self, record: logging.LogRecord) -> None:
        match str(getattr(record, "event", "")):
            case "job_info":
                values = record.__dict__["wildcards"].values()
                words = [record.__dict__["rule_name"].replace("_", " "), *values]
                is_pack = record.__dict__["rule_name"] == "train"
                self.running[record.__dict__["jobid"]] = words[-1] if is_pack else " ".join(words)
            case "job_error":
                self.running.pop(record.__dict__["jobid"], None)
            case "job_finished":
                name = self.running.pop(record.__dict__["job_id"], "")
                if name in self.packs:
                    self.packs[name].finish()

    # ---- what is seen ----

    def start(self, to_train: Collection[str]) -> None:
        """Look from now on, until `stop`. Packs of these names are to be trained, others are
        there."""
        self.packs = {pack.name: Training(pack, self.study) for pack in self.of}
        self.steps = sum(training.steps for training in self.packs.values())
        self.began = self.looked = time.time()
        self.busy = 0.0  # seconds of training, over all jobs
        for name in self.packs.keys() - to_train:
            self.packs[name].finish()
        self.at_first = self.done()
        runs = sum(len(training.runs) for training in self.packs.values())
        self.say(printable(self.study.title), end="\n")
        asked = f"{runs:,} run{'s' * (runs != 1)}, {self.steps:,} steps of training"
        self.say(f"{asked}; {self.left()}", end="\n")
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.ended.set()
        self.thread.join()
        if self.moves:
            self.say("", end="")

    def run(self) -> None:
        while not self.ended.wait(1 if self.moves else LINE_SECONDS):
            self.look()
            self.say(self.line(), end="" if self.moves else "\n")

    def say(self, text: str, end: str) -> None:
        if self.moves:
            width = shutil.get_terminal_size().columns - 1
            text = "\r\033[K" + (text if end else text[:width])
        print(text, end=end, file=sys.stderr, flush=True)

    def look(self) -> None:
        now = time.time()
        at_work = [self.packs[name] for name in set(self.running.values()) & self.packs.keys()]
        self.busy += len(at_work) * (now - self.looked)
        self.looked = now
        for training in at_work:
            training.look(Path(self.study.results), since=self.began)

    def done(self) -> tuple[int, float]:
        """Steps, and the seconds that they take by estimate."""
        trainings = self.packs.values()
        return sum(t.steps_done for t in trainings), sum(t.seconds_done for t in trainings)

    def line(self) -> str:
        steps, _ = self.done()
        speed = (steps - self.at_first[0]) / max(1.0, self.looked - self.began)
        names = [self.packs[n].current if n in self.packs else n for n in self.running.values()]
        trained = [f"{speed:,.0f} steps a second", self.left()] if steps < self.steps else []
        share = f"{100 * steps // max(1, self.steps)}% of the training is done"
        return "  ".join([share, *trained, ", ".join(names)])

    def left(self) -> str:
        """The time that training will still take, first by estimate, then by what was measured."""
        seconds = self.done()[1]
        new = seconds - self.at_first[1]
        whole = sum(training.seconds for training in self.packs.values())
        slower = self.busy / new if new > SETTLED else 1.0
        left = slower * (whole - seconds) / max(1, min(self.cores, len(self.packs)))
        return f"{'about' if left > 60 else 'less than'} {max(1, ceil(left / 60))} min of it left"


class Training:
    """How far a pack has come."""

    def __init__(self, pack: Pack, study: Study) -> None:
        self.name = pack.name
        self.runs = {
            t.name: (readouts[-1].iterations, cost.seconds(t, readouts, study.data))
            for t, readouts in pack.runs.items()
        }
        self.steps = sum(steps for steps, _ in self.runs.values())
        self.seconds = sum(seconds for _, seconds in self.runs.values())
        self.steps_done, self.seconds_done, self.current = 0, 0.0, pack.name

    def finish(self) -> None:
        self.steps_done, self.seconds_done = self.steps, self.seconds

    def look(self, results: Path, since: float) -> None:
        """Read off its log what is done."""
        log = results / "logs" / "train" / f"{self.name}.log"
        with suppress(FileNotFoundError):  # not yet, or removed just now
            if log.stat().st_mtime >= since:
                self.read(log.read_text(encoding="utf-8", errors="replace"))

    def read(self, log: str) -> None:
        """Of the last run that is named, as far as its last step; of those before it, all."""
        shares: dict[str, float] = {}
        for line in log.splitlines():
            if (started := re.match(r"run \d+ of \d+: (\S+)$", line)) and started[1] in self.runs:
                shares = {**dict.fromkeys(shares, 1.0), started[1]: 0.0}
                self.current = started[1]
            elif shares and (step := re.match(r"step (\d+)/", line)):
                shares[self.current] = int(step[1]) / self.runs[self.current][0]
        done = [(share, *self.runs[name]) for name, share in shares.items()]
        self.steps_done = round(sum(share * steps for share, steps, _ in done))
        self.seconds_done = sum(share * seconds for share, _, seconds in done)

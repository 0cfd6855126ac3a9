"""When a run under way is saved: now and then, and when it is asked to stop."""

import signal
import sys
import time
from typing import TYPE_CHECKING

from tqdm import tqdm

from clipgrid.training import distributed
from clipgrid.training.states import Store

if TYPE_CHECKING:
    from clipgrid.training.run import Run


class Pause:
    """A run under way is saved every so many seconds, and when a signal asks to stop.

    As a context it catches the signals: SIGTERM and SIGUSR1, by which schedulers announce a time
    limit or a preemption, and Ctrl-C. The step under way is finished and saved, and the process
    ends with exit code 128 + the signal's number, so that whoever started it can start it again.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

    def __init__(self, store: Store, seconds: float) -> None:
        self.store, self.seconds = store, seconds
        self.caught: int | None = None
        self.reason = 0  # a signal's number, 1 for the time
        self.last = time.monotonic()

    def __enter__(self) -> "Pause":
        self.handlers = {s: signal.signal(s, self.catch) for s in self.SIGNALS}
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        # A signal that came after the last step: this run is done, and the next doesn't begin.
        if not failed and (reason := distributed.largest(self.caught or 0)):
            raise SystemExit(128 + reason)

    def catch(self, number: int, _: object) -> None:
        self.caught = number

    def due(self) -> bool:
        """In all processes that share a run, or in none."""
        timed = time.monotonic() - self.last >= self.seconds
        self.reason = distributed.largest(self.caught or int(timed))
        return self.reason > 0

    def save_if_due(self, run: "Run") -> None:
        if not self.due():
            return
        saved = self.store.save_checkpoint(run.state_dict())
        self.last = time.monotonic()
        if self.reason > 1:
            name = signal.Signals(self.reason).name
            outcome = "is saved" if saved else "could not be saved"
            if not distributed.RANK:
                tqdm.write(f"stopped by {name}; step {run.step} {outcome}", file=sys.stderr)
            raise SystemExit(128 + self.reason)

"""How far a run has come, for who watches."""

import sys
import time
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from clipgrid.training import distributed

if TYPE_CHECKING:
    from clipgrid.training.run import Run


class Log:
    """Takes tqdm's one moving line as lines."""

    def write(self, text: str) -> None:
        if text.strip():
            print(text.strip(), file=sys.stderr, flush=True)

    def flush(self) -> None:
        pass


class Progress:
    """One moving line on a terminal; in a log lines, which come less often the longer it takes. Of
    the processes that share a run, the first speaks."""

    def __init__(self, total: int) -> None:
        self.total, self.terminal = total, sys.stderr.isatty()
        self.bar: Any = None  # from the first steps on that are trained

    def __enter__(self) -> "Progress":
        self.started = time.time()
        return self

    def __call__(self, run: "Run") -> None:
        if distributed.RANK:
            return
        done = len(run.history)
        loss, norm = (run.history.steps[name][-1].item() for name in ("loss", "norm"))
        said = f"loss {loss:.4f}  norm {norm:.3g}"
        self.bar = self.bar or self.start(run.sessions[-1]["from"])
        self.bar.set_description_str("diverged  " * bool(run.diverged_at) + said, refresh=False)
        if done == self.total or run.diverged_at:
            self.bar.n = done  # told at the end
        elif self.bar.update(done - self.bar.n) and not self.terminal:
            self.bar.mininterval = min(30.0, (time.time() - self.started) / 8)

    def start(self, step: int) -> tqdm:
        line = "step {n_fmt}/{total_fmt}  {desc}  {rate_noinv_fmt}"
        bar = tqdm(
            total=self.total,
            initial=step,
            unit=" steps",
            bar_format="{bar:30} " + line if self.terminal else line,
            mininterval=0.1 if self.terminal else 0.0,
            miniters=0,
            delay=1e-9,  # nothing is said of no steps
            file=sys.stderr if self.terminal else Log(),
        )
        bar.start_t = bar.last_print_t = self.started
        return bar

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.leave = self.terminal or self.bar.n > self.bar.last_print_n  # not told yet
            self.bar.close()

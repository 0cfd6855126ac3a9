"""The evidence of a study: its cells, the histories of its runs, and every measure of a cell. What
figures draw and what verdicts rest on are both taken from here.

A `row` is a row of the cells' table, as `evidence.cells.itertuples()` gives it. A diverged run
counts as one that guesses.
"""

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clipgrid.files import read_json
from clipgrid.judging import aggregate, statistics, sums
from clipgrid.study.config import Study

LEARNING_CURVE = [
    *("trajectory", "step", "loss", "norm"),
    *("training_loss", "validation_loss", "validation_accuracy"),
]


class Evidence:
    """What the study `study` left in the folder `results`. Files are read when they are needed."""

    def __init__(self, study: Study, results: Path) -> None:
        self.study, self.results = study, results

    @cached_property
    def cells(self) -> pd.DataFrame:
        """The table of all cells: cells.csv."""
        sums.checked(self.results, "study.json")  # whose cells they are
        return aggregate.read_cells(self.results)

    @cached_property
    def histories(self) -> pd.DataFrame:
        """A row a step of each run, with all that was recorded: histories.parquet."""
        return pd.read_parquet(sums.checked(self.results, "histories.parquet"))

    @cached_property
    def runs(self) -> dict[str, pd.DataFrame]:
        """The losses and looks of each trajectory, a row a step, by its name."""
        table = pd.read_parquet(
            sums.checked(self.results, "histories.parquet"), columns=LEARNING_CURVE
        )
        return {str(name): run for name, run in table.groupby("trajectory", observed=True)}

    @cached_property
    def about(self) -> dict[str, Any]:
        """What is known of the images: data.json."""
        return read_json(sums.checked(self.results, "data.json"))

    @property
    def classes(self) -> int:
        return len(self.about["classes"])

    @property
    def guessing(self) -> float:
        """The loss of a model that guesses, nats."""
        return math.log(self.classes)

    # ---- at T ------------------------------------------------------------------------------------

    def measure(self, name: str, row: Any, steps: int | None = None) -> float:
        """A measure of one cell by its name, in its unit of `measures.UNITS`. `steps`: see
        `loss_area`."""
        match name:
            case "log_test_loss":
                return 100 * math.log(self.loss(row, "test"))
            case "accuracy_gap":
                return self.accuracy(row, "train") - self.accuracy(row, "test")
            case "loss_gap":
                return self.loss(row, "test") - self.loss(row, "train")
            case "loss_area":
                return self.loss_area(row, steps)
        of, _, what = name.rpartition("_")
        return self.accuracy(row, of) if what == "accuracy" else self.loss(row, of)

    def accuracy(self, row: Any, of: str) -> float:
        """In percent; `of` names a set of images, or a transformation of the test images."""
        value = getattr(row, f"{of}_accuracy")
        return 100 / self.classes if math.isnan(value) else 100 * value

    def loss(self, row: Any, of: str) -> float:
        """In nats; `of` names a set of images."""
        value = getattr(row, f"{of}_loss")
        return self.guessing if math.isnan(value) else value

    def happened(self, event: str, row: Any) -> bool:
        """Whether one of `measures.EVENTS` met a run by T."""
        return {"failed": failed, "exploded": self.exploded, "clipped": clipped}[event](row)

    # ---- up to T ---------------------------------------------------------------------------------

    def losses(self, row: Any) -> pd.Series:
        """The training loss of each step up to T (nats); of a diverged run, up to its end."""
        run = self.runs[row.trajectory]
        return run.loss[run.step <= row.iterations]

    def smoothed(self, losses: pd.Series) -> pd.Series:
        """The mean of the losses since the look before, at each step."""
        return losses.rolling(self.study.training.evaluate_every, min_periods=1).mean()

    def looks(self, row: Any) -> pd.DataFrame:
        """The learning curve up to T: a row a look at training and validation images as they are,
        in eval mode (columns: step, loss, validation_loss, validation_accuracy). Of a moving
        average, its readouts."""
        if not math.isnan(row.ema):
            cells = self.cells
            same = (cells.trajectory == row.trajectory) & (cells.ema == row.ema)
            until = cells[same & (cells.iterations <= row.iterations)].sort_values("iterations")
            return until.assign(step=until.iterations, loss=until.train_loss)
        run = self.runs[row.trajectory]
        looks = run[run.step <= row.iterations].dropna(subset="validation_accuracy")
        return looks.assign(loss=looks.training_loss)

    def loss_area(self, row: Any, steps: int | None = None) -> float:
        """The mean training loss (nats) of the first `steps`, or of all up to T; each at most that
        of guessing, which also stands for the steps after a run diverged."""
        last = min(steps or row.iterations, row.iterations)
        losses = np.full(last, np.nan)
        trained = self.losses(row).to_numpy()[:last]
        losses[: len(trained)] = trained
        return statistics.loss_area(losses, self.guessing)

    def steps_to(self, row: Any, target: float) -> float:
        """Steps until a look at the validation images found an accuracy of `target` percent;
        infinitely many if none did by T."""
        looks = self.looks(row)
        return statistics.steps_to_target(looks.step, 100 * looks.validation_accuracy, target)

    def matched_gap(self, arm: Any, baseline: Any) -> float:
        """The generalisation gap (nats) of one run less that of another, both at the same training
        loss. NaN where they have none in common."""
        a, b = self.looks(arm), self.looks(baseline)
        return statistics.gap_at_matched_loss(a.loss, a.validation_loss, b.loss, b.validation_loss)

    def exploded(self, row: Any) -> bool:
        """Whether the norm of a gradient, before it was clipped, wasn't finite by T, or was above a
        hundred times the median of those before the first look. (A run that collapses does so with
        small gradients, too.)"""
        run = self.runs[row.trajectory]
        norms = run.norm[run.step <= row.iterations]
        usual = norms[: self.study.training.evaluate_every].median()
        return bool((~(norms <= 100 * usual)).any())


def failed(cells: Any) -> Any:
    """Whether a run had collapsed (finite, and hardly above chance on its own training images) or
    diverged by T: of a row, or of each row of a table."""
    return cells.status != "finished"


def clipped(cells: Any) -> Any:
    """Whether a step by T was clipped: of a row, or of each row of a table."""
    return cells.steps_clipped > 0

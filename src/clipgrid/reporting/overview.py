"""What was found, whatever is claimed: what clips did to runs, the accuracy of each arm, what all
of it took."""

import pandas as pd

from clipgrid.judging.statistics import t_interval
from clipgrid.reporting.arms import (
    arm_names,
    by_clip,
    clips_in,
    in_order,
    labels,
    originals,
    usual_on,
)
from clipgrid.reporting.tables import plus_minus


def arms(cells: pd.DataFrame) -> list[dict]:
    """Accuracy (%) by clip for each arm and T, of what `originals` gives, and the paired difference
    of the global norm's smallest λ to no clipping."""
    clips = clips_in(cells)
    by_norm = [c.label for c in clips if c.kind == "norm" and not c.observes]
    cells = in_order(originals(cells))
    cells["arm"] = arm_names(cells)
    rows = []
    for (name, iterations), group in cells.groupby(["arm", "iterations"], sort=False):
        by_seed = {
            clip: 100 * mine.set_index("seed").test_accuracy for clip, mine in by_clip(group)
        }
        smallest = next((clip for clip in by_norm if clip in by_seed), None)
        difference = (
            plus_minus(t_interval(by_seed[smallest] - by_seed["no clipping"]), 1, sign="+")
            if smallest and "no clipping" in by_seed
            else "–"
        )
        accuracies = (by_seed.get(clip.label) for clip in clips)
        rows.append(
            {
                "name": name,
                "iterations": iterations,
                "accuracies": [
                    "–" if a is None else unbroken(plus_minus(t_interval(a), 1)) for a in accuracies
                ],
                "difference": unbroken(difference),
            }
        )
    return rows


def unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def weights_and_images(cells: pd.DataFrame) -> str:
    """Those of `arms`, in words."""
    here = originals(cells)
    weights, images = (labels(here, column).iloc[0] for column in ("ema", "augmentation"))
    return f"{weights}, trained with {images}"


def outcomes(cells: pd.DataFrame) -> list[dict]:
    """By clip: share of steps clipped, and the runs that had collapsed or diverged at their end."""
    last = usual_on(cells, ["ema"]).sort_values("iterations").groupby("trajectory").last()
    rows = []
    for clip in clips_in(last):
        runs = last[(last["clip"] == clip.kind) & (last.threshold == clip.threshold)]
        percent = 100 * runs.clip_fraction
        rows.append(
            {
                "clip": clip.label,
                "fires": not clip.observes and runs.steps.sum() > 0,
                "percent": f"{100 * runs.steps_clipped.sum() / max(1, runs.steps.sum()):.1f}",
                "least": f"{percent.min():.1f}",
                "most": f"{percent.max():.1f}",
                "never": int((runs.steps_clipped == 0).sum()),
                "collapsed": int((runs.status == "collapsed").sum()),
                "diverged": int((runs.status == "diverged").sum()),
                "runs": len(runs),
            }
        )
    return rows


def computing(trained: dict) -> str:
    """What all runs took, in words; evaluation is that on the way and that at each T."""
    evaluation = trained["evaluation_seconds"] + trained["readout_seconds"]
    return (
        f"{duration(trained['training_seconds'])} of training and {duration(evaluation)} of"
        " evaluation, over all runs"
    )


def duration(seconds: float) -> str:
    """`95 s`, `12 min`, `3.4 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

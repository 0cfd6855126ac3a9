"""Trials: before a study trains, each part of it that isn't ours is tried for some steps, beside
parts of ours alone, so that what goes wrong is its own fault. Imports no torch."""

from typing import Any

from clipgrid.study.cells import Augmentation, Clip, Readout, Runs, Trajectory, replace
from clipgrid.study.packs import Pack
from clipgrid.study.parts import Choice

KINDS = ("model", "optimizer", "objective", "clip", "augmentation", "schedule")
"""The settings of a trajectory that are parts."""
OURS: dict[str, Any] = {
    **{"model": "alexnet:width=0.125", "optimizer": "momentum", "objective": "cross-entropy"},
    **{"clip": "inf", "augmentation": "none", "schedule": "constant", "learning_rate": 0.01},
}
"""What a part is tried with."""
IMAGES = 8  # of a step
STEPS = 2


def of(runs: Runs) -> dict[str, Pack]:
    """A trial for each part of these runs that isn't ours, and each of its settings, by a name."""
    return {
        name: Pack({trial(run, setting, value): [Readout(STEPS)]})
        for name, (run, setting, value) in foreign(runs).items()
    }


def foreign(runs: Runs) -> dict[str, tuple[Trajectory, str, Any]]:
    """The first run with each part that isn't ours, the setting, and its value of that part alone;
    by a name for files, `model-tiny-vit`."""
    found: dict[str, tuple[Trajectory, str, Any]] = {}
    for setting in KINDS:
        values = {id(value): (value, run) for run in runs for value in [getattr(run, setting)]}
        for value, run in values.values():
            for choice in parts_of(value):
                if not is_ours(choice):
                    one = Augmentation((choice,)) if isinstance(value, Augmentation) else value
                    found.setdefault(f"{setting}-{choice}", (run, setting, one))
    return found


def trial(run: Trajectory, setting: str, value: Any) -> Trajectory:
    """A small run that has of `run` the seed and one part."""
    plain = Trajectory(**OURS, seed=run.seed, split=run.split, batch_size=IMAGES)
    changes = {setting: value}
    if setting == "optimizer":
        changes["learning_rate"] = run.learning_rate
    elif setting == "schedule":
        changes["schedule_steps"] = run.schedule_steps
    return replace(plain, **changes)


def parts_of(value: Choice | Clip | Augmentation) -> tuple[Choice, ...]:
    if isinstance(value, Augmentation):
        return value.choices
    return (value.choice if isinstance(value, Clip) else value,)


def is_ours(choice: Choice) -> bool:
    """Whether our own tests try it; what comes from a library they don't."""
    return choice.part.is_ours and not choice.part.about.get("library")


def tried_in(trial: Trajectory) -> Choice:
    """The part that a trial tries."""
    of_all = (choice for setting in KINDS for choice in parts_of(getattr(trial, setting)))
    return next(choice for choice in of_all if not is_ours(choice))

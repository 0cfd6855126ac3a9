"""The grid: from a study to its cells."""

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from clipgrid.study import axes
from clipgrid.study.cells import Cell, Readout, Trajectory

if TYPE_CHECKING:
    from clipgrid.study.config import Study

Values = dict[str, list[Any]]
"""Of each axis; without learning_rates, those of each optimizer."""


def cells(study: "Study") -> list[Cell]:
    """The cells that a study asks for, each once."""
    return list(members(study))


def members(study: "Study") -> dict[Cell, list[str]]:
    """The cells that a study asks for, with the experiments that each belongs to."""
    found: dict[Cell, list[str]] = {}
    for name, experiment in study.experiments.items():
        chosen = (select(study, values(study, s.axes)) for s in experiment.select)
        for cell in dict.fromkeys(itertools.chain.from_iterable(chosen)):
            found.setdefault(cell, []).append(name)
    # Cells of more seeds belong to the experiments of their twin of the first seed.
    for more in study.further:
        for cell in select(study, values(study, more.axes)):
            first = cell.trajectory.model_copy(update={"seed": study.values("seeds")[0]})
            if twin := found.get(Cell(first, cell.readout)):
                found.setdefault(cell, twin)
    return found


def selections(study: "Study") -> list[Values]:
    """What the experiments select, on all axes."""
    return [values(study, s.axes) for e in study.experiments.values() for s in e.select]


def values(study: "Study", named: Values) -> Values:
    """A selection's values: on an axis that it doesn't name, those of the study."""
    own = {
        axis.name: study.values(axis.name) for axis in axes.AXES if axis.name != "learning_rates"
    }
    return {**own, **named}


def select(study: "Study", chosen: Values) -> Iterable[Cell]:
    """The product of the values."""
    split = "seed" if study.data.split == "seed" else "prepared"
    shared = {**study.training.shared, "split": split}
    for model, optimizer in itertools.product(chosen["models"], chosen["optimizers"]):
        of_study = study.optimizers[optimizer]
        for rate, clip, augmentation, schedule, objective, n, noise, seed in itertools.product(
            chosen.get("learning_rates", of_study.learning_rates),
            *(chosen[a] for a in ("clips", "augmentations", "schedules", "objectives")),
            *(chosen[a] for a in ("train_images", "label_noise", "seeds")),
        ):
            # A schedule that depends on T gives each T a trajectory of its own.
            ends = schedule.part.about["ends"]
            trajectories = {
                steps: Trajectory.model_construct(
                    model=study.models[model],
                    optimizer=of_study.choice,
                    learning_rate=rate,
                    clip=clip,
                    augmentation=augmentation,
                    schedule=schedule,
                    schedule_steps=steps,
                    objective=objective,
                    train_images=n,
                    label_noise=noise,
                    seed=seed,
                    **shared,
                )
                for steps in (chosen["iterations"] if ends else [0])
            }
            for iterations, ema in itertools.product(chosen["iterations"], chosen["ema"]):
                yield Cell(trajectories[iterations if ends else 0], Readout(iterations, ema))

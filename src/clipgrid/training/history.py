"""What a run's steps saw, by name: one step's telemetry, and all of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor


class Step(NamedTuple):
    """A step's loss, and what clipping tells of it (see clipping.Telemetry); 0-dim, on the
    device."""

    loss: Tensor
    norm: Tensor
    observed: Tensor
    limit: Tensor
    coefficient: Tensor
    share: Tensor


LOOK = ("step", "training_loss", "validation_loss", "validation_accuracy")
COLUMNS = ("step", *Step._fields, "clipped", "finite", "learning_rate", *LOOK[1:])


def empty(names: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: torch.empty(0, dtype=torch.float64) for name in names}


@dataclass
class History:
    """Telemetry of the steps done, `steps`: a column [T] for each field of Step. The learning
    curve, `looks`: a column [K] for each word of LOOK, where the losses of training images are in
    eval mode as those of validation images are. All float64."""

    steps: dict[str, Tensor] = field(default_factory=lambda: empty(Step._fields))
    looks: dict[str, Tensor] = field(default_factory=lambda: empty(LOOK))

    def __len__(self) -> int:
        return len(self.steps["loss"])

    @property
    def diverged_at(self) -> int | None:
        """The step, counted from 1, whose loss or gradient wasn't finite: it is the last one."""
        last = {name: column[-1:] for name, column in self.steps.items()}
        return None if finite(last).all() else len(self)

    def append(self, steps: list[Step]) -> None:
        """Fetch the latest steps' telemetry from the device. What comes after the first step whose
        loss or gradient isn't finite is left out: with that step the run has diverged."""
        columns = [torch.stack(column).double() for column in zip(*steps, strict=True)]
        latest = dict(zip(Step._fields, torch.stack(columns).cpu(), strict=True))
        sound = finite(latest)
        end = len(steps) if sound.all() else int(sound.int().argmin()) + 1
        for name, column in latest.items():
            self.steps[name] = torch.cat([self.steps[name], column[:end]])

    def look(self, *values: float) -> None:
        """Add a point to the learning curve: a value for each word of LOOK."""
        for name, value in zip(LOOK, values, strict=True):
            point = torch.tensor([value], dtype=torch.float64)
            self.looks[name] = torch.cat([self.looks[name], point])

    def rows(self, learning_rate_at: Callable[[int], float]) -> Iterator[tuple]:
        """A row of COLUMNS for each step."""
        looked = zip(*(column.tolist() for column in self.looks.values()), strict=True)
        looks = {int(step): look for step, *look in looked}
        none = [""] * len(LOOK[1:])
        clipped, sound = (self.steps["share"] > 0).int(), finite(self.steps).int()
        table = torch.stack(list(self.steps.values()), 1).tolist()
        marks = torch.stack([clipped, sound], 1).tolist()
        for step, (values, mark) in enumerate(zip(table, marks, strict=True), start=1):
            yield step, *values, *mark, learning_rate_at(step - 1), *looks.get(step, none)


def finite(steps: dict[str, Tensor]) -> Tensor:
    """Of each step [T], whether its loss and gradient are finite."""
    return steps["loss"].isfinite() & steps["norm"].isfinite()

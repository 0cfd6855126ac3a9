"""What a clipper has seen: on the device for some steps, fetched in blocks, and bounded."""

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clipgrid.clipping.shared import Telemetry

BLOCK = 1000  # steps that stay on the device at most
FIELDS = Telemetry._fields
COLUMNS = ("step", *FIELDS, "clipped", "finite")


class NotFinite(NamedTuple):
    """A step, counted from 1, and the tensors whose gradients were not finite then. The first of
    `names` is the last in the model's order: the backward pass came to it first."""

    step: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        if not self.names:
            return f"at step {self.step}"
        others = f" and {len(self.names) - 1} more" if len(self.names) > 1 else ""
        return f"at step {self.step} in {self.names[0]}{others}"


def together(seen: Sequence[Telemetry]) -> Telemetry:
    """The telemetry of all groups: the norm and the coefficient of the whole gradient, observed and
    limit of the group that is furthest above its limit (or least below), the groups' mean share."""
    if len(seen) == 1:
        return seen[0]
    norm, observed, limit, coefficient, share = (
        torch.stack(column) for column in zip(*seen, strict=True)
    )
    whole, after = (torch.linalg.vector_norm(n, dim=0) for n in (norm, norm * coefficient))
    # At an infinite limit a group is below any other; NaN counts as infinite, and is shown.
    furthest = (observed / limit).nan_to_num(nan=math.inf).argmax(0, keepdim=True)
    return Telemetry(
        whole,
        observed.gather(0, furthest)[0],
        limit.gather(0, furthest)[0],
        torch.where(share.sum(0) > 0, after / whole, 1.0),
        share.mean(0),
    )


class Record:
    """The telemetry of all steps. Of at most `keep` steps it is kept: beyond, every second step is
    dropped, and from then on only every second (fourth, …) one is kept, so that what is kept is
    spread evenly over the run. Counts and extremes are of all steps."""

    def __init__(self, groups: list[str], names: list[str], by_layer: bool, keep: int) -> None:
        if keep < 2:
            raise ValueError(f"keep must be at least 2 steps, not {keep}")
        self.groups, self.names, self.by_layer, self.keep = groups, names, by_layer, keep
        self.waiting: list[tuple[list[Telemetry], Tensor | None]] = []
        width = len(FIELDS) * len(groups) + len(names) * by_layer
        self.every = 1  # of so many steps one is kept
        self.steps = torch.empty(0, dtype=torch.int64)
        self.rows = torch.empty(0, width, dtype=torch.float64)
        self.fetched = 0
        self.fired = torch.zeros(
            len(groups), dtype=torch.int64
        )  # steps at which a group's clip did
        self.shares = torch.zeros(len(groups), dtype=torch.float64)  # their sum over all steps
        self.not_finite = 0
        self.first_not_finite: NotFinite | None = None

    def __len__(self) -> int:
        """The steps that were seen."""
        return self.fetched + len(self.waiting)

    def add(self, seen: list[Telemetry], norms: Tensor | None) -> None:
        """A step: the telemetry of each group, and the norm of each tensor [n] where known."""
        self.waiting.append((seen, norms))

    def fetch(self) -> None:
        """Bring what waits on the device to the host. This waits for the device."""
        if not self.waiting:
            return
        waiting, self.waiting = self.waiting, []
        columns = zip(*([x for one in seen for x in one] for seen, _ in waiting), strict=True)
        rows = torch.stack([torch.stack(column) for column in columns], 1).cpu()
        known = [step for step, (_, norms) in enumerate(waiting) if norms is not None]
        norms = [norms for _, norms in waiting if norms is not None]
        tensors = torch.stack(norms).cpu() if norms else torch.empty(0, len(self.names))
        by_group = rows.view(len(rows), len(self.groups), len(FIELDS))
        finite = by_group[:, :, FIELDS.index("norm")].isfinite().all(1)
        if not finite.all() and self.first_not_finite is None:
            step = int(finite.int().argmin())
            bad = ~tensors[known.index(step)].isfinite() if step in known else ()
            found = [name for name, is_bad in zip(self.names, bad, strict=False) if is_bad]
            self.first_not_finite = NotFinite(self.fetched + step + 1, tuple(reversed(found)))
        self.not_finite += int((~finite).sum())
        share = by_group[:, :, FIELDS.index("share")]
        self.fired += (share > 0).sum(0)
        self.shares += share.sum(0)
        steps = torch.arange(self.fetched + 1, self.fetched + len(rows) + 1)
        self.fetched += len(rows)
        if self.by_layer:
            rows = torch.cat([rows, tensors], 1)
        self.steps = torch.cat([self.steps, steps])
        self.rows = torch.cat([self.rows, rows])
        while True:
            kept = (self.steps - 1) % self.every == 0
            if int(kept.sum()) <= self.keep:
                break
            self.every *= 2
        self.steps, self.rows = self.steps[kept], self.rows[kept]

    def of_group(self, number: int) -> Telemetry:
        """Columns of a group [steps that are kept]."""
        start = number * len(FIELDS)
        return Telemetry(*self.rows[:, start : start + len(FIELDS)].unbind(1))

    def table(self) -> dict[str, list]:
        """A list for each column, a value for each step that is kept."""
        self.fetch()
        each = [self.of_group(number) for number in range(len(self.groups))]
        whole = together(each)
        columns: dict[str, Any] = {"step": self.steps, **whole._asdict()}
        columns |= {"clipped": (whole.share > 0).int(), "finite": whole.norm.isfinite().int()}
        if len(each) > 1:
            for group, seen in zip(self.groups, each, strict=True):
                columns |= {f"group:{group}:{name}": x for name, x in seen._asdict().items()}
        if self.by_layer:
            norms = self.rows[:, len(FIELDS) * len(each) :].unbind(1)
            columns |= {f"layer:{name}": x for name, x in zip(self.names, norms, strict=True)}
        return {name: column.tolist() for name, column in columns.items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table. ValueError for a name that ends neither in .csv nor in .parquet;
        FileNotFoundError where its folder is missing; ImportError where pyarrow is, which parquet
        needs."""
        path = Path(path)
        if not path.parent.is_dir():
            raise FileNotFoundError(f"{path}: there is no folder {path.parent}; make it first")
        table = self.table()
        aside = path.with_name(f"{path.name}.part")
        if path.suffix == ".csv":
            with aside.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(table)
                writer.writerows(zip(*table.values(), strict=True))
        elif path.suffix == ".parquet":
            try:
                import pyarrow
                from pyarrow import parquet
            except ImportError:
                raise ImportError(
                    "parquet needs pyarrow: pip install pyarrow, or save to a name in .csv"
                ) from None
            parquet.write_table(pyarrow.table(table), aside)
        else:
            raise ValueError(f"{path}: the name must end in .csv or .parquet")
        aside.replace(path)

    def state_dict(self) -> dict[str, Any]:
        self.fetch()
        first = self.first_not_finite
        return {
            **{name: getattr(self, name) for name in STATE},
            "first_not_finite": first and {"step": first.step, "names": list(first.names)},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.waiting = []
        vars(self).update({name: state[name] for name in STATE})
        first = state["first_not_finite"]
        self.first_not_finite = first and NotFinite(first["step"], tuple(first["names"]))


STATE = ("every", "steps", "rows", "fetched", "fired", "shares", "not_finite")

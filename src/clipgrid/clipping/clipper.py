"""Exact clipping with telemetry in anyone's training loop."""

import math
import os
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from clipgrid.clipping import advice, spread
from clipgrid.clipping.groups import Group, Parameters, groups_of
from clipgrid.clipping.kinds import KINDS, Clip
from clipgrid.clipping.order import Order
from clipgrid.clipping.record import BLOCK, NotFinite, Record, together
from clipgrid.clipping.shared import Telemetry, check_device, global_norm, scale

LOOKS = (advice.SOON, advice.OFTEN)  # steps at which mistakes are looked for, before each BLOCK


class Clipper:
    """Clips gradients, once an optimizer step, and remembers what it saw.

        clipper = Clipper(model, "inf")        # observe; or "1", "agc0.01", "adagc1.05", …
        ...
        loss.backward(); clipper(); optimizer.step()
        ...
        clipper.save("norms.parquet"); print(clipper.advice())

    `parameters` are a model, its parameters (with names or without), or groups as of an optimizer,
    each with a clip of its own: `[{"params": model.head, "clip": "1", "name": "head"}, …]`.
    `clip` is a threshold of the global L2 norm, or a kind with its threshold and settings.

    - `by_layer`: keep the norm of each tensor too.
    - `classifier`: the module that AGC leaves alone, as its paper does with the last layer.
    - `scaler`: the GradScaler of the loop; then gradients that are still scaled are an error.
    - `keep`: steps of which the telemetry is kept; of longer runs, every second (fourth, …) one.

    Nothing is fetched from the device but at steps 10 and 100 and at each 1000th. Of gradients on
    a CPU, and of kinds by norm on any device, it is known which tensor was not finite first; for
    other kinds on other devices `by_layer` finds it. A step that isn't finite is left as it is; to
    a kind that looks back, it counts as the last finite one once more.

    With DistributedDataParallel each process has the same gradients: give each a Clipper, and save
    one. Of DTensors (FSDP2) the norm is that of the whole gradient, for kinds by norm; make the
    Clipper after fully_shard. ValueError for what can't be clipped or was given wrongly.
    """

    def __init__(
        self,
        parameters: Parameters,
        clip: float | str | Clip = "inf",
        *,
        by_layer: bool = False,
        classifier: nn.Module | None = None,
        scaler: Any = None,
        keep: int = 100_000,
    ) -> None:
        self.groups = groups_of(parameters, clip)
        self.names = [name for group in self.groups for name in group.parameters]
        self.parameters = [p for group in self.groups for p in group.parameters.values()]
        self.exempt = set(classifier.parameters()) if classifier is not None else set()
        if unknown := len(self.exempt - set(self.parameters)):
            raise ValueError(f"classifier: {unknown} of its parameters aren't given to the Clipper")
        self.scaler = scaler
        self.record = Record([group.name for group in self.groups], self.names, by_layer, keep)
        self.looks_at_norms = by_layer or any(g.clip.kind.needs != "values" for g in self.groups)
        self.order = Order()
        self.told: set[str] = set()

    @torch.no_grad()
    def __call__(self) -> Telemetry:
        """Clip, after the backward pass and before the optimizer's step. What it saw and did, as
        0-dim float64 tensors on the device. RuntimeError where there is nothing to clip, or where
        the scaler's factor is still in the gradients."""
        gradients = gradients_of(self.names, self.parameters)
        check_scale(self.scaler)
        self._tell("order", self.order.fault(self.parameters))
        norms = spread.norms_of(gradients) if self.looks_at_norms else None
        seen, start = [], 0
        for group in self.groups:
            part = slice(start, start := start + len(group.parameters))
            mine = norms[part] if norms is not None else None
            seen.append(clip(group, gradients[part], mine, self.exempt))
        on_cpu = seen[0].norm.device.type == "cpu"
        if norms is None and on_cpu and not all(one.norm.isfinite().item() for one in seen):
            norms = spread.norms_of(gradients)
        self.record.add(seen, norms)
        self.order.done()
        steps = len(self.record)
        if steps in LOOKS or steps % BLOCK == 0:
            self.record.fetch()
            for key, sentence in advice.mistakes(self.record, self.groups):
                self._tell(key, sentence)
        return together(seen)

    def _tell(self, key: str, sentence: str) -> None:
        """Warn of a mistake, once."""
        if sentence and key not in self.told:
            self.told.add(key)
            warnings.warn(f"clipgrid: {sentence}", stacklevel=4)  # where the clipper is called

    # ---- what it saw -----------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """The steps that were seen."""
        return len(self.record)

    def advice(self) -> str:
        """What the steps so far say, in a sentence for each group."""
        return advice.advice(self.record, self.groups, self.scaler is not None)

    @property
    def first_not_finite(self) -> NotFinite | None:
        """The first step that wasn't finite, and its tensors."""
        self.record.fetch()
        return self.record.first_not_finite

    def table(self) -> dict[str, list]:
        """A list for each column, for pandas.DataFrame and the like: step, norm, observed, limit,
        coefficient, share, clipped, finite; of several groups these of each too, as
        `group:NAME:limit`; with `by_layer` the norm of each tensor, as `layer:NAME`."""
        return self.record.table()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table to a .csv or, with pyarrow, a .parquet."""
        self.record.save(path)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: what the kinds remember, and what was seen."""
        return {
            "clips": [str(group.clip) for group in self.groups],
            "names": self.names,
            "groups": [{"state": dict(g.state), "last": g.last} for g in self.groups],
            "record": self.record.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there. ValueError for the state of other clips or parameters."""
        for what, mine in (
            ("clips", [str(group.clip) for group in self.groups]),
            ("names", self.names),
        ):
            if state[what] != mine:
                raise ValueError(f"this state is of other {what}: {state[what]}, not {mine}")
        device = self.parameters[0].device
        for group, saved in zip(self.groups, state["groups"], strict=True):
            group.state = {name: tensor.to(device) for name, tensor in saved["state"].items()}
            group.last = None if saved["last"] is None else saved["last"].to(device)
        self.record.load_state_dict(state["record"])


def gradients_of(names: list[str], parameters: list[Tensor]) -> spread.Gradients:
    """None where there is none. RuntimeError where there is none at all, or one that is sparse;
    ValueError on a device that norms can't be taken on."""
    found = [p.grad for p in parameters]
    if all(gradient is None for gradient in found):
        raise RuntimeError(
            f"none of {len(found)} parameters has a gradient: call the clipper after"
            " loss.backward() and before optimizer.step(), and give it the parameters of the model"
            " that is trained (fully_shard replaces them)"
        )
    for name, gradient in zip(names, found, strict=True):
        if gradient is not None and gradient.layout != torch.strided:
            raise RuntimeError(
                f"{name} has a sparse gradient, which can't be clipped: make the layer without"
                " sparse=True, or leave its parameters out"
            )
    check_device(found)
    return found


def check_scale(scaler: Any) -> None:
    """RuntimeError where a GradScaler's factor is still in the gradients."""
    if scaler is None or not scaler.is_enabled():
        return
    from torch.amp.grad_scaler import OptState

    states = scaler._per_optimizer_states.values()
    if OptState.UNSCALED not in [state["stage"] for state in states]:
        raise RuntimeError(
            "the gradients still have the scaler's factor in them: call"
            " scaler.unscale_(optimizer) before the clipper"
        )


def clip(
    group: Group, gradients: spread.Gradients, norms: Tensor | None, exempt: set[Any]
) -> Telemetry:
    """Clip those of a group. `norms` are of each [n], for the kinds that need no more: such a kind
    is given them in the place of gradients, and what it makes of them tells the factors."""
    if norms is None or group.clip.kind.needs == "values":
        return clip_values(group, gradients, exempt)
    norm = global_norm([norms])
    last = torch.zeros_like(norms) if group.last is None else group.last
    group.last = used = if_finite(norm, norms, last)
    clipped = used.clone()
    if group.clip.kind.needs == "norm":
        limit = group.clip([clipped], [None], group.state).limit
        seen = scale([norm.clone()], norm, norm, limit)
        factors = seen.coefficient
    else:
        each = zip(clipped.unbind(), group.parameters.values(), strict=True)
        stand_ins = [own.view([1] * p.ndim) for own, p in each]
        seen = group.clip(stand_ins, [None] * len(stand_ins), group.state)
        factors = if_finite(norm, (clipped / used).nan_to_num(nan=1.0), torch.ones_like(used))
        seen = Telemetry(
            norm,
            if_finite(norm, seen.observed, norm),
            seen.limit,
            if_finite(norm, seen.coefficient, torch.ones_like(norm)),
            if_finite(norm, seen.share, torch.zeros_like(norm)),
        )
    if not group.clip.observes:
        spread.multiply_all(gradients, factors)
    return seen


def clip_values(group: Group, gradients: spread.Gradients, exempt: set[Any]) -> Telemetry:
    """By a kind that needs all values."""
    places = spread.places(gradients)
    kind = group.clip.kind.name
    if any(mesh is not None for _, mesh, _ in places):
        by_norm = ", ".join(name for name, kind in KINDS.items() if kind.needs != "values")
        raise ValueError(
            f"{kind} needs all values of a gradient, and each process has but its shard of them;"
            f" these kinds need norms alone: {by_norm}"
        )
    if len(places) > 1:
        raise ValueError(f"{kind} needs all gradients of a group on one device")
    both = zip(gradients, group.parameters.values(), strict=True)
    given = [(g, None if p in exempt else p.detach()) for g, p in both if g is not None]
    if not given:
        none = next(iter(group.parameters.values())).new_zeros((), dtype=torch.float64)
        return Telemetry(none, none, none + group.clip.threshold, none + 1, none)
    return group.clip([g for g, _ in given], [w for _, w in given], group.state)


def if_finite(norm: Tensor, this: Tensor, other: Tensor) -> Tensor:
    """`this` where the norm is finite, else `other`; off a CPU without waiting."""
    if norm.device.type == "cpu":
        return this if math.isfinite(norm.item()) else other
    return torch.where(norm.isfinite(), this, other)

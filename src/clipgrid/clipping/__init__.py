"""Gradient clipping: the subject. `Clipper` is for a loop of one's own; beside it there is one
function a kind, which returns what it saw and did.

What holds for all of them:

- Gradients are changed in place, once an optimizer step: after all accumulation, and before the
  optimizer adds weight decay. (torch's optimizers take the penalty as part of the gradient; who
  clips after that clips the penalty too.)
- A gradient that isn't above its threshold keeps every bit, and so does one that isn't finite:
  the trainer ends a run there. At λ = ∞ (AutoClip: at its 100th percentile) a kind only observes.
- Norms add up in float64 (on a CPU those of long float32 tensors by blocks of 256 values, in
  float32 within a block), and nothing is added to them. Results are exact to rounding while the
  coefficient is a normal number of the gradients' type, or of float32 where that is larger.
- Nothing is fetched from the device.

`gradients` may be any iterable of tensors, of any floating type and memory layout, none included.
In a Flat they lie in one buffer: clipping by the whole gradient, or by value, then takes a few
kernels, however many tensors there are.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipgrid.clipping.adagc import clip_by_own_average as clip_by_own_average
    from clipgrid.clipping.agc import clip_adaptively as clip_adaptively
    from clipgrid.clipping.aggc import clip_by_group_average as clip_by_group_average
    from clipgrid.clipping.clipper import Clipper as Clipper
    from clipgrid.clipping.flat import Flat as Flat
    from clipgrid.clipping.global_norm import clip_by_global_norm as clip_by_global_norm
    from clipgrid.clipping.layer import clip_by_layer_norm as clip_by_layer_norm
    from clipgrid.clipping.percentile import clip_by_percentile as clip_by_percentile
    from clipgrid.clipping.scheduled import clip_on_schedule as clip_on_schedule
    from clipgrid.clipping.shared import Telemetry as Telemetry
    from clipgrid.clipping.spectral import clip_by_singular_values as clip_by_singular_values
    from clipgrid.clipping.value import clip_by_value as clip_by_value
    from clipgrid.clipping.window import clip_by_window as clip_by_window
    from clipgrid.clipping.z_score import clip_by_z_score as clip_by_z_score

WHERE = {
    "Clipper": "clipper",
    "Flat": "flat",
    "Telemetry": "shared",
    "clip_adaptively": "agc",
    "clip_by_global_norm": "global_norm",
    "clip_by_group_average": "aggc",
    "clip_by_layer_norm": "layer",
    "clip_by_own_average": "adagc",
    "clip_by_percentile": "percentile",
    "clip_by_singular_values": "spectral",
    "clip_by_value": "value",
    "clip_by_window": "window",
    "clip_by_z_score": "z_score",
    "clip_on_schedule": "scheduled",
}
__all__ = [*WHERE]


def __getattr__(name: str) -> Any:
    """Each is imported at its first use: a plan reads the kinds' names, and waits for no torch."""
    if name not in WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

"""The kinds of clipping by name, each declared once, and what a spec, `agc0.01:eps=0.1`, says.

A study takes its kinds from here (training/parts/clips.py). All functions have one form, so that
whoever calls them need not know which kind it is. This file imports no torch: a plan reads it.
"""

import difflib
import inspect
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import clipgrid.clipping as clipping

if TYPE_CHECKING:
    from torch import Tensor

    from clipgrid.clipping.shared import Telemetry

Gradients = list["Tensor"]
Weights = list["Tensor | None"]
State = dict[str, "Tensor"]
Needs = Literal["norm", "norms", "values"]
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|\+?\.?inf"
NOTHING = ("none", "null", "off", "no", "false", "infinity")  # what people write for inf
BOUNDS = {
    "gt": (operator.gt, "above"),
    "ge": (operator.ge, "at least"),
    "lt": (operator.lt, "below"),
    "le": (operator.le, "at most"),
}


@dataclass(frozen=True)
class Kind:
    """A kind of clipping: `clip(gradients, weights, threshold, state, *, …) -> Telemetry`, which
    changes `gradients` in place. `weights` has the parameter of each (None where it is to be left
    alone by kinds that look at weights); `state` is a dict of tensors, empty at first, that the
    caller keeps."""

    name: str
    label: str  # {} stands for the threshold
    observes: str  # what is compared with it
    most: float  # the largest threshold: at it a kind only observes
    needs: Needs  # of the gradients: their global L2 norm, that of each, or all values
    run: Callable[..., "Telemetry"]
    in_pieces: bool = False  # each tensor, unit or value is compared by itself

    @property
    def settings(self) -> dict[str, tuple[type, dict[str, Any], Any]]:
        """Type, bounds and default of each setting: a keyword-only parameter of the function."""
        given = inspect.signature(self.run).parameters.values()
        return {
            p.name: (*get_args(p.annotation), p.default) for p in given if p.kind is p.KEYWORD_ONLY
        }


KINDS: dict[str, Kind] = {}


def clip_kind(
    name: str,
    *,
    label: str,
    observes: str,
    most: float = math.inf,
    needs: Needs = "values",
    in_pieces: bool = False,
) -> Callable[[Callable], Callable]:
    """The decorator that declares a kind."""

    def declare(run: Callable) -> Callable:
        KINDS[name] = Kind(name, label, observes, most, needs, run, in_pieces)
        return run

    return declare


# The bounds of settings, as pydantic's Field has them: a study checks by it.


def positive(description: str) -> dict[str, Any]:
    return {"gt": 0, "allow_inf_nan": False, "description": description}


def not_negative(description: str) -> dict[str, Any]:
    return {"ge": 0, "allow_inf_nan": False, "description": description}


def share(description: str) -> dict[str, Any]:
    return {"ge": 0, "lt": 1, "description": description}


def count(description: str) -> dict[str, Any]:
    return {"ge": 1, "le": 10**6, "description": description}


# ---- the kinds -------------------------------------------------------------------------------


@clip_kind("norm", label="λ = {}", observes="the global L2 norm", needs="norm")
def by_norm(gradients: Gradients, weights: Weights, threshold: float, state: State) -> "Telemetry":
    """The whole gradient is scaled down to the threshold (Pascanu et al. 2013)."""
    return clipping.clip_by_global_norm(gradients, threshold)


@clip_kind("l1norm", label="L1 norm, λ = {}", observes="the global L1 norm")
def by_l1_norm(
    gradients: Gradients, weights: Weights, threshold: float, state: State
) -> "Telemetry":
    """As norm, by the sum of all values' magnitudes."""
    return clipping.clip_by_global_norm(gradients, threshold, p=1)


@clip_kind(
    "maxnorm", label="max norm, λ = {}", observes="the largest value, to scale the whole gradient"
)
def by_max_norm(
    gradients: Gradients, weights: Weights, threshold: float, state: State
) -> "Telemetry":
    """As norm, by the largest magnitude."""
    return clipping.clip_by_global_norm(gradients, threshold, p=math.inf)


@clip_kind("value", label="by value, λ = {}", observes="every single value", in_pieces=True)
def by_value(gradients: Gradients, weights: Weights, threshold: float, state: State) -> "Telemetry":
    """Each value is bounded by itself."""
    return clipping.clip_by_value(gradients, threshold)


@clip_kind(
    "layer",
    label="by layer, λ = {}",
    observes="the L2 norm of each tensor",
    needs="norms",
    in_pieces=True,
)
def by_layer(gradients: Gradients, weights: Weights, threshold: float, state: State) -> "Telemetry":
    """Each tensor is scaled down by itself."""
    return clipping.clip_by_layer_norm(gradients, threshold)


@clip_kind(
    "agc",
    label="AGC, λ = {}",
    observes="the L2 norm of each unit, over that of its weights",
    in_pieces=True,
)
def adaptively(
    gradients: Gradients,
    weights: Weights,
    threshold: float,
    state: State,
    *,
    eps: Annotated[float, positive("The least norm of a unit's weights.")] = 1e-3,
) -> "Telemetry":
    """Adaptive gradient clipping: each unit by the norm of its weights (Brock et al. 2021)."""
    return clipping.clip_adaptively(gradients, weights, threshold, eps)


@clip_kind(
    "autoclip",
    label="AutoClip, p = {}",
    observes="the global L2 norm; the threshold is a percentile of the run's own norms",
    most=100,
    needs="norm",
)
def by_percentile(
    gradients: Gradients, weights: Weights, threshold: float, state: State
) -> "Telemetry":
    """AutoClip: at a percentile of all norms of the run so far (Seetharaman et al. 2020)."""
    return clipping.clip_by_percentile(gradients, threshold, state)


@clip_kind(
    "zclip", label="ZClip, z = {}", observes="the z-score of the global L2 norm", needs="norm"
)
def by_z_score(
    gradients: Gradients,
    weights: Weights,
    threshold: float,
    state: State,
    *,
    alpha: Annotated[float, share("Smoothing constant of the norms' moments.")] = 0.97,
    warm_up: Annotated[int, count("Steps that are left alone first.")] = 25,
    eps: Annotated[float, positive("Added to the norms' deviation.")] = 1e-6,
) -> "Telemetry":
    """ZClip: where the norm is unusual among the run's own (Kumar et al. 2025)."""
    return clipping.clip_by_z_score(gradients, threshold, state, alpha, warm_up, eps)


@clip_kind(
    "windowed",
    label="windowed percentile, p = {}",
    observes="the global L2 norm; the threshold is a percentile of the latest norms",
    most=100,
    needs="norm",
)
def by_window(
    gradients: Gradients,
    weights: Weights,
    threshold: float,
    state: State,
    *,
    cap: Annotated[float, positive("The largest norm, whatever the percentile.")] = 1.0,
    window: Annotated[int, count("Norms that are remembered.")] = 1000,
) -> "Telemetry":
    """At a percentile of the latest norms, under a cap (TRELLIS, Xiang et al. 2025)."""
    return clipping.clip_by_window(gradients, threshold, state, cap, window)


@clip_kind(
    "adagc",
    label="AdaGC, λ = {}",
    observes="the L2 norm of each tensor, over its moving average",
    needs="norms",
    in_pieces=True,
)
def by_own_average(
    gradients: Gradients,
    weights: Weights,
    threshold: float,
    state: State,
    *,
    beta: Annotated[float, share("Decay of the averages.")] = 0.98,
    warm_up: Annotated[int, count("Steps that are clipped by the global norm first.")] = 100,
    cap: Annotated[float, positive("The global norm at which they are clipped.")] = 1.0,
) -> "Telemetry":
    """AdaGC: each tensor by a moving average of its own clipped norms (Wang et al. 2025)."""
    return clipping.clip_by_own_average(gradients, threshold, state, beta, warm_up, cap)


@clip_kind(
    "aggc",
    label="AGGC, λ = {}",
    observes="the L2 norm of each group of tensors, over its moving average",
    needs="norms",
    in_pieces=True,
)
def by_group_average(
    gradients: Gradients,
    weights: Weights,
    threshold: float,
    state: State,
    *,
    beta: Annotated[float, share("Decay of the averages.")] = 0.99,
    low: Annotated[float, share("Lower end of the band, over the average.")] = 0.0,
    loose: Annotated[float, positive("Upper end at the first step, over the threshold.")] = 1.0,
    over: Annotated[int, count("Steps until the band is as tight as it gets.")] = 1000,
) -> "Telemetry":
    """AGGC: each group, by number of dimensions, is kept in a band (Li et al. 2026)."""
    return clipping.clip_by_group_average(gradients, threshold, state, beta, low, loose, over)


@clip_kind(
    "scheduled",
    label="scheduled, λ = {} at first",
    observes="the global L2 norm; the threshold moves with the step",
    needs="norm",
)
def on_schedule(
    gradients: Gradients,
    weights: Weights,
    threshold: float,
    state: State,
    *,
    to: Annotated[float, positive("The last threshold, over the first.")] = 0.1,
    over: Annotated[int, count("Steps until then.")] = 1000,
) -> "Telemetry":
    """As norm, at a threshold that moves geometrically (after Marshall et al. 2024)."""
    return clipping.clip_on_schedule(gradients, threshold, state, to, over)


@clip_kind(
    "spectral",
    label="spectral, λ = {}",
    observes="the singular values of each matrix",
    in_pieces=True,
)
def by_singular_values(
    gradients: Gradients, weights: Weights, threshold: float, state: State
) -> "Telemetry":
    """Each singular value of each tensor, as a matrix, is bounded (Yukhimchuk et al. 2026)."""
    return clipping.clip_by_singular_values(gradients, threshold)


# ---- specs -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clip:
    """A kind, its threshold, and the settings that were given."""

    kind: Kind
    threshold: float
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, spec: "float | str | Clip") -> "Clip":
        """A number is the threshold of the global L2 norm; `agc0.01` names a kind and its
        threshold, `agc0.01:eps=0.1` a setting too. ValueError for what is none."""
        if isinstance(spec, Clip):
            return spec
        text = str(spec).strip()
        longest_first = "|".join(sorted(map(re.escape, KINDS), key=len, reverse=True))
        match = re.fullmatch(f"({longest_first})?({NUMBER})(:.*)?", text, re.IGNORECASE)
        if isinstance(spec, bool) or not match or (match[5] and not match[1]):
            raise ValueError(f"{spec!r} is no clip: {meant(text, KINDS)}")
        kind = KINDS[(match[1] or "norm").lower()]
        threshold = float(match[2].lower().replace(".inf", "inf"))
        if not 0 < threshold <= kind.most:
            limit = "" if kind.most == math.inf else f" and at most {kind.most:g}"
            raise ValueError(f"{spec!r}: the threshold must be above 0{limit}")
        pairs = (pair.partition("=")[::2] for pair in (match[5] or "").split(":")[1:])
        return cls(kind, threshold, {name: setting(kind, name, value) for name, value in pairs})

    @property
    def observes(self) -> bool:
        """Whether it never fires, and only records."""
        return self.threshold == self.kind.most

    def __call__(self, gradients: Gradients, weights: Weights, state: State) -> "Telemetry":
        return self.kind.run(gradients, weights, self.threshold, state, **self.settings)

    def __str__(self) -> str:
        settings = "".join(f":{name}={spelled(value)}" for name, value in self.settings.items())
        return f"{self.kind.name}{spelled(self.threshold)}{settings}"


def meant(text: str, kinds: Iterable[str]) -> str:
    """What would be right in the place of a spec that is none. (A study says the same.)"""
    match = re.fullmatch(rf"(.*?)({NUMBER})?(:.*)?", text[:60].strip().lower(), re.DOTALL)
    name, number, settings = (match[1], match[2], match[5] or "") if match else ("", None, "")
    if name in NOTHING:
        return "inf is no clipping"
    near = difflib.get_close_matches(name, [*kinds, "inf"], 1)
    if near == ["inf"]:
        return "did you mean inf, which is no clipping?"
    if near and number:
        return f"did you mean {near[0]}{number}{settings}?"
    if near:
        it = near[0] if near[0] == name else f"did you mean {near[0]}? It"
        return f"{it} needs a threshold, as in agc0.01"
    return (
        "a number is the threshold of the global L2 norm; another kind stands before its own, as in"
        f" agc0.01. Kinds: {', '.join(kinds)}"
    )


def spelled(x: float) -> str:
    """1, 1.0 and 1e0 are all `1`."""
    return str(int(x)) if abs(x) < 1e16 and x == int(x) else repr(x)


def setting(kind: Kind, name: str, text: str) -> float:
    """The value of a setting. ValueError for one that the kind doesn't have, or out of bounds."""
    if name not in kind.settings:
        known = ", ".join(kind.settings) or "none"
        raise ValueError(f"{kind.name} has no setting {name!r}; it has: {known}")
    type_, bounds, _ = kind.settings[name]
    if not re.fullmatch(NUMBER, text, re.IGNORECASE):
        raise ValueError(f"{kind.name}: {name} must be a number, not {text!r}")
    value = float(text.lower().replace(".inf", "inf"))
    if math.isinf(value) and not bounds.get("allow_inf_nan", True):
        raise ValueError(f"{kind.name}: {name} must be finite")
    if type_ is int and not value.is_integer():
        raise ValueError(f"{kind.name}: {name} must be a whole number, not {text}")
    for key, (holds, word) in BOUNDS.items():
        if key in bounds and not holds(value, bounds[key]):
            raise ValueError(f"{kind.name}: {name} must be {word} {bounds[key]:g}, not {text}")
    return type_(value)

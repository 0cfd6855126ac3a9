"""Parameters as people have them: a model, its parameters, or groups as of an optimizer."""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from clipgrid.clipping.kinds import Clip

Parameters = nn.Module | Tensor | Iterable[Any]
OURS = ("clip", "name")  # keys of a group that are no optimizer's


@dataclass
class Group:
    """Parameters that are clipped together, by names, what their kind remembers, and their norms
    [n] at the last step that was finite."""

    name: str
    clip: Clip
    parameters: dict[str, Tensor]
    state: dict[str, Tensor] = field(default_factory=dict)
    last: Tensor | None = None


def groups_of(given: Parameters, clip: "float | str | Clip") -> list[Group]:
    """The groups of a model, of tensors, of (name, tensor) pairs, or of dicts as an optimizer takes
    them: `{"params": …, "clip": "1", "name": "head"}`, where `clip` and `name` may be left out.
    An optimizer's keys pass. ValueError for what is none of these, for none, for a key that is
    nearly ours, and for a parameter that is given twice."""
    some = listed(given)
    if not any(isinstance(one, Mapping) for one in some):
        groups = [Group("all", Clip.read(clip), named(some))]
    else:
        if not all(isinstance(one, Mapping) for one in some):
            raise ValueError("parameters: either all are dicts, or none is")
        for key in {str(key) for one in some for key in one}.difference(OURS):
            if near := difflib.get_close_matches(key.lower(), OURS, 1):
                raise ValueError(f"a group has the key {key!r}: did you mean {near[0]!r}?")
        groups = [
            Group(
                str(one.get("name", number)),
                Clip.read(one.get("clip", clip)),
                named(one.get("params", ()), prefix=f"{one.get('name', number)}."),
            )
            for number, one in enumerate(some)
        ]
    for what, words in (
        ("name", [group.name for group in groups]),
        ("parameter name", [name for group in groups for name in group.parameters]),
    ):
        if twice := [word for word, times in Counter(words).items() if times > 1]:
            raise ValueError(f"two groups have the {what} {twice[0]!r}")
    tensors = Counter(id(p) for group in groups for p in group.parameters.values())
    if tensors and max(tensors.values()) > 1:
        raise ValueError("a parameter is in two groups: it can only be clipped in one")
    return groups


def named(given: Parameters, prefix: str = "") -> dict[str, Tensor]:
    """Tensors by name, each once: those of a model by its own names, others by number."""
    found: dict[str, Tensor] = {}
    for one in listed(given):
        if isinstance(one, nn.Module):
            check_shards(one)
            found |= {f"{prefix}{name}": p for name, p in bare(one).named_parameters()}
        elif isinstance(one, tuple) and len(one) == 2 and isinstance(one[1], Tensor):
            found[str(one[0])] = one[1]
        elif isinstance(one, Tensor):
            found[f"{prefix}{len(found)}"] = one
        else:
            raise wrong(one)
    if not found:
        raise ValueError(
            "a Clipper needs parameters, and there are none: if you gave model.parameters(), was it"
            " used up before? Give the model itself"
        )
    once = {id(tensor): (name, tensor) for name, tensor in reversed(found.items())}
    return dict(reversed(once.values()))


def listed(given: Parameters) -> list[Any]:
    """ValueError for what can't be a list of anything, such as an optimizer."""
    if isinstance(given, nn.Module | Tensor):
        return [given]
    if not isinstance(given, Iterable):
        raise wrong(given)
    return list(given)


def wrong(given: Any) -> ValueError:
    said = (
        "parameters: a Clipper takes a model, its parameters, or groups of them, and not"
        f" {type(given).__name__}"
    )
    if hasattr(given, "param_groups"):
        said += ": give it the model, or optimizer.param_groups, each of which it clips by itself"
    return ValueError(said)


def bare(model: nn.Module) -> nn.Module:
    """The model that DistributedDataParallel, DataParallel or torch.compile wraps."""
    wrappers = nn.parallel.DistributedDataParallel, nn.DataParallel
    while isinstance(model, wrappers) or hasattr(model, "_orig_mod"):
        inner = model.module if isinstance(model, wrappers) else model._orig_mod
        assert isinstance(inner, nn.Module)
        model = inner
    return model


def check_shards(model: nn.Module) -> None:
    """ValueError where a process can't see that its gradients are but shards."""
    if any(type(part).__name__ == "FullyShardedDataParallel" for part in model.modules()):
        raise ValueError(
            "FullyShardedDataParallel hides that its gradients are shards, so that each process"
            " would take the norm of its own: shard by fully_shard (FSDP2) instead"
        )

"""What a network costs, counted by torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from clipgrid import InputError
from clipgrid.lazy import torch
from clipgrid.models import built
from clipgrid.study import cost, parts
from clipgrid.study.faults import first_line, place_of
from clipgrid.study.parts import Choice

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


@cost.counter
def count(choice: Choice, size: int) -> dict[str, int]:
    """What one image of shape [3, size, size] takes in a network of 10 classes: multiply-adds and
    activations (values; all layers', and the largest one's) of a forward pass, layers, parameters.
    InputError where it can't be run."""
    try:
        network = without_values(lambda: built(choice, 3, size, 10))
        return counted(network, torch.empty(1, 3, size, size, device="meta"))
    except Exception:  # a network that looks at values can't do without them
        try:
            with torch.random.fork_rng([]):
                return counted(built(choice, 3, size, 10), torch.zeros(1, 3, size, size))
        except InputError:
            raise
        except Exception as error:
            reason = first_line(error) + place_of(error)
            raise InputError(f"model {choice}: no image of {size} px passes: {reason}") from error


def counted(network: Module, image: Tensor) -> dict[str, int]:
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import FlopCounterMode

    outputs: list[int] = []

    def note(_: object, __: object, output: Tensor | tuple) -> None:
        outputs.append(sum(x.numel() for x in tree_leaves(output) if isinstance(x, torch.Tensor)))

    no_layers = torch.nn.Identity | torch.nn.Flatten
    for module in network.modules():
        if not list(module.children()) and not isinstance(module, no_layers):
            module.register_forward_hook(note)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(image)
    return {
        "multiply_adds": counter.get_total_flops() // 2,
        "activations": sum(outputs),
        "largest_activation": max(outputs, default=0),
        "layers": len(outputs),
        "parameters": sum(p.numel() for p in network.parameters()),
    }


def without_values(make: Callable[[], Module]) -> Module:
    """The network that `make` makes, of shapes alone: on the device meta. Draws no numbers."""
    try:
        with torch.device("meta"):
            return make()
    except Exception:  # some compute their shapes by tensors, as RegNets do
        with torch.device("cpu"), torch.random.fork_rng([]):
            return make().to("meta")


def table() -> str:
    """study/costs.csv: our models of width 1 at the sizes of cost.SIZES."""
    models = [parts.choose("model", name) for name in parts.names("model")]
    rows = [(model, size, count(model, size)) for model in models for size in cost.SIZES]
    lines = [",".join(["model", "size", *rows[0][2]])]
    lines += [",".join(map(str, [model, size, *row.values()])) for model, size, row in rows]
    return "\n".join(lines)

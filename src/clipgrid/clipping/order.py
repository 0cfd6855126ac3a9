"""Whether a clipper is called where it does something: after the backward pass, before the step."""

import weakref
from typing import Any

from torch import Tensor

TWICE = (
    "the clipper was called twice without a backward pass in between: call it once for each"
    " optimizer step"
)
LATE = (
    "the parameters have changed between the backward pass and the clipper: if optimizer.step() was"
    " called first, it took gradients that weren't clipped; call the clipper before it"
)


class Order:
    """Watches one parameter: torch counts the changes in place of each tensor."""

    def __init__(self) -> None:
        self.parameter: Tensor | None = None
        self.at_backward: int | None = None  # the parameter's count when its gradient was made
        self.last: tuple[Any, int] | None = None  # its gradient and count after the last call

    def fault(self, parameters: list[Tensor]) -> str:
        """Called first in a step. What is wrong; nothing where nothing is."""
        if self.parameter is None:
            self.watch(parameters)
            return ""
        gradient = self.parameter.grad
        if gradient is None:
            return ""
        if self.last and self.last[0]() is gradient and self.last[1] == gradient._version:
            return TWICE
        return LATE if self.at_backward not in (None, self.parameter._version) else ""

    def done(self) -> None:
        """Called last in a step."""
        gradient = self.parameter.grad if self.parameter is not None else None
        self.last = None if gradient is None else (weakref.ref(gradient), gradient._version)

    def watch(self, parameters: list[Tensor]) -> None:
        """From now on, look at the first parameter that has a gradient."""
        self.parameter = next((p for p in parameters if p.grad is not None and p.is_leaf), None)
        if self.parameter is not None and self.parameter.requires_grad:
            mine = weakref.ref(self)

            def note(parameter: Tensor) -> None:
                if watching := mine():
                    watching.at_backward = parameter._version

            self.parameter.register_post_accumulate_grad_hook(note)

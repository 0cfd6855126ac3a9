"""Modules that are imported at their first use: `from clipgrid.lazy import torch`.

The files that declare parts use it, so that planning a study doesn't import torch, which takes two
seconds. (lazy_loader would put an unloaded torch into sys.modules, where scipy looks for it.)
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any


class Lazy(ModuleType):
    """Stands for the module of its name."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


if TYPE_CHECKING:
    import torch as torch
else:
    torch = Lazy("torch")

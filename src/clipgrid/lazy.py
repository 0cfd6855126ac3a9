"""Modules that are imported at their first use: `from clipgrid.lazy import torch`.

The files that declare parts use it, so that planning a study imports neither torch, which takes two
seconds, nor what draws figures. (lazy_loader would put an unloaded torch into sys.modules, where
scipy looks for it.)
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any


class Lazy(ModuleType):
    """Stands for the module of its name."""

    def __getattr__(self, name: str) -> Any:
        module = sys.modules.get(self.__name__) or importlib.import_module(self.__name__)
        return getattr(module, name)


if TYPE_CHECKING:
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    import numpy as np
    import pandas as pd
    import seaborn as sns
    import torch as torch
else:
    mpl = Lazy("matplotlib")
    np = Lazy("numpy")
    pd = Lazy("pandas")
    plt = Lazy("matplotlib.pyplot")
    sns = Lazy("seaborn")
    torch = Lazy("torch")

__all__ = ["mpl", "np", "pd", "plt", "sns", "torch"]

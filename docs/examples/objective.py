"""The focal loss: easy images count less."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from clipgrid.study.fields import NotNegative
from clipgrid.study.parts import objective


@objective("focal", label="focal loss")
def focal(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma: Annotated[NotNegative, Field(description="0 is the cross-entropy.")] = 2.0,
) -> Tensor:
    """Cross-entropy, of each image times (1 - p)^γ, p of its class (Lin et al. 2017, 3.2)."""
    loss = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return (loss * (1 - torch.exp(-loss)) ** gamma).mean()

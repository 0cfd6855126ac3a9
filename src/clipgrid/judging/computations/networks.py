"""What the networks consist of."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from clipgrid.judging.computations import probes
from clipgrid.judging.computations.answers import Answer, decided
from clipgrid.lazy import torch
from clipgrid.study.parts import computation

if TYPE_CHECKING:
    from clipgrid.judging.evidence import Evidence


@computation("alexnet_input")
def alexnet_input(evidence: Evidence) -> Answer:
    """Does AlexNet's first convolution (11, stride 4, no padding) fit an input of 227?"""
    sides = {s: (s - 11) / 4 + 1 for s in (227, 224)}
    made = torch.nn.functional.conv2d(
        torch.zeros(1, 3, 227, 227), torch.zeros(1, 3, 11, 11), stride=4
    )
    return decided(
        made.shape[-1] == sides[227] == 55,
        "A convolution of 11 px with a stride of 4 makes (227 - 11) / 4 + 1 = 55 px of 227 px, and"
        f" nothing is left over. Of 224 px, which AlexNet's authors name, it would make"
        f" {sides[224]} px without padding.",
        float(made.shape[-1]),
        "side of the first map",
        "px",
    )


@computation("resnet_has_many_heads")
def resnet_has_many_heads(evidence: Evidence) -> Answer:
    """What is a residual block with its convolutions silenced?"""
    model = probes.net("resnet18")
    blocks = [m for m in model.modules() if hasattr(m, "bn2") and hasattr(m, "conv2")]
    block = copy.deepcopy(blocks[0]).eval()
    torch.nn.init.zeros_(block.bn2.weight)  # type: ignore[union-attr,arg-type]
    x = torch.rand(2, int(blocks[0].conv1.in_channels), 6, 6)  # type: ignore[union-attr,arg-type]
    identity = torch.equal(block(x), x)
    heads = sum(isinstance(m, torch.nn.Linear) for m in model.modules())
    return decided(
        heads > 1 or not identity,
        "A residual block whose convolutions are silenced hands its input on, bit for bit: what"
        f" marks it is the skip connection. The number of heads of the net is {heads}.",
        float(heads),
        "heads",
    )


@computation("pooling_reduces_parameters")
def pooling_reduces_parameters(evidence: Evidence) -> Answer:
    """Parameters of a small net with a pooling layer before its classifier, and without."""
    with_pool, without = (
        sum(p.numel() for p in torch.nn.Linear(8 * side * side, 10).parameters())
        for side in (6, 12)
    )
    own = sum(p.numel() for p in torch.nn.MaxPool2d(2).parameters())
    return decided(
        own == 0 and with_pool < without,
        f"It does so indirectly. A pooling layer has {own} parameters and takes none away from"
        " others, but a linear layer after it is smaller: where 12 px become 6 px, it has"
        f" {with_pool:,} parameters instead of {without:,}.",
        with_pool / without,
        "parameters with over without",
    )

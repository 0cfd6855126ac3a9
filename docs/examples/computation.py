"""A statement that needs no training: does clipping by value keep the gradient's direction?"""

import torch

from clipgrid.clipping import clip_by_value
from clipgrid.judging.computations.answers import Answer, decided
from clipgrid.judging.evidence import Evidence
from clipgrid.study.parts import computation


@computation("value_keeps_direction")
def value_keeps_direction(evidence: Evidence) -> Answer:
    """The angle between a gradient before and after clipping by value."""
    before = torch.randn(1000, generator=torch.Generator().manual_seed(0)).double()
    after = before.clone()
    clip_by_value([after], threshold=0.5)
    cosine = float(torch.cosine_similarity(before, after, dim=0))
    reason = f"Of a normal gradient, clipped at half its deviation, the cosine is {cosine:.2f}."
    return decided(cosine > 1 - 1e-9, reason, cosine, "cosine")

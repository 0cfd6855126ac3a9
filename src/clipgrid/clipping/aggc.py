"""By a moving average of the norm of each group of tensors."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

from clipgrid.clipping.shared import Telemetry, checked, product_type, tensor_norms


@torch.no_grad()
def clip_by_group_average(
    gradients: Iterable[Tensor],
    threshold: float,
    state: dict[str, Tensor],
    beta: float = 0.99,
    low: float = 0.0,
    loose: float = 1.0,
    over: int = 1000,
) -> Telemetry:
    """AGGC: the norm n of each group is brought into the band from l·S to u·S, where S is the
    moving average of the group's norms: S ← βS + (1-β)n, n the present one before clipping.

    Groups are the tensors of as many dimensions: convolutions, matrices, biases and gains. (The
    paper groups the layers of a language model by what they do: give a Clipper such groups.) Over
    the first `over` steps u goes linearly from `loose`·λ to λ, and l rises from 0 to `low`; where
    `low` is 0, small gradients are left alone, else a coefficient may be above 1. S starts as the
    first norm, so that a first step is left alone where λ is above 1. `state` holds S, and is empty
    before the first step; a group whose gradient is 0 or isn't finite keeps its S.

    Li, Wu, Chang 2026 (arXiv:2601.11864), whose code (LoRA/train.py in ZhiyuanLi218/AGGC) was read.
    β = 0.99 is that of its script for reinforcement learning; the code's own default is 0.98, and
    that of its scripts for LoRA 0.95. `low` = 0 is as in the latter, which raise no gradient.
    `loose` and `over` are ours, and so is a schedule from the first step on: theirs begins after a
    share of the training. Theirs also takes S of the clipped norms of the steps before, has an
    upper end below S (0.6 to 0.999 of it), and changes a norm by a tenth at most.
    """
    gradients = checked(gradients, threshold)
    if not gradients:
        none = torch.zeros((), dtype=torch.float64)
        return Telemetry(none, none, none + threshold, none + 1, none)
    groups: dict[int, list[Tensor]] = defaultdict(list)
    for gradient in gradients:
        groups[gradient.dim()].append(gradient)
    norms = torch.stack([torch.linalg.vector_norm(tensor_norms(g)) for g in groups.values()])
    total = torch.linalg.vector_norm(norms)
    step = state.get("step", torch.zeros_like(total))
    done = (step / over).clamp(max=1)
    upper, lower = threshold * (loose + (1 - loose) * done), low * done
    names = [f"{dimensions} dimensions" for dimensions in groups]
    before = torch.stack([state.get(name, norms[i]) for i, name in enumerate(names)])
    average = torch.where(before > 0, beta * before + (1 - beta) * norms, norms)
    kept = torch.where((norms > 0) & total.isfinite(), average, before)
    state |= dict(zip(names, kept.clone().unbind(), strict=True)) | {"step": step + 1}
    ratio = torch.where(norms > 0, norms / average, norms)  # 0, where there is no gradient
    bounded = torch.where(ratio < lower, lower, ratio).minimum(upper)
    changed = (bounded != ratio) & (norms > 0) & total.isfinite()
    factors = torch.where(changed, bounded / ratio, 1.0)
    for some, factor in zip(groups.values(), factors.unbind(), strict=True):
        if factor.device.type != "cpu" or factor.item() != 1:
            torch._foreach_mul_(some, factor.to(product_type(*some)))
    coefficient = torch.linalg.vector_norm(norms * factors) / total
    return Telemetry(
        total,
        ratio.max(),
        upper,
        torch.where(changed.any(), coefficient, 1.0),
        changed.double().mean(),
    )

"""Optimizers: torch's, as a study names them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from clipgrid.lazy import torch
from clipgrid.study.fields import NotNegative, Positive, Share
from clipgrid.study.parts import optimizer

if TYPE_CHECKING:
    from torch.nn import Parameter
    from torch.optim import Optimizer

Momentum = Annotated[Share, Field(description="Momentum, from 0 to below 1.")]
Decay = Annotated[
    NotNegative, Field(description="L2 penalty; its gradient is added after clipping.")
]
Epsilon = Annotated[Positive, Field(description="Added to the denominator.")]
Beta1 = Annotated[Share, Field(description="Smoothing constant of the gradient.")]
Beta2 = Annotated[Share, Field(description="Smoothing constant of its square.")]


def light(optimizer: Any) -> Any:
    """An optimizer of torch's without its wrappers for the compiler and the profiler. The first
    wrapper that is called imports the compiler, two seconds of a process; all take time at each
    step."""

    class Light(optimizer):
        step = torch.no_grad()(inspect.unwrap(optimizer.step))
        step.hooked = True  # else torch wraps it again
        add_param_group = inspect.unwrap(optimizer.add_param_group)
        state_dict = inspect.unwrap(optimizer.state_dict)
        load_state_dict = inspect.unwrap(optimizer.load_state_dict)

    return Light


@optimizer("momentum", label="momentum", buffers=1, elementwise=True)
def momentum_sgd(
    parameters: Iterable[Parameter],
    learning_rate: float,
    *,
    momentum: Momentum = 0.9,
    weight_decay: Decay = 0.0,
) -> Optimizer:
    """SGD with momentum."""
    return light(torch.optim.SGD)(
        parameters, learning_rate, momentum, weight_decay=weight_decay, fused=True
    )


@optimizer("rmsprop", label="RMSProp", buffers=2, elementwise=True)
def rmsprop(
    parameters: Iterable[Parameter],
    learning_rate: float,
    *,
    momentum: Momentum = 0.0,
    weight_decay: Decay = 0.0,
    alpha: Annotated[
        Share, Field(description="Smoothing constant of the squared gradient.")
    ] = 0.99,
    eps: Epsilon = 1e-8,
) -> Optimizer:
    """RMSProp, as torch has it."""
    return light(torch.optim.RMSprop)(
        parameters, learning_rate, alpha, eps, weight_decay, momentum, foreach=True
    )


@optimizer("adam", label="Adam", buffers=2, elementwise=True)
def adam(
    parameters: Iterable[Parameter],
    learning_rate: float,
    *,
    beta1: Beta1 = 0.9,
    beta2: Beta2 = 0.999,
    eps: Epsilon = 1e-8,
    weight_decay: Decay = 0.0,
) -> Optimizer:
    """Adam, as torch has it (Kingma, Ba 2015). Its weight decay is an L2 penalty, and so is scaled
    as the gradient is."""
    return light(torch.optim.Adam)(
        parameters, learning_rate, (beta1, beta2), eps, weight_decay, fused=True
    )


@optimizer("adamw", label="AdamW", buffers=2, elementwise=True)
def adamw(
    parameters: Iterable[Parameter],
    learning_rate: float,
    *,
    beta1: Beta1 = 0.9,
    beta2: Beta2 = 0.999,
    eps: Epsilon = 1e-8,
    weight_decay: Annotated[
        NotNegative,
        Field(description="Decoupled: weights shrink by the learning rate times this, no penalty."),
    ] = 0.01,
) -> Optimizer:
    """AdamW, as torch has it (Loshchilov, Hutter 2019). Its weight decay is decoupled: it
    is no part of the gradient."""
    return light(torch.optim.AdamW)(
        parameters, learning_rate, (beta1, beta2), eps, weight_decay, fused=True
    )

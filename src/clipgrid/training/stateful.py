"""What acts on gradients and weights at each step and has a state of its own: the clip, the moving
averages."""

from collections.abc import Iterable

from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from clipgrid.clipping import Telemetry
from clipgrid.study.cells import Clip


class Clipper:
    """A clip of a run. `weights` are all parameters, None for those of the classifier."""

    def __init__(self, clip: Clip, weights: list[Tensor | None]) -> None:
        self.kind, self.threshold, self.weights = clip.choice, clip.threshold, weights
        self.state: dict[str, Tensor] = {}  # of the kinds that look back

    def __call__(self, gradients: Iterable[Tensor | None]) -> Telemetry:
        """Clip the gradients of all parameters in place; None is of one that took no part."""
        both = [(g, w) for g, w in zip(gradients, self.weights, strict=True) if g is not None]
        grads, weights = [g for g, _ in both], [w for _, w in both]
        return self.kind(grads, weights, self.threshold, self.state)


class Average:
    """A moving average of `weights`, the model's own tensors: a ← d·a + (1-d)·w after each step."""

    def __init__(self, decay: float, warm_up: int, weights: dict[str, Tensor]) -> None:
        self.decay, self.warm_up, self.source = decay, warm_up, weights
        self.weights = {name: tensor.clone() for name, tensor in weights.items()}

    def update(self, step: int) -> None:
        # Warm-up: a plain decay of 0.999 would still hold 37% of the initial weights at T=1000.
        decay = min(self.decay, (1 + step) / (self.warm_up + step))
        average = get_ema_multi_avg_fn(decay)
        average(list(self.weights.values()), list(self.source.values()), None)

    def load(self, weights: dict[str, Tensor]) -> None:
        for name, tensor in self.weights.items():
            tensor.copy_(weights[name])

"""What acts on gradients and weights at each step and has a state of its own: the clip, the moving
averages."""

from torch import Tensor, nn

from clipgrid.clipping import Flat, Telemetry
from clipgrid.study.cells import Clip


class Clipper:
    """A clip of a run. What compares gradients with weights passes over the classifier's."""

    def __init__(
        self, clip: Clip, parameters: list[nn.Parameter], classifier: nn.Module | None
    ) -> None:
        self.kind, self.threshold = clip.choice, clip.threshold
        exempt = set(classifier.parameters()) if classifier else set()
        self.weights = [None if p in exempt else p.detach() for p in parameters]
        self.state: dict[str, Tensor] = {}  # of the kinds that look back

    def __call__(self, gradients: Flat) -> Telemetry:
        """Clip the gradients of all parameters in place."""
        return self.kind(gradients, self.weights, self.threshold, self.state)


class Average:
    """A moving average of `weights`: a ← d·a + (1-d)·w after each step."""

    def __init__(self, decay: float, warm_up: int, weights: Flat) -> None:
        self.decay, self.warm_up, self.weights = decay, warm_up, weights
        self.average = Flat(weights)
        self.average.fill(weights)

    def update(self, step: int) -> None:
        # Warm-up: a plain decay of 0.999 would still hold 37% of the initial weights at T=1000.
        decay = min(self.decay, (1 + step) / (self.warm_up + step))
        for average, weights in zip(self.average.buffers, self.weights.buffers, strict=True):
            average.lerp_(weights, 1 - decay)

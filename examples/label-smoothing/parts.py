"""What this paper has of its own: an objective, two optimizers, a computation, a figure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from clipgrid.judging.computations.answers import Answer, decided
from clipgrid.lazy import pd, plt, torch
from clipgrid.reporting.arms import labels, reported
from clipgrid.study.fields import Share
from clipgrid.study.parts import computation, figure, objective, optimizer

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor
    from torch.nn import Parameter
    from torch.optim import Optimizer

    from clipgrid.judging.evidence import Evidence


@objective("smoothed", label="smoothed labels")
def smoothed(
    logits: Tensor,
    labels: Tensor,
    *,
    epsilon: Annotated[Share, Field(description="Share of a label that all classes share.")],
) -> Tensor:
    """Cross-entropy to labels of which all classes have a share (Szegedy et al. 2016, 7)."""
    return torch.nn.functional.cross_entropy(logits, labels, label_smoothing=epsilon)


# Settings of an optimizer are no axis: an optimizer for each makes them one.
for name, decay in (("undecayed", 0.0), ("decayed", 0.5)):

    @optimizer(name, label=f"AdamW (decay {decay:g})", buffers=2, elementwise=True)
    def adamw(
        parameters: Iterable[Parameter], learning_rate: float, decay: float = decay
    ) -> Optimizer:
        """AdamW with one weight decay."""
        return torch.optim.AdamW(parameters, learning_rate, weight_decay=decay)


@computation("least_smoothed_loss")
def least_smoothed_loss(evidence: Evidence) -> Answer:
    """The smoothed loss of logits that gradient descent has fitted to one label."""
    classes, epsilon = evidence.classes, 0.1
    logits = torch.zeros(1, classes, dtype=torch.float64, requires_grad=True)
    label = torch.zeros(1, dtype=torch.long)
    for _ in range(2000):
        loss = smoothed(logits, label, epsilon=epsilon)
        (gradient,) = torch.autograd.grad(loss, logits)
        logits = (logits - gradient).detach().requires_grad_()
    right, wrong = 1 - epsilon + epsilon / classes, epsilon / classes
    entropy = -right * math.log(right) - (classes - 1) * wrong * math.log(wrong)
    found = float(loss)
    reason = f"Fitted to one label, it ends at {found:.4f} nats; the entropy is {entropy:.4f}."
    return decided(abs(found - entropy) < 1e-4, reason, found, "nats")


@figure(
    "accuracy-by-smoothing",
    title="Accuracy, by objective and weight decay",
    caption="A dot is a seed, a line the mean over seeds: test accuracy after the last step.",
    category="3 Smoothing at work",
    order=10,
)
def accuracy_by_smoothing(evidence: Evidence) -> Figure:
    """Test accuracy of each objective, a line a weight decay."""
    cells = reported(evidence)
    cells = cells[cells.iterations == cells.iterations.max()]
    objectives = list(cells.objective.unique())
    drawn, axes = plt.subplots(figsize=(6, 3.5))
    for decay, mine in cells.groupby(labels(cells, "optimizer")):
        places = mine.objective.map(objectives.index)
        accuracy = pd.Series([evidence.accuracy(row, "test") for row in mine.itertuples()])
        dots = axes.plot(places, accuracy, "o", ms=4, alpha=0.5)
        means = accuracy.groupby(places.to_numpy()).mean()
        axes.plot(means.index, means, color=dots[0].get_color(), label=decay)
    axes.set_xticks(range(len(objectives)), labels(cells, "objective").unique())
    axes.set(ylabel="test accuracy (%)")
    axes.legend()
    return drawn

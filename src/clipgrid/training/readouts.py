"""Looks at a run: losses and accuracies of image sets, and what a cell reports."""

import hashlib
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from clipgrid.images.transformations import transform
from clipgrid.study.looks import (
    CURVE_IMAGES,
    TRANSFORMATIONS,
    TRANSFORMED_IMAGES,
    evaluation_batch,
)
from clipgrid.training import distributed

if TYPE_CHECKING:
    from clipgrid.training.run import Run


def look(run: "Run") -> None:
    """Add a point to the learning curve: the first of the images that are trained on, with the
    labels that they are trained on with, and the first validation images; by the raw weights."""
    training_loss, _ = evaluate(run, run.batches.index[:CURVE_IMAGES])
    run.history.look(run.step, training_loss, *evaluate(run, run.dataset.validation[:CURVE_IMAGES]))


def evaluate(
    run: "Run", index: Tensor, decay: float | None = None, transformation: str | None = None
) -> tuple[float, float]:
    """Mean cross-entropy (nats) and accuracy over the un-augmented images `index`, in eval mode,
    with the raw weights or with their average of that decay (batch norm's running statistics are
    averaged with the same decay); of the images transformed, if so named."""
    sums = distributed.total(totals(run, index, decay, transformation).cpu())
    loss, correct = (sums / len(index)).tolist()
    return loss, correct


@torch.no_grad()
def totals(
    run: "Run", index: Tensor, decay: float | None = None, transformation: str | None = None
) -> Tensor:
    """Sum of the losses and number of hits over this process's share of the images, float64 [2] on
    the device; nothing is fetched from it."""
    run.model.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=run.device)
    parts = index.split(evaluation_batch(run.dataset.images.shape[-1]))
    for part, images in run.images.batches(parts[distributed.RANK :: distributed.PROCESSES]):
        if transformation:
            images = transform(images, transformation)
        images = run.batches.normalize(images)
        logits = torch.func.functional_call(run.model, run.weights_of(decay), (images,))
        labels = run.batches.labels[part]
        losses = nn.functional.cross_entropy(logits, labels, reduction="none")
        sums += torch.stack([losses.double().sum(), (logits.argmax(1) == labels).sum().double()])
    return sums


def measure(run: "Run", decay: float | None) -> dict[str, Any]:
    """What a cell reports of the present state. Values of a diverged run are None."""
    norms, clipped = run.history.steps["norm"], int((run.history.steps["share"] > 0).sum())
    splits = {
        "train": run.batches.index[: len(run.dataset.validation)],
        "validation": run.dataset.validation,
        "test": run.dataset.test,
    }
    diverged_at = run.history.diverged_at
    looks = {} if diverged_at else {s: evaluate(run, i, decay) for s, i in splits.items()}
    # The last step may have been taken well and led to weights whose loss overflows.
    sound = bool(looks) and all(math.isfinite(loss) for loss, _ in looks.values())
    result: dict[str, Any] = {
        "status": "finished" if sound else "diverged",
        "diverged_at": None if sound else diverged_at or run.step,
        "steps": len(norms),
        "steps_clipped": clipped,
        "clip_fraction": clipped / len(norms),
        "norm_median": finite_or_none(norms.nanmedian()),
        "norm_max": finite_or_none(norms.nan_to_num(-math.inf, posinf=-math.inf).max()),
    }
    for split in splits:
        loss, accuracy = looks[split] if sound else (None, None)
        result |= {f"{split}_loss": loss, f"{split}_accuracy": accuracy}
    for name in TRANSFORMATIONS:
        some = run.dataset.test[:TRANSFORMED_IMAGES]
        result[f"{name}_accuracy"] = evaluate(run, some, decay, name)[1] if sound else None
    if sound:
        if result["train_accuracy"] < collapsed_below(len(run.dataset.about["classes"])):
            result["status"] = "collapsed"
        result["weights_sha256"] = sha256_of(run.weights_of(decay))
    return result


def collapsed_below(classes: int) -> float:
    """Rule for a run that is finite but dead: the accuracy on its training images that it doesn't
    reach is twice chance, or with fewer than ten classes a ninth of the way from chance to 1."""
    return min(2 / classes, (classes + 8) / (9 * classes))


def finite_or_none(x: Tensor) -> float | None:
    """JSON has no NaN and no infinity."""
    return x.item() if x.isfinite() else None


def sha256_of(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over the tensors' values in their order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].cpu().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

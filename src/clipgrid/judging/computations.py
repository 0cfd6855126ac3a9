"""Statements that need no training to be judged: each is computed, in a second, whenever claims are
judged. A computation takes the evidence of a study, of which most need
nothing, and says whether the article's statement holds, with what it saw.
"""

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from clipgrid import clipping, models
from clipgrid.images.data import Dataset
from clipgrid.judging import article
from clipgrid.study.grid import Trajectory, family
from clipgrid.study.names import model_name
from clipgrid.training.trainer import Run

if TYPE_CHECKING:
    from clipgrid.judging.evidence import Evidence

LIMIT = 1.0  # λ


class Answer(NamedTuple):
    """A verdict, why, and the number that it rests on, if there is one."""

    verdict: str
    reason: str
    value: float = math.nan
    measure: str = ""
    unit: str = ""


def decided(holds: bool, *rest: object) -> Answer:
    return Answer("supported" if holds else "refuted", *rest)  # type: ignore[arg-type]


COMPUTATIONS: dict[str, Callable[["Evidence"], Answer]] = {}


def computation(function: Callable[["Evidence"], Answer]) -> Callable[["Evidence"], Answer]:
    COMPUTATIONS[function.__name__] = function
    return function


def batch(n: int = 8) -> tuple[Tensor, Tensor]:
    """Random images [n, 1, 12, 12] and labels of 10 classes."""
    draws = torch.Generator().manual_seed(0)
    return torch.rand(n, 1, 12, 12, generator=draws), torch.arange(n) % 10


def net(name: str = "alexnet") -> nn.Module:
    torch.manual_seed(0)
    return models.build(name, 1, 12, 10, 0.125)


def gradients(model: nn.Module) -> list[Tensor]:
    """Of the cross-entropy of one batch."""
    images, labels = batch()
    nn.functional.cross_entropy(model.train()(images), labels).backward()
    return [p.grad for p in model.parameters() if p.grad is not None]


def norm(tensors: list[Tensor]) -> float:
    return float(torch.cat([t.flatten() for t in tensors]).double().norm())


def random_gradients(size: float) -> list[Tensor]:
    """Three tensors whose global L2 norm is `size`."""
    draws = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=draws).double() for shape in ((4, 3), (7,), (2, 2, 2))]
    scale = size / norm(tensors)
    return [scale * t for t in tensors]


def cosine(a: list[Tensor], b: list[Tensor]) -> float:
    """Of the angle between two gradients."""
    one, other = (torch.cat([t.flatten() for t in tensors]).double() for tensors in (a, b))
    return float(nn.functional.cosine_similarity(one, other, dim=0))


def tiny(**settings: object) -> Trajectory:
    """A run of a few steps."""
    usual: dict = {
        **{"model": "alexnet", "optimizer": "momentum", "learning_rate": 0.03, "threshold": LIMIT},
        **{"augmentation": "none", "seed": 0, "width": 0.125, "evaluate_every": 1000},
    }
    return Trajectory(**(usual | settings))


def weights_after(evidence: "Evidence", steps: int, decays: set[float], **settings: object) -> Run:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more of them change bits
    run = Run(tiny(**settings), Dataset.load(evidence.results / "data.pt"), decays)
    run.advance(steps)
    torch.set_num_threads(threads)
    return run


# ---- what clipping is ---------------------------------------------------------------------------


@computation
def clipping_changes_the_batch(evidence: "Evidence") -> Answer:
    """Data augmentation changes inputs. Does clipping?"""
    model = net()
    images, labels = batch()
    before = images.clone()
    nn.functional.cross_entropy(model.train()(images), labels).backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    seen = [g.clone() for g in grads]
    clipping.clip_by_global_norm(grads, 1e-3)
    changed = not torch.equal(images, before)
    of_gradient = sum(not torch.equal(a, b) for a, b in zip(grads, seen, strict=True))
    return decided(
        changed,
        f"Clipping left every bit of the batch as it was, and changed {of_gradient} of {len(grads)}"
        " gradient tensors: it acts on gradients, augmentation on inputs.",
    )


@computation
def gradients_below_are_clipped(evidence: "Evidence") -> Answer:
    """Is a gradient below the threshold changed, and one above it not?"""
    changed = {}
    for size in (0.5, 2.0):
        grads = random_gradients(size)
        before = [g.clone() for g in grads]
        clipping.clip_by_global_norm(grads, LIMIT)
        changed[size] = any(not torch.equal(a, b) for a, b in zip(grads, before, strict=True))
    return decided(
        changed[0.5] and not changed[2.0],
        "At λ = 1 a gradient of norm 0.5 keeps every bit and one of norm 2 is scaled down: those"
        " above the threshold are clipped, as the article's own formula has it.",
    )


@computation
def clips_to_the_norm(evidence: "Evidence") -> Answer:
    """Is the norm after clipping min(norm, λ)?"""
    worst = 0.0
    for size in (1e-8, 0.3, 0.999, 1.0, 1.001, 5.0, 1e8):
        grads = random_gradients(size)
        clipping.clip_by_global_norm(grads, LIMIT)
        worst = max(worst, abs(norm(grads) / min(size, LIMIT) - 1))
    return decided(
        worst < 1e-12,
        "The norm after clipping is min(‖g‖, λ) for norms from 1e-8 to 1e8.",
        worst,
        "largest relative error",
    )


@computation
def formula(evidence: "Evidence") -> Answer:
    """Does the formula, with |.| an L2 norm, agree with torch's?"""
    worst = 0.0
    for size in (0.3, 1.001, 5.0, 1e6):
        ours, theirs = random_gradients(size), random_gradients(size)
        clipping.clip_by_global_norm(ours, LIMIT)
        parameters = [nn.Parameter(torch.zeros_like(g)) for g in theirs]
        for p, g in zip(parameters, theirs, strict=True):
            p.grad = g
        nn.utils.clip_grad_norm_(parameters, LIMIT)
        pairs = zip(ours, theirs, strict=True)
        worst = max(worst, *(float((a / b - 1).abs().max()) for a, b in pairs))
    return decided(
        worst < 1e-5,
        "In float64 it is torch's clip_grad_norm_ but for the 1e-6 that torch adds to the norm. The"
        " article writes |g| and names no norm; it has to be one of the whole gradient.",
        worst,
        "largest relative difference",
    )


@computation
def raises_small_gradients(evidence: "Evidence") -> Answer:
    """Against vanishing gradients clipping would have to make small ones larger. Does it?"""
    ratios = []
    for size in (1e-12, 1e-6, 1e-3, 1.0, 1e3):
        grads = random_gradients(size)
        clipping.clip_by_global_norm(grads, LIMIT)
        ratios.append(norm(grads) / size)
    return decided(
        max(ratios) > 1 + 1e-12,
        "Clipping bounds large gradients, which is half of the statement; it never makes one larger"
        " (norm after over norm before, at most 1), so a vanishing gradient stays as small.",
        max(ratios),
        "largest ratio of norms",
    )


@computation
def keeps_the_direction(evidence: "Evidence") -> Answer:
    """Does the clipped gradient point where the gradient does?"""
    before = random_gradients(5.0)
    by_norm, by_value = [[t.clone() for t in before] for _ in range(2)]
    clipping.clip_by_global_norm(by_norm, LIMIT)
    clipping.clip_by_value(by_value, 0.5)
    kept, bent = cosine(before, by_norm), cosine(before, by_value)
    return decided(
        abs(kept - 1) < 1e-12,
        "Clipping by the global norm keeps the direction of the batch's gradient; clipping by"
        f" value bends it (cosine {bent:.3f}). That a batch's direction differs from the whole"
        " set's, neither changes.",
        kept,
        "cosine to the unclipped gradient",
    )


@computation
def explosion_is_vanishing(evidence: "Evidence") -> Answer:
    """Two chains of linear layers, one that amplifies and one that damps."""
    sizes = {}
    for gain in (2.0, 0.5):
        torch.manual_seed(0)
        layers = [nn.Linear(16, 16, bias=False) for _ in range(20)]
        for layer in layers:
            nn.init.orthogonal_(layer.weight, gain)
        nn.Sequential(*layers)(torch.ones(1, 16)).sum().backward()
        assert layers[0].weight.grad is not None
        sizes[gain] = float(layers[0].weight.grad.norm())
    ratio = sizes[2.0] / sizes[0.5]
    return decided(
        ratio < 10,
        "The article gives the one name for the other. Through 20 layers of gain 2 the first"
        f" layer's gradient has the norm {sizes[2.0]:.1e}, of gain 1/2 {sizes[0.5]:.1e}: exploding"
        " and vanishing are opposites.",
    )


@computation
def explosion_is_imbalance(evidence: "Evidence") -> Answer:
    """Is "some gradients large, others small" the same as an explosion?"""
    grads = gradients(net())
    layers = torch.stack([g.norm() for g in grads if g.dim() > 1])
    imbalance = float(layers.max() / layers.min())
    exploded = 1e6 * layers
    same = float(exploded.max() / exploded.min())
    return decided(
        not math.isclose(imbalance, same, rel_tol=1e-5),
        f"In a healthy AlexNet at its start the layers' gradient norms differ by a factor of"
        f" {imbalance:.1f}, and no one would call it exploding; a million times that gradient is an"
        " explosion, with the same factor between its layers. Imbalance and size are two things.",
        imbalance,
        "largest over smallest layer norm",
    )


@computation
def one_iteration_suffices(evidence: "Evidence") -> Answer:
    """Were gradients clipped at one step of a run only?"""
    here = evidence.cells
    runs = here[(here["clip"] == "norm") & (here.threshold == 1) & here.ema.isna()]
    runs = runs.sort_values("iterations").groupby("trajectory").last()
    if runs.empty:
        return Answer("inconclusive", "This study has no cell with λ = 1.")
    again = int((runs.steps_clipped > 1).sum())
    return decided(
        again == 0,
        f"At λ = 1, {again} of {len(runs)} runs were clipped at more than one step, at"
        f" {runs.steps_clipped.median():.0f} in the median. Clipping is part of each step of an"
        " optimizer, not a pass that is done once.",
        float(runs.steps_clipped.median()),
        "steps clipped in a run, median",
        "steps",
    )


@computation
def hyper_parameters(evidence: "Evidence") -> Answer:
    """Which of threshold, norm and number of iterations change what a step's clipping does?"""

    def clipped(**settings: object) -> list[Tensor]:
        run = weights_after(evidence, 1, set(), **settings)
        return list(run.weights.values())

    def differs(a: list[Tensor], b: list[Tensor]) -> bool:
        return any(not torch.equal(x, y) for x, y in zip(a, b, strict=True))

    usual = clipped()
    threshold = differs(usual, clipped(threshold=0.5))
    kind = differs(usual, clipped(clip="l1norm"))
    prefix = _prefix_differs(evidence)
    return decided(
        threshold and kind and prefix,
        "Another threshold and another norm change what a step does; another number of iterations"
        " doesn't (the shorter run is the beginning of the longer one, bit for bit). Two of the"
        " three are hyper-parameters of clipping.",
        float(threshold + kind + prefix),
        "of the three",
    )


def _prefix_differs(evidence: "Evidence") -> bool:
    """Whether the first 3 steps of a run of 6 differ from a run of 3, trained apart."""
    short, long = (weights_after(evidence, steps, set()) for steps in (3, 6))
    return not torch.equal(short.history.steps, long.history.steps[:3])


@computation
def longer_runs_converge_faster(evidence: "Evidence") -> Answer:
    """Is the run to a smaller T the beginning of the one to a larger T?"""
    differs = _prefix_differs(evidence)
    reason = (
        "Under a constant learning rate the run to the smaller T is the beginning of the run to the"
        " larger, bit for bit (trained apart, and compared): it has one speed, and the statement"
        " compares a run with itself. What is measured is the one case where it means something, a"
        " cosine schedule, over the steps that both runs have."
    )
    return Answer("inconclusive" if differs else "ill-posed", reason)


@computation
def average_tracks_losses(evidence: "Evidence") -> Answer:
    """What does the moving average hold, and does it feed back?"""
    plain, averaged = weights_after(evidence, 4, set()), weights_after(evidence, 4, {0.9})
    same = all(torch.equal(plain.weights[k], averaged.weights[k]) for k in plain.weights)
    shapes = [t.shape for t in averaged.averages[0.9].values()]
    of_weights = shapes == [t.shape for t in averaged.weights.values()]
    return decided(
        not (same and of_weights),
        "What is averaged are the weights, tensor by tensor. Training with an average and without"
        " it gives the same weights, bit for bit: the average is another look at one run.",
    )


@computation
def only_the_product_matters(evidence: "Evidence") -> Answer:
    """Runs of 50 steps, all clipped, of which λ and the learning rate differ, but not λη."""
    at = {"weight_decay": 0.0, "augmentation": "none"}
    small = weights_after(evidence, 50, set(), threshold=2**-5, learning_rate=2**-3, **at)
    large = weights_after(evidence, 50, set(), threshold=2**-8, learning_rate=2**0, **at)
    other = weights_after(evidence, 50, set(), threshold=2**-8, learning_rate=2**-3, **at)
    runs = (small, large, other)
    always = all(bool((run.history.steps[:, -1] > 0).all()) for run in runs)
    apart = [float((small.history.steps[:, 0] - r.history.steps[:, 0]).abs().max()) for r in runs]
    return decided(
        always and apart[1] == 0 < apart[2],
        "Two runs of 50 clipped steps with λ = 1/32, η = 1/8 and λ = 1/256, η = 1 differ in loss"
        f" by {apart[1]:.2g} nats at most, one with λ = 1/256, η = 1/8 by {apart[2]:.2f}. (Weight"
        " decay acts by η alone: the study's own runs, which have it, agree less well.)",
        apart[1],
        "largest difference of loss",
        "nats",
    )


# ---- networks -----------------------------------------------------------------------------------


@computation
def alexnet_input(evidence: "Evidence") -> Answer:
    """Does AlexNet's first convolution (11, stride 4, no padding) fit an input of 227?"""
    sides = {s: (s - 11) / 4 + 1 for s in (227, 224)}
    made = nn.functional.conv2d(torch.zeros(1, 3, 227, 227), torch.zeros(1, 3, 11, 11), stride=4)
    return decided(
        made.shape[-1] == sides[227] == 55,
        f"(227 - 11) / 4 + 1 = 55 exactly; with 224, which the original names, it would be"
        f" {sides[224]} without padding.",
        float(made.shape[-1]),
        "side of the first map",
        "px",
    )


@computation
def resnet_has_many_heads(evidence: "Evidence") -> Answer:
    """What is a residual block with its convolutions silenced?"""
    model = net("resnet18")
    blocks = [m for m in model.modules() if hasattr(m, "bn2") and hasattr(m, "conv2")]
    block = copy.deepcopy(blocks[0]).eval()
    nn.init.zeros_(block.bn2.weight)  # type: ignore[union-attr,arg-type]
    x = torch.rand(2, int(blocks[0].conv1.in_channels), 6, 6)  # type: ignore[union-attr,arg-type]
    identity = torch.equal(block(x), x)
    heads = sum(isinstance(m, nn.Linear) for m in model.modules())
    return decided(
        heads > 1 or not identity,
        "A residual block whose convolutions are silenced hands its input on, bit for bit: its mark"
        f" is the skip connection. The net has {heads} head.",
        float(heads),
        "heads",
    )


@computation
def pooling_reduces_parameters(evidence: "Evidence") -> Answer:
    """Parameters of a small net with a pooling layer before its classifier, and without."""
    with_pool, without = (
        sum(p.numel() for p in nn.Linear(8 * side * side, 10).parameters()) for side in (6, 12)
    )
    own = sum(p.numel() for p in nn.MaxPool2d(2).parameters())
    return decided(
        own == 0 and with_pool < without,
        f"Indirectly: a pooling layer has {own} parameters and takes none away from others, but a"
        f" linear layer after it is smaller ({with_pool:,} parameters for {without:,} where 12 px"
        " become 6).",
        with_pool / without,
        "parameters with over without",
    )


@computation
def augmentation_enlarges_the_store(evidence: "Evidence") -> Answer:
    """How many images are kept, and how many different ones are trained on?"""
    from clipgrid.images.augment import augment, draw

    data = Dataset.load(evidence.results / "data.pt")
    images = data.images[data.train[:100]]
    generator = torch.Generator().manual_seed(0)
    draws = [draw("flip+crop", len(images), data.about["size"], generator) for _ in range(10)]
    seen = torch.cat([augment(images, "flip+crop", drawn) for drawn in draws]).flatten(1)
    distinct, plain = len(seen.unique(dim=0)), len(images.flatten(1).unique(dim=0))
    return decided(
        distinct > plain,
        f"In effect: nothing is added to the store of images, but of {plain} images 10 epochs of"
        f" flips and crops make {distinct} different inputs.",
        distinct / plain,
        "different inputs an image in 10 epochs",
    )


# ---- what the article says elsewhere -----------------------------------------------------------


@computation
def alexnet_on_imagenet(evidence: "Evidence") -> Answer:
    """Which published accuracies of AlexNet are above 81%?"""
    row = article.published().loc["AlexNet"]
    top1, top5 = max(row.top1, row.torchvision_top1), max(row.top5, row.torchvision_top5)
    reason = (
        f"The metric isn't named. Published are {row.top1}% top-1 and {row.top5}% top-5"
        f" ({row.source}), and torchvision's weights have {row.torchvision_top1}% and"
        f" {row.torchvision_top5}%: above 81% is true of top-5 alone, and the article's other"
        " accuracies read as top-1."
    )
    verdict = "ill-posed" if top1 <= 81 < top5 else "supported" if top1 > 81 else "refuted"
    return Answer(verdict, reason, top1, "published top-1 accuracy", "%")


@computation
def alexnet_optimizers(evidence: "Evidence") -> Answer:
    """With what was AlexNet trained?"""
    row = article.published().loc["AlexNet"]
    used = set(row.optimizer.split("; "))
    return decided(
        used == {"momentum", "RMSProp"},
        f"AlexNet was published with {' and '.join(sorted(used))} ({row.source}); RMSProp is"
        " younger. The article reports nothing by optimizer; here both are run.",
    )


@computation
def vgg_beats_resnet(evidence: "Evidence") -> Answer:
    """VGG's and ResNet's accuracies on ImageNet."""
    table = article.published()
    vgg, resnet = table.loc["VGG-16"], table.loc["ResNet-50"]
    return decided(
        vgg.torchvision_top1 >= resnet.torchvision_top1,
        f"torchvision's weights have {vgg.torchvision_top1}% top-1 for VGG-16 and"
        f" {resnet.torchvision_top1}% for ResNet-50, from one recipe each.",
        vgg.torchvision_top1 - resnet.torchvision_top1,
        "top-1 accuracy, VGG-16 less ResNet-50",
        "points",
    )


@computation
def more_iterations_less_accuracy(evidence: "Evidence") -> Answer:
    """Does the article's own table have lower accuracies at larger T?"""
    table = article.stated()
    table["percent"] = pd.to_numeric(table.accuracy.str.extract(r"(\d+)")[0])
    table = table[table.percent.notna() & (table.ema == "none")].sort_values("iterations")
    gains = table.groupby(["family", "threshold"]).percent.agg(["first", "last"])
    rises = int((gains["last"] > gains["first"]).sum())
    words = "; ".join(
        f"{model}: {low:.0f}% to {high:.0f}%"
        for (model, _), low, high in gains[["first", "last"]].itertuples()
    )
    verdict = "self-contradicted" if rises == len(gains) else "inconclusive"
    return Answer(
        verdict, f"The article's own accuracies rise with T in all {rises} nets ({words}). "
    )


@computation
def best_models_so_far(evidence: "Evidence") -> Answer:
    """Are the arms of section 4.1.1 the best of section 3.3?"""
    table = article.stated()
    table["percent"] = pd.to_numeric(table.accuracy.str.extract(r"(\d+)")[0])
    before = table[table.section.str.startswith("3.3")]
    alexnet = before[(before.family == "alexnet") & (before.iterations == 5000)]
    vgg = before[(before.family == "vgg") & before.percent.notna()]
    chosen = vgg[(vgg.iterations == 1000) & (vgg.threshold == 1)].percent.iloc[0]
    wrong = len(alexnet) == 0 and chosen == vgg.percent.min() < vgg.percent.max()
    return Answer(
        "self-contradicted" if wrong else "inconclusive",
        f"AlexNet at T = 5000 isn't among section 3.3's experiments, and VGGNet at T = 1000, λ = 1"
        f" has the lowest accuracy that the article gives for a VGGNet ({chosen:.0f}%; the highest"
        f" is {vgg.percent.max():.0f}%).",
    )


@computation
def underfitting_by_overfitting(evidence: "Evidence") -> Answer:
    """Do the runs in question fit their training images badly, or too well?"""
    here = evidence.cells
    runs = here[
        (here.model.map(family) == "vgg")
        & (here.iterations == 1000)
        & (here.optimizer == "momentum")
        & (here.learning_rate == 0.03)
        & here.ema.isna()
        & (here.schedule == "constant")
        & (here.train_images == "all")
        & (here.label_noise == 0)
        & (here["clip"] == "norm")
        & (here.threshold == 1)
        & (here.augmentation == "none")
    ]
    runs = runs[runs.train_accuracy.notna()]
    if runs.empty:
        lack = "This study has no cell with a VGG that reached T = 1000 at λ = 1."
        return Answer("inconclusive", lack)
    train, gap = 100 * runs.train_accuracy.mean(), 100 * runs.accuracy_gap.mean()
    return Answer(
        "ill-posed",
        "A net can't fit its training images badly because it fits them too well. Here"
        f" {' and '.join(map(model_name, runs.model.unique()))} at T = 1000 and λ = 1 has"
        f" {train:.1f}% training accuracy and a gap of {gap:.1f} points to the test images.",
        train,
        "train_accuracy",
        "%",
    )


@computation
def validates_on_originals(evidence: "Evidence") -> Answer:
    """Are the three sets apart, and is validation blind to augmentation?"""
    data = Dataset.load(evidence.results / "data.pt")
    sets = [set(s.tolist()) for s in (data.train, data.validation, data.test)]
    apart = sum(map(len, sets)) == len(set.union(*sets))
    looks = {
        a: weights_after(evidence, 0, set(), augmentation=a).evaluate(data.validation[:64])
        for a in ("none", "flip+crop")
    }
    same = looks["none"] == looks["flip+crop"]
    return decided(
        apart and same,
        f"Here training, validation and test images share {'none' if apart else 'some'}, and"
        f" validation sees {'originals' if same else 'others'} whatever the augmentation. The"
        " protocol is sound but for the third set, which the article lacks: what is chosen by"
        " validation images should be reported on test images.",
    )

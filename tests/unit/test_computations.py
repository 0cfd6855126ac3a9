"""Statements that are computed: what is found, and that another finding could have been."""

import functools
import itertools
import math
import shutil
import types

import pandas as pd
import pytest
import torch
from torch import nn

from clipgrid import clipping, models
from clipgrid.images import augmentations
from clipgrid.images.data import SPLITS, add_checksums, open_to_write
from clipgrid.judging import article
from clipgrid.judging.computations import probes, runs
from clipgrid.models.blocks.residual import Residual
from clipgrid.study import parts
from clipgrid.torchvision_on_cpu import torchvision
from clipgrid.training import randomness, readouts, run, stateful

CLIP = clipping.clip_by_global_norm
USUAL = {
    **{"optimizer": "momentum", "learning_rate": 0.03, "schedule": "constant"},
    **{"objective": "cross-entropy", "train_images": "all", "label_noise": 0.0},
}
NO_CELLS = pd.DataFrame(
    columns=[
        *("trajectory", "model", "clip", "threshold", "ema", "iterations", "augmentation"),
        *("steps_clipped", "train_accuracy", "accuracy_gap", *USUAL),
    ]
)


@pytest.fixture(scope="module")
def evidence(digits, tmp_path_factory):
    """Digits, and two runs of VGG-11 at λ = 1."""
    results = tmp_path_factory.mktemp("results")
    (results / "data.pt").symlink_to(digits)
    cells = pd.DataFrame(
        {
            "trajectory": ["a", "a", "b"],
            "model": "vgg11",
            "clip": "norm",
            "threshold": 1.0,
            "ema": math.nan,
            "iterations": [500, 1000, 1000],
            "augmentation": "none",
            **USUAL,
            "steps_clipped": [100, 150, 50],
            "train_accuracy": [0.5, 0.8, 0.9],
            "accuracy_gap": [0.0, 0.01, 0.02],
        }
    )
    return types.SimpleNamespace(results=results, cells=cells)


def seen(evidence, **changes):
    """The same evidence, but for these columns of its cells."""
    cells = evidence.cells.assign(**changes)
    return types.SimpleNamespace(results=evidence.results, cells=cells)


def compute(name, evidence):
    return parts.find("computation", name).run(evidence)


# ---- what is found -------------------------------------------------------------------------------

FOUND = {
    "clipping_changes_the_batch": "refuted",
    "gradients_below_are_clipped": "refuted",
    "clips_to_the_norm": "supported",
    "formula": "supported",
    "raises_small_gradients": "partly",
    "keeps_the_direction": "partly",
    "explosion_is_vanishing": "refuted",
    "explosion_is_imbalance": "refuted",
    "one_iteration_suffices": "refuted",
    "hyper_parameters": "partly",
    "longer_runs_converge_faster": "ill-posed",
    "only_the_product_matters": "supported",
    "average_tracks_losses": "refuted",
    "alexnet_input": "supported",
    "resnet_has_many_heads": "refuted",
    "pooling_reduces_parameters": "supported",
    "augmentation_enlarges_the_store": "supported",
    "alexnet_on_imagenet": "ill-posed",
    "alexnet_optimizers": "refuted",
    "vgg_beats_resnet": "refuted",
    "more_iterations_less_accuracy": "self-contradicted",
    "best_models_so_far": "self-contradicted",
    "underfitting_by_overfitting": "refuted",
    "validates_on_originals": "supported",
    "clipping_keeps_a_bias": "supported",
    "clipping_helps_against_heavy_tails": "supported",
    "clipping_widens_the_rates": "supported",
    "smoothness_grows_with_the_norm": "supported",
}


def test_every_computation_is_tried_here():
    assert set(FOUND) == set(parts.KINDS["computation"])


@pytest.fixture(scope="module")
def found(evidence):
    """A function: what a computation finds, once a module."""

    @functools.cache
    def found(name):
        torch.manual_seed(1)
        return compute(name, evidence)

    return found


@pytest.mark.parametrize("name", FOUND)
def test_the_verdict_of_a_computation_and_its_reason(found, name):
    answer = found(name)
    assert answer.verdict == FOUND[name]
    assert len(answer.reason) > 40
    assert "nan" not in answer.reason
    assert math.isnan(answer.value) == (answer.measure == "")


@pytest.mark.parametrize("name", FOUND)
def test_a_computation_depends_on_no_draws_made_before(evidence, found, name):
    first = found(name)
    torch.manual_seed(2)
    assert repr(compute(name, evidence)) == repr(first)


# ---- what would be found if clipping were something else -----------------------------------------


def no_clip(gradients, threshold, p=2.0):
    return CLIP(gradients, math.inf, p)


def by_half(gradients, threshold, p=2.0):
    return CLIP(gradients, threshold / 2, p)


def by_value(gradients, threshold, p=2.0):
    return clipping.clip_by_value(gradients, threshold)


def by_small_value(gradients, threshold, p=2.0):
    return clipping.clip_by_value(gradients, threshold / 1000)


def by_tensor(gradients, threshold, p=2.0):
    return clipping.clip_by_layer_norm(gradients, threshold)


def always(gradients, threshold, p=2.0):
    """Those below the threshold are scaled up to it."""
    telemetry = CLIP(gradients, math.inf, p)
    for gradient in gradients:
        gradient.mul_(threshold / telemetry.norm)
    return telemetry


def small_alone(gradients, threshold, p=2.0):
    """Those below the threshold are scaled up to it, and those above it are kept."""
    norm = CLIP(gradients, math.inf, p).norm
    return CLIP(gradients, math.inf, p) if norm > threshold else always(gradients, threshold, p)


def below_alone(gradients, threshold, p=2.0):
    """Those below the threshold are clipped away, those above are kept."""
    telemetry = CLIP(gradients, math.inf, p)
    for gradient in gradients:
        gradient.mul_(telemetry.norm > threshold)
    return telemetry


@pytest.mark.parametrize(
    ("name", "wrong", "verdict"),
    [
        ("gradients_below_are_clipped", below_alone, "supported"),
        *(("clips_to_the_norm", wrong, "refuted") for wrong in (no_clip, by_half, always)),
        *(("clips_to_the_norm", wrong, "refuted") for wrong in (by_value, by_tensor)),
        *(("formula", wrong, "refuted") for wrong in (no_clip, by_half, always)),
        *(("formula", wrong, "refuted") for wrong in (by_value, by_tensor)),
        ("raises_small_gradients", always, "supported"),
        *(("raises_small_gradients", wrong, "partly") for wrong in (by_half, small_alone)),
        *(("raises_small_gradients", wrong, "refuted") for wrong in (no_clip, below_alone)),
        *(("keeps_the_direction", wrong, "refuted") for wrong in (by_small_value, by_tensor)),
        ("keeps_the_direction", always, "partly"),
        ("keeps_the_direction", no_clip, "supported"),
    ],
)
def test_wrong_clipping_is_seen(evidence, monkeypatch, name, wrong, verdict):
    monkeypatch.setattr(clipping, "clip_by_global_norm", wrong)
    assert compute(name, evidence).verdict == verdict


def test_clipping_that_changed_the_batch_would_be_seen(evidence, monkeypatch):
    images, labels = probes.batch()
    monkeypatch.setattr(probes, "batch", lambda: (images, labels))

    def augments(gradients, threshold):
        images.neg_()

    monkeypatch.setattr(clipping, "clip_by_global_norm", augments)
    assert compute("clipping_changes_the_batch", evidence).verdict == "supported"


@pytest.mark.parametrize(
    ("batches", "verdict", "cosine"),
    [
        # λ is 1. The mean is along [1, 4], and that of the clipped along [1, 2].
        ([[1, 0], [0, 1], [0, 3]], "partly", 9 / math.sqrt(17 * 5)),
        ([[1, 0], [2, 0], [3, 0]], "supported", 1),
    ],
)
def test_the_mean_of_clipped_gradients_is_compared_with_the_mean(
    evidence, monkeypatch, batches, verdict, cosine
):
    made_up = [[torch.tensor([float(value)]).double() for value in batch] for batch in batches]
    monkeypatch.setattr(probes, "batch_gradients", lambda *_: made_up)
    answer = compute("keeps_the_direction", evidence)
    assert (answer.verdict, answer.value) == (verdict, pytest.approx(cosine))
    angle = math.degrees(math.acos(cosine))
    assert f"an angle of {angle:.2g}°" in answer.reason


def test_gradients_of_batches_are_those_of_the_loss(evidence):
    run = probes.run(evidence, 2)
    images, labels = next(run.batches.since(2))
    model = run.model.double().eval()
    (gradients,) = probes.batch_gradients(run, 1)
    weight, gradient = list(model.parameters())[-2], gradients[-2]
    losses = []
    for way in (1e-5, -1e-5):
        with torch.no_grad():
            weight[3, 5] += way
            losses.append(nn.functional.cross_entropy(model(images.double()), labels).item())
            weight[3, 5] -= way
    assert gradient[3, 5].item() == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-5)


def by_one_norm(gradients, threshold, p=2.0):
    return CLIP(gradients, threshold)


def to_one_norm(gradients, threshold, p=2.0):
    return CLIP(gradients, 0.1, p)


@pytest.mark.parametrize(
    ("wrong", "number", "verdict"),
    [
        (CLIP, 2, "partly"),
        (by_one_norm, 1, "refuted"),
        (to_one_norm, 1, "refuted"),
        (no_clip, 0, "refuted"),
    ],
)
def test_hyper_parameters_are_those_that_change_a_step(
    evidence, monkeypatch, wrong, number, verdict
):
    monkeypatch.setattr(clipping, "clip_by_global_norm", wrong)
    answer = compute("hyper_parameters", evidence)
    assert (answer.value, answer.verdict) == (number, verdict)
    assert f"So {number} of the three" in answer.reason


def test_a_step_is_as_long_as_its_clipped_gradient_times_the_learning_rate(evidence):
    reason = compute("hyper_parameters", evidence).reason
    assert "by 0.03 at λ = 1" in reason
    assert "λ = 1/2: 0.015" in reason


# ---- what would be found of other runs -----------------------------------------------------------


@pytest.fixture
def draws_that_are_never_the_same(monkeypatch):
    draws = itertools.count()
    for module in (randomness, run):
        monkeypatch.setattr(module, "derive", lambda *_: next(draws))


@pytest.mark.usefixtures("draws_that_are_never_the_same")
def test_a_longer_run_that_does_not_begin_as_the_shorter_one_would_be_seen(evidence):
    assert compute("longer_runs_converge_faster", evidence).verdict == "inconclusive"
    assert compute("hyper_parameters", evidence).verdict == "supported"


def test_an_average_that_feeds_back_would_be_seen(evidence, monkeypatch):
    def feeds_back(average, step):
        for weights, averaged in zip(average.weights, average.average, strict=True):
            weights.lerp_(averaged, average.decay)

    monkeypatch.setattr(stateful.Average, "update", feeds_back)
    assert compute("average_tracks_losses", evidence).verdict == "supported"


def test_one_iteration_would_suffice_if_a_run_were_clipped_at_its_first_step_alone(
    evidence, monkeypatch
):
    def at_first(clipper, gradients):
        threshold, clipper.threshold = clipper.threshold, math.inf
        return clipper.kind(gradients, clipper.weights, threshold, clipper.state)

    monkeypatch.setattr(stateful.Clipper, "__call__", at_first)
    answer = compute("one_iteration_suffices", evidence)
    assert (answer.verdict, answer.value) == ("supported", 1)
    assert "the same, bit for bit" in answer.reason


def test_where_no_step_is_clipped_one_iteration_is_not_judged(evidence, monkeypatch):
    monkeypatch.setattr(clipping, "clip_by_global_norm", no_clip)
    assert compute("one_iteration_suffices", evidence).verdict == "inconclusive"


def test_a_run_that_diverges_when_it_is_clipped_once_is_another_run(evidence, monkeypatch):
    monkeypatch.setattr(probes, "RATE", 3.0)
    answer = compute("one_iteration_suffices", evidence)
    assert answer.verdict == "refuted"
    assert "The other was clipped at the first step alone: it diverged." in answer.reason


def test_steps_clipped_are_those_of_whole_runs(evidence):
    reason = compute("one_iteration_suffices", evidence).reason
    assert "2 of 2 were clipped" in reason
    assert "the median run was clipped at 100 steps" in reason  # of 150 and 50, at their last T
    assert "1 of 2 were clipped" in runs.steps_clipped(seen(evidence, steps_clipped=[1, 1, 2]))


@pytest.mark.parametrize("changes", [None, {"threshold": 10.0}, {"clip": "value"}])
def test_cells_with_another_clip_say_nothing(evidence, changes):
    if changes is None:
        here = types.SimpleNamespace(results=evidence.results, cells=NO_CELLS)
    else:
        here = seen(evidence, **changes)
    assert runs.steps_clipped(here) == ""
    answer = compute("underfitting_by_overfitting", here)
    assert answer.verdict == "inconclusive"
    assert answer.reason == "This study has no cell with a VGG that reached T = 1000 at λ = 1."


KNOWN = {"train_accuracy": [1.0, 0.8, 0.8], "accuracy_gap": 0.1}  # the first is at T = 500


@pytest.mark.parametrize(
    ("changes", "verdict", "both"),
    [
        ({}, "supported", 2),
        ({"accuracy_gap": 0.05}, "supported", 2),
        ({"train_accuracy": [1.0, 0.8, 0.95]}, "partly", 1),
        ({"accuracy_gap": 0.04}, "refuted", 0),
        ({"train_accuracy": [1.0, 0.9, 0.95]}, "refuted", 0),
        ({"train_accuracy": [1.0, 0.8, 0.95], "accuracy_gap": [0, 0, 0.1]}, "refuted", 0),
        # What another net, or other training images, can be known to have fitted says nothing.
        ({"model": ["vgg13", "vgg11", "vgg11"]}, "refuted", 0),
        ({"train_images": [100, "all", "all"]}, "refuted", 0),
        ({"label_noise": [0.4, 0, 0]}, "refuted", 0),
    ],
)
def test_a_run_has_to_underfit_and_to_overfit(evidence, changes, verdict, both):
    answer = compute("underfitting_by_overfitting", seen(evidence, **KNOWN | changes))
    assert (answer.verdict, answer.value) == (verdict, both)
    assert f"and {both} do both" in answer.reason


def test_a_vgg_that_diverged_is_none_that_underfits(evidence):
    answer = compute("underfitting_by_overfitting", seen(evidence, train_accuracy=math.nan))
    assert answer.verdict == "inconclusive"


# ---- what would be found of other explosions -----------------------------------------------------

ALL_RISE = [[1, 1], [200, 300]]
ONE_FALLS = [[1, 1], [0.1, 300]]
ONE_STAYS = [[1, 1], [0.5, 300]]
NONE = [[1, 1], [50, 50]]


@pytest.mark.parametrize(
    ("norms", "verdict", "fell"),
    [
        ([ALL_RISE], "refuted", 0),
        ([[*ALL_RISE, [math.inf, 0]]], "refuted", 0),
        ([[*ALL_RISE, [math.nan, 0]]], "refuted", 0),
        ([ONE_FALLS], "supported", 5),
        ([[*NONE, *ONE_FALLS]], "supported", 5),
        ([NONE, ONE_FALLS], "supported", 5),
        ([ONE_STAYS], "inconclusive", 0),
        ([ALL_RISE, ONE_FALLS], "refuted", 2),
        ([ONE_STAYS, ONE_FALLS], "inconclusive", 2),
        ([NONE], "inconclusive", None),
    ],
)
def test_explosions_are_judged_by_whether_a_layer_falls(
    evidence, monkeypatch, norms, verdict, fell
):
    made_up = itertools.cycle(torch.tensor(steps, dtype=torch.float64) for steps in norms)
    monkeypatch.setattr(probes, "layer_norms", lambda *_: next(made_up))
    answer = compute("explosion_is_imbalance", evidence)
    assert answer.verdict == verdict
    assert answer.value == fell or (fell is None and "No gradient exploded" in answer.reason)


def test_the_norms_of_layers_are_those_of_the_steps_gradients(evidence):
    layers = probes.layer_norms(probes.run(evidence, 0, clip=math.inf), 2)
    run = probes.run(evidence, 1, clip=math.inf)
    images, labels = next(run.batches.since(1))
    randomness.seed_dropout(randomness.derive(0, "dropout", 1), run.device)
    loss = nn.functional.cross_entropy(run.model.train()(images), labels)
    weights = [p for p in run.model.parameters() if p.dim() > 1]
    expected = [g.norm().item() for g in torch.autograd.grad(loss, weights)]
    assert layers[1].tolist() == pytest.approx(expected, rel=1e-5)


def test_the_norms_of_layers_end_where_one_is_not_finite(evidence):
    run = probes.run(evidence, 0, clip=math.inf, learning_rate=3000.0)
    sound = probes.layer_norms(run, 30).isfinite().all(dim=1).tolist()
    assert sound == [True] * (len(sound) - 1) + [False]
    assert 1 < len(sound) < 30


# ---- what would be found of other networks and data ----------------------------------------------


def test_a_second_head_would_be_seen(evidence, monkeypatch):
    def two_heads(*args):
        model = build(*args)
        model.snapshot = nn.Linear(8, 10)
        return model

    build = models.build
    monkeypatch.setattr(models, "build", two_heads)
    answer = compute("resnet_has_many_heads", evidence)
    assert (answer.verdict, answer.value) == ("supported", 2)


def test_a_block_without_its_skip_connection_would_be_seen(evidence, monkeypatch):
    monkeypatch.setattr(Residual, "forward", lambda block, x: block.residual(x))
    assert compute("resnet_has_many_heads", evidence).verdict == "supported"


def test_augmentation_that_does_nothing_would_be_seen(evidence, monkeypatch):
    monkeypatch.setattr(augmentations, "augment", lambda images, *_: images)
    answer = compute("augmentation_enlarges_the_store", evidence)
    assert (answer.verdict, answer.value) == ("refuted", 1)


@pytest.mark.parametrize("other", ["validation", "test"])
def test_an_image_in_two_sets_would_be_seen(evidence, tmp_path, other):
    shutil.copy(evidence.results / "data.pt", tmp_path)
    file = open_to_write(tmp_path / "data.pt")
    splits = dict(zip(SPLITS, file["order"].split(file["sizes"].tolist()), strict=False))
    splits[other][0] = splits["train"][0]
    add_checksums(file)
    here = types.SimpleNamespace(results=tmp_path)
    assert compute("validates_on_originals", here).verdict == "refuted"


def test_validation_on_augmented_images_would_be_seen(evidence, monkeypatch):
    evaluate = readouts.evaluate

    def augmented(run, index):
        return evaluate(
            run, index, transformation="mirrored" if run.batches.augmentations else None
        )

    monkeypatch.setattr(readouts, "evaluate", augmented)
    assert compute("validates_on_originals", evidence).verdict == "refuted"


# ---- what others have published, and what the article says --------------------------------------


@pytest.mark.parametrize(
    ("model", "weights"),
    [
        ("AlexNet", torchvision.models.AlexNet_Weights.IMAGENET1K_V1),
        ("VGG-16", torchvision.models.VGG16_Weights.IMAGENET1K_V1),
        ("ResNet-50", torchvision.models.ResNet50_Weights.IMAGENET1K_V1),
    ],
)
def test_the_published_accuracies_are_those_of_torchvisions_weights(model, weights):
    published = article.published().loc[model]
    metrics = weights.meta["_metrics"]["ImageNet-1K"]
    assert (published.torchvision_top1, published.torchvision_top5) == (
        metrics["acc@1"],
        metrics["acc@5"],
    )


def with_published(monkeypatch, **values):
    """Publish these values, `model.column` or `column` of all models, instead."""
    table = article.published()
    for key, value in values.items():
        table[key] = value
    monkeypatch.setattr(article, "published", lambda: table)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({"top1": 81.5}, "supported"),
        ({"torchvision_top1": 81.5}, "supported"),
        ({"top5": 81.0, "torchvision_top5": 81.0}, "refuted"),
        ({"top1": 81.0}, "ill-posed"),
    ],
)
def test_alexnets_81_percent_are_ill_posed_where_the_metric_decides(
    evidence, monkeypatch, values, verdict
):
    with_published(monkeypatch, **values)
    assert compute("alexnet_on_imagenet", evidence).verdict == verdict


def test_another_optimizer_of_alexnets_would_be_seen(evidence, monkeypatch):
    with_published(monkeypatch, optimizer="RMSProp; momentum")
    assert compute("alexnet_optimizers", evidence).verdict == "supported"


def test_a_vgg_as_good_as_a_resnet_would_be_seen(evidence, monkeypatch):
    with_published(monkeypatch, torchvision_top1=75.0)
    answer = compute("vgg_beats_resnet", evidence)
    assert (answer.verdict, answer.value) == ("supported", 0)


def with_article(monkeypatch, change):
    table = article.stated()
    change(table)
    monkeypatch.setattr(article, "stated", lambda: table)


def test_an_accuracy_that_falls_with_T_would_be_no_contradiction(evidence, monkeypatch):
    def falls(table):
        table.loc[(table.family == "vgg") & (table.accuracy == "74"), "accuracy"] = "57"

    with_article(monkeypatch, falls)
    assert compute("more_iterations_less_accuracy", evidence).verdict == "inconclusive"


def test_models_that_were_among_the_best_would_be_no_contradiction(evidence, monkeypatch):
    def best(table):
        table.loc[(table.family == "vgg") & (table.accuracy == "58"), "accuracy"] = "75"

    with_article(monkeypatch, best)
    assert compute("best_models_so_far", evidence).verdict == "inconclusive"


def test_vggs_plain_clipping_run_is_the_one_whose_accuracy_is_said_to_be_lower():
    vgg = article.stated().query("section == '4.1.1' and family == 'vgg'")
    words = vgg.set_index("ema").words.fillna("")
    assert words.to_dict() == {"none": "accuracy lower than the moving average's", "any": ""}

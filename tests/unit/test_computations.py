"""Statements that are computed: what is found, and that another finding could have been."""

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
from clipgrid.images.data import SPLITS, open_to_write
from clipgrid.judging import article
from clipgrid.judging.computations import probes
from clipgrid.models.blocks.residual import Residual
from clipgrid.study import parts
from clipgrid.torchvision_on_cpu import torchvision
from clipgrid.training import randomness, readouts, run, stateful

CLIP = clipping.clip_by_global_norm
USUAL = {
    **{"optimizer": "momentum", "learning_rate": 0.03, "schedule": "constant"},
    **{"train_images": "all", "label_noise": 0.0},
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
    "raises_small_gradients": "refuted",
    "keeps_the_direction": "supported",
    "explosion_is_vanishing": "refuted",
    "explosion_is_imbalance": "refuted",
    "one_iteration_suffices": "refuted",
    "hyper_parameters": "refuted",
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
    "underfitting_by_overfitting": "ill-posed",
    "validates_on_originals": "supported",
}


def test_every_computation_is_tried_here():
    assert set(FOUND) == set(parts.KINDS["computation"])


@pytest.mark.parametrize("name", FOUND)
def test_the_verdict_of_a_computation_and_its_reason(evidence, name):
    answer = compute(name, evidence)
    assert answer.verdict == FOUND[name]
    assert len(answer.reason) > 40
    assert "nan" not in answer.reason
    assert math.isnan(answer.value) == (answer.measure == "")


@pytest.mark.parametrize("name", FOUND)
def test_a_computation_depends_on_no_draws_made_before(evidence, name):
    torch.manual_seed(1)
    first = compute(name, evidence)
    torch.manual_seed(2)
    assert repr(compute(name, evidence)) == repr(first)


# ---- what would be found if clipping were something else -----------------------------------------


def no_clip(gradients, threshold, p=2.0):
    return CLIP(gradients, math.inf, p)


def by_half(gradients, threshold, p=2.0):
    return CLIP(gradients, threshold / 2, p)


def by_value(gradients, threshold, p=2.0):
    return clipping.clip_by_value(gradients, threshold)


def by_tensor(gradients, threshold, p=2.0):
    return clipping.clip_by_layer_norm(gradients, threshold)


def always(gradients, threshold, p=2.0):
    """Those below the threshold are scaled up to it."""
    telemetry = CLIP(gradients, math.inf, p)
    for gradient in gradients:
        gradient.mul_(threshold / telemetry.norm)
    return telemetry


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
        *(("keeps_the_direction", wrong, "refuted") for wrong in (by_value, by_tensor)),
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


def by_one_norm(gradients, threshold, p=2.0):
    return CLIP(gradients, threshold)


def to_one_norm(gradients, threshold, p=2.0):
    return CLIP(gradients, 0.1, p)


@pytest.mark.parametrize(
    ("wrong", "number"), [(CLIP, 2), (by_one_norm, 1), (to_one_norm, 1), (no_clip, 0)]
)
def test_hyper_parameters_are_those_that_change_a_step(evidence, monkeypatch, wrong, number):
    monkeypatch.setattr(clipping, "clip_by_global_norm", wrong)
    assert compute("hyper_parameters", evidence).value == number


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


def test_one_iteration_would_suffice_if_no_run_were_clipped_twice(evidence):
    answer = compute("one_iteration_suffices", seen(evidence, steps_clipped=1))
    assert answer.verdict == "supported"


def test_steps_clipped_are_those_of_whole_runs(evidence):
    answer = compute("one_iteration_suffices", evidence)
    assert (answer.value, answer.unit) == (100, "steps")  # of 150 and 50, at each run's last T
    assert "2 of 2 runs" in answer.reason


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("one_iteration_suffices", "λ = 1"),
        ("underfitting_by_overfitting", "VGG that reached T = 1000"),
    ],
)
@pytest.mark.parametrize("changes", [None, {"threshold": 10.0}, {"clip": "value"}])
def test_without_the_cells_that_it_needs_a_statement_is_inconclusive(
    evidence, name, named, changes
):
    if changes is None:
        here = types.SimpleNamespace(results=evidence.results, cells=NO_CELLS)
    else:
        here = seen(evidence, **changes)
    answer = compute(name, here)
    assert answer.verdict == "inconclusive"
    assert answer.reason.startswith("This study has no cell with")
    assert named in answer.reason


def test_underfitting_is_judged_by_how_well_the_training_images_are_known(evidence):
    answer = compute("underfitting_by_overfitting", evidence)
    assert answer.value == pytest.approx(85)
    assert "85.0% training accuracy and a gap of 1.5 points" in answer.reason


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

"""The training loop: resumed, averaged and clipped runs are the runs that they should be, bit for
bit."""

import dataclasses
import gc
import itertools
import math
import os
import shutil
import subprocess
import sys
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch._dynamo.utils import counters
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from trials import (
    DIVERGING,
    MOMENTUM,
    RMSPROP,
    every_kind,
    every_optimizer,
    firing,
)

from clipgrid import InputError
from clipgrid.clipping import Telemetry
from clipgrid.images import loading
from clipgrid.images.data import Dataset
from clipgrid.study import parts
from clipgrid.study.cells import Clip, replace
from clipgrid.training import batches, distributed
from clipgrid.training.batches import Batches
from clipgrid.training.history import History, Step
from clipgrid.training.loop import advance, update
from clipgrid.training.machine import set_up_process
from clipgrid.training.randomness import Epochs, derive, generator
from clipgrid.training.readouts import collapsed_below, measure
from clipgrid.training.run import Run, compile_only, compiled

pytestmark = pytest.mark.usefixtures("torchs_switches_put_back")


def without_limit(rows):
    return [{name: value for name, value in row.items() if name != "limit"} for row in rows]


def seen(steps):
    """{name: its value at each step} of the telemetry of some steps."""
    return {name: torch.stack([getattr(step, name) for step in steps]) for name in Step._fields}


# ---- randomness ---------------------------------------------------------------------------------


@given(size=st.integers(1, 20), batch_size=st.integers(1, 50), seed=st.integers(0, 9))
def test_each_epoch_is_a_permutation_of_the_training_set(size, batch_size, seed):
    batches = Epochs(seed, size, batch_size)
    drawn = [batches[step] for step in range(math.ceil(3 * size / batch_size))]
    assert {len(batch) for batch in drawn} == {batch_size}
    for epoch in torch.cat(drawn)[: 3 * size].split(size):
        assert torch.equal(epoch.sort().values, torch.arange(size))


@given(st.integers(1, 20), st.integers(1, 50), st.lists(st.integers(0, 30), max_size=8))
def test_a_batch_does_not_depend_on_what_was_asked_before(size, batch_size, steps):
    batches = Epochs(0, size, batch_size)
    for step in steps:
        assert torch.equal(batches[step], Epochs(0, size, batch_size)[step])


def test_epochs_and_seeds_differ_in_their_order():
    first, second = (Epochs(0, 100, 100)[step] for step in (0, 1))
    assert not torch.equal(first, second)
    assert not torch.equal(first, Epochs(1, 100, 100)[0])


def test_the_seed_of_a_draw_differs_by_seed_purpose_and_step():
    drawn = [
        derive(seed, purpose, step)
        for seed in (0, 1, 11)
        for purpose in ("weights", "epoch", "dropout", "augmentation")
        for step in (0, 1, 11)
    ]
    assert len(set(drawn)) == len(drawn)
    assert derive(0, "weights", 0) == drawn[0]
    assert torch.equal(
        torch.rand(3, generator=generator(0, "epoch", 1)),
        torch.rand(3, generator=generator(0, "epoch", 1)),
    )


# ---- one step by hand ---------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.5, math.inf])
def test_two_steps_of_momentum_are_those_of_a_plain_loop(digits, threshold):
    dataset = Dataset.load(digits)
    trajectory = replace(MOMENTUM, clip=threshold, augmentation="none")
    run = Run(trajectory, dataset, decays=set())
    telemetry = seen([update(run), update(run)])

    torch.manual_seed(derive(trajectory.seed, "weights", 0))
    model = trajectory.model(1, 8, 10)
    parameters = list(model.parameters())
    velocities = [torch.zeros_like(p) for p in parameters]
    batches = Epochs(trajectory.seed, len(dataset.train), 8)
    for step in range(2):
        index = dataset.train[batches[step]]
        mean, std = dataset.about["mean"][0], dataset.about["std"][0]
        images = (dataset.images[index].float() / 255 - mean) / std
        torch.manual_seed(derive(trajectory.seed, "dropout", step))
        loss = torch.nn.functional.cross_entropy(model(images), dataset.labels[index])
        gradients = torch.autograd.grad(loss, parameters)
        norm = math.sqrt(sum(g.double().square().sum().item() for g in gradients))
        coefficient = min(1.0, threshold / norm)
        with torch.no_grad():
            for p, v, g in zip(parameters, velocities, gradients, strict=True):
                v.mul_(0.9).add_(coefficient * g + 5e-4 * p)
                p.sub_(0.01 * v)
        expected = {"loss": loss.item(), "norm": norm, "coefficient": coefficient}
        found = {name: telemetry[name][step].item() for name in expected}
        assert found == pytest.approx(expected, rel=1e-5)

    assert (telemetry["share"] == (threshold == 0.5)).all()
    for ours, plain in zip(run.model.parameters(), parameters, strict=True):
        torch.testing.assert_close(ours.detach(), plain.detach(), rtol=0, atol=1e-6)


def test_the_moving_average_follows_its_recursion_with_warm_up(digits):
    decays = {0.15, 0.9}  # one that the warm-up reaches in these steps, one that it doesn't
    run = Run(replace(MOMENTUM, model="resnet18:width=0.125"), Dataset.load(digits), decays)
    expected = {decay: {k: w.double() for k, w in run.weights_of(None).items()} for decay in decays}
    for t in range(4):
        update(run)
        for decay, average in expected.items():
            d = min(decay, (1 + t) / (10 + t))
            for name, weight in run.weights_of(None).items():
                average[name] = d * average[name] + (1 - d) * weight.double()
    for decay, average in expected.items():
        assert run.weights_of(decay).keys() == average.keys()
        for name, tensor in average.items():
            torch.testing.assert_close(
                run.weights_of(decay)[name].double(), tensor, rtol=1e-5, atol=1e-6
            )


def test_images_that_are_read_ahead_from_their_file_are_those_that_lie_in_memory(
    digits, monkeypatch
):
    """A set that is too large for the device takes the other way, to the same bits."""
    resident = Run(MOMENTUM, Dataset.load(digits), set())
    monkeypatch.setattr(loading, "RESIDENT_BYTES", 0)
    read = Run(MOMENTUM, Dataset.load(digits), set())
    assert resident.images.resident
    assert not read.images.resident
    for run in (resident, read):
        advance(run, 7)
    for name, column in resident.history.steps.items():
        assert torch.equal(read.history.steps[name], column)
    assert measure(read, None) == measure(resident, None)


@pytest.mark.parametrize("augmentation", ["none", *parts.names("augmentation"), "flip+crop"])
def test_batches_that_are_made_ready_at_once_are_those_of_each_step(
    digits, monkeypatch, augmentation
):
    trajectory, dataset = replace(MOMENTUM, augmentation=augmentation), Dataset.load(digits)
    images = loading.Images(dataset, torch.device("cpu"))
    at_once = Batches(trajectory, dataset, images)
    monkeypatch.setattr(batches, "TOGETHER", 0)
    apart = Batches(trajectory, dataset, images)
    assert at_once.steps > 100 > apart.steps == 1
    since = {first: itertools.islice(at_once.since(first), 400 - first) for first in (0, 7)}
    for first, some in since.items():
        for one, other in zip(some, apart.since(first), strict=False):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_each_batch_lies_in_memory_as_it_does_where_the_run_is_continued(digits):
    """Bits may depend on it: what has no round size is made ready step by step."""
    dataset = Dataset.load(digits)
    seven = dataset.images[..., :7, :7]
    sums = seven.flatten(2).long().sum(-1)[:, None]
    odd = dataclasses.replace(dataset, images=seven, sums=sums)
    images = loading.Images(odd, torch.device("cpu"))
    assert Batches(replace(MOMENTUM, batch_size=3), odd, images).steps == 1
    steps = Batches(MOMENTUM, dataset, loading.Images(dataset, torch.device("cpu"))).since(3)
    assert all(next(steps)[0].data_ptr() % 64 == 0 for _ in range(300))


def test_an_augmentation_of_anyone_sees_one_batch_at_a_time(digits):
    before = dict(parts.KINDS["augmentation"])

    @parts.augmentation("blend", label="blended pairs")
    class Blend:
        def draw(self, n, size, generator):
            return torch.randperm(n, generator=generator)

        def apply(self, images, drawn):
            assert len(images) == len(drawn)
            return images // 2 + images[drawn] // 2

    try:
        run, later = (
            Run(replace(MOMENTUM, augmentation="blend"), Dataset.load(digits), set())
            for _ in range(2)
        )
        one, other = itertools.islice(run.batches.since(0), 3, 6), later.batches.since(3)
        for (images, _), (expected, _) in zip(one, other, strict=False):
            assert torch.equal(images, expected)
    finally:
        parts.KINDS["augmentation"] = before


def test_what_has_collapsed_is_hardly_above_chance():
    assert [collapsed_below(k) for k in (10, 100)] == [0.2, 0.02]
    assert collapsed_below(2) == pytest.approx(0.5 + 0.5 / 9)
    assert all(1 / k < collapsed_below(k) < 0.6 for k in range(2, 1001))


def test_a_cosine_schedule_is_torchs(digits):
    run = Run(replace(MOMENTUM, schedule="cosine", schedule_steps=6), Dataset.load(digits), set())
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=MOMENTUM.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=6)
    for _ in range(6):
        update(run)
        used = [group["lr"] for group in run.optimizer.param_groups]
        assert used == pytest.approx(schedule.get_last_lr())
        optimizer.step()
        schedule.step()


def test_a_part_of_the_training_images_is_drawn_by_the_seed_and_nothing_else_is_trained_on(digits):
    dataset = Dataset.load(digits)
    few = replace(MOMENTUM, train_images=20)
    runs = [Run(replace(few, seed=seed), dataset, set()) for seed in (0, 0, 1)]
    drawn = [set(run.batches.index.tolist()) for run in runs]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(d) == 20 and d <= set(dataset.train.tolist()) for d in drawn)
    batches = runs[0].batches
    assert len(torch.cat([batches.indices(t) for t in range(10)]).unique()) == 20


def test_more_training_images_than_there_are_is_an_error(digits):
    with pytest.raises(InputError, match=r"train_images: 5000 is more than .* 1149"):
        Run(replace(MOMENTUM, train_images=5000), Dataset.load(digits), set())


def test_label_noise_exchanges_its_share_of_the_training_labels_and_no_others(digits):
    dataset = Dataset.load(digits)
    labels = Run(replace(MOMENTUM, label_noise=0.4), dataset, set()).batches.labels
    changed = labels != dataset.labels
    n = len(dataset.train)
    assert abs(changed[dataset.train].sum() - 0.4 * n) < 4 * math.sqrt(0.24 * n)
    assert not changed[torch.cat([dataset.validation, dataset.test])].any()
    assert set(labels.tolist()) == set(range(10))
    assert torch.equal(Run(MOMENTUM, dataset, set()).batches.labels, dataset.labels)


def test_a_seed_draws_its_own_split_where_the_trajectory_says_so(digits):
    dataset = Dataset.load(digits)
    own = replace(MOMENTUM, split="seed")
    runs = [Run(replace(own, seed=seed), dataset, set()) for seed in (0, 0, 1)]
    sets = [set(run.dataset.train.tolist()) for run in runs]
    assert sets[0] == sets[1] != sets[2]
    assert sets[0] != set(dataset.train.tolist())
    assert Run(MOMENTUM, dataset, set()).dataset is dataset
    for run, its in zip(runs, sets, strict=True):
        drawn = torch.cat([run.batches.indices(t) for t in range(150)])  # 1200 images: an epoch
        assert set(drawn.tolist()) == its
        assert run.batches.mean.flatten().tolist() == pytest.approx(run.dataset.about["mean"])
    assert torch.equal(runs[0].dataset.test, runs[1].dataset.test)
    assert runs[0].dataset.about["mean"] != runs[2].dataset.about["mean"]


def test_arms_that_share_a_seed_share_its_split(digits):
    dataset = Dataset.load(digits)
    own = replace(MOMENTUM, split="seed", seed=4)
    others = {"clip": math.inf, "learning_rate": 0.1, "model": "vgg11:width=0.0625"}
    one, other = (Run(t, dataset, set()).dataset for t in (own, replace(own, **others)))
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(one, name), getattr(other, name))


def test_a_part_of_the_images_and_label_noise_are_of_the_seeds_own_split(digits):
    dataset = Dataset.load(digits)
    settings = {"split": "seed", "seed": 2, "train_images": 50, "label_noise": 0.4}
    run = Run(replace(MOMENTUM, **settings), dataset, set())
    own = run.dataset
    assert set(run.batches.index.tolist()) <= set(own.train.tolist())
    changed = run.batches.labels != dataset.labels
    assert changed[own.train].float().mean() == pytest.approx(0.4, abs=0.06)
    assert not changed[torch.cat([own.validation, own.test])].any()


@pytest.mark.parametrize(
    "setting",
    [
        {"schedule": "cosine", "schedule_steps": 9},
        {"train_images": 20},
        {"label_noise": 0.4},
        {"split": "seed"},
    ],
    ids=str,
)
def test_an_unusual_run_that_is_continued_is_the_run_that_was_never_interrupted(trained, setting):
    trajectory = replace(MOMENTUM, **setting)
    straight = trained(trajectory, "T6", at="straight")
    trained(trajectory, "T3", at="parts")
    continued = trained(trajectory, "T6", at="parts")
    assert continued.results == straight.results


# ---- what is written ----------------------------------------------------------------------------


def test_a_run_writes_a_result_for_each_readout_and_a_row_for_each_step(trained):
    run = trained(MOMENTUM, "T4", "T6", "T6_ema0.9")
    assert list(run.cells) == ["T4", "T6", "T6_ema0.9"]
    rows = run.rows
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    for column in ("training_loss", "validation_loss", "validation_accuracy"):
        assert [row["step"] for row in rows if row[column]] == ["2", "4", "6"]
    assert {row["learning_rate"] for row in rows} == {"0.01"}
    for row in rows:
        norm, coefficient = float(row["norm"]), float(row["coefficient"])
        assert coefficient == pytest.approx(min(1, 1 / norm))
        assert (row["clipped"], row["finite"]) == (str(int(norm > 1)), "1")


def test_a_result_says_which_cell_it_is_and_sums_its_history_up(trained):
    run = trained(MOMENTUM, "T4", "T6_ema0.9")
    result = run.measures("T6_ema0.9")
    norms = [float(row["norm"]) for row in run.rows]
    assert result["cell"] == f"{MOMENTUM.name}/T6_ema0.9"
    assert (result["iterations"], result["ema"], result["steps"]) == (6, 0.9, 6)
    settings = {name: result[name] for name in MOMENTUM.model_dump(mode="json")}
    assert replace(MOMENTUM, **settings) == MOMENTUM
    assert result["torch"] == torch.__version__
    assert result["steps_clipped"] == sum(norm > 1 for norm in norms) > 0
    assert result["clip_fraction"] == result["steps_clipped"] / 6
    assert result["norm_max"] == max(norms)
    assert result["diverged_at"] is None
    assert run.measures("T4")["steps"] == 4


@pytest.mark.parametrize("name", ["T4", "T4_ema0.9"])
def test_losses_and_accuracies_are_of_each_split_by_the_weights_named(trained, digits, name):
    dataset = Dataset.load(digits)
    result = trained(MOMENTUM, name).measures(name)
    run = Run(MOMENTUM, dataset, decays={0.9})
    advance(run, 4)
    run.model.load_state_dict(run.weights_of(None if name == "T4" else 0.9))
    run.model.eval()
    mean, std = dataset.about["mean"][0], dataset.about["std"][0]
    for split in ("validation", "test"):
        index = getattr(dataset, split)
        labels = dataset.labels[index]
        with torch.no_grad():
            logits = run.model((dataset.images[index].float() / 255 - mean) / std)
        loss = torch.nn.functional.cross_entropy(logits.double(), labels).item()
        correct = (logits.argmax(1) == labels).double().mean().item()
        assert result[f"{split}_loss"] == pytest.approx(loss, rel=1e-5)
        assert result[f"{split}_accuracy"] == pytest.approx(correct, abs=1.5 / len(index))


@pytest.mark.parametrize("setting", [{}, {"label_noise": 0.4, "split": "seed"}], ids=str)
def test_a_look_has_the_loss_of_the_first_training_images_as_they_are_in_eval_mode(digits, setting):
    trajectory = replace(MOMENTUM, model="vgg11_bn:width=0.0625", **setting)
    run = Run(trajectory, Dataset.load(digits), decays={0.9})
    advance(run, 4)
    run.model.eval()
    about, index = run.dataset.about, run.batches.index[:512]
    images = (run.dataset.images[index].double() / 255 - about["mean"][0]) / about["std"][0]
    with torch.no_grad():
        logits = run.model.double()(images)
    labels = run.batches.labels[index]  # those that are trained on: noisy ones
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert run.history.looks["training_loss"].tolist()[-1] == pytest.approx(loss, rel=1e-4)
    clean = torch.nn.functional.cross_entropy(logits, run.dataset.labels[index]).item()
    assert (clean == loss) == (not setting)
    assert loss != pytest.approx(run.history.steps["loss"][2:].mean().item(), rel=0.01)


# ---- continued runs -----------------------------------------------------------------------------

NETS = ("alexnet:width=0.125", "vgg11:width=0.0625", "resnet18:width=0.125")


def family(model):
    return model.partition(":")[0]


@pytest.mark.parametrize("model", NETS, ids=family)
@every_optimizer
def test_a_continued_run_is_the_run_that_was_never_interrupted(trained, model, base):
    trajectory = replace(base, model=model)
    straight = trained(trajectory, "T6", "T6_ema0.9", at="straight")
    trained(trajectory, "T3", "T3_ema0.9", at="continued")
    continued = trained(trajectory, "T6", "T6_ema0.9", at="continued")
    assert continued.session_steps == [(0, 3), (3, 6)]
    assert continued.results == straight.results


def test_a_shorter_run_is_the_beginning_of_a_longer_one(trained):
    longer = trained(MOMENTUM, "T3", "T6", at="longer")
    shorter = trained(MOMENTUM, "T3", at="shorter")
    assert longer.cells["T3"] == shorter.cells["T3"]
    assert longer.history.startswith(shorter.history)
    assert trained(MOMENTUM, "T3", at="longer").history == shorter.history


def test_a_run_asked_for_again_is_not_trained_again(trained):
    first = trained(MOMENTUM, "T3", "T5")
    again = trained(MOMENTUM, "T3", "T5")
    assert again.results == first.results
    assert again.run == first.run


def test_how_often_a_run_is_looked_at_changes_no_weight(trained):
    often = trained(MOMENTUM, "T5", at="often")
    seldom = trained(replace(MOMENTUM, evaluate_every=100), "T5", at="seldom")
    assert often.sha("T5") == seldom.sha("T5")


@pytest.mark.parametrize("model", [NETS[0], NETS[2]], ids=family)
def test_moving_averages_do_not_change_the_training(trained, model):
    trajectory = replace(MOMENTUM, model=model)
    without = trained(trajectory, "T4", at="without")
    averaged = trained(trajectory, "T4", "T4_ema0.9", "T4_ema0.1", at="with")
    assert averaged.cells["T4"] == without.cells["T4"]
    assert averaged.history == without.history
    shas = {averaged.sha(name) for name in ("T4", "T4_ema0.9", "T4_ema0.1")}
    assert len(shas) == 3


def test_without_warm_up_the_average_is_the_plain_recursion(digits):
    run = Run(replace(MOMENTUM, ema_warmup=1), Dataset.load(digits), {0.9})
    plain = AveragedModel(run.model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    plain.update_parameters(run.model)  # its first update is a copy
    for _ in range(4):
        update(run)
        plain.update_parameters(run.model)
    for name, tensor in plain.module.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(run.weights_of(0.9)[name], tensor), name


def test_a_decay_added_later_leads_to_the_same_weights(trained):
    raw = trained(MOMENTUM, "T4", at="later")
    later = trained(MOMENTUM, "T4", "T4_ema0.9", at="later")
    at_once = trained(MOMENTUM, "T4", "T4_ema0.9", at="at once")
    assert raw.cells.items() <= later.cells.items()
    assert raw.history == later.history
    assert later.results == at_once.results


# ---- clipping in the loop -----------------------------------------------------------------------


def test_no_clipping_is_clipping_above_every_norm_bit_for_bit(trained):
    unclipped = trained(replace(MOMENTUM, clip=math.inf), "T4", at="unclipped")
    above = trained(replace(MOMENTUM, clip=1e9), "T4", at="above")
    assert without_limit(unclipped.rows) == without_limit(above.rows)
    assert unclipped.sha("T4") == above.sha("T4")
    assert Clip.read(unclipped.measures("T4")["clip"]) == Clip.of("norm", math.inf)


def test_two_thresholds_share_the_run_up_to_the_first_step_that_one_of_them_clips(trained):
    unclipped = trained(replace(MOMENTUM, clip=math.inf), "T6", at="unclipped").rows
    norms = [float(row["norm"]) for row in unclipped]
    first = next(i for i in range(1, 6) if norms[i] > max(norms[:i]))
    threshold = (norms[first] + max(norms[:first])) / 2
    clipped = trained(replace(MOMENTUM, clip=threshold), "T6", at="clipped").rows
    clipped, unclipped = without_limit(clipped), without_limit(unclipped)
    assert clipped[:first] == unclipped[:first]
    assert clipped[first]["norm"] == unclipped[first]["norm"]
    assert (clipped[first]["clipped"], unclipped[first]["clipped"]) == ("1", "0")


@every_kind
def test_each_kind_clips_some_steps_and_differs_from_no_clipping(trained, digits, kind):
    clip, first = firing(kind, digits)
    steps = max(6, first + 2)
    one = trained(replace(MOMENTUM, clip=clip), f"T{steps}", at=kind)
    free = trained(replace(MOMENTUM, clip=math.inf), f"T{steps}", at="free")
    result = one.measures(f"T{steps}")
    assert Clip.read(result["clip"]) == clip
    assert 0 < result["steps_clipped"] <= steps
    assert result["weights_sha256"] != free.sha(f"T{steps}")
    for row in one.rows:
        fires = float(row["observed"]) > float(row["limit"])
        assert row["clipped"] == str(int(fires)) == str(int(float(row["share"]) > 0))
    # Norms are the same until the first step that was clipped.
    assert [row["clipped"] for row in one.rows[:first]] == ["0"] * (first - 1) + ["1"]
    norms, free_norms = ([float(row["norm"]) for row in run.rows[:first]] for run in (one, free))
    assert norms == pytest.approx(free_norms, rel=1e-8)  # some are added up tensor by tensor


@every_kind
def test_each_kind_has_a_threshold_at_which_it_trains_as_if_it_were_not_there(trained, kind):
    most = parts.find("clip_kind", kind).about["most"]
    watched = trained(replace(MOMENTUM, clip=Clip.of(kind, most)), "T4", at="watched")
    free = trained(replace(MOMENTUM, clip=math.inf), "T4", at="free")
    assert watched.sha("T4") == free.sha("T4")
    assert watched.measures("T4")["steps_clipped"] == 0


@every_kind
def test_a_step_gives_each_field_of_the_clips_telemetry_its_name(digits, kind):
    assert Step._fields == ("loss", *Telemetry._fields)
    run = Run(replace(MOMENTUM, clip=firing(kind, digits).clip), Dataset.load(digits), set())
    told, clip = [], run.clip
    run.clip = lambda gradients: told.append(clip(gradients)) or told[0]
    assert update(run)[1:] == told[0]


@pytest.mark.parametrize("c", [2.0, 0.25])
@pytest.mark.parametrize("kind", ["norm", "l1norm", "maxnorm", "layer"])
def test_always_clipped_momentum_depends_on_threshold_times_learning_rate_alone(trained, kind, c):
    """(λ, η) and (λ/c, c·η) are the same run, bit for bit where c is a power of two."""
    clips = Clip.of(kind, 2.0**-10), Clip.of(kind, 2.0**-10 / c)
    one = replace(MOMENTUM, clip=clips[0], learning_rate=0.5, optimizer="momentum")
    other = replace(one, clip=clips[1], learning_rate=c * one.learning_rate)
    first, second = trained(one, "T5", at="one"), trained(other, "T5", at="other")
    assert {row["clipped"] for row in first.rows} == {"1"}
    assert first.sha("T5") == second.sha("T5")
    losses = [[row["loss"] for row in run.rows] for run in (first, second)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("c", [2.0, 0.25])
def test_always_clipped_rmsprop_depends_on_threshold_over_epsilon_alone(trained, c):
    """(λ, ε) and (c·λ, c·ε) are the same run, bit for bit where c is a power of two."""
    one, other = (
        replace(RMSPROP, clip=0.125 * times, optimizer=f"rmsprop:eps={2.0**-10 * times}")
        for times in (1, c)
    )
    first, second = trained(one, "T5", at="one"), trained(other, "T5", at="other")
    assert {row["clipped"] for row in first.rows} == {"1"}
    assert first.sha("T5") == second.sha("T5")


@pytest.mark.parametrize("model", NETS, ids=family)
def test_agc_leaves_the_classifier_alone(digits, model):
    trajectory = replace(MOMENTUM, model=model, clip="agc1e-06")
    run = Run(trajectory, Dataset.load(digits), decays=set())
    for gradient in run.weights.gradients:
        gradient.fill_(1)
    run.clip(run.weights.gradients)
    gradients = zip(run.model.named_parameters(), run.weights.gradients, strict=True)
    untouched = [name for (name, _), gradient in gradients if (gradient == 1).all()]
    layer = {"alexnet": "classifier.6", "vgg11": "classifier.6", "resnet18": "fc"}[family(model)]
    assert untouched == [f"{layer}.weight", f"{layer}.bias"]


# ---- what a step costs and is made of -----------------------------------------------------------


def test_a_run_that_is_over_leaves_its_memory_to_the_next_one(digits, monkeypatch):
    """At once: on a GPU there may be no room for two, and a collector doesn't know."""
    monkeypatch.setattr(loading, "RESIDENT_BYTES", 0)
    gc.collect()
    gc.disable()
    try:
        run = Run(MOMENTUM, Dataset.load(digits), decays={0.9})
        advance(run, 3)
        measure(run, 0.9)
        gone = weakref.ref(run)
        del run
        assert gone() is None
    finally:
        gc.enable()


def test_training_imports_nothing_that_it_does_without(digits, tmp_path):
    """torch's compiler takes two seconds of each process to import, and the others about one."""
    script = f"""
import sys
from pathlib import Path
from trials import MOMENTUM, RMSPROP, replace
from clipgrid.study.cells import Readout
from clipgrid.training import pack
adamw = replace(RMSPROP, optimizer="adamw")
runs = {{t: [Readout.parse("T2"), Readout.parse("T4_ema0.9")] for t in (MOMENTUM, RMSPROP, adamw)}}
for _ in range(2):  # the second time from its states
    files = Path("rows.jsonl"), Path("histories.csv")
    pack.train(runs, Path({str(digits)!r}), *files, Path("store"))
    for file in Path("store").glob("*/T4*"):
        file.unlink()
print([m for m in ("torch._dynamo", "sympy", "torchvision", "pandas") if m in sys.modules])
"""
    command = [sys.executable, "-c", script]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.returncode) == ("[]\n", 0), run.stderr


@pytest.mark.parametrize("n", [2, 4])
def test_a_batch_in_parts_is_clipped_once_by_the_norm_of_its_sum(digits, n):
    runs = [
        Run(trajectory, Dataset.load(digits), decays=set())
        for trajectory in (MOMENTUM, replace(MOMENTUM, accumulation_steps=n))
    ]
    for run in runs:
        for module in run.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # its masks are of the parts
    one, other = (seen([update(run), update(run)]) for run in runs)
    assert (one["share"] == 1).all()
    torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)
    for a, b in zip(*(run.model.parameters() for run in runs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_bfloat16_is_of_the_forward_pass_alone(digits, trained):
    reduced = replace(MOMENTUM, precision="bfloat16")
    run, full = (Run(t, Dataset.load(digits), decays=set()) for t in (reduced, MOMENTUM))
    dtypes = set()
    for module in run.model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _, __, out: dtypes.add(out.dtype))
    step, full_step = update(run), update(full)
    assert dtypes == {torch.bfloat16}
    assert {p.dtype for p in run.model.parameters()} == {torch.float32}
    for name in ("loss", "norm"):
        value, full_value = getattr(step, name), getattr(full_step, name)
        assert value != full_value
        torch.testing.assert_close(value, full_value, rtol=0.05, atol=0)
    assert trained(reduced, "T4", at="one").results == trained(reduced, "T4", at="two").results


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_float32_is_ieees_and_not_tf32_on_a_gpu(precision):
    set_up_process(precision)
    for backend in (torch.backends.cudnn.conv, torch.backends.cuda.matmul):
        assert (backend.fp32_precision == "tf32") is (precision == "tf32")
    assert torch.backends.cudnn.allow_tf32 is (precision == "tf32")  # torch.compile reads it


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"accumulation_steps": 2, "compile": "reduce-overhead"}, "overwritten by the next part"),
        ({"accumulation_steps": 3}, "3 doesn't divide the batch of 8"),
        ({"gpus_per_run": 3}, "3 doesn't divide the batch of 8"),
        ({"precision": "tf32"}, "tf32 is of GPUs"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        replace(MOMENTUM, **settings)


QUICK_TO_COMPILE = "resnet10:width=0.125"


def test_a_compiled_model_trains_like_the_plain_one_or_says_what_it_lacks(trained):
    plain = replace(MOMENTUM, model=QUICK_TO_COMPILE)
    compiled = replace(plain, compile="default")
    if shutil.which("c++") is None:
        with pytest.raises(InputError, match=r"C\+\+ compiler"):
            trained(compiled, "T4")
        return
    trained(compiled, "T2", at="compiled")
    continued, straight = trained(compiled, "T4", at="compiled"), trained(plain, "T4")
    for one, other in zip(continued.rows, straight.rows, strict=True):
        assert float(one["loss"]) == pytest.approx(float(other["loss"]), rel=1e-3)
    again = trained(compiled, "T2", "T4", at="again")
    assert (again.cells["T4"], again.history) == (continued.cells["T4"], continued.history)


needs_a_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="there is no c++ here")


@pytest.fixture
def graphs():
    """A function: how many the compiler has made since."""
    compile_only.cache_clear()
    before = counters["stats"]["unique_graphs"]
    return lambda: counters["stats"]["unique_graphs"] - before


@needs_a_compiler
def test_what_is_compiled_for_a_run_serves_the_next_ones_to_the_same_bits(trained, graphs):
    runs = [
        replace(MOMENTUM, model=QUICK_TO_COMPILE, compile="default", seed=seed) for seed in range(3)
    ]
    packed = trained.pack({run: ["T2"] for run in runs})
    assert graphs() == 1
    compile_only.cache_clear()
    alone = trained(runs[2], "T2", at="alone")
    assert graphs() == 2
    assert packed[runs[2].name].results == alone.results


@needs_a_compiler
def test_a_model_is_compiled_where_processes_share_its_batches_too(
    digits, tmp_path, monkeypatch, graphs
):
    monkeypatch.setattr(
        distributed, "wrap", lambda model, _: torch.nn.parallel.DistributedDataParallel(model)
    )
    file = f"file://{tmp_path / 'meeting'}"
    torch.distributed.init_process_group("gloo", init_method=file, rank=0, world_size=1)
    try:
        trajectory = replace(MOMENTUM, model=QUICK_TO_COMPILE, compile="default")
        advance(Run(trajectory, Dataset.load(digits), set()), 2)
    finally:
        torch.distributed.destroy_process_group()
    assert graphs() == 1


def test_the_compiler_forgets_what_another_net_or_batch_was_compiled_to(monkeypatch):
    forgotten = []
    compile_only.cache_clear()
    monkeypatch.setattr(torch, "compile", lambda model, mode: model)
    monkeypatch.setattr(torch.compiler, "reset", lambda: forgotten.append(True))
    one = replace(MOMENTUM, compile="default")
    graph = replace(one, compile="reduce-overhead")
    for changed, times in (
        (one, 1),
        (replace(one, seed=1, learning_rate=0.1, clip=2), 0),
        (replace(one, model="alexnet:width=0.25"), 1),
        (one, 1),
        (replace(one, batch_size=4), 1),
        (replace(one, accumulation_steps=2), 0),
        (replace(one, precision="bfloat16"), 1),
        (graph, 1),
        (graph, 1),
        (MOMENTUM, 0),
    ):
        forgotten.clear()
        compiled(torch.nn.Identity(), changed, (1, 8, 10))
        assert len(forgotten) == times, changed


# ---- divergence ---------------------------------------------------------------------------------

METRICS = [
    f"{split}_{metric}"
    for split in ("train", "validation", "test")
    for metric in ("loss", "accuracy")
]


def test_a_run_that_diverges_says_when_and_has_no_metrics(trained):
    run = trained(DIVERGING, "T4", "T4_ema0.9")
    rows = run.rows
    for name in ("T4", "T4_ema0.9"):
        result = run.measures(name)
        assert result["status"] == "diverged"
        assert result["diverged_at"] == result["steps"] == len(rows) < 4
        assert {result[metric] for metric in METRICS} == {None}
        assert "weights_sha256" not in result
    assert [row["finite"] for row in rows] == ["1"] * (len(rows) - 1) + ["0"]


def test_the_state_of_a_diverged_run_is_its_record_and_no_weights(trained):
    run = trained(DIVERGING, "T4", "T4_ema0.9")
    state = torch.load(trained.store(DIVERGING) / "00000004.pt", weights_only=True)["content"]
    assert set(state) == {"step", "history", "sessions", "averages"}
    assert state["averages"] == {0.9: None}
    history = History(**state["history"])
    assert history.diverged_at == len(history) == run.measures("T4")["diverged_at"]
    assert history.steps["loss"][:-1].isfinite().all()


def test_a_diverged_run_is_not_trained_further(trained):
    four = trained(DIVERGING, "T4", at="four")
    eight = trained(DIVERGING, "T4", "T8", at="eight")
    later = trained(DIVERGING, "T8", at="four")
    assert eight.history == later.history == four.history
    first, last = eight.measures("T4"), eight.measures("T8")
    assert {key for key in first if first[key] != last[key]} == {"cell", "iterations"}
    assert later.cells["T8"] == eight.cells["T8"]


def test_the_sessions_of_a_diverged_run_end_where_it_diverged(trained):
    run = trained(DIVERGING, "T4", "T8")
    assert run.session_steps == [(0, run.measures("T4")["diverged_at"])]


def test_a_diverged_run_asked_for_again_gives_the_same_files(trained):
    first = trained(DIVERGING, "T4", "T8")
    assert trained(DIVERGING, "T4", "T8") == first
    trained.forget_measures(DIVERGING)
    again = trained(DIVERGING, "T4", "T8")
    assert again.results == first.results
    assert again.sessions == first.sessions


def test_a_look_just_before_the_divergence_is_strict_json_too(trained):
    run = trained(DIVERGING, "T1", "T4")
    assert run.measures("T4")["diverged_at"] == 2
    assert run.measures("T1")["steps"] == 1

"""The trainer: resumed, averaged and clipped runs are the runs that they should be, bit for bit."""

import csv
import json
import math
import shutil
import signal
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode

from clipgrid import InputError, models
from clipgrid.__main__ import main
from clipgrid.images import loading
from clipgrid.images.data import Dataset
from clipgrid.study.grid import Readout, Trajectory, digest
from clipgrid.training.trainer import (
    Batches,
    Checkpoints,
    Run,
    collapsed_below,
    derive,
    generator,
    train,
)

MOMENTUM = Trajectory(
    model="alexnet",
    optimizer="momentum",
    learning_rate=0.01,
    threshold=1.0,
    augmentation="flip+crop",
    seed=0,
    width=0.125,
    batch_size=8,
    weight_decay=5e-4,
    evaluate_every=2,
)
RMSPROP = replace(MOMENTUM, optimizer="rmsprop", learning_rate=1e-3, momentum=0.0)
COLUMNS = [0, 1, 4]  # loss, norm, coefficient
KINDS = {  # thresholds at which each kind clips some steps of MOMENTUM, and not all of them away
    **{"norm": 1, "l1norm": 50, "maxnorm": 0.1, "value": 0.05, "layer": 0.5, "agc": 0.01},
    **{"autoclip": 50, "zclip": 0.1},
}
DIVERGING = replace(MOMENTUM, learning_rate=1e30, threshold=math.inf, evaluate_every=100)


@pytest.fixture(autouse=True)
def torchs_switches_put_back():
    """train() makes torch deterministic for its whole process: here, that ends with the test."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    torch.set_num_threads(1)  # tests run side by side
    yield
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = benchmark


@pytest.fixture
def trained(digits, tmp_path):
    """A function: train to these readouts below a folder, and give the text of each file made."""

    def run(trajectory, *names, at="run", every=60):
        out, store = tmp_path / at / "out", tmp_path / at / "store"
        train(trajectory, [Readout.parse(name) for name in names], digits, out, store, every)
        return {path.name: path.read_text() for path in out.iterdir()}

    return run


def states(tmp_path, trajectory, digits, at="run"):
    """The folder of the trajectory's states."""
    return tmp_path / at / "store" / digest(trajectory.spec(Dataset.load(digits).checksum))


def history(files):
    return list(csv.DictReader(files["history.csv"].splitlines()))


def without_limit(rows):
    return [{name: value for name, value in row.items() if name != "limit"} for row in rows]


def strict_json(text):
    """JSON as its standard has it: no NaN, no Infinity."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def results(files):
    """All but run.json, which holds times."""
    return {name: text for name, text in files.items() if name != "run.json"}


def sessions(files):
    """Who trained which steps, and how long it took: equal only where it is the same training."""
    return json.loads(files["run.json"])["sessions"]


def session_steps(files):
    return [(session["from"], session["to"]) for session in sessions(files)]


def sha(text):
    return json.loads(text)["weights_sha256"]


# ---- randomness ---------------------------------------------------------------------------------


@given(size=st.integers(1, 20), batch_size=st.integers(1, 50), seed=st.integers(0, 9))
def test_each_epoch_is_a_permutation_of_the_training_set(size, batch_size, seed):
    batches = Batches(seed, size, batch_size)
    drawn = [batches[step] for step in range(math.ceil(3 * size / batch_size))]
    assert {len(batch) for batch in drawn} == {batch_size}
    for epoch in torch.cat(drawn)[: 3 * size].split(size):
        assert torch.equal(epoch.sort().values, torch.arange(size))


@given(st.integers(1, 20), st.integers(1, 50), st.lists(st.integers(0, 30), max_size=8))
def test_a_batch_does_not_depend_on_what_was_asked_before(size, batch_size, steps):
    batches = Batches(0, size, batch_size)
    for step in steps:
        assert torch.equal(batches[step], Batches(0, size, batch_size)[step])


def test_epochs_and_seeds_differ_in_their_order():
    first, second = (Batches(0, 100, 100)[step] for step in (0, 1))
    assert not torch.equal(first, second)
    assert not torch.equal(first, Batches(1, 100, 100)[0])


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
    trajectory = replace(MOMENTUM, threshold=threshold, augmentation="none")
    run = Run(trajectory, dataset, decays=set())
    telemetry = torch.stack([run.train_step(), run.train_step()])

    torch.manual_seed(derive(trajectory.seed, "weights", 0))
    model = models.build("alexnet", 1, 8, 10, 0.125)
    parameters = list(model.parameters())
    velocities = [torch.zeros_like(p) for p in parameters]
    batches = Batches(trajectory.seed, len(dataset.train), 8)
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
        assert telemetry[step, COLUMNS].tolist() == pytest.approx(
            [loss.item(), norm, coefficient], rel=1e-5
        )

    assert (telemetry[:, -1] == (threshold == 0.5)).all()
    for ours, plain in zip(run.model.parameters(), parameters, strict=True):
        torch.testing.assert_close(ours.detach(), plain.detach(), rtol=0, atol=1e-6)


def test_the_moving_average_follows_its_recursion_with_warm_up(digits):
    decays = {0.15, 0.9}  # one that the warm-up reaches in these steps, one that it doesn't
    run = Run(replace(MOMENTUM, model="resnet18"), Dataset.load(digits), decays)
    expected = {decay: {k: w.double() for k, w in run.weights.items()} for decay in decays}
    for t in range(4):
        run.train_step()
        for decay, average in expected.items():
            d = min(decay, (1 + t) / (10 + t))
            for name, weight in run.weights.items():
                average[name] = d * average[name] + (1 - d) * weight.double()
    for decay, average in expected.items():
        assert run.averages[decay].keys() == average.keys()
        for name, tensor in average.items():
            torch.testing.assert_close(
                run.averages[decay][name].double(), tensor, rtol=1e-5, atol=1e-6
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
        run.advance(7)
    assert torch.equal(read.history.steps, resident.history.steps)
    assert read.measure(None) == resident.measure(None)


def test_batches_are_read_before_they_are_asked_for(digits, monkeypatch):
    monkeypatch.setattr(loading, "RESIDENT_BYTES", 0)
    images = loading.Images(Dataset.load(digits).images, torch.device("cpu"))
    asked = []
    stream = images.batches(asked.append(t) or torch.tensor([t]) for t in range(10))
    index, some = next(stream)
    assert (index.tolist(), asked) == ([0], list(range(1 + loading.AHEAD)))
    assert torch.equal(some, images.images[[0]])
    assert [index.item() for index, _ in stream] == list(range(1, 10))


def test_what_has_collapsed_is_hardly_above_chance():
    assert [collapsed_below(k) for k in (10, 100)] == [0.2, 0.02]
    assert collapsed_below(2) == pytest.approx(0.5 + 0.5 / 9)
    assert all(1 / k < collapsed_below(k) < 0.6 for k in range(2, 1001))


def test_a_cosine_schedule_is_torchs(digits):
    run = Run(replace(MOMENTUM, cosine_steps=6), Dataset.load(digits), set())
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=MOMENTUM.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=6)
    for _ in range(6):
        run.train_step()
        used = [group["lr"] for group in run.optimizer.param_groups]
        assert used == pytest.approx(schedule.get_last_lr())
        optimizer.step()
        schedule.step()


def test_a_part_of_the_training_images_is_drawn_by_the_seed_and_nothing_else_is_trained_on(digits):
    dataset = Dataset.load(digits)
    few = replace(MOMENTUM, train_images=20)
    drawn = [set(Run(replace(few, seed=s), dataset, set()).train_index.tolist()) for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(d) == 20 and d <= set(dataset.train.tolist()) for d in drawn)
    run = Run(few, dataset, set())
    assert len(torch.cat([run.train_index[run.batches[t]] for t in range(10)]).unique()) == 20


def test_more_training_images_than_there_are_is_an_error(digits):
    with pytest.raises(InputError, match=r"train_images: 5000 is more than .* 1149"):
        Run(replace(MOMENTUM, train_images=5000), Dataset.load(digits), set())


def test_label_noise_exchanges_its_share_of_the_training_labels_and_no_others(digits):
    dataset = Dataset.load(digits)
    labels = Run(replace(MOMENTUM, label_noise=0.4), dataset, set()).labels
    changed = labels != dataset.labels
    n = len(dataset.train)
    assert abs(changed[dataset.train].sum() - 0.4 * n) < 4 * math.sqrt(0.24 * n)
    assert not changed[torch.cat([dataset.validation, dataset.test])].any()
    assert set(labels.tolist()) == set(range(10))
    assert torch.equal(Run(MOMENTUM, dataset, set()).labels, dataset.labels)


@pytest.mark.parametrize(
    "setting", [{"cosine_steps": 9}, {"train_images": 20}, {"label_noise": 0.4}], ids=str
)
def test_an_unusual_run_that_is_continued_is_the_run_that_was_never_interrupted(trained, setting):
    trajectory = replace(MOMENTUM, **setting)
    straight = trained(trajectory, "T6", at="straight")
    trained(trajectory, "T3", at="parts")
    continued = trained(trajectory, "T6", at="parts")
    assert continued["T6.json"] == straight["T6.json"]
    assert history(continued) == history(straight)


# ---- what is written ----------------------------------------------------------------------------


def test_a_run_writes_a_result_for_each_readout_and_a_row_for_each_step(trained):
    files = trained(MOMENTUM, "T4", "T6", "T6_ema0.9")
    assert set(files) == {"T4.json", "T6.json", "T6_ema0.9.json", "history.csv", "run.json"}
    rows = history(files)
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows if row["validation_loss"]] == ["2", "4", "6"]
    assert {row["learning_rate"] for row in rows} == {"0.01"}
    for row in rows:
        norm, coefficient = float(row["norm"]), float(row["coefficient"])
        assert coefficient == pytest.approx(min(1, 1 / norm))
        assert (row["clipped"], row["finite"]) == (str(int(norm > 1)), "1")


def test_a_result_says_which_cell_it_is_and_sums_its_history_up(trained):
    files = trained(MOMENTUM, "T4", "T6_ema0.9")
    result = strict_json(files["T6_ema0.9.json"])
    norms = [float(row["norm"]) for row in history(files)]
    assert result["cell"] == f"{MOMENTUM.name}/T6_ema0.9"
    assert (result["iterations"], result["ema"], result["steps"]) == (6, 0.9, 6)
    assert (result["model"], result["threshold"], result["seed"]) == ("alexnet", "1", 0)
    assert result["steps_clipped"] == sum(norm > 1 for norm in norms) > 0
    assert result["clip_fraction"] == result["steps_clipped"] / 6
    assert result["norm_max"] == max(norms)
    assert result["diverged_at"] is None
    assert strict_json(files["T4.json"])["steps"] == 4


@pytest.mark.parametrize("name", ["T4", "T4_ema0.9"])
def test_losses_and_accuracies_are_of_each_split_by_the_weights_named(trained, digits, name):
    dataset = Dataset.load(digits)
    result = strict_json(trained(MOMENTUM, name)[f"{name}.json"])
    run = Run(MOMENTUM, dataset, decays={0.9})
    run.advance(4)
    run.model.load_state_dict(run.weights if name == "T4" else run.averages[0.9])
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


# ---- continued runs -----------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["alexnet", "vgg11", "resnet18"])
@pytest.mark.parametrize("base", [MOMENTUM, RMSPROP], ids=["momentum", "rmsprop"])
def test_a_continued_run_is_the_run_that_was_never_interrupted(trained, model, base):
    trajectory = replace(base, model=model)
    straight = trained(trajectory, "T6", "T6_ema0.9", at="straight")
    trained(trajectory, "T3", "T3_ema0.9", at="continued")
    continued = trained(trajectory, "T6", "T6_ema0.9", at="continued")
    assert session_steps(continued) == [(0, 3), (3, 6)]
    assert results(straight).items() <= results(continued).items()


def test_a_shorter_run_is_the_beginning_of_a_longer_one(trained):
    longer = trained(MOMENTUM, "T3", "T6", at="longer")
    shorter = trained(MOMENTUM, "T3", at="shorter")
    assert longer["T3.json"] == shorter["T3.json"]
    assert longer["history.csv"].startswith(shorter["history.csv"])
    assert trained(MOMENTUM, "T3", at="longer")["history.csv"] == shorter["history.csv"]


def test_a_run_asked_for_again_is_not_trained_again(trained):
    first = trained(MOMENTUM, "T3", "T5")
    again = trained(MOMENTUM, "T3", "T5")
    assert results(again) == results(first)
    assert sessions(again) == sessions(first)


def test_how_often_a_run_is_looked_at_changes_no_weight(trained):
    often = trained(MOMENTUM, "T5", at="often")
    seldom = trained(replace(MOMENTUM, evaluate_every=100), "T5", at="seldom")
    assert sha(often["T5.json"]) == sha(seldom["T5.json"])


@pytest.mark.parametrize("model", ["alexnet", "resnet18"])
def test_moving_averages_do_not_change_the_training(trained, model):
    trajectory = replace(MOMENTUM, model=model)
    without = trained(trajectory, "T4", at="without")
    averaged = trained(trajectory, "T4", "T4_ema0.9", "T4_ema0.1", at="with")
    assert averaged["T4.json"] == without["T4.json"]
    assert averaged["history.csv"] == without["history.csv"]
    shas = {sha(averaged[f"{name}.json"]) for name in ("T4", "T4_ema0.9", "T4_ema0.1")}
    assert len(shas) == 3


def test_without_warm_up_the_average_is_the_plain_recursion(digits):
    run = Run(replace(MOMENTUM, ema_warmup=1), Dataset.load(digits), {0.9})
    plain = AveragedModel(run.model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    plain.update_parameters(run.model)  # its first update is a copy
    for _ in range(4):
        run.train_step()
        plain.update_parameters(run.model)
    for name, tensor in plain.module.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(run.averages[0.9][name], tensor), name


def test_a_decay_added_later_leads_to_the_same_weights(trained):
    raw = trained(MOMENTUM, "T4", at="later")
    later = trained(MOMENTUM, "T4", "T4_ema0.9", at="later")
    at_once = trained(MOMENTUM, "T4", "T4_ema0.9", at="at once")
    assert results(raw).items() <= results(later).items()
    assert results(later) == results(at_once)


# ---- checkpoints --------------------------------------------------------------------------------


class Crash(Exception):
    pass


@pytest.fixture
def crash_at(monkeypatch):
    """A function: let the process die right after that step, as far as a test can let it die."""

    def arm(step):
        train_step = Run.train_step

        def dying(run):
            if run.step == step:
                raise Crash
            return train_step(run)

        monkeypatch.setattr(Run, "train_step", dying)

    yield arm


def checkpoints(tmp_path, trajectory, digits, at="run"):
    return sorted(p.name for p in states(tmp_path, trajectory, digits, at).glob("checkpoint-*"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("base", [MOMENTUM, RMSPROP], ids=["momentum", "rmsprop"])
def test_a_run_goes_on_from_its_last_checkpoint_bit_for_bit(
    trained, tmp_path, digits, monkeypatch, crash_at, base, kind
):
    last = 29 if kind == "zclip" else 7
    trajectory = replace(base, clip=kind, threshold=KINDS[kind])
    names = ("T3", f"T{last}", f"T{last}_ema0.9")
    straight = trained(trajectory, *names, at="straight")
    with pytest.raises(Crash):
        crash_at(last - 2)
        trained(trajectory, *names, every=1e-9)
    monkeypatch.undo()
    assert checkpoints(tmp_path, trajectory, digits) == [f"checkpoint-{last - 2:08d}.pt"]
    continued = trained(trajectory, *names)
    assert results(continued) == results(straight)
    assert session_steps(continued) == [(0, 3), (3, last - 2), (last - 2, last)]
    assert checkpoints(tmp_path, trajectory, digits) == []


def test_how_often_a_run_is_saved_changes_nothing(trained):
    seldom = trained(MOMENTUM, "T5", "T5_ema0.9", at="seldom")
    often = trained(MOMENTUM, "T5", "T5_ema0.9", at="often", every=1e-9)
    assert results(often) == results(seldom)
    assert session_steps(often) == session_steps(seldom) == [(0, 5)]


def test_a_checkpoint_from_before_a_t_that_is_asked_for_later_does_not_hide_that_t(
    trained, tmp_path, digits, monkeypatch, crash_at
):
    with pytest.raises(Crash):
        crash_at(5)
        trained(MOMENTUM, "T7", every=1e-9)
    monkeypatch.undo()
    assert checkpoints(tmp_path, MOMENTUM, digits) == ["checkpoint-00000005.pt"]
    trained(MOMENTUM, "T5")
    kept = {path.name for path in states(tmp_path, MOMENTUM, digits).iterdir()}
    assert kept == {"00000005.pt"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("short")])
def test_a_state_that_can_not_be_written_is_a_warning(
    trained, tmp_path, digits, monkeypatch, capsys, error
):
    clean = trained(MOMENTUM, "T4", at="clean")

    def full(state, path):
        path.write_bytes(b"half a state")
        raise error

    with monkeypatch.context() as context:
        context.setattr(torch, "save", full)
        files = trained(MOMENTUM, "T4", every=1e-9)
    assert results(files) == results(clean)
    said = capsys.readouterr().err
    assert "checkpoint-00000001.pt can't be written" in said
    assert "00000004.pt can't be written" in said
    assert list(states(tmp_path, MOMENTUM, digits).iterdir()) == []


def test_signals_are_caught_while_a_run_is_under_way_and_not_after(trained):
    before = [signal.getsignal(number) for number in Checkpoints.SIGNALS]
    trained(MOMENTUM, "T1")
    assert [signal.getsignal(number) for number in Checkpoints.SIGNALS] == before


def test_what_a_killed_process_left_half_written_is_swept_away(trained, tmp_path, digits):
    folder = states(tmp_path, MOMENTUM, digits)
    folder.mkdir(parents=True)
    for name in ("00000002.99.tmp", "checkpoint-00000001.99.tmp", "checkpoint-00000001.pt"):
        (folder / name).write_bytes(b"half a state")
    assert results(trained(MOMENTUM, "T3")) == results(trained(MOMENTUM, "T3", at="clean"))
    assert [path.name for path in folder.iterdir()] == ["00000003.pt"]


# ---- stored states that are no use --------------------------------------------------------------


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_torn_state_is_passed_over(trained, tmp_path, digits, capsys, share):
    clean = trained(MOMENTUM, "T3", "T5")
    torn = states(tmp_path, MOMENTUM, digits) / "00000005.pt"
    content = torn.read_bytes()
    torn.write_bytes(content[: int(share * len(content))])
    again = trained(MOMENTUM, "T3", "T5")
    assert f"passing over {torn}" in capsys.readouterr().err
    assert results(again) == results(clean)
    assert session_steps(again) == [(0, 3), (3, 5)]
    assert sessions(again)[0] == sessions(clean)[0]  # only the steps after the whole state
    assert sessions(trained(MOMENTUM, "T3", "T5")) == sessions(again)  # the state was replaced


def test_a_state_of_another_spec_is_not_used(trained, tmp_path, digits):
    other = replace(MOMENTUM, seed=1)
    clean = trained(MOMENTUM, "T3", at="clean")
    trained(other, "T3")
    states(tmp_path, other, digits).rename(states(tmp_path, MOMENTUM, digits))
    assert results(trained(MOMENTUM, "T3")) == results(clean)


def test_a_state_holds_only_what_weights_only_can_load(trained, tmp_path, digits):
    trained(MOMENTUM, "T3", "T3_ema0.9")
    state = torch.load(states(tmp_path, MOMENTUM, digits) / "00000003.pt", weights_only=True)
    assert state["step"] == 3


@pytest.mark.parametrize("name", ["00000003.pt", "notes.pt"])
def test_a_foreign_file_among_the_states_is_not_used(trained, tmp_path, digits, name):
    clean = trained(MOMENTUM, "T3", at="clean")
    folder = states(tmp_path, MOMENTUM, digits)
    folder.mkdir(parents=True)
    torch.save({"weights": torch.zeros(3)}, folder / name)
    assert results(trained(MOMENTUM, "T3")) == results(clean)


# ---- clipping in the loop -----------------------------------------------------------------------


def test_no_clipping_is_clipping_above_every_norm_bit_for_bit(trained):
    unclipped = trained(replace(MOMENTUM, threshold=math.inf), "T4", at="unclipped")
    above = trained(replace(MOMENTUM, threshold=1e9), "T4", at="above")
    assert without_limit(history(unclipped)) == without_limit(history(above))
    assert sha(unclipped["T4.json"]) == sha(above["T4.json"])
    assert strict_json(unclipped["T4.json"])["threshold"] == "inf"


def test_two_thresholds_share_the_run_up_to_the_first_step_that_one_of_them_clips(trained):
    unclipped = history(trained(replace(MOMENTUM, threshold=math.inf), "T6", at="unclipped"))
    norms = [float(row["norm"]) for row in unclipped]
    first = next(i for i in range(1, 6) if norms[i] > max(norms[:i]))
    threshold = (norms[first] + max(norms[:first])) / 2
    clipped = history(trained(replace(MOMENTUM, threshold=threshold), "T6", at="clipped"))
    clipped, unclipped = without_limit(clipped), without_limit(unclipped)
    assert clipped[:first] == unclipped[:first]
    assert clipped[first]["norm"] == unclipped[first]["norm"]
    assert (clipped[first]["clipped"], unclipped[first]["clipped"]) == ("1", "0")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_clips_some_steps_and_differs_from_no_clipping(trained, kind):
    steps = 30 if kind == "zclip" else 6  # ZClip lets its first 25 pass
    trajectory = replace(MOMENTUM, clip=kind, threshold=KINDS[kind], evaluate_every=100)
    files = trained(trajectory, f"T{steps}", at=kind)
    free = trained(replace(trajectory, clip="norm", threshold=math.inf), f"T{steps}", at="free")
    result = strict_json(files[f"T{steps}.json"])
    assert result["clip"] == kind
    assert 0 < result["steps_clipped"] <= steps
    assert result["weights_sha256"] != sha(free[f"T{steps}.json"])
    for row in history(files):
        fires = float(row["observed"]) > float(row["limit"])
        assert row["clipped"] == str(int(fires)) == str(int(float(row["share"]) > 0))
    # Norms are the same until the first step that was clipped.
    first = next(i for i, row in enumerate(history(files)) if row["clipped"] == "1")
    norms, free_norms = ([float(row["norm"]) for row in history(f)] for f in (files, free))
    assert norms[: first + 1] == pytest.approx(free_norms[: first + 1], rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_a_threshold_at_which_it_trains_as_if_it_were_not_there(trained, kind):
    threshold = 100 if kind == "autoclip" else math.inf
    watched = trained(replace(MOMENTUM, clip=kind, threshold=threshold), "T4", at="watched")
    free = trained(replace(MOMENTUM, threshold=math.inf), "T4", at="free")
    assert sha(watched["T4.json"]) == sha(free["T4.json"])
    assert strict_json(watched["T4.json"])["steps_clipped"] == 0


@pytest.mark.parametrize("c", [2.0, 0.25])
@pytest.mark.parametrize("kind", ["norm", "l1norm", "maxnorm", "layer"])
def test_always_clipped_momentum_depends_on_threshold_times_learning_rate_alone(trained, kind, c):
    """(λ, η) and (λ/c, c·η) are the same run, bit for bit where c is a power of two."""
    one = replace(MOMENTUM, clip=kind, threshold=2.0**-10, learning_rate=0.5, weight_decay=0.0)
    other = replace(one, threshold=one.threshold / c, learning_rate=c * one.learning_rate)
    first, second = trained(one, "T5", at="one"), trained(other, "T5", at="other")
    assert {row["clipped"] for row in history(first)} == {"1"}
    assert sha(first["T5.json"]) == sha(second["T5.json"])
    losses = [[row["loss"] for row in history(files)] for files in (first, second)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("c", [2.0, 0.25])
def test_always_clipped_rmsprop_depends_on_threshold_over_epsilon_alone(trained, c):
    """(λ, ε) and (c·λ, c·ε) are the same run, bit for bit where c is a power of two."""
    one = replace(RMSPROP, threshold=0.125, eps=2.0**-10, weight_decay=0.0)
    other = replace(one, threshold=c * one.threshold, eps=c * one.eps)
    first, second = trained(one, "T5", at="one"), trained(other, "T5", at="other")
    assert {row["clipped"] for row in history(first)} == {"1"}
    assert sha(first["T5.json"]) == sha(second["T5.json"])


@pytest.mark.parametrize("model", ["alexnet", "vgg11", "resnet18"])
def test_agc_leaves_the_classifier_alone(digits, model):
    trajectory = replace(MOMENTUM, model=model, clip="agc", threshold=1e-6)
    run = Run(trajectory, Dataset.load(digits), decays=set())
    for parameter in run.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    run.clip()
    untouched = [name for name, p in run.model.named_parameters() if (p.grad == 1).all()]
    layer = {"alexnet": "classifier.6", "vgg11": "classifier.6", "resnet18": "fc"}[model]
    assert untouched == [f"{layer}.weight", f"{layer}.bias"]


# ---- what a step costs and is made of -----------------------------------------------------------


class HostSyncs(TorchDispatchMode):
    """Notes the operators that would make the host wait for a device."""

    WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if operator.overloadpacket.__name__.startswith(self.WAITING):
            self.found.append(operator)
        return operator(*args, **(kwargs or {}))


def test_the_watch_for_host_syncs_sees_one():
    with HostSyncs() as syncs:
        torch.ones(()).item()
        bool(torch.ones(()) > 0)
    assert len(syncs.found) == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("base", [MOMENTUM, RMSPROP], ids=["momentum", "rmsprop"])
def test_no_step_waits_for_the_device(digits, kind, base):
    trajectory = replace(base, clip=kind, threshold=KINDS[kind])
    run = Run(trajectory, Dataset.load(digits), decays={0.9})
    with HostSyncs() as syncs:
        for _ in range(27 if kind == "zclip" else 2):  # past ZClip's warm-up
            run.train_step()
    assert syncs.found == []


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_is_clipped_once_by_the_norm_of_its_sum(digits, parts):
    whole = replace(MOMENTUM, threshold=1.0)
    runs = [
        Run(trajectory, Dataset.load(digits), decays=set())
        for trajectory in (whole, replace(whole, accumulation_steps=parts))
    ]
    for run in runs:
        for module in run.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # its masks are of the parts
    one, other = (torch.stack([run.train_step(), run.train_step()]) for run in runs)
    assert (one[:, -1] == 1).all()
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
    row, full_row = run.train_step(), full.train_step()
    assert dtypes == {torch.bfloat16}
    assert {p.dtype for p in run.model.parameters()} == {torch.float32}
    assert not torch.equal(row, full_row)
    torch.testing.assert_close(row[:2], full_row[:2], rtol=0.05, atol=0)
    assert (
        trained(reduced, "T4", at="one")["T4.json"] == trained(reduced, "T4", at="two")["T4.json"]
    )


def test_a_compiled_model_trains_like_the_plain_one_or_says_what_it_lacks(trained):
    plain = replace(MOMENTUM, model="resnet18")
    compiled = replace(plain, compile="default")
    if shutil.which("c++") is None:
        with pytest.raises(InputError, match=r"C\+\+ compiler"):
            trained(compiled, "T4")
        return
    trained(compiled, "T2", at="compiled")
    continued, straight = trained(compiled, "T4", at="compiled"), trained(plain, "T4")
    for one, other in zip(history(continued), history(straight), strict=True):
        assert float(one["loss"]) == pytest.approx(float(other["loss"]), rel=1e-3)
    assert results(trained(compiled, "T2", "T4", at="again")) == results(continued)


# ---- divergence ---------------------------------------------------------------------------------

METRICS = [
    f"{split}_{metric}"
    for split in ("train", "validation", "test")
    for metric in ("loss", "accuracy")
]


def test_a_run_that_diverges_says_when_and_has_no_metrics(trained):
    files = trained(DIVERGING, "T4", "T4_ema0.9")
    rows = history(files)
    for name in ("T4.json", "T4_ema0.9.json"):
        result = strict_json(files[name])
        assert result["status"] == "diverged"
        assert result["diverged_at"] == result["steps"] == len(rows) < 4
        assert {result[metric] for metric in METRICS} == {None}
        assert "weights_sha256" not in result
    assert [row["finite"] for row in rows] == ["1"] * (len(rows) - 1) + ["0"]


def test_the_state_of_a_diverged_run_is_its_record_and_no_weights(trained, tmp_path, digits):
    files = trained(DIVERGING, "T4", "T4_ema0.9")
    state = torch.load(states(tmp_path, DIVERGING, digits) / "00000004.pt", weights_only=True)
    assert state["diverged_at"] == strict_json(files["T4.json"])["diverged_at"]
    assert not {"model", "optimizer"} & set(state)
    assert state["averages"] == {0.9: None}
    assert state["history"]["steps"][:-1].isfinite()[:, :2].all()


def test_a_diverged_run_is_not_trained_further(trained):
    four = trained(DIVERGING, "T4", at="four")
    eight = trained(DIVERGING, "T4", "T8", at="eight")
    later = trained(DIVERGING, "T8", at="four")
    assert eight["history.csv"] == later["history.csv"] == four["history.csv"]
    first, last = (strict_json(eight[name]) for name in ("T4.json", "T8.json"))
    assert {key for key in first if first[key] != last[key]} == {"cell", "iterations"}
    assert later["T8.json"] == eight["T8.json"]


def test_the_sessions_of_a_diverged_run_end_where_it_diverged(trained):
    files = trained(DIVERGING, "T4", "T8")
    assert session_steps(files) == [(0, strict_json(files["T4.json"])["diverged_at"])]


def test_a_diverged_run_asked_for_again_gives_the_same_files(trained):
    first = trained(DIVERGING, "T4", "T8")
    again = trained(DIVERGING, "T4", "T8")
    assert results(again) == results(first)
    assert sessions(again) == sessions(first)


def test_a_look_just_before_the_divergence_is_strict_json_too(trained):
    files = trained(DIVERGING, "T1", "T4")
    assert strict_json(files["T4.json"])["diverged_at"] == 2
    assert strict_json(files["T1.json"])["steps"] == 1


# ---- packs --------------------------------------------------------------------------------------


def pack_arguments(runs, digits, tmp_path):
    """What a job of the workflow calls the trainer with."""
    named = [f"{t.name}:{','.join(names)}" for t, names in runs.items()]
    settings = next(iter(runs)).unnamed_flags.split()
    folders = ["--data", digits, "--out", tmp_path / "pack", "--store", tmp_path / "packed"]
    return ["train-pack", *settings, "--runs", *named, *map(str, folders)]


def test_runs_that_share_a_process_have_the_bits_of_runs_that_have_their_own(
    trained, digits, tmp_path
):
    runs = {
        replace(MOMENTUM, seed=1, clip="autoclip", threshold=50.0): ["T4", "T6_ema0.9"],
        MOMENTUM: ["T5"],
        replace(MOMENTUM, augmentation="none", label_noise=0.5): ["T5"],
    }
    assert main(pack_arguments(runs, digits, tmp_path)) == 0
    for trajectory, names in runs.items():
        folder = tmp_path / "pack" / trajectory.name
        packed = {path.name: path.read_text() for path in folder.iterdir()}
        assert results(packed) == results(trained(trajectory, *names, at=trajectory.name))


def test_a_run_that_fails_keeps_none_of_its_pack_and_is_named_with_the_reason(
    digits, tmp_path, capsys
):
    bad = replace(MOMENTUM, train_images=99_999)
    assert main(pack_arguments({bad: ["T4"], MOMENTUM: ["T4"]}, digits, tmp_path)) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("clipgrid: error: 1 of 2 runs failed: train_images: 99999 is more than")
    assert last.endswith(f"({bad.name})")
    assert (tmp_path / "pack" / MOMENTUM.name / "T4.json").exists()
    assert not (tmp_path / "pack" / bad.name / "T4.json").exists()


def test_a_fault_of_the_trainers_own_leaves_its_traceback_in_the_log(
    digits, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(Run, "train_step", lambda self: 1 / 0)
    assert main(pack_arguments({MOMENTUM: ["T4"]}, digits, tmp_path)) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "1 of 1 runs failed: division by zero" in said.splitlines()[-1]


def test_a_signal_ends_the_pack_and_not_only_the_run(digits, tmp_path, monkeypatch):
    step = Run.train_step

    def train_step(self):
        if self.step == 2:
            signal.raise_signal(signal.SIGTERM)
        return step(self)

    monkeypatch.setattr(Run, "train_step", train_step)
    runs = {MOMENTUM: ["T4"], replace(MOMENTUM, seed=1): ["T4"]}
    with pytest.raises(SystemExit) as stopped:
        main(pack_arguments(runs, digits, tmp_path))
    assert stopped.value.code == 128 + signal.SIGTERM
    assert not list((tmp_path / "pack").glob("*seed1"))


@pytest.mark.parametrize(
    ("text", "words"),
    [("../x:T4", "names no trajectory"), (f"{MOMENTUM.name}:T0", "is not a readout")],
)
def test_a_pack_of_what_is_no_run_is_refused(text, words, digits, tmp_path, capsys):
    arguments = pack_arguments({MOMENTUM: ["T4"]}, digits, tmp_path)
    arguments[arguments.index("--runs") + 1] = text
    try:
        code = main(arguments)
    except SystemExit as exit:
        code = exit.code
    assert code != 0
    assert words in capsys.readouterr().err

"""The trainer: resumed, averaged and clipped runs are the runs that they should be, bit for bit."""

import csv
import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipgrid import models
from clipgrid.data import Dataset
from clipgrid.grid import Readout, Trajectory, digest
from clipgrid.trainer import Batches, Run, derive, generator, train

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
DIVERGING = replace(MOMENTUM, learning_rate=1e30, threshold=math.inf, evaluate_every=100)


@pytest.fixture(autouse=True)
def torchs_switches_put_back():
    """train() makes torch deterministic for its whole process: here, that ends with the test."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = benchmark


@pytest.fixture
def trained(digits, tmp_path):
    """A function: train to these readouts below a folder, and give the text of each file made."""

    def run(trajectory, *names, at="run"):
        out, store = tmp_path / at / "out", tmp_path / at / "store"
        train(trajectory, [Readout.parse(name) for name in names], digits, out, store)
        return {path.name: path.read_text() for path in out.iterdir()}

    return run


def states(tmp_path, trajectory, digits, at="run"):
    """The folder of the trajectory's states."""
    return tmp_path / at / "store" / digest(trajectory.spec(Dataset.load(digits).checksum))


def history(files):
    return list(csv.DictReader(files["history.csv"].splitlines()))


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
        assert telemetry[step].tolist() == pytest.approx([loss.item(), norm, coefficient], rel=1e-5)

    assert (telemetry[:, 2] < 1).all() == (threshold == 0.5)
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


def test_a_decay_added_later_leads_to_the_same_weights(trained):
    raw = trained(MOMENTUM, "T4", at="later")
    later = trained(MOMENTUM, "T4", "T4_ema0.9", at="later")
    at_once = trained(MOMENTUM, "T4", "T4_ema0.9", at="at once")
    assert results(raw).items() <= results(later).items()
    assert results(later) == results(at_once)


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
    assert unclipped["history.csv"] == above["history.csv"]
    assert sha(unclipped["T4.json"]) == sha(above["T4.json"])
    assert strict_json(unclipped["T4.json"])["threshold"] == "inf"


def test_two_thresholds_share_the_run_up_to_the_first_step_that_one_of_them_clips(trained):
    unclipped = history(trained(replace(MOMENTUM, threshold=math.inf), "T6", at="unclipped"))
    norms = [float(row["norm"]) for row in unclipped]
    first = next(i for i in range(1, 6) if norms[i] > max(norms[:i]))
    threshold = (norms[first] + max(norms[:first])) / 2
    clipped = history(trained(replace(MOMENTUM, threshold=threshold), "T6", at="clipped"))
    assert clipped[:first] == unclipped[:first]
    assert clipped[first]["norm"] == unclipped[first]["norm"]
    assert (clipped[first]["clipped"], unclipped[first]["clipped"]) == ("1", "0")


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

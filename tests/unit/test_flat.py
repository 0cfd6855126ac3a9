"""Runs whose weights lie in one buffer: of models and optimizers of every sort, and bad ones."""

import pytest
import torch
from switches import torch_as_it_was
from torch import nn
from trials import MOMENTUM

from clipgrid import InputError
from clipgrid.images.data import Dataset
from clipgrid.study import parts
from clipgrid.study.cells import replace
from clipgrid.training.loop import advance, update
from clipgrid.training.randomness import derive
from clipgrid.training.run import Run

ALONE = replace(MOMENTUM, augmentation="none", clip=0.5)


@pytest.fixture(autouse=True)
def torch_and_registry_put_back():
    before = {kind: dict(known) for kind, known in parts.KINDS.items()}
    with torch_as_it_was():
        yield
    parts.KINDS.update(before)


@pytest.fixture
def run_of(digits):
    """A function: a run of this model, of digits of 8 px."""

    def run(build, trajectory=ALONE, decays=frozenset({0.9})):
        parts.model("mine", label="mine")(lambda channels, size, classes: build())
        return Run(replace(trajectory, model="mine"), Dataset.load(digits), set(decays))

    return run


class Net(nn.Module):
    """Of two linear layers, and what a test adds."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x):
        return self.last(torch.relu(self.first(x.flatten(1))))


def plain_step(model, run, optimizer):
    """One step of `model` by torch's own means, on the run's first batch."""
    images, labels = next(run.batches.since(0))
    torch.manual_seed(derive(0, "dropout", 0))
    nn.functional.cross_entropy(model(images), labels).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()


def of_first_seed(build):
    torch.manual_seed(derive(0, "weights", 0))
    return build()


def sgd(parameters):
    return torch.optim.SGD(parameters, 0.01, 0.9, weight_decay=5e-4)


class Tied(Net):
    def __init__(self):
        super().__init__()
        self.again = nn.Linear(64, 64)
        self.again.weight = self.first.weight

    def forward(self, x):
        return self.last(torch.relu(self.again(torch.relu(self.first(x.flatten(1))))))


class Frozen(Net):
    def __init__(self):
        super().__init__()
        self.first.requires_grad_(False)


class Normed(Net):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(64)

    def forward(self, x):
        return self.last(self.norm(self.first(x.flatten(1))))


class Mixed(Net):
    """Of three types, and with a table of integers that isn't trained."""

    def __init__(self):
        super().__init__()
        self.last.double()
        self.gain = nn.Parameter(torch.ones(64, dtype=torch.bfloat16))
        self.sparse = nn.Parameter(torch.arange(64), requires_grad=False)

    def forward(self, x):
        return self.last((self.first(x.flatten(1))[:, self.sparse] * self.gain).relu().double())


@pytest.mark.parametrize("build", [Net, Tied, Frozen, Normed, Mixed])
def test_a_step_is_that_of_torch(run_of, build):
    run, model = run_of(build), of_first_seed(build)
    plain_step(model, run, sgd(p for p in model.parameters() if p.requires_grad))
    assert update(run).share == 1
    expected = {n: t for n, t in model.state_dict().items() if t.is_floating_point()}
    assert run.weights_of(None).keys() == expected.keys()
    for name, tensor in run.model.state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=1e-5, atol=1e-7)
        if tensor.is_floating_point():
            assert torch.equal(run.weights_of(None)[name], tensor)


@pytest.mark.parametrize("build", [Tied, Frozen, Normed, Mixed])
def test_a_continued_run_is_the_run_that_was_never_interrupted(run_of, build):
    straight, first, second = (run_of(build) for _ in range(3))
    advance(straight, 6)
    advance(first, 3)
    second.load_state_dict(first.state_dict())
    advance(second, 6)
    for decay in (None, 0.9):
        for name, tensor in straight.weights_of(decay).items():
            assert torch.equal(second.weights_of(decay)[name], tensor)


def test_tied_weights_count_once_and_have_both_names(run_of):
    run = run_of(Tied)
    assert len(run.weights.gradients) == 5
    assert run.weights_of(0.9)["again.weight"] is run.weights_of(0.9)["first.weight"]


def test_frozen_weights_stay_as_they_are(run_of):
    run = run_of(Frozen)
    before = run.model.first.weight.clone()
    advance(run, 3)
    assert torch.equal(run.model.first.weight, before)
    assert len(run.weights.gradients) == 2
    torch.testing.assert_close(run.weights_of(0.9)["first.weight"], before)


def test_the_gradient_of_a_parameter_that_takes_no_part_is_zero(run_of):
    class Idle(Net):
        def __init__(self):
            super().__init__()
            self.idle = nn.Parameter(torch.ones(3))

    with_it = run_of(Idle, replace(ALONE, optimizer="momentum"))
    without = run_of(Net, replace(ALONE, optimizer="momentum"))
    steps = [(update(with_it), update(without)) for _ in range(3)]
    assert all(one.norm == other.norm for one, other in steps)
    assert torch.equal(with_it.model.idle, torch.ones(3))


@pytest.mark.parametrize("name", ["momentum", "rmsprop", "adam", "adamw"])
def test_an_optimizer_of_all_weights_at_once_is_that_of_each_tensor(run_of, name):
    """Which is how one comes that isn't declared to be elementwise."""
    part = parts.find("optimizer", name)

    @parts.optimizer("apart", label="tensor by tensor", buffers=2)
    def make(parameters, learning_rate):
        parameters = list(parameters)
        assert len(parameters) == 4
        return part.run(parameters, learning_rate)

    at_once, apart = (
        run_of(Net, replace(ALONE, optimizer=name, learning_rate=1e-3)) for name in (name, "apart")
    )
    for _ in range(3):
        for one, other in zip(update(at_once), update(apart), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    for one, other in zip(at_once.weights.flat, apart.weights.flat, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("optimizer", "theirs"),
    [
        ("momentum:weight_decay=0.1", lambda p: torch.optim.SGD(p, 0.01, 0.9, weight_decay=0.1)),
        (
            "rmsprop:weight_decay=0.1:momentum=0.5",
            lambda p: torch.optim.RMSprop(p, 0.01, weight_decay=0.1, momentum=0.5),
        ),
        (
            "adam:beta1=0.8:weight_decay=0.1",
            lambda p: torch.optim.Adam(p, 0.01, (0.8, 0.999), weight_decay=0.1),
        ),
        (
            "adamw:beta2=0.9:weight_decay=0.5",
            lambda p: torch.optim.AdamW(p, 0.01, (0.9, 0.9), weight_decay=0.5),
        ),
    ],
)
def test_an_optimizers_steps_are_torchs_of_a_clipped_gradient(run_of, optimizer, theirs):
    """Weight decay comes after clipping: an L2 penalty of all but AdamW, whose is decoupled."""
    run = run_of(Net, replace(ALONE, optimizer=optimizer, clip=0.1))
    model = of_first_seed(Net)
    optimizer, batches = theirs(model.parameters()), run.batches.since(0)
    for _ in range(5):
        assert update(run).share == 1
        images, labels = next(batches)
        nn.functional.cross_entropy(model(images), labels).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        optimizer.zero_grad()
        for ours, plain in zip(run.model.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)


def test_an_objective_is_what_is_minimised_and_cross_entropy_what_is_measured(run_of):
    @parts.objective("smoothed", label="label smoothing")
    def smoothed(logits, labels, *, epsilon: float = 0.1):
        return nn.functional.cross_entropy(logits, labels, label_smoothing=epsilon)

    run = run_of(Net, replace(ALONE, objective="smoothed:epsilon=0.5", evaluate_every=1))
    model, plain = of_first_seed(Net), of_first_seed(Net)
    images, labels = next(run.batches.since(0))
    loss = nn.functional.cross_entropy(model(images), labels, label_smoothing=0.5)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    sgd(model.parameters()).step()
    advance(run, 1)
    torch.testing.assert_close(run.history.steps["loss"].float(), loss.detach()[None])
    run.model.eval()
    for ours, theirs in zip(run.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
    everything = run.images.take(run.dataset.validation)
    looked = run.model(run.batches.normalize(everything))[:512]
    expected = nn.functional.cross_entropy(looked, run.dataset.labels[run.dataset.validation][:512])
    found = run.history.looks["validation_loss"]
    torch.testing.assert_close(found.float(), expected.detach()[None], rtol=1e-4, atol=1e-4)
    assert not torch.equal(plain.last.weight, run.model.last.weight)


# ---- what can't be trained ----------------------------------------------------------------------


class Complex(Net):
    def __init__(self):
        super().__init__()
        self.turn = nn.Parameter(torch.ones(3, dtype=torch.complex64))


class Lazy(Net):
    def __init__(self):
        super().__init__()
        self.last = nn.LazyLinear(10)


class Sparse(Net):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 64, sparse=True)

    def forward(self, x):
        return super().forward(x.flatten(1) + self.table(torch.zeros(len(x), dtype=torch.long)))


class AllFrozen(Net):
    def __init__(self):
        super().__init__()
        self.requires_grad_(False)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (
            Complex,
            "model mine: its parameter turn is of complex64, and has to be of a floating type",
        ),
        (Lazy, "model mine: its parameter last.weight has no shape yet"),
        (Sparse, "model mine: the gradient of its layer table is sparse: leave sparse=True out"),
        (AllFrozen, "model mine: none of its parameters can be trained"),
    ],
)
def test_a_model_that_can_not_be_trained_is_one_error(run_of, build, said):
    with pytest.raises(InputError, match=said):
        run_of(build)


class Replaces(Net):
    def forward(self, x):
        self.first.weight = nn.Parameter(self.first.weight.detach() * 0.9)
        return super().forward(x)


class Recounts(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen = 0.5 * self.seen + x.mean()
        return super().forward(x)


class Thaws(Frozen):
    def forward(self, x):
        self.first.requires_grad_(True)
        return super().forward(x)


class Swaps(Net):
    def forward(self, x):
        self.first.weight.data = self.first.weight.detach() * 0.9
        return super().forward(x)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (Replaces, "model mine: its forward pass puts another tensor in the place of first.weight"),
        (Recounts, "model mine: its forward pass puts another tensor in the place of seen"),
        (Thaws, "model mine: first.weight is frozen or unfrozen on the way"),
        (Swaps, "model mine: its forward pass puts another tensor in the place of first.weight"),
    ],
)
def test_a_model_that_turns_out_not_to_be_trained_is_one_error(run_of, build, said):
    run = run_of(build)
    with pytest.raises(InputError, match=said):
        advance(run, 4)


class Centred(torch.optim.SGD):
    """It puts gradients of its own in the place of the run's, and takes them away."""

    @torch.no_grad()
    def step(self):
        for parameter in (p for group in self.param_groups for p in group["params"]):
            parameter.grad = parameter.grad - parameter.grad.mean()
        super().step()
        self.zero_grad()


def test_an_optimizer_may_put_gradients_of_its_own_in_their_place(run_of):
    parts.optimizer("centred", label="centred", buffers=0)(lambda p, rate: Centred(p, rate))
    run, model = run_of(Net, replace(ALONE, optimizer="centred")), of_first_seed(Net)
    optimizer = Centred(model.parameters(), 0.01)
    batches = run.batches.since(0)
    for _ in range(3):
        update(run)
        images, labels = next(batches)
        nn.functional.cross_entropy(model(images), labels).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    for ours, theirs in zip(run.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_an_optimizer_that_moves_the_weights_elsewhere_is_one_error(run_of):
    class Moves(torch.optim.SGD):
        def step(self):
            for parameter in self.param_groups[0]["params"]:
                parameter.data = parameter.data - 0.01 * parameter.grad

    parts.optimizer("moves", label="moves", buffers=0)(lambda p, rate: Moves(p, rate))
    with pytest.raises(InputError, match="its optimizer puts other tensors in the place"):
        advance(run_of(Net, replace(ALONE, optimizer="moves")), 4)


def test_whether_an_optimizer_is_elementwise_is_in_the_key():
    keys = []
    for about in ({}, {"elementwise": True}):
        parts.optimizer("mine", label="mine", buffers=0, **about)(sgd)
        keys.append(parts.choose("optimizer", "mine").key)
    assert keys[0] != keys[1]

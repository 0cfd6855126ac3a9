"""The library's Clipper: it clips as the functions do, in the loops that people have, and says what
it saw and what looks wrong."""

import copy
import csv
import io
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from clipgrid import clipping
from clipgrid.clipping import Clipper
from clipgrid.clipping import clipper as clipper_module
from clipgrid.clipping.kinds import KINDS, meant
from clipgrid.clipping.kinds import Clip as LibrarysClip
from clipgrid.clipping.record import COLUMNS
from clipgrid.study import parts
from clipgrid.study.cells import Clip
from clipgrid.study.fields import meant_clip

every_kind = pytest.mark.parametrize("kind", KINDS)


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def backward(model, size=1.0, seed=0):
    """Gradients of some loss, of about this size."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(8, 6, generator=generator)
    (size * model(x).square().mean()).backward()


def gradients_of(model):
    return [p.grad.clone() for p in model.parameters()]


def train(model, clipper, steps, size=lambda step: 1.0, **settings):
    optimizer = torch.optim.SGD(model.parameters(), lr=settings.get("lr", 1e-3))
    for step in range(steps):
        optimizer.zero_grad()
        backward(model, size(step), seed=step)
        clipper()
        optimizer.step()
    return clipper


def said(action, *arguments, **options):
    """The warnings of ours."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action(*arguments, **options)
    return [str(w.message) for w in caught if "clipgrid" in str(w.message)]


# ---- clips as the functions do ------------------------------------------------------------------


@every_kind
def test_it_clips_as_the_kinds_function_does(kind):
    model, threshold, state = net(), 0.05 if KINDS[kind].most > 100 else 50, {}
    clipper = Clipper(model, f"{kind}{threshold}")
    clipped = 0
    for step in range(40):
        model.zero_grad()
        backward(model, size=1 + step % 7, seed=step)
        gradients = gradients_of(model)
        weights = [p.detach() for p in model.parameters()]
        expected = KINDS[kind].run(gradients, weights, threshold, state)
        seen = clipper()
        clipped += seen.share.item() > 0
        for one, other in zip(seen, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=0)
        for gradient, parameter in zip(gradients, model.parameters(), strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-6, atol=1e-12)
    assert clipped > 1


@every_kind
def test_where_it_only_observes_no_bit_changes(kind):
    model = net()
    clipper = Clipper(model, f"{kind}{KINDS[kind].most}")
    for step in range(3):
        model.zero_grad()
        backward(model, size=1000.0, seed=step)
        before = gradients_of(model)
        assert clipper().share == 0
        assert all(map(torch.equal, gradients_of(model), before))


def test_it_clips_to_the_threshold_and_counts_a_shared_parameter_once():
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    model[1].weight = model[0].weight
    clipper = Clipper(model, 1e-3)
    backward(model)
    norm = math.hypot(*(x for p in model.parameters() for x in p.grad.flatten().tolist()))
    assert clipper.names == ["0.weight", "0.bias", "1.bias"]
    assert clipper().norm.item() == pytest.approx(norm)
    after = math.hypot(*(x for p in model.parameters() for x in p.grad.flatten().tolist()))
    assert after == pytest.approx(1e-3)


def test_parameters_without_a_gradient_are_passed_over():
    model = net()
    model[0].weight.requires_grad_(False)
    clipper = Clipper(model, "layer0.001", by_layer=True)
    for frozen in (True, False):
        model[0].weight.requires_grad_(not frozen)
        model.zero_grad()
        backward(model)
        norms = [0 if p.grad is None else p.grad.norm().item() for p in model.parameters()]
        clipper()
        assert clipper.table()["layer:0.weight"][-1] == pytest.approx(norms[0])
        after = [p.grad.norm().item() for p in model.parameters() if p.grad is not None]
        assert after == pytest.approx([0.001] * (3 if frozen else 4))


@pytest.mark.parametrize("kind", ["norm", "value", "agc", "layer"])
def test_gradients_of_any_floating_type_are_clipped(kind):
    model = net().to(torch.bfloat16)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    assert Clipper(model, f"{kind}0.01")().share > 0


@pytest.mark.parametrize(
    "given",
    [
        lambda model: model,
        lambda model: model.parameters(),
        lambda model: list(model.parameters()),
        lambda model: model.named_parameters(),
        lambda model: torch.optim.SGD(model.parameters(), 0.1).param_groups,
        lambda model: nn.DataParallel(model),
        lambda model: torch.compile(model),
        lambda model: [{"params": model[0]}, {"params": model[2].parameters()}],
    ],
)
def test_parameters_are_taken_in_all_forms_that_people_have(given):
    model = net()
    clipper = Clipper(given(model), "inf")
    backward(model)
    assert len(clipper.names) == 4
    expected = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    assert clipper().norm.item() == pytest.approx(expected.item())


def test_names_are_those_of_the_model():
    names = ["0.weight", "0.bias", "2.weight", "2.bias"]
    for some in (net(), net().named_parameters(), torch.compile(net()), nn.DataParallel(net())):
        assert Clipper(some).names == names
    assert Clipper(net().parameters()).names == ["0", "1", "2", "3"]


# ---- groups -------------------------------------------------------------------------------------


def test_each_group_has_a_threshold_of_its_own():
    model, other = net(), net()
    groups = [{"params": model[0], "clip": "0.001", "name": "body"}, {"params": model[2]}]
    clipper = Clipper(groups, "agc0.5")
    backward(model, 10.0)
    backward(other, 10.0)
    seen = clipper()
    first = clipping.clip_by_global_norm([p.grad for p in other[0].parameters()], 0.001)
    last = list(other[2].parameters())
    second = clipping.clip_adaptively([p.grad for p in last], [p.detach() for p in last], 0.5)
    for mine, its in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, its.grad, rtol=1e-6, atol=0)
    table = clipper.table()
    for name, expected in (("body", first), ("1", second)):
        found = [table[f"group:{name}:{column}"][0] for column in expected._fields]
        assert found == pytest.approx([x.item() for x in expected])
    after = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]).item()
    assert seen.norm.item() == pytest.approx(math.hypot(first.norm, second.norm))
    assert (seen.norm * seen.coefficient).item() == pytest.approx(after, rel=1e-6)
    assert (seen.observed, seen.limit) == (first.observed, first.limit)  # further above its limit
    assert table["limit"] == [0.001]
    assert seen.share == (first.share + second.share) / 2


@pytest.mark.parametrize("spec", ["1", "layer1", "agc0.5", "value0.1"])
def test_a_group_without_gradients_has_norm_zero(spec):
    model = net()
    model[0].requires_grad_(False)
    clipper = Clipper([{"params": model[0], "name": "frozen"}, {"params": model[2]}], spec)
    backward(model)
    expected = torch.nn.utils.get_total_norm([p.grad for p in model[2].parameters()])
    assert clipper().norm.item() == pytest.approx(expected.item())
    table = clipper.table()
    assert (table["group:frozen:norm"], table["group:frozen:share"]) == ([0], [0])


def test_groups_that_can_not_be_are_refused():
    model = net()
    with pytest.raises(ValueError, match="in two groups"):
        Clipper([{"params": model[0]}, {"params": [model[0].weight]}])
    with pytest.raises(ValueError, match="two groups have the name 'a'"):
        Clipper([{"params": model[0], "name": "a"}, {"params": model[2], "name": "a"}])
    with pytest.raises(ValueError, match="either all are dicts"):
        Clipper([{"params": model[0]}, model[2].weight])
    with pytest.raises(ValueError, match="'nrom1' is no clip"):
        Clipper([{"params": model[0], "clip": "nrom1"}])


@pytest.mark.parametrize(("key", "meant"), [("clp", "clip"), ("Clip", "clip"), ("names", "name")])
def test_a_key_of_a_group_that_is_nearly_ours_is_refused(key, meant):
    with pytest.raises(ValueError, match=f"has the key '{key}': did you mean '{meant}'"):
        Clipper([{"params": net(), key: "0.001"}], "inf")


OPTIMIZERS = [
    each
    for each in vars(torch.optim).values()
    if isinstance(each, type) and each is not torch.optim.Optimizer
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda each: each.__name__)
def test_groups_of_any_optimizer_of_torchs_pass(optimizer):
    """Those of Muon take matrices alone."""
    weights = [(name, p) for name, p in net().named_parameters() if p.ndim == 2]
    made = optimizer(weights, lr=1e-3)
    (group,) = Clipper(made.param_groups).groups
    assert list(group.parameters.values()) == [p for _, p in weights]


def test_an_optimizer_is_refused_with_what_to_give():
    optimizer = torch.optim.SGD(net().parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"not SGD: give it the model, or optimizer\.param_groups"):
        Clipper(optimizer)
    with pytest.raises(ValueError, match=r"takes a model, .* not int$"):
        Clipper(3)


# ---- what is given ------------------------------------------------------------------------------


def test_no_parameters_are_an_error_that_thinks_of_a_generator_used_up():
    parameters = net().parameters()
    list(parameters)
    for none in (parameters, [], nn.ReLU(), [{"params": []}]):
        with pytest.raises(ValueError, match=r"there are none: .* used up before"):
            Clipper(none)


def test_what_is_no_parameter_is_refused():
    with pytest.raises(ValueError, match=r"takes a model, .* not str"):
        Clipper(["0.weight"])
    with pytest.raises(ValueError, match="2 of its parameters aren't given"):
        Clipper(net(), "agc0.1", classifier=nn.Linear(2, 2))


def test_before_the_backward_pass_or_for_another_model_there_is_an_error():
    model = net()
    clipper = Clipper(net(), "1")
    backward(model)
    with pytest.raises(RuntimeError, match=r"none of 4 parameters has a gradient: .*backward\(\)"):
        clipper()
    assert clipper.steps == 0


def test_a_device_without_float64_is_an_error_that_says_so():
    with FakeTensorMode():
        weight = nn.Parameter(torch.empty(3, device="mps"))
        weight.grad = torch.empty(3, device="mps")
        for clip in (Clipper([weight]), lambda: clipping.clip_by_value([weight.grad], 1.0)):
            with pytest.raises(ValueError, match="float64, which MPS doesn't have"):
                clip()


def test_a_sparse_gradient_is_refused_by_name():
    model = nn.Sequential(nn.Embedding(5, 2, sparse=True), nn.Linear(2, 1))
    model(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(RuntimeError, match=r"^0\.weight has a sparse gradient"):
        Clipper(model, 1)()


def test_agc_leaves_the_classifier_alone():
    model = net()
    clipper = Clipper(model, "agc0.0001", classifier=model[2])
    backward(model)
    before = gradients_of(model)
    clipper()
    same = list(map(torch.equal, gradients_of(model), before))
    assert same == [False, False, True, True]


# ---- specs --------------------------------------------------------------------------------------

numbers = st.sampled_from(
    ["1", "0.01", "1e-3", "inf", "0", "-1", "100", "101", ".5", "+2.", "1e", ""]
)
settings = st.lists(
    st.tuples(
        st.sampled_from(["eps", "warm_up", "alpha", "beta", "nothing", ""]),
        st.sampled_from(["0.5", "3", "1e2", "0", "-1", "inf", "2.5", "x", "", "1e7"]),
    ),
    max_size=2,
)
kinds = st.sampled_from([*KINDS, *map(str.upper, KINDS), "", "nrom"])


@given(st.text(max_size=80) | st.sampled_from(["none", "ifn", "agc", "acg0.01", "Agcc1:eps=2"]))
def test_library_and_study_tell_alike_what_a_spec_was_meant_to_be(text):
    assert meant(text, KINDS) == meant_clip(text, KINDS)


@given(kinds, numbers, settings)
def test_a_spec_says_in_the_library_what_it_says_in_a_study(kind, number, settings):
    spec = f"{kind}{number}" + "".join(f":{name}={value}" for name, value in settings)
    found = []
    for read in (LibrarysClip.read, Clip.read):
        try:
            found.append(read(spec))
        except ValueError:
            found.append(None)
    ours, its = found
    assert (ours is None) == (its is None), spec
    if ours:
        defaults = {name: default for name, (_, _, default) in ours.kind.settings.items()}
        assert (ours.kind.name, ours.threshold) == (its.choice.name, its.threshold)
        assert defaults | dict(ours.settings) == dict(its.choice.settings)
        assert ours.observes == its.observes
        assert LibrarysClip.read(str(ours)) == ours


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("agc", "'agc' is no clip: agc needs a threshold, as in agc0.01"),
        ("agcc", r"'agcc' is no clip: did you mean agc\? It needs a threshold"),
        ("acg0.01:eps=1", r"'acg0.01:eps=1' is no clip: did you mean agc0.01:eps=1\?"),
        ("ifn", r"'ifn' is no clip: did you mean inf, which is no clipping\?"),
        ("none", "'none' is no clip: inf is no clipping"),
        (None, "None is no clip: inf is no clipping"),
        ("10%", "'10%' is no clip: a number is the threshold .* Kinds: norm, "),
        ("agc0.01:esp=1", "agc has no setting 'esp'; it has: eps"),
        ("norm1:eps=1", "norm has no setting 'eps'; it has: none"),
        ("agc0.01:eps=0", "agc: eps must be above 0, not 0"),
        ("agc0.01:eps=inf", "agc: eps must be finite"),
        ("zclip2:warm_up=2.5", "zclip: warm_up must be a whole number, not 2.5"),
        ("zclip2:alpha=1", "zclip: alpha must be below 1, not 1"),
        ("autoclip101", "'autoclip101': the threshold must be above 0 and at most 100"),
        (0, "0: the threshold must be above 0"),
        (True, "True is no clip"),
        (math.nan, "nan is no clip"),
    ],
)
def test_a_spec_that_can_not_be_is_one_clear_error(spec, reason):
    with pytest.raises(ValueError, match=f"^{reason}"):
        Clipper(net(), spec)


@every_kind
def test_each_kind_is_declared_once_and_a_study_has_it_as_it_is(kind):
    part = parts.find("clip_kind", kind)
    assert part.run is KINDS[kind].run
    assert (part.label, part.about["observes"], part.about["most"]) == (
        KINDS[kind].label,
        KINDS[kind].observes,
        KINDS[kind].most,
    )
    bounds = {name: about["description"] for name, (_, about, _) in KINDS[kind].settings.items()}
    assert bounds == {name: f.description for name, f in part.settings.model_fields.items()}


def test_all_names_of_the_library_are_there_and_typed():
    source = Path(clipping.__file__).read_text()
    assert sorted(clipping.__all__) == sorted(set(clipping.__all__))
    for name in clipping.__all__:
        assert f"from clipgrid.clipping.{clipping.WHERE[name]} import {name} as {name}" in source
        assert getattr(clipping, name).__module__ == f"clipgrid.clipping.{clipping.WHERE[name]}"
    assert set(clipping.__all__) <= set(dir(clipping))
    with pytest.raises(AttributeError, match="no attribute 'Cliper'"):
        _ = clipping.Cliper


# ---- telemetry ----------------------------------------------------------------------------------


def test_the_table_has_a_row_a_step():
    model = net()
    seen = []
    clipper = Clipper(model, "2", by_layer=True)
    norms = []
    for step in range(12):
        model.zero_grad()
        backward(model, size=step + 1.0, seed=step)
        norms.append([p.grad.norm().item() for p in model.parameters()])
        seen.append([x.item() for x in clipper()])
    table = clipper.table()
    assert tuple(table)[: len(COLUMNS)] == COLUMNS
    assert table["step"] == list(range(1, 13))
    assert [list(row) for row in zip(*(table[c] for c in COLUMNS[1:6]), strict=True)] == seen
    assert table["clipped"] == [int(row[-1] > 0) for row in seen]
    assert 0 < sum(table["clipped"]) < 12
    assert table["finite"] == [1] * 12
    by_layer = zip(*(table[f"layer:{name}"] for name in clipper.names), strict=True)
    torch.testing.assert_close(torch.tensor(list(by_layer)), torch.tensor(norms))


def test_the_table_is_saved_as_csv_and_as_parquet(tmp_path):
    model = net()
    clipper = train(model, Clipper(model, "1", by_layer=True), 5)
    clipper.save(tmp_path / "norms.csv")
    clipper.save(str(tmp_path / "norms.parquet"))
    with (tmp_path / "norms.csv").open() as file:
        rows = list(csv.DictReader(file))
    from pyarrow import parquet

    table = parquet.read_table(tmp_path / "norms.parquet").to_pydict()
    assert table == clipper.table()
    assert {name: [float(row[name]) for row in rows] for name in rows[0]} == table
    assert sorted(p.name for p in tmp_path.iterdir()) == ["norms.csv", "norms.parquet"]
    with pytest.raises(ValueError, match=r"must end in \.csv or \.parquet"):
        clipper.save(tmp_path / "norms.txt")


def test_without_pyarrow_there_is_one_clear_error(tmp_path, monkeypatch):
    model = net()
    clipper = train(model, Clipper(model), 1)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="parquet needs pyarrow: pip install pyarrow"):
        clipper.save(tmp_path / "norms.parquet")
    assert list(tmp_path.iterdir()) == []


def test_memory_is_bounded_and_counts_are_of_all_steps():
    model = net()
    clipper = Clipper(model, "1.0", keep=64)
    backward(model)
    gradients = gradients_of(model)
    sizes = [0.5 if step % 3 else 2.0 for step in range(2100)]
    norm = torch.nn.utils.get_total_norm(gradients).item()
    for size in sizes:
        for p, g in zip(model.parameters(), gradients, strict=True):
            p.grad = g * (size / norm)
        clipper()
    table = clipper.table()
    assert clipper.steps == 2100
    assert 32 < len(table["step"]) <= 64
    distances = {b - a for a, b in zip(table["step"], table["step"][1:], strict=False)}
    assert distances == {64}
    assert table["norm"] == pytest.approx([sizes[step - 1] for step in table["step"]])
    assert clipper.record.fired.tolist() == [sum(size > 1 for size in sizes)]
    assert "fired at 700 of 2100 steps (33%)" in clipper.advice()
    with pytest.raises(ValueError, match="at least 2 steps"):
        Clipper(model, keep=1)


@pytest.mark.parametrize("spec", ["1", "layer1", "value1", "agc0.1", "autoclip50"])
@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_it_says_which_tensor_was_not_finite_first(spec, bad):
    model = net()
    clipper = train(model, Clipper(model, spec), 3)
    assert clipper.first_not_finite is None
    for _ in range(2):
        backward(model)
        model[0].weight.grad[0, 0] = model[0].bias.grad[0] = bad
        before = gradients_of(model)
        seen = clipper()
        assert (seen.coefficient, seen.share, seen.norm.isfinite()) == (1, 0, False)
        for one, other in zip(gradients_of(model), before, strict=True):
            assert torch.equal(one.nan_to_num(7), other.nan_to_num(7))
        model.zero_grad()
    train(model, clipper, 1)
    assert clipper.first_not_finite == (4, ("0.bias", "0.weight"))
    assert clipper.table()["finite"] == [1, 1, 1, 0, 0, 1]
    assert clipper.advice() == (
        "The gradient was not finite at 2 of 6 steps (33%), first at step 4 in 0.bias and 1 more:"
        " find out why before you choose a threshold."
    )


@pytest.mark.parametrize("kind", [k for k in KINDS if KINDS[k].needs != "values"])
def test_a_step_that_is_not_finite_does_not_spoil_what_a_kind_remembers(kind):
    model = net()
    clipper = Clipper(model, f"{kind}{min(50, KINDS[kind].most)}")
    train(model, clipper, 3)
    backward(model)
    model[0].bias.grad[0] = math.nan
    clipper()
    train(model, clipper, 2)
    for tensor in (t for group in clipper.groups for t in group.state.values()):
        assert not tensor.isnan().any()
    assert not any(map(math.isnan, clipper.table()["limit"]))


@pytest.mark.parametrize("kind", [k for k in KINDS if KINDS[k].needs != "values"])
def test_what_a_gpu_does_without_waiting_is_what_a_cpu_does(kind, monkeypatch):
    def without_waiting(norm, this, other):
        return torch.where(norm.isfinite(), this, other)

    tables, weights = [], []
    for choose in (clipper_module.if_finite, without_waiting):
        monkeypatch.setattr(clipper_module, "if_finite", choose)
        model = net()
        clipper = Clipper(model, f"{kind}{min(50, KINDS[kind].most)}", by_layer=True)
        for size in (1.0, math.inf, 2.0, math.nan):
            train(model, clipper, 2, lambda step: 1 + step)
            model.zero_grad()
            backward(model, size)
            clipper()
        tables.append({name: str(column) for name, column in clipper.table().items()})
        weights.append([p.detach() for p in model.parameters()])
    assert tables[0] == tables[1]
    assert tables[0]["finite"] == str([1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0])
    assert all(map(torch.equal, *weights))


# ---- the loops that people have -----------------------------------------------------------------


def test_accumulated_gradients_are_clipped_once():
    model = net()
    clipper = Clipper(model, "0.01")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(3):
        optimizer.zero_grad(set_to_none=step % 2 == 0)
        for part in range(4):
            backward(model, seed=part)
        total = torch.nn.utils.get_total_norm(gradients_of(model)).item()
        assert said(clipper) == []
        assert clipper.table()["norm"][-1] == pytest.approx(total)
        optimizer.step()
    assert clipper.steps == 3


def test_a_scaled_gradient_is_an_error_and_an_overflow_is_none():
    model, plain = net(), net()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    clipper = Clipper(model, "0.1", scaler=scaler)
    alone = Clipper(plain, "0.1")
    for step in range(3):
        optimizer.zero_grad()
        scaler.scale(model(torch.ones(2, 6)).square().mean()).backward()
        if step == 1:
            model[0].weight.grad[0, 0] = math.inf
        with pytest.raises(RuntimeError, match=r"call scaler.unscale_\(optimizer\) before"):
            clipper()
        scaler.unscale_(optimizer)
        seen = clipper()
        scaler.step(optimizer)
        scaler.update()
        if step == 0:
            plain(torch.ones(2, 6)).square().mean().backward()
            assert seen.norm.item() == pytest.approx(alone().norm.item())
    assert clipper.table()["finite"] == [1, 0, 1]
    with pytest.raises(RuntimeError, match="unscale_"):  # for the next step it has to be done anew
        backward(model)
        clipper()
    Clipper(model, scaler=torch.amp.GradScaler("cpu", enabled=False))()


def test_a_run_that_is_resumed_is_the_run_that_was_not_interrupted():
    def sizes(step):
        return 1 + step % 5

    for spec in ("autoclip50", "zclip0.5:warm_up=3", "1"):
        straight = net()
        whole = train(straight, Clipper(straight, spec, by_layer=True, keep=8), 20, sizes)
        model = net()
        first = train(model, Clipper(model, spec, by_layer=True, keep=8), 9, sizes)
        buffer = io.BytesIO()
        torch.save(first.state_dict(), buffer)
        buffer.seek(0)
        second = Clipper(model, spec, by_layer=True, keep=8)
        second.load_state_dict(torch.load(buffer, weights_only=True))
        assert second.steps == 9
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for step in range(9, 20):
            optimizer.zero_grad()
            backward(model, sizes(step), seed=step)
            second()
            optimizer.step()
        assert all(map(torch.equal, model.parameters(), straight.parameters()))
        assert second.table() == whole.table()
        assert second.advice() == whole.advice()
    with pytest.raises(ValueError, match="this state is of other clips"):
        Clipper(model, "2").load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match="this state is of other names"):
        Clipper(model.parameters(), "1").load_state_dict(first.state_dict())


def test_a_model_with_a_clipper_can_be_copied_and_saved(tmp_path):
    model = net()
    clipper = train(model, Clipper(model, "1"), 2)
    twin = copy.deepcopy(model)
    torch.save(model, tmp_path / "model.pt")
    loaded = torch.load(tmp_path / "model.pt", weights_only=False)
    for other in (twin, loaded):
        backward(other)
        Clipper(other, "1")()
    assert clipper.steps == 2


SHARED = """
import sys, torch, torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from clipgrid.clipping import Clipper
from clipgrid.clipping.kinds import KINDS

torch.set_num_threads(1)
dist.init_process_group("gloo")
mesh, rank = init_device_mesh("cpu", (2,)), dist.get_rank()
images = torch.randn(8, 7, generator=torch.Generator().manual_seed(1))

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 1))

def sharded():
    model = net()
    for layer in model[::2]:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)

def check(spec, wrap):
    alone, shared = net(), wrap()
    clippers = Clipper(alone, spec, by_layer=True), Clipper(shared, spec, by_layer=True)
    for step in range(8):
        size = 1 + step % 3
        for model, some in ((alone, images), (shared, images[rank::2])):
            model.zero_grad()
            (size * model(some).square().mean()).backward()
        seen = [clipper() for clipper in clippers]
        for one, other in zip(*seen):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=0)
        for one, other in zip(alone.parameters(), shared.parameters()):
            other = getattr(other.grad, "full_tensor", lambda: other.grad)()
            torch.testing.assert_close(other, one.grad, rtol=1e-4, atol=1e-7)
    tables = [clipper.table() for clipper in clippers]
    assert tables[0].keys() == tables[1].keys()
    return sum(tables[1]["clipped"])

for kind in KINDS.values():
    spec = f"{kind.name}{50 if kind.most == 100 else 0.05}"
    spec += ":warm_up=3" if "warm_up" in kind.settings else ""
    assert check(spec, lambda: nn.parallel.DistributedDataParallel(net())), spec
    if kind.needs != "values":
        assert check(spec, sharded), spec
        continue
    try:
        check(spec, sharded)
        raise AssertionError(f"{spec} was not refused")
    except ValueError as error:
        assert "each process has but its shard" in str(error), error
try:
    Clipper(FullyShardedDataParallel(net(), device_id=torch.device("cpu")))
    raise AssertionError("the first FSDP was not refused")
except ValueError as error:
    assert "shard by fully_shard" in str(error), error
print("ok")
dist.destroy_process_group()
"""


def test_processes_that_share_a_batch_or_shards_have_the_norm_of_the_whole(tmp_path):
    """DistributedDataParallel and FSDP2, by two processes and gloo."""
    (tmp_path / "shared.py").write_text(SHARED)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*command, "--nproc-per-node", "2", str(tmp_path / "shared.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ok") == 2


# ---- mistakes -----------------------------------------------------------------------------------


def test_a_right_loop_warns_of_nothing():
    model = net()
    sizes = torch.rand(150, generator=torch.Generator().manual_seed(0)) + 0.5
    assert said(train, model, Clipper(model, "0.3"), 150, lambda step: sizes[step].item()) == []


def loop(order, steps=3, **options):
    """A loop of these calls."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    clipper = Clipper(model, options.get("spec", "0.1"))
    calls = {
        "zero": lambda: optimizer.zero_grad(set_to_none=options.get("set_to_none", True)),
        "backward": lambda: backward(model),
        "clip": clipper,
        "torch": lambda: nn.utils.clip_grad_norm_(model.parameters(), 0.05),
        "step": optimizer.step,
    }
    for _ in range(steps):
        for name in order.split():
            calls[name]()
    return clipper


@pytest.mark.parametrize("set_to_none", [True, False])
def test_a_clipper_after_the_optimizers_step_is_told_once(set_to_none):
    told = said(loop, "zero backward step clip", set_to_none=set_to_none)
    (told,) = told
    assert "the parameters have changed between the backward pass and the clipper" in told


def test_a_clipper_that_is_called_twice_is_told_once():
    (told,) = said(loop, "zero backward clip clip step")
    assert "called twice without a backward pass" in told


def test_a_clipper_before_the_backward_pass_is_told():
    with pytest.raises(RuntimeError, match="has a gradient"):
        loop("zero clip backward step")
    (told,) = said(loop, "backward zero clip step", 10, set_to_none=False)
    assert "all gradients were 0 in 10 steps" in told


def test_gradients_that_something_else_has_clipped_are_told_once():
    told = said(loop, "zero backward torch clip step", 1000, spec="inf")
    assert len(told) == 1
    assert "the norm was 0.05, and never larger" in told[0]


@pytest.mark.parametrize(
    ("spec", "told"),
    [("1e-4", "under SGD that is a learning rate; under Adam"), ("99", "never fired in 1000")],
)
def test_a_threshold_that_always_or_never_fires_is_told_once(spec, told):
    model = net()
    sizes = 0.5 + torch.rand(2000, generator=torch.Generator().manual_seed(0))
    found = said(train, model, Clipper(model, spec), 2000, lambda step: sizes[step].item())
    assert len(found) == 1
    assert told in found[0]


# ---- advice -------------------------------------------------------------------------------------


def advice(sizes, spec):
    """After gradients of these norms."""
    model = net()
    clipper = Clipper(model, spec)
    backward(model)
    gradients = gradients_of(model)
    norm = torch.nn.utils.get_total_norm(gradients).item()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for size in sizes:
            for p, g in zip(model.parameters(), gradients, strict=True):
                p.grad = g.double().to(g.dtype) * (size / norm)
            clipper()
    return clipper.advice()


SIZES = [step / 100 for step in range(1, 202)]
SPREAD = (
    "half of the steps had a norm below 1.01, nine in ten below 1.81, 99 in a hundred below 1.99,"
    " and the largest was 2.01"
)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            "inf",
            f"Nothing was clipped in 201 steps: {SPREAD}; a threshold of 1.81 would have clipped"
            " one step in ten.",
        ),
        (
            "5",
            "λ = 5 has never fired in 201 steps, so clipping has changed nothing and the learning"
            f" rate is what to tune: {SPREAD}.",
        ),
        (
            "0.005",
            "λ = 0.005 clipped the whole gradient at each of 201 steps (the smallest observed value"
            " was 0.01): under SGD that is a learning rate, so tune it as one; under Adam, which"
            " divides by the gradient's own scale, its value hardly matters. Or choose one above"
            " 1.01, the median.",
        ),
        (
            "0.505",
            "λ = 0.505 fired at 151 of 201 steps (75%), which is more than half: lower the"
            f" learning rate or raise the threshold towards 1.81; {SPREAD}.",
        ),
        (
            "1.608",
            "λ = 1.608 fired at 41 of 201 steps (20%), and left at the least 0.8 of a gradient's"
            f" norm: {SPREAD}.",
        ),
    ],
)
def test_advice_is_one_sentence_about_what_was_seen(spec, sentence):
    assert advice(SIZES, spec) == sentence


def test_advice_says_what_else_there_is_to_say():
    assert advice([], "1").startswith("No step was seen yet")
    text = advice(SIZES, "layer0.5")
    assert text.startswith("layer0.5 fired at ")
    assert "% of its pieces" in text
    assert ": half of the steps had their largest observed value below " in text
    text = advice(SIZES, "layer0.1")
    assert ": lower the learning rate or raise the threshold; half of the steps had their" in text
    assert "would have clipped something at one step in ten" in advice(SIZES, "valueinf")
    model = net()
    clipper = Clipper([{"params": model[0], "name": "body"}, {"params": model[2], "clip": "9"}])
    train(model, clipper, 10)
    assert clipper.advice().startswith("body: Nothing was clipped in 10 steps")
    assert " 1: λ = 9 has never fired" in clipper.advice()


@pytest.mark.parametrize("spec", ["inf", "0.1", "9"])
def test_advice_tells_a_mistake_in_place_of_what_it_would_spoil(spec):
    assert advice(SIZES[:9], spec) == "9 steps tell nothing yet: ask again after 10 or more."
    assert advice(SIZES[:1], spec).startswith("1 step tells nothing yet")
    clipped = advice([0.05] * 30, spec)
    assert clipped.startswith(
        "At 30 of 30 steps the norm was 0.05, and never larger: the gradients"
    )
    assert "learning rate" not in clipped
    assert advice([0.0] * 10, spec) == (
        "All gradients were 0 in 10 steps: is the clipper called after zero_grad() and before"
        " loss.backward()?"
    )


@pytest.mark.parametrize(
    ("optimizer", "same"),
    [(torch.optim.Adam, True), (torch.optim.RMSprop, True), (torch.optim.SGD, False)],
)
def test_what_is_said_of_optimizers_is_so(optimizer, same):
    """Twice the λ of a clip that always fires."""
    after = []
    for spec in ("1e-2", "2e-2"):
        model = net()
        made = optimizer(model.parameters(), lr=1e-3)
        clipper = Clipper(model, spec)
        for step in range(20):
            made.zero_grad()
            backward(model, size=10, seed=step)
            assert clipper().share == 1
            made.step()
        after.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    start = torch.cat([p.detach().flatten() for p in net().parameters()])
    moved = [(end - start).norm().item() for end in after]
    assert moved[1] / moved[0] == pytest.approx(1 if same else 2, rel=1e-2)


@pytest.mark.parametrize("name", ["e.csv", "e.parquet"])
def test_a_folder_that_is_missing_is_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere; make it first"):
        loop("zero backward clip step").save(tmp_path / "nowhere" / name)

"""Clipping: every kind against other implementations, and what must hold of it for any gradient."""

import math
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipgrid.clipping import (
    Flat,
    clip_adaptively,
    clip_by_global_norm,
    clip_by_layer_norm,
    clip_by_percentile,
    clip_by_value,
    clip_by_z_score,
    kinds,
)
from clipgrid.study import code, parts
from clipgrid.study.cells import Clip
from clipgrid.torchvision_on_cpu import torchvision  # noqa: F401  timm imports it

from timm.utils.agc import adaptive_clip_grad  # isort: skip

values = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=5)
gradient_lists = st.lists(values, min_size=1, max_size=4)
any_floats = st.lists(st.lists(st.floats(width=32), min_size=1), min_size=1, max_size=4)
thresholds = st.floats(1e-3, 1e4)
norm_types = st.sampled_from([1, 2, math.inf])
ROUNDING = 1e-6  # of float32


def tensors(lists, dtype=torch.float32):
    return [torch.tensor(values, dtype=dtype) for values in lists]


def numbers(seen):
    return [x.item() for x in seen]


def norm_of(gradients, p=2):
    """The global norm, by a way that neither overflows nor rounds on its way."""
    values = [abs(x) for g in gradients for x in g.flatten().tolist()]
    return {1: math.fsum(values), 2: math.hypot(*values), math.inf: max(values)}[p]


def bits(gradients):
    """The tensors as integers: equal where every bit is, NaN included."""
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    return [g.clone().contiguous().view(integers[g.element_size()]).tolist() for g in gradients]


def random_gradients(dtype=torch.float32, size=100.0, seed=0):
    """Gradients of a small net: of convolutions, matrices, biases and a number, of this norm."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(16, 3, 3, 3), (16,), (10, 16), (10,), ()]
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return [(g * size / norm_of(drawn)).to(dtype) for g in drawn]


def parameters_of(gradients):
    parameters = [torch.nn.Parameter(torch.ones_like(g)) for g in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    return parameters


# Each kind that a study can name, as a function of gradients and threshold alone: its weights are
# ones, its past norms lie around 1. A kind that is new needs no word here.
PAST = torch.linspace(0.5, 1.5, 41).tolist()
NEEDS = {name: kind.needs for name, kind in kinds.KINDS.items()}
MOST = {kind: parts.find("clip_kind", kind).about["most"] for kind in parts.names("clip_kind")}


@cache
def past(kind, shapes=((16, 3, 3, 3), (16,), (10, 16), (10,), ())):
    """The state that a kind has kept of gradients of these shapes, with these norms."""
    state = {}
    values = sum(map(math.prod, shapes))
    for norm in PAST:
        gradients = [torch.full(shape, norm / max(1, values) ** 0.5) for shape in shapes]
        parts.choose("clip_kind", kind)(gradients, ones(gradients), MOST[kind], state)
    return state


def ones(gradients):
    return [torch.ones_like(gradient, dtype=torch.float32) for gradient in gradients]


def of_kind(kind):
    def clip(gradients, threshold):
        gradients = gradients if isinstance(gradients, Flat) else list(gradients)
        choice = parts.choose("clip_kind", kind)
        # What is remembered of each tensor is of these tensors.
        each = [tuple(tuple(g.shape) for g in gradients)] if NEEDS[kind] == "norms" else []
        return choice(gradients, ones(gradients), threshold, dict(past(kind, *each)))

    return clip


KINDS = {kind: of_kind(kind) for kind in MOST}
LOOK_BACK = [kind for kind in KINDS if past(kind)]
CONSTANT = [kind for kind in KINDS if kind not in LOOK_BACK]


def fires(kind):
    """A threshold at which a kind clips gradients of a norm of 10 by far."""
    guesses = [MOST[kind] / 2] if MOST[kind] < math.inf else [100, 10, 1, 0.1, 0.01]
    found = next(t for t in guesses if KINDS[kind](random_gradients(size=10), t).share > 0)
    return found if MOST[kind] < math.inf else found / 10


FIRES = {kind: fires(kind) for kind in KINDS}
every_kind = pytest.mark.parametrize("kind", KINDS)
constant_kinds = pytest.mark.parametrize("kind", CONSTANT)


# ---- every kind ---------------------------------------------------------------------------------


def test_every_kind_has_a_threshold_at_which_it_observes():
    for kind, most in MOST.items():
        assert Clip.of(kind, most).observes
        assert not Clip.of(kind, FIRES[kind]).observes


@every_kind
@given(lists=any_floats)
def test_where_it_only_observes_no_bit_of_any_gradient_changes(kind, lists):
    gradients = tensors(lists)
    before = bits(gradients)
    seen = KINDS[kind](gradients, MOST[kind])
    assert bits(gradients) == before
    assert (seen.coefficient, seen.share) == (1, 0)


@every_kind
def test_where_it_only_observes_it_records_the_norm(kind):
    seen = KINDS[kind](tensors([[3.0], [4.0]]), MOST[kind])
    assert seen.norm == 5
    assert 0 < seen.observed <= seen.limit


@every_kind
@given(lists=gradient_lists, size=st.floats(1e-20, 1e-10))
def test_a_gradient_that_is_not_above_the_threshold_keeps_every_bit(kind, lists, size):
    gradients = [size * g for g in tensors(lists)]
    before = bits(gradients)
    seen = KINDS[kind](gradients, FIRES[kind])
    assert bits(gradients) == before
    assert seen.observed <= seen.limit
    assert (seen.coefficient, seen.share) == (1, 0)


@every_kind
def test_a_gradient_above_the_threshold_is_clipped_and_the_telemetry_says_so(kind):
    before, gradients = random_gradients(), random_gradients()
    seen = KINDS[kind](gradients, FIRES[kind])
    assert seen.observed > seen.limit
    assert 0 < seen.share <= 1
    assert 0 < seen.coefficient < 1
    assert seen.norm.item() == pytest.approx(norm_of(before), rel=1e-12)
    assert norm_of(gradients) == pytest.approx((seen.coefficient * seen.norm).item(), rel=ROUNDING)


@every_kind
def test_the_telemetry_is_numbers_in_float64(kind):
    for gradients in (random_gradients(), random_gradients(torch.float16), []):
        seen = KINDS[kind](gradients, FIRES[kind])
        assert {(x.dtype, tuple(x.shape)) for x in seen} == {(torch.float64, ())}


@every_kind
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_one_value_that_is_not_finite_leaves_all_gradients_alone(kind, bad):
    lists = [[1e3, 2e3], [bad, 3e3]]
    gradients = tensors(lists)
    seen = KINDS[kind](gradients, FIRES[kind])
    assert not seen.norm.isfinite()
    assert (seen.coefficient, seen.share) == (1, 0)
    assert bits(gradients) == bits(tensors(lists))


@every_kind
def test_gradients_of_zero_stay_zero(kind):
    gradients = [torch.zeros(3), torch.zeros(2, 2)]
    seen = KINDS[kind](gradients, FIRES[kind])
    assert (seen.norm, seen.observed, seen.coefficient, seen.share) == (0, 0, 1, 0)
    assert norm_of(gradients) == 0


@every_kind
@pytest.mark.parametrize("gradients", [[], [torch.zeros(0)], [torch.zeros(0, 3), torch.zeros(0)]])
def test_no_gradients_have_norm_zero(kind, gradients):
    seen = KINDS[kind](gradients, FIRES[kind])
    assert (seen.norm, seen.observed, seen.coefficient, seen.share) == (0, 0, 1, 0)


@every_kind
def test_a_gradient_without_elements_is_passed_over(kind):
    with_it, without = random_gradients(), random_gradients()
    with_it.insert(1, torch.zeros(0, 3))
    assert KINDS[kind](with_it, FIRES[kind]) == KINDS[kind](without, FIRES[kind])
    del with_it[1]
    assert bits(with_it) == bits(without)


@every_kind
def test_gradients_may_come_from_a_generator(kind):
    listed, generated = random_gradients(), random_gradients()
    seen = KINDS[kind](listed, FIRES[kind])
    assert KINDS[kind]((g for g in generated), FIRES[kind]) == seen
    assert seen.share > 0
    assert bits(generated) == bits(listed)


@every_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_gradients_of_any_floating_type_are_clipped_as_exactly_as_they_can_be(kind, dtype):
    gradients = random_gradients(dtype)
    exact = [g.to(torch.float64, copy=True) for g in gradients]
    seen, expected = (KINDS[kind](g, FIRES[kind]) for g in (gradients, exact))
    assert numbers(seen) == pytest.approx(numbers(expected), rel=1e-3 if kind == "value" else 1e-6)
    assert seen.norm.item() == pytest.approx(expected.norm.item(), rel=1e-12)
    eps = torch.finfo(dtype).eps
    for clipped, ideal in zip(gradients, exact, strict=True):
        assert clipped.dtype == dtype
        torch.testing.assert_close(clipped.double(), ideal, rtol=eps, atol=1e-7)


@constant_kinds
@pytest.mark.parametrize(
    ("dtype", "size"), [(torch.float16, 6e4), (torch.float32, 1e20), (torch.float32, 3e38)]
)
def test_finite_gradients_whose_squares_overflow_their_type_are_clipped(kind, dtype, size):
    gradients = [torch.tensor([size, -size], dtype=dtype), torch.tensor([size, size], dtype=dtype)]
    seen = KINDS[kind](gradients, FIRES[kind])
    assert seen.norm.item() == pytest.approx(2 * size, rel=1e-3)
    assert seen.coefficient.item() == pytest.approx(norm_of(gradients) / (2 * size), rel=1e-3)
    magnitudes = torch.cat(gradients).abs()
    assert magnitudes.isfinite().all()
    assert (magnitudes > 0).all()


@every_kind
def test_gradients_keep_their_place_and_layout(kind):
    plain = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0)) * 10
    channels_last = plain.to(memory_format=torch.channels_last, copy=True)
    a_view = torch.zeros(4, 3, 3, 8).permute(3, 0, 1, 2)
    a_view.copy_(plain)
    address = channels_last.data_ptr()
    seen = KINDS[kind]([plain], FIRES[kind])
    assert seen.share > 0
    for gradient in (channels_last, a_view):
        assert numbers(KINDS[kind]([gradient], FIRES[kind])) == pytest.approx(numbers(seen))
        torch.testing.assert_close(gradient, plain, rtol=ROUNDING, atol=0)
    assert channels_last.data_ptr() == address
    assert channels_last.is_contiguous(memory_format=torch.channels_last)


@every_kind
@pytest.mark.parametrize("threshold", [0, -1, -math.inf, math.nan])
def test_a_threshold_that_is_not_above_zero_is_refused(kind, threshold):
    gradients = tensors([[30.0, 40.0]])
    with pytest.raises(ValueError, match="above 0"):
        KINDS[kind](gradients, threshold)
    assert norm_of(gradients) == 50


@constant_kinds
@given(lists=gradient_lists, power=st.integers(-20, 20))
def test_clipping_scales_with_gradient_and_threshold_bit_for_bit(kind, lists, power):
    factor, threshold = 2.0**power, FIRES[kind]
    one, other = tensors(lists), [factor * g for g in tensors(lists)]
    KINDS[kind](one, threshold)
    KINDS[kind](other, factor * threshold)
    tiny = any(0 < abs(x) < 1e-30 for g in one for x in g.tolist())  # denormals round
    assert tiny or bits([factor * g for g in one]) == bits(other)


@constant_kinds
@given(lists=gradient_lists, threshold=thresholds)
def test_clipping_twice_is_clipping_once(kind, lists, threshold):
    once = tensors(lists)
    KINDS[kind](once, threshold)
    twice = [g.clone() for g in once]
    KINDS[kind](twice, threshold)
    for a, b in zip(once, twice, strict=True):
        torch.testing.assert_close(a, b, rtol=ROUNDING, atol=0)


# ---- gradients in one buffer, and long ones -----------------------------------------------------


def flat(tensors):
    """Copies of them in a Flat."""
    tensors = list(tensors)
    buffer = Flat(tensors)
    buffer.fill(tensors)
    return buffer


def long_gradients(size=10.0, dtype=torch.float32):
    """Some are long enough for blocks, and none has a multiple of their length."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(96, 24, 3, 3), (7,), (130, 127), (96,), (99, 301)]
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    drawn[0] = drawn[0].contiguous(memory_format=torch.channels_last)
    return [(g * size / norm_of(drawn)).to(dtype) for g in drawn]


def test_a_flat_has_copies_of_the_same_shape_and_layout_in_one_buffer_a_type():
    several = [*long_gradients(), *random_gradients(torch.float64), torch.randn(4, 6).t()]
    several += [torch.randn(9)[::2], torch.zeros(0, 3)]
    copies = flat(several)
    assert [buffer.dtype for buffer in copies.buffers] == [torch.float32, torch.float64]
    for copy, tensor in zip(copies, several, strict=True):
        assert torch.equal(copy, tensor)
        assert copy.is_contiguous() == (tensor.is_contiguous() or tensor.shape == (5,))
        assert copy.storage_offset() * copy.element_size() % 64 == 0
    assert sum(abs(copy).sum() > 0 for copy in copies) == len(several) - 1
    for buffer in copies.buffers:  # all else is 0
        mine = [copy for copy in copies if copy.dtype == buffer.dtype]
        assert norm_of([buffer]) == pytest.approx(norm_of(mine), rel=1e-12)
        buffer.zero_()
        assert norm_of(mine) == 0
    copies.fill([None, *several[1:]])
    assert norm_of(copies[:1]) == 0
    assert torch.equal(copies[2], several[2])


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_in_one_buffer_gradients_are_clipped_as_one_by_one(kind, dtype):
    listed = [g.double() for g in long_gradients()]
    buffer = flat(long_gradients(dtype=dtype))
    expected, seen = KINDS[kind](listed, FIRES[kind]), KINDS[kind](buffer, FIRES[kind])
    assert expected.share > 0
    assert numbers(seen) == pytest.approx(numbers(expected), rel=1e-6)
    assert seen.norm.item() == pytest.approx(expected.norm.item(), rel=1e-8)
    assert seen.share == pytest.approx(expected.share.item(), rel=1e-3)
    for clipped, ideal in zip(buffer, listed, strict=True):
        torch.testing.assert_close(clipped.double(), ideal, rtol=ROUNDING, atol=1e-9)


@every_kind
@pytest.mark.parametrize("make", [long_gradients, lambda: flat(long_gradients())])
def test_where_a_kind_only_observes_no_bit_of_long_gradients_changes(kind, make):
    gradients, before = make(), bits(long_gradients())
    seen = KINDS[kind](gradients, MOST[kind])
    assert bits(gradients) == before
    assert (seen.coefficient, seen.share) == (1, 0)


@every_kind
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_one_value_of_long_gradients_that_is_not_finite_leaves_all_alone(kind, bad):
    gradients = flat(long_gradients(size=1e4))
    gradients[2][5, 5] = bad
    before = bits(gradients)
    seen = KINDS[kind](gradients, FIRES[kind])
    assert not seen.norm.isfinite()
    assert (seen.coefficient, seen.share) == (1, 0)
    assert bits(gradients) == before


@pytest.mark.parametrize("p", [1, 2, math.inf])
@pytest.mark.parametrize("size", [1e-42, 1e-30, 1e-18, 1e-9, 1e-3, 1, 1e10, 1e19, 1e30, 1e38])
def test_the_norm_of_long_gradients_of_any_size_is_exact_to_rounding(p, size):
    gradients = long_gradients(size)
    expected = norm_of(gradients, p)
    for some in (gradients, flat(gradients)):
        seen = clip_by_global_norm(some, math.inf, p)
        assert seen.observed.item() == pytest.approx(expected, rel=1e-8, abs=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_lists_of_several_types_are_scaled_as_exactly_as_each_can_be(dtype):
    listed = [torch.ones(3, dtype=dtype), torch.full((3,), 1.0, dtype=torch.float64)]
    seen = clip_by_global_norm(listed, 1 / 3)
    assert listed[1].tolist() == pytest.approx([seen.coefficient.item()] * 3, rel=1e-15)


def test_a_flat_filled_with_its_own_tensors_keeps_them():
    one = flat([torch.ones(3), torch.ones(2)])
    one.fill([None, one[1]])
    assert [tensor.tolist() for tensor in one] == [[0, 0, 0], [1, 1]]
    one.fill([None, None])
    assert norm_of(one) == 0
    with pytest.raises(TypeError, match="change it in place"):
        one[0] = torch.ones(3)
    Flat([]).fill([])


@pytest.mark.parametrize("size", [1e-24, 1e-12, 1, 1e20, 1e30])
@pytest.mark.parametrize("shape", [(64, 64), (8, 9216), (3, 25_088)])
def test_units_of_any_size_are_clipped_to_rounding(size, shape):
    gradient = size * torch.ones(shape)
    exact = gradient.double()
    threshold = 0.5 * size * shape[1] ** 0.5
    weights = [torch.zeros(shape)]
    seen = clip_adaptively([gradient], weights, threshold, eps=1.0)
    expected = clip_adaptively([exact], weights, threshold, eps=1.0)
    assert numbers(seen) == pytest.approx(numbers(expected), rel=1e-6, abs=0)
    torch.testing.assert_close(gradient.double(), exact, rtol=1e-6, atol=0)


def test_the_norm_of_long_gradients_with_few_large_values_is_exact_to_rounding():
    values = torch.full((40_000,), 1e-12)
    values[::5000] = 3e18
    values[7] = 1e-30
    expected = norm_of([values])
    assert clip_by_global_norm([values], math.inf).norm.item() == pytest.approx(expected, rel=1e-7)


# ---- the global norm, p = 1, 2, inf -------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-6)])
@pytest.mark.parametrize("threshold", [0.5, 3.0, 1e3])
@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_clipping_by_norm_agrees_with_torchs_own(dtype, tolerance, threshold, p):
    gradients = random_gradients(dtype, size=20)
    parameters = parameters_of(gradients)
    expected = torch.nn.utils.clip_grad_norm_(parameters, threshold, norm_type=p)
    seen = clip_by_global_norm(gradients, threshold, p)
    torch.testing.assert_close(seen.observed, expected.double(), rtol=tolerance, atol=0)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=tolerance, atol=1e-12)


@given(gradient_lists, thresholds, norm_types)
def test_the_norm_is_at_most_the_threshold_afterwards(lists, threshold, p):
    gradients = tensors(lists)
    clip_by_global_norm(gradients, threshold, p)
    assert norm_of(gradients, p) <= threshold * (1 + ROUNDING)


@given(gradient_lists, thresholds, norm_types)
def test_the_telemetry_is_the_norms_before_and_the_factor_applied(lists, threshold, p):
    gradients = tensors(lists)
    norm, observed = norm_of(gradients), norm_of(gradients, p)
    seen = clip_by_global_norm(gradients, threshold, p)
    assert seen.norm.item() == pytest.approx(norm, rel=1e-12)
    assert seen.observed.item() == pytest.approx(observed, rel=1e-12)
    assert seen.limit == threshold
    fires = seen.observed.item() > threshold
    assert seen.coefficient.item() == pytest.approx(threshold / observed if fires else 1, rel=1e-12)
    assert seen.share == fires


@given(gradient_lists, thresholds, norm_types)
def test_the_direction_is_kept(lists, threshold, p):
    before, after = tensors(lists, torch.float64), tensors(lists)
    coefficient = clip_by_global_norm(after, threshold, p).coefficient
    assert 0 < coefficient <= 1
    for a, b in zip(after, before, strict=True):
        torch.testing.assert_close(a.double(), coefficient * b, rtol=ROUNDING, atol=1e-37)


@given(gradient_lists, st.floats(1, 1e3))
def test_a_norm_just_below_the_threshold_leaves_every_bit(lists, factor):
    gradients = tensors(lists)
    before = bits(gradients)
    threshold = max(norm_of(gradients) * (1 + 1e-12) * factor, 1e-3)
    assert clip_by_global_norm(gradients, threshold).coefficient == 1
    assert bits(gradients) == before


@pytest.mark.parametrize("lists", [[[3.0, 4.0]], [[3.0], [4.0]]])
def test_a_norm_equal_to_the_threshold_leaves_every_bit(lists):
    gradients = tensors(lists)
    seen = clip_by_global_norm(gradients, 5.0)
    assert (seen.norm, seen.coefficient) == (5, 1)
    assert bits(gradients) == bits(tensors(lists))


def test_a_tiny_threshold_is_exact_where_torchs_is_not():
    gradient = torch.tensor([3e-6, 4e-6])
    (parameter,) = parameters_of([gradient])
    torch.nn.utils.clip_grad_norm_([parameter], 1e-6)
    clip_by_global_norm([gradient], 1e-6)
    assert norm_of([parameter.grad]) < 0.9e-6
    assert norm_of([gradient]) == pytest.approx(1e-6, rel=ROUNDING)


def test_gradients_of_several_types_have_one_norm():
    gradients = [torch.tensor([6.0], dtype=torch.float16), torch.tensor([8.0])]
    assert clip_by_global_norm(gradients, 5.0).norm == 10
    assert [g.item() for g in gradients] == [3, 4]
    assert [g.dtype for g in gradients] == [torch.float16, torch.float32]


# ---- by value -----------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.1, 2.0, 1e3])
def test_clipping_by_value_is_torchs_own_to_the_bit(threshold):
    gradients = random_gradients(size=20)
    parameters = parameters_of(gradients)
    torch.nn.utils.clip_grad_value_(parameters, threshold)
    clip_by_value(gradients, threshold)
    assert bits(gradients) == bits([parameter.grad for parameter in parameters])


@given(gradient_lists, thresholds)
def test_values_within_the_threshold_keep_every_bit_and_no_other_is_larger(lists, threshold):
    gradients = tensors(lists)
    limit = torch.tensor(threshold).item()  # in float32
    seen = clip_by_value(gradients, threshold)
    before = [x for g in tensors(lists) for x in g.tolist()]
    after = [x for g in gradients for x in g.tolist()]
    expected = [x if abs(x) <= limit else math.copysign(limit, x) for x in before]
    assert after == expected
    assert list(map(math.copysign, [1] * len(after), after)) == [
        math.copysign(1, x) for x in before
    ]
    assert seen.share.item() == sum(abs(x) > limit for x in before) / len(before)
    assert seen.observed == max(map(abs, before))


# ---- by layer -----------------------------------------------------------------------------------


@given(gradient_lists, thresholds)
def test_clipping_by_layer_is_clipping_each_tensor_by_its_norm(lists, threshold):
    together, alone = tensors(lists), tensors(lists)
    seen = clip_by_layer_norm(together, threshold)
    each = [clip_by_global_norm([gradient], threshold) for gradient in alone]
    assert bits(together) == bits(alone)
    assert seen.observed == max(one.norm for one in each)
    assert seen.share.item() == pytest.approx(sum(one.share.item() for one in each) / len(each))
    if seen.norm > 0:
        ratio = norm_of(together) / norm_of(tensors(lists))
        assert seen.coefficient.item() == pytest.approx(ratio, rel=ROUNDING)


# ---- AGC ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [1e-3, 0.01, 0.5])
@pytest.mark.parametrize("size", [1e-2, 1, 100])
def test_agc_agrees_with_timms(threshold, size):
    gradients = random_gradients(size=size)
    parameters = parameters_of(gradients)
    for parameter, weight in zip(parameters, random_gradients(size=5, seed=1), strict=True):
        parameter.data.copy_(weight)
    weights = [parameter.detach().clone() for parameter in parameters]
    adaptive_clip_grad(parameters, threshold, eps=1e-3)
    seen = clip_adaptively(gradients, weights, threshold)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-5, atol=0)
    assert seen.share > 0 or size / 5 < threshold


def test_agc_clips_each_unit_by_itself_and_a_bias_as_one():
    weight = torch.tensor([[3.0, 4.0], [0.6, 0.8]])  # unit norms 5 and 1
    bias = torch.tensor([3.0, 4.0])  # norm 5
    gradients = tensors([[[0.3, 0.4], [0.3, 0.4]], [0.3, 0.4]])  # norms 0.5: ratios 0.1, 0.5, 0.1
    seen = clip_adaptively(gradients, [weight, bias], 0.2)
    torch.testing.assert_close(gradients[0], torch.tensor([[0.3, 0.4], [0.12, 0.16]]))
    assert bits(gradients[1:]) == bits(tensors([[0.3, 0.4]]))
    assert seen.observed.item() == pytest.approx(0.5)
    assert seen.share.item() == pytest.approx(1 / 3)


def test_agc_lets_units_that_start_at_zero_move():
    gradient = torch.tensor([[3.0, 4.0]])
    clip_adaptively([gradient], [torch.zeros(1, 2)], 0.01)
    torch.testing.assert_close(gradient, torch.tensor([[3.0, 4.0]]) / 5 * 0.01 * 1e-3)


def test_agc_leaves_the_classifier_alone_but_counts_it_in_the_norm():
    gradients = tensors([[[30.0, 40.0]], [[30.0, 40.0]]])
    seen = clip_adaptively(gradients, [torch.ones(1, 2), None], 0.01)
    assert bits(gradients[1:]) == bits(tensors([[[30.0, 40.0]]]))
    assert norm_of(gradients[:1]) == pytest.approx(0.01 * math.sqrt(2), rel=ROUNDING)
    assert seen.norm.item() == pytest.approx(math.sqrt(2) * 50)
    assert seen.share == 1
    assert norm_of(gradients) == pytest.approx((seen.coefficient * seen.norm).item())
    alone = clip_adaptively(tensors([[[30.0, 40.0]]]), [None], 0.01)
    assert (alone.norm, alone.coefficient, alone.share) == (50, 1, 0)


# ---- AutoClip -----------------------------------------------------------------------------------

norm_lists = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=40)


@given(norm_lists, st.floats(0, 100, exclude_min=True))
def test_autoclip_clips_at_the_percentile_of_all_norms_so_far(sizes, percentile):
    state = {}
    for step, size in enumerate(sizes):
        gradient = torch.tensor([0.6 * size, 0.8 * size], dtype=torch.float64)
        seen = clip_by_percentile([gradient], percentile, state)
        expected = np.percentile(state["norms"], percentile)
        assert seen.limit.item() == pytest.approx(expected, rel=1e-12)
        assert norm_of([gradient]) == pytest.approx(min(size, expected), rel=1e-12)
        assert len(state["norms"]) == step + 1
    assert state["norms"].tolist() == pytest.approx(sizes)  # before clipping


def test_autoclip_never_clips_the_first_step_of_a_run():
    gradients = random_gradients()
    assert clip_by_percentile(gradients, 1, {}).share == 0
    assert bits(gradients) == bits(random_gradients())


# ---- ZClip --------------------------------------------------------------------------------------


def past_moments():
    return {"mean": torch.tensor(1.0).double(), "variance": torch.tensor(0.01).double()}


def zclip_of_the_paper(norms, z_threshold):
    """(mean, variance, limit) at each step after the warm-up, in plain numbers."""
    mean, variance = np.mean(norms[:25]), np.var(norms[:25])
    for norm in norms[25:]:
        deviation = math.sqrt(variance)
        z = (norm - mean) / (deviation + 1e-6)
        limit = mean + z_threshold * deviation / (z / z_threshold) if z > z_threshold else math.inf
        yield mean, variance, limit
        used = min(norm, limit)
        mean = 0.97 * mean + 0.03 * used
        variance = 0.97 * variance + 0.03 * (used - mean) ** 2


@pytest.mark.parametrize("threshold", [1.0, 2.5])
def test_zclip_follows_its_paper_step_by_step(threshold):
    norms = np.random.default_rng(0).lognormal(0, 0.5, 300)
    state, fired = {}, 0
    expected = zclip_of_the_paper(norms, threshold)
    for step, norm in enumerate(norms):
        gradient = torch.tensor([0.6 * norm, 0.8 * norm], dtype=torch.float64)
        before = dict(state)
        seen = clip_by_z_score([gradient], threshold, state)
        limit = math.inf
        if step >= 25:
            mean, variance, limit = next(expected)
            assert before["mean"].item() == pytest.approx(mean, rel=1e-9)
            assert before["variance"].item() == pytest.approx(variance, rel=1e-9)
        assert seen.limit.item() == pytest.approx(limit, rel=1e-9)
        assert norm_of([gradient]) == pytest.approx(min(norm, limit), rel=1e-9)
        fired += int(seen.share)
    assert fired > 5


def test_zclip_lets_its_first_25_steps_pass():
    state = {}
    for step in range(25):
        assert clip_by_z_score(random_gradients(size=10.0**step), 2.5, state).share == 0
    assert set(state) == {"mean", "variance"}


def test_zclip_clips_the_larger_outlier_to_the_smaller_norm():
    limits = [
        clip_by_z_score(random_gradients(size=size), 2.5, past_moments()).limit
        for size in (1.3, 2.0, 20.0)
    ]
    assert limits == sorted(limits, reverse=True)
    assert all(1 < limit < 1.25 for limit in limits)


# ---- kinds as parts -----------------------------------------------------------------------------

PACKAGE = Path(code.PACKAGE)


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A function: the checksums of all kinds' code, after an edit of the library."""

    def of(name="", old="", new=""):
        copy = tmp_path / (name or "unchanged") / "clipgrid"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        if name:
            path = copy / "clipping" / name
            assert old in path.read_text()
            path.write_text(path.read_text().replace(old, new))
        monkeypatch.setattr(code, "PACKAGE", copy)
        monkeypatch.setattr(code, "DECLARES", {copy / "study", copy / "lazy.py"})
        kinds = {kind: parts.find("clip_kind", kind) for kind in KINDS}
        return {
            kind: code.digest(copy / part.file.relative_to(PACKAGE), part.run.__name__)
            for kind, part in kinds.items()
        }

    return of


@pytest.mark.parametrize(
    ("edit", "changed"),
    [
        (("value.py", "-bound, out", "bound, out"), {"value"}),
        (("agc.py", "clamp(min=eps)", "clamp(min=2 * eps)"), {"agc"}),
        (("global_norm.py", "if p == 2", "if p == 1"), {"norm", "l1norm", "maxnorm"}),
        (
            ("shared.py", "numbers[2] / numbers[1]", "0.5 * numbers[2] / numbers[1]"),
            {"norm", "l1norm", "maxnorm", "autoclip", "zclip", "windowed", "scheduled"},
        ),
        (("layer.py", '"""g ← λ/‖g‖₂ · g where', '"""Scales where'), set()),
    ],
    ids=lambda edit: edit[0] if isinstance(edit, tuple) else "",
)
def test_an_edit_changes_the_checksums_of_the_kinds_that_it_changes(sources, edit, changed):
    before, after = sources(), sources(*edit)
    assert {kind for kind in before if before[kind] != after[kind]} == changed


def test_the_settings_of_a_kind_reach_its_code():
    gradients = [torch.tensor([[3.0, 4.0]])]
    parts.parse("clip_kind", "agc:eps=0.1")(gradients, [torch.zeros(1, 2)], 0.01, {})
    torch.testing.assert_close(gradients[0], torch.tensor([[3.0, 4.0]]) / 5 * 0.01 * 0.1)
    state = {}
    for _ in range(3):
        parts.parse("clip_kind", "zclip:warm_up=3")([torch.ones(2)], [None], 1.0, state)
    assert set(state) == {"mean", "variance"}

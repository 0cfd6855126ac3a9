"""Clipping against torch's own, and what must hold of it for any gradient."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipgrid.clipping import clip_by_global_norm

values = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=5)
gradient_lists = st.lists(values, min_size=1, max_size=4)
thresholds = st.floats(1e-3, 1e4)
ROUNDING = 1e-6  # of float32


def tensors(lists, dtype=torch.float32):
    return [torch.tensor(values, dtype=dtype) for values in lists]


def norm_of(gradients):
    """The global norm, by a way that neither overflows nor rounds on its way."""
    return math.hypot(*(x for g in gradients for x in g.flatten().tolist()))


def bits(gradients):
    """The tensors as integers: equal where every bit is, NaN included."""
    return torch.cat([g.flatten().clone() for g in gradients]).view(torch.int32)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-6)])
@pytest.mark.parametrize("threshold", [0.5, 3.0, 1e3])
def test_clipping_agrees_with_torchs_own(dtype, tolerance, threshold):
    generator = torch.Generator().manual_seed(0)
    shapes = [(16, 3, 3, 3), (16,), (10, 16), ()]
    gradients = [torch.randn(shape, dtype=dtype, generator=generator) for shape in shapes]
    parameters = [torch.nn.Parameter(torch.zeros_like(g)) for g in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()

    expected = torch.nn.utils.clip_grad_norm_(parameters, threshold)
    clip = clip_by_global_norm(gradients, threshold)

    torch.testing.assert_close(clip.norm, expected.double(), rtol=tolerance, atol=0)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=tolerance, atol=1e-12)


@given(gradient_lists, thresholds)
def test_the_norm_is_at_most_the_threshold_afterwards(lists, threshold):
    gradients = tensors(lists)
    clip_by_global_norm(gradients, threshold)
    assert norm_of(gradients) <= threshold * (1 + ROUNDING)


@given(gradient_lists, thresholds)
def test_the_telemetry_is_the_norm_before_and_the_factor_applied(lists, threshold):
    gradients = tensors(lists)
    norm = norm_of(gradients)
    clip = clip_by_global_norm(gradients, threshold)
    assert (clip.norm.dtype, clip.norm.shape) == (torch.float64, ())
    assert (clip.coefficient.dtype, clip.coefficient.shape) == (torch.float64, ())
    assert clip.norm.item() == pytest.approx(norm, rel=1e-12)
    expected = 1 if clip.norm.item() <= threshold else threshold / norm
    assert clip.coefficient.item() == pytest.approx(expected, rel=1e-12)


@given(gradient_lists, thresholds)
def test_the_direction_is_kept(lists, threshold):
    before, after = tensors(lists, torch.float64), tensors(lists)
    coefficient = clip_by_global_norm(after, threshold).coefficient
    assert 0 < coefficient <= 1
    for a, b in zip(after, before, strict=True):
        torch.testing.assert_close(a.double(), coefficient * b, rtol=ROUNDING, atol=1e-37)


@given(gradient_lists, thresholds)
def test_clipping_twice_is_clipping_once(lists, threshold):
    once = tensors(lists)
    clip_by_global_norm(once, threshold)
    twice = [g.clone() for g in once]
    clip_by_global_norm(twice, threshold)
    for a, b in zip(once, twice, strict=True):
        torch.testing.assert_close(a, b, rtol=ROUNDING, atol=0)


@given(gradient_lists, st.floats(1, 1e3))
def test_a_norm_up_to_the_threshold_leaves_every_bit(lists, factor):
    gradients = tensors(lists)
    before = bits(gradients)
    threshold = max(norm_of(gradients) * (1 + 1e-12) * factor, 1e-3)
    clip = clip_by_global_norm(gradients, threshold)
    assert clip.coefficient == 1
    assert torch.equal(bits(gradients), before)


@pytest.mark.parametrize("lists", [[[3.0, 4.0]], [[3.0], [4.0]]])
def test_a_norm_equal_to_the_threshold_leaves_every_bit(lists):
    gradients = tensors(lists)
    clip = clip_by_global_norm(gradients, 5.0)
    assert (clip.norm, clip.coefficient) == (5, 1)
    assert torch.equal(bits(gradients), bits(tensors(lists)))


@given(st.lists(st.lists(st.floats(width=32), min_size=1), min_size=1, max_size=4))
def test_an_infinite_threshold_changes_no_bit_of_any_gradient(lists):
    gradients = tensors(lists)
    before = bits(gradients)
    clip = clip_by_global_norm(gradients, math.inf)
    assert torch.equal(bits(gradients), before)
    assert clip.coefficient == 1


def test_an_infinite_threshold_records_the_norm():
    clip = clip_by_global_norm(tensors([[3.0], [4.0]]), math.inf)
    assert (clip.norm, clip.coefficient) == (5, 1)


def test_a_tiny_threshold_is_exact_where_torchs_is_not():
    gradient = torch.tensor([3e-6, 4e-6])
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = gradient.clone()
    torch.nn.utils.clip_grad_norm_([parameter], 1e-6)
    clip_by_global_norm([gradient], 1e-6)
    assert norm_of([parameter.grad]) < 0.9e-6
    assert norm_of([gradient]) == pytest.approx(1e-6, rel=ROUNDING)


@pytest.mark.parametrize("size", [1e20, 3e38])
def test_gradients_whose_squares_overflow_float32_are_clipped(size):
    gradients = tensors([[size, -size], [size, size]])
    clip = clip_by_global_norm(gradients, 1.0)
    assert clip.norm.item() == pytest.approx(2 * size, rel=ROUNDING)
    assert norm_of(gradients) == pytest.approx(1, rel=ROUNDING)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_one_value_that_is_not_finite_leaves_all_gradients_alone(bad):
    lists = [[1e3, 2e3], [bad, 3e3]]
    gradients = tensors(lists)
    clip = clip_by_global_norm(gradients, 1.0)
    assert not clip.norm.isfinite()
    assert clip.coefficient == 1
    assert torch.equal(bits(gradients), bits(tensors(lists)))


def test_gradients_of_zero_stay_zero():
    gradients = [torch.zeros(3)]
    clip = clip_by_global_norm(gradients, 1.0)
    assert (clip.norm, clip.coefficient) == (0, 1)
    assert torch.equal(gradients[0], torch.zeros(3))


def test_no_gradients_have_norm_zero():
    assert clip_by_global_norm([], 1.0) == (0, 1)


def test_gradients_may_come_from_a_generator():
    gradients = tensors([[6.0], [8.0]])
    clip = clip_by_global_norm((g for g in gradients), 5.0)
    assert clip.norm == 10
    assert torch.equal(torch.cat(gradients), torch.tensor([3.0, 4.0]))


def test_channels_last_gradients_are_clipped_in_place_and_keep_their_layout():
    plain = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    gradient = plain.to(memory_format=torch.channels_last, copy=True)
    address = gradient.data_ptr()
    clip_by_global_norm([plain], 1.0)
    clip_by_global_norm([gradient], 1.0)
    assert gradient.data_ptr() == address
    assert gradient.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(gradient, plain, rtol=ROUNDING, atol=0)


@pytest.mark.parametrize("threshold", [0, -1, -math.inf, math.nan])
def test_a_threshold_that_is_not_above_zero_is_refused(threshold):
    gradient = torch.tensor([3.0, 4.0])
    with pytest.raises(ValueError, match="above 0"):
        clip_by_global_norm([gradient], threshold)
    assert torch.equal(gradient, torch.tensor([3.0, 4.0]))

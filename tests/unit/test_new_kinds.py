"""The kinds that were published since: each against its rule in plain numbers, step by step."""

import math

import numpy as np
import pytest
import torch

from clipgrid.clipping import (
    clip_by_group_average,
    clip_by_own_average,
    clip_by_singular_values,
    clip_by_window,
    clip_on_schedule,
)

NORMS = np.random.default_rng(0).lognormal(0, 0.7, 120)


def of_norm(size):
    return torch.tensor([0.6 * size, 0.8 * size], dtype=torch.float64)


def several(step, shapes=((3, 4), (3,), (2, 3), (2,))):
    """Gradients of a net at a step, whose sizes move apart."""
    generator = torch.Generator().manual_seed(step)
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return [(i + 1) * NORMS[step] * g for i, g in enumerate(drawn)]


# ---- windowed percentile ------------------------------------------------------------------------


def trellis(norms, percentile, cap, window):
    """The limit at each step: a ring of norms; once it is full, the percentile, at most the cap."""
    ring, place, limit = np.zeros(window), 0, cap
    for norm in norms:
        yield limit
        if math.isfinite(norm):
            ring[place % window] = norm
            place += 1
            if place >= window:
                limit = min(np.percentile(ring, percentile), cap)


@pytest.mark.parametrize(("percentile", "cap", "window"), [(95, 1.5, 10), (50, 1e9, 25), (5, 1, 1)])
def test_the_window_follows_its_rule_step_by_step(percentile, cap, window):
    norms = NORMS.copy()
    norms[[3, 40, 41]] = math.nan, math.inf, math.nan
    state, fired = {}, 0
    expected = trellis(norms, percentile, cap, window)
    for norm, limit in zip(norms, expected, strict=True):
        gradient = of_norm(norm)
        seen = clip_by_window([gradient], percentile, state, cap, window)
        assert seen.limit.item() == pytest.approx(limit, rel=1e-12)
        if math.isfinite(norm):
            assert gradient.norm().item() == pytest.approx(min(norm, limit), rel=1e-9)
        fired += seen.share.item()
    assert 0 < fired < len(norms)
    assert state["norms"].shape == (window,)


# ---- AdaGC --------------------------------------------------------------------------------------


def adagc(steps, factor, beta, warm_up, cap):
    """The norms of all tensors after clipping, at each step."""
    average = None
    for step, gradients in enumerate(steps):
        norms = np.array([g.norm().item() for g in gradients])
        if step < warm_up:
            after = norms * min(1, cap / math.hypot(*norms))
            average = after if average is None else np.minimum(average, after)
        else:
            after = np.minimum(norms, factor * average)
            average = beta * average + (1 - beta) * after
        yield after


def test_adagc_follows_its_paper_step_by_step():
    settings = {"beta": 0.9, "warm_up": 7, "cap": 12.0}
    steps = [several(step) for step in range(100)]
    expected = adagc([[g.clone() for g in one] for one in steps], 1.05, **settings)
    state, shares = {}, []
    for gradients, after in zip(steps, expected, strict=True):
        seen = clip_by_own_average(gradients, 1.05, state, **settings)
        assert [g.norm().item() for g in gradients] == pytest.approx(list(after), rel=1e-9)
        assert (seen.coefficient * seen.norm).item() == pytest.approx(math.hypot(*after))
        assert (seen.observed > seen.limit).item() == (seen.share > 0).item()
        shares.append(seen.share.item())
    assert {0, 1} <= set(shares[:7])  # the global norm
    assert len(set(shares[7:])) > 2  # each tensor by itself
    assert set(state) == {"average", "step"}


def test_adagc_lets_a_tensor_that_has_no_gradient_for_a_while_move_again():
    state = {}
    settings = {"warm_up": 2, "cap": 1e9}
    for step in range(10):
        gradients = several(step)
        if step < 5:
            gradients[1].zero_()
        clip_by_own_average(gradients, 1.05, state, **settings)
        assert (gradients[1].norm() > 0).item() == (step >= 5)
    assert state["average"].isfinite().all()
    before = {name: x.clone() for name, x in state.items()}
    gradients[0][0, 0] = math.nan
    clip_by_own_average(gradients, 1.05, state, **settings)
    assert all(torch.equal(state[name], x) for name, x in before.items())
    with pytest.raises(ValueError, match="adagc remembers 4 tensors, and is given 3"):
        clip_by_own_average(gradients[:3], 1.05, state)


# ---- AGGC ---------------------------------------------------------------------------------------


def aggc(steps, high, beta, low, loose, over):
    """The factor of matrices and of vectors, at each step."""
    averages = {}
    for step, gradients in enumerate(steps):
        done = min(1, step / over)
        upper, lower = high * (loose + (1 - loose) * done), low * done
        factors = {}
        for dimensions in (2, 1):
            norm = math.hypot(*(g.norm().item() for g in gradients if g.dim() == dimensions))
            average = averages.get(dimensions, norm)
            average = averages[dimensions] = beta * average + (1 - beta) * norm
            bounded = min(max(norm, lower * average), upper * average)
            factors[dimensions] = bounded / norm
        yield factors


@pytest.mark.parametrize("low", [0.0, 0.8])
def test_aggc_keeps_each_group_in_its_band_step_by_step(low):
    settings = {"beta": 0.9, "low": low, "loose": 2.0, "over": 20}
    steps = [several(step) for step in range(100)]
    expected = list(aggc(steps, 1.2, **settings))
    state, found = {}, []
    for gradients, factors in zip(steps, expected, strict=True):
        before = [g.clone() for g in gradients]
        seen = clip_by_group_average(gradients, 1.2, state, **settings)
        for gradient, old in zip(gradients, before, strict=True):
            torch.testing.assert_close(gradient, factors[old.dim()] * old, rtol=1e-9, atol=0)
        after = math.hypot(*(g.norm().item() for g in gradients))
        assert (seen.coefficient * seen.norm).item() == pytest.approx(after)
        assert seen.share.item() == sum(abs(f - 1) > 1e-12 for f in factors.values()) / 2
        found += factors.values()
    assert min(found) < 1 <= max(found)
    assert (max(found) > 1) == (low > 0)


# ---- scheduled ----------------------------------------------------------------------------------


def test_a_scheduled_threshold_goes_its_way():
    state = {}
    limits = [clip_on_schedule([of_norm(9)], 4.0, state, 0.25, 2).limit.item() for _ in range(4)]
    assert limits == pytest.approx([4, 2, 1, 1])
    gradient = of_norm(9)
    clip_on_schedule([gradient], 4.0, state, 0.25, 2)
    assert gradient.norm().item() == pytest.approx(1)


# ---- spectral -----------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [1.0, 2.0, 4.0])
def test_singular_values_are_bounded_and_their_directions_kept(threshold):
    shapes = ((5, 3), (3, 5), (4, 2, 3, 3), (7,), ())
    gradients = several(1, shapes)
    before = [g.clone() for g in gradients]
    seen = clip_by_singular_values(gradients, threshold)
    values, clipped = [], 0
    for gradient, old in zip(gradients, before, strict=True):
        matrix = old.numpy().reshape(old.shape[0] if old.dim() > 1 else 1, -1)
        u, sigma, v = np.linalg.svd(matrix, full_matrices=False)
        expected = (u * np.minimum(sigma, threshold)) @ v
        np.testing.assert_allclose(gradient.numpy().reshape(matrix.shape), expected, atol=1e-12)
        values += list(sigma)
        clipped += (sigma > threshold).sum()
        assert torch.equal(gradient, old) == (sigma.max() <= threshold)
    assert 0 < clipped < len(values)
    assert seen.observed.item() == pytest.approx(max(values))
    assert seen.share.item() == clipped / len(values)
    after = math.hypot(*(g.norm().item() for g in gradients))
    assert (seen.norm * seen.coefficient).item() == pytest.approx(after)
    assert seen.norm.item() == pytest.approx(math.hypot(*(g.norm().item() for g in before)))


def test_of_a_vector_spectral_clipping_is_clipping_by_its_norm():
    gradient = torch.tensor([3.0, 4.0])
    assert clip_by_singular_values([gradient], 1.0).share == 1
    torch.testing.assert_close(gradient, torch.tensor([0.6, 0.8]))

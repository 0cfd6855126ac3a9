"""Looks at a growing number of seeds: boundaries as published, and what they spend."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from clipgrid.judging.sequential import Plan

DOUBLING = Plan((6, 12, 24, 48))


@pytest.mark.parametrize(
    ("looks", "published"),
    [
        # R's gsDesign, sfLDOF, two-sided, level 5%
        ((1, 2), [2.9626, 1.9686]),
        ((1, 2, 3), [3.7103, 2.5114, 1.9930]),
        ((1, 2, 3, 4), [4.3326, 2.9631, 2.3590, 2.0141]),
        ((1, 2, 3, 4, 5), [4.8769, 3.3570, 2.6803, 2.2898, 2.0310]),
    ],
)
def test_boundaries_are_those_of_a_published_table(looks, published):
    assert Plan(looks).boundaries(0.05) == pytest.approx(published, abs=2e-4)


def test_one_look_spends_all_and_changes_no_p():
    plan = Plan((5,))
    assert plan.boundaries(0.05) == pytest.approx([norm.isf(0.025)])
    assert plan.level([0.0, 0.03, 1.0], 0).tolist() == [0.0, 0.03, 1.0]


def test_a_process_without_drift_crosses_as_often_as_the_plan_says():
    draws = np.random.default_rng(0)
    steps = np.diff(DOUBLING.fractions, prepend=0)
    paths = draws.normal(size=(400_000, 4)) * np.sqrt(steps)
    z = np.abs(paths.cumsum(axis=1) / np.sqrt(DOUBLING.fractions))
    crossed = (z > DOUBLING.boundaries(0.2)).cumsum(axis=1) > 0
    spent = DOUBLING.spent(0.2)
    assert spent[-1] == pytest.approx(0.2)
    assert crossed.mean(axis=0) == pytest.approx(spent, abs=4 * math.sqrt(0.2 * 0.8 / 400_000))


@given(st.floats(1e-6, 0.5), st.integers(0, 3))
def test_a_level_is_the_inverse_of_the_nominal_p(alpha, look):
    p = DOUBLING.nominal(alpha)[look]
    assert math.log(DOUBLING.level(p, look)) == pytest.approx(math.log(alpha), abs=0.02)


def test_a_smaller_p_has_a_smaller_level_and_nothing_decides_at_1():
    p = np.logspace(-12, 0, 200)
    for look in range(4):
        levels = DOUBLING.level(p, look)
        assert (np.diff(levels) >= 0).all()
        assert levels[-1] == 1
    assert math.isnan(DOUBLING.level(math.nan, 1))

"""Intervals over seeds: known answers, coverage, and what becomes of runs that diverged."""

import math

import numpy as np
import pytest

from clipgrid.statistics import paired, t_interval


def test_students_sleep_data_have_the_interval_of_the_textbooks():
    # Student 1908, "The probable error of a mean": R's t.test(extra ~ group, paired = TRUE).
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    mean, half_width, n = paired(first, second)
    assert n == 10
    assert mean - half_width == pytest.approx(-2.4598858, abs=1e-6)
    assert mean + half_width == pytest.approx(-0.7001142, abs=1e-6)


def test_a_diverged_run_is_left_out_and_not_counted():
    assert t_interval([1.0, math.nan, 3.0]) == t_interval([1.0, 3.0])
    assert t_interval([1.0, math.nan, 3.0]).n == 2


def test_one_seed_has_a_mean_and_no_interval():
    mean, half_width, n = t_interval([4.0])
    assert (mean, n) == (4.0, 1)
    assert math.isnan(half_width)


def test_no_seed_has_no_mean():
    mean, half_width, n = t_interval([math.nan])
    assert math.isnan(mean)
    assert math.isnan(half_width)
    assert n == 0


def test_a_pair_needs_both_its_runs():
    mean, _, n = paired([1.0, 2.0, math.nan], [0.0, math.nan, 0.0])
    assert (mean, n) == (1.0, 1)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_95_percent_intervals_cover_the_mean_95_times_in_100(seeds):
    samples = np.random.default_rng(0).normal(7.0, 2.0, (4000, seeds))
    covered = sum(abs(mean - 7.0) <= half for mean, half, _ in map(t_interval, samples))
    assert covered / 4000 == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 4000))

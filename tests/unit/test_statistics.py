"""Statistics over seeds: known answers, edge cases, and how often they are right."""

import gc
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clipgrid.judging.statistics import (
    above,
    below,
    cohens_d,
    gap_at_matched_loss,
    holm,
    loss_area,
    mean_score,
    paired_t,
    proportion,
    rate_difference,
    seed_values,
    seeds_to_decide,
    sign_flip,
    signed,
    steps_to_target,
    t_interval,
    tost,
)

NAN, INF = math.nan, math.inf
# Student 1908, "The probable error of a mean": R's sleep data, first drug less second.
SLEEP = [-1.2, -2.4, -1.3, -1.3, 0.0, -1.0, -1.8, -0.8, -4.6, -1.4]
# Darwin 1876, crossed less self-fertilised maize, eighths of an inch; Fisher 1935, sections 17-21.
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
SAME = [0.3 - 0.2, 0.2 - 0.1, 0.1, 0.1]  # the same but for rounding


def within(rate, n, errors=3):
    """What a rate seen in `n` repetitions may be: `errors` standard errors about it."""
    return pytest.approx(rate, abs=errors * math.sqrt(rate * (1 - rate) / n))


@pytest.fixture(scope="module")
def nothing_to_collect():
    """statsmodels collects garbage in every Holm: keep it from going through all that is loaded."""
    gc.freeze()
    yield
    gc.unfreeze()


# ---- t-intervals --------------------------------------------------------------------------------


def test_students_sleep_data_have_the_interval_of_the_textbooks():
    # Student 1908, "The probable error of a mean": R's t.test(extra ~ group, paired = TRUE).
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    mean, half_width, n = t_interval(np.subtract(first, second))
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


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_95_percent_intervals_cover_the_mean_95_times_in_100(seeds):
    samples = np.random.default_rng(0).normal(7.0, 2.0, (4000, seeds))
    covered = sum(abs(mean - 7.0) <= half for mean, half, _ in map(t_interval, samples))
    assert covered / 4000 == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 4000))


# ---- paired t-test ------------------------------------------------------------------------------


def test_students_sleep_data_have_the_t_test_of_the_textbooks():
    # R: t.test(extra ~ group, paired = TRUE) has t = -4.0621, df = 9, p-value = 0.002833.
    effect = paired_t(SLEEP)
    assert effect.n == 10
    assert effect[:3] == pytest.approx((-1.58, -2.4598858, -0.7001142), abs=1e-6)
    assert effect.p == pytest.approx(0.002833, abs=5e-7)
    assert cohens_d(SLEEP) == pytest.approx(-4.0621 / math.sqrt(10), abs=2e-5)


def test_one_sided_tests_halve_the_two_sided_one():
    assert below(SLEEP, 0) == pytest.approx(0.002833 / 2, abs=5e-7)
    assert above(SLEEP, 0) == pytest.approx(1 - 0.002833 / 2, abs=5e-7)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([], (NAN, NAN, NAN, NAN, 0)),
        ([4.0], (4, NAN, NAN, NAN, 1)),
        ([0.0, 0.0, 0.0], (0, 0, 0, 1, 3)),
        ([2.0, 2.0, 2.0], (2, 2, 2, 0.25, 3)),
        (SAME, (0.1, 0.1, 0.1, 0.125, 4)),
    ],
)
def test_where_there_is_no_t_the_effect_is_defined_all_the_same(differences, expected):
    assert paired_t(differences) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("differences", "bound", "p"),
    [
        ([], 0, NAN),
        ([4.0], 0, NAN),
        (SAME, 0, 0.5**4),
        (SAME, 0.1, 1),
        (SAME, 0.2, 1),
        ([0.0, 0.0], 0, 1),
        ([0.0, 0.0], -1, 0.25),
    ],
)
def test_where_there_is_no_t_one_sided_tests_are_defined_all_the_same(differences, bound, p):
    assert above(differences, bound) == pytest.approx(p, nan_ok=True)
    assert below([-d for d in differences], -bound) == pytest.approx(p, nan_ok=True)


@pytest.mark.parametrize(
    "function",
    [
        paired_t,
        sign_flip,
        mean_score,
        cohens_d,
        seeds_to_decide,
        lambda d: above(d, 0),
        lambda d: below(d, 0),
        lambda d: tost(d, 1),
        lambda d: signed(d, 0),
    ],
)
def test_no_seed_is_dropped_silently(function):
    with pytest.raises(ValueError, match="numbers"):
        function([1.0, NAN, 2.0])


@pytest.mark.parametrize("function", [paired_t, sign_flip, cohens_d, seeds_to_decide])
def test_a_mean_takes_no_infinite_difference(function):
    with pytest.raises(ValueError, match="finite"):
        function([1.0, INF, 2.0])


@pytest.mark.parametrize("seeds", [3, 5])
def test_paired_t_intervals_and_p_are_right_95_times_in_100(seeds):
    rng = np.random.default_rng(1)
    # A correlation within seeds, as arms with the same seed have; a true difference of 0.5.
    shared = rng.normal(0, 3, (3000, seeds))
    arm, baseline = rng.normal(0.5, 1, (2, 3000, seeds)) + shared
    effects = [paired_t(d) for d in arm - (baseline - 0.5)]
    covered = np.mean([e.low <= 0.5 <= e.high for e in effects])
    assert covered == within(0.95, 3000)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8))
def test_the_t_interval_holds_0_just_where_p_is_above_5_percent(differences):
    effect = paired_t(differences)
    if np.ptp(differences) > 1e-6 * np.abs(differences).max() and abs(effect.p - 0.05) > 1e-6:
        assert (effect.low <= 0 <= effect.high) == (effect.p > 0.05)


# ---- sign flips and signs -----------------------------------------------------------------------


def test_darwins_maize_has_the_p_that_fisher_counted():
    # Fisher 1935, section 21: 863 of the 32,768 sums are as large as 314 or larger, on either side.
    assert sign_flip(MAIZE) == 2 * 863 / 2**15


def test_ties_between_sign_flips_survive_rounding():
    # They sum to 0 but for rounding, as some of their flips do exactly: none parts the means less.
    assert sign_flip([-0.7, 0.4, 0.3, 0.1, -0.7, 0.6]) == 1
    assert sign_flip([0.1, 0.2, -0.3, 0.7]) == sign_flip([1, 2, -3, 7])


@pytest.mark.parametrize(("differences", "p"), [([], NAN), ([3], 1), ([0, 0], 1), ([2, 1], 0.5)])
def test_the_sign_flip_test_of_few_seeds(differences, p):
    assert sign_flip(differences) == pytest.approx(p, nan_ok=True)


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=7))
def test_sign_flips_are_those_counted_by_hand(differences):
    ways = itertools.product([-1, 1], repeat=len(differences))
    sums = [abs(np.dot(signs, differences)) for signs in ways]
    p = np.mean(np.array(sums) >= abs(sum(differences)))
    assert sign_flip(differences) == p
    assert sign_flip([d / 1000 for d in differences]) == p


@given(st.lists(st.floats(-1e6, 1e6), max_size=7))
def test_sign_flips_know_no_side(differences):
    p = sign_flip(differences)
    assert sign_flip([-d for d in differences]) == pytest.approx(p, abs=0, nan_ok=True)


def test_many_seeds_are_flipped_at_random_and_always_the_same():
    differences = np.random.default_rng(0).normal(0.4, 1, 25)
    p = sign_flip(differences)
    assert p == sign_flip(differences)
    assert p == pytest.approx(paired_t(differences).p, abs=0.01)  # the normal case: nearly equal


def test_darwins_maize_has_the_sign_test_of_r():
    # R: binom.test(13, 15) has p-value = 0.007385 and the interval 0.5953973, 0.9834241.
    effect = mean_score(np.sign(MAIZE))
    assert effect[:3] == pytest.approx((13 / 15, 0.5953973, 0.9834241), abs=1e-6)
    assert effect.p == pytest.approx(242 / 2**15)
    assert effect.n == 15


def test_a_score_of_several_pairs_counts_the_seed_once():
    assert mean_score([]) == pytest.approx((NAN, NAN, NAN, NAN, 0), nan_ok=True)
    one = mean_score([1, 1, 1, 1, 1, 0])
    assert one.estimate == pytest.approx(11 / 12)
    assert one.p == 2 / 2**5  # the seed whose pairs tie says nothing
    assert one.low < one.estimate < one.high


reals = st.floats(allow_nan=False)


@given(st.lists(st.tuples(reals, reals), min_size=1))
def test_signs_are_those_of_comparison(pairs):
    a, b = zip(*pairs, strict=True)
    assert list(signed(a, b)) == [(x > y) - (x < y) for x, y in pairs]


def test_two_misses_tie():
    assert list(signed([INF, INF, 100, -INF], [INF, 100, INF, -INF])) == [0, 1, -1, 0]


# ---- equivalence and families -------------------------------------------------------------------


def test_equivalence_is_the_worse_of_two_one_sided_tests():
    # The sleep data: mean -1.58, standard error 0.3889587 (R's t.test(...)$stderr), 9 df.
    assert tost(SLEEP, 2) == pytest.approx(stats.t.sf((2 - 1.58) / 0.3889587, 9), abs=1e-6)
    assert tost(SLEEP, 1) > 0.5
    assert tost([0.0, 0.0, 0.0], 0.1) == 0.5**3
    assert math.isnan(tost([0.0], 0.1))


@pytest.mark.parametrize("margin", [0, -1, NAN])
def test_a_margin_of_equivalence_is_above_0(margin):
    with pytest.raises(ValueError, match="margin"):
        tost(SLEEP, margin)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8), st.floats(0.01, 1))
def test_equivalence_is_a_90_percent_interval_within_the_margin(differences, margin):
    p = tost(differences, margin)
    if np.ptp(differences) > 1e-6 * np.abs(differences).max() and abs(p - 0.05) > 1e-6:
        _, low, high, *_ = paired_t(differences, level=0.9)
        assert (-margin < low and high < margin) == (p < 0.05)


def test_holm_adjusts_as_r_does():
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") is 0.03 0.06 0.06 0.02.
    assert list(holm([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_does_not_count_what_has_no_p():
    raw = [NAN, 0.01, 0.04, NAN, 0.03, 0.005]
    expected = [NAN, 0.03, 0.06, NAN, 0.06, 0.02]
    assert list(holm(raw)) == pytest.approx(expected, nan_ok=True)
    assert math.isnan(raw[0])
    assert list(holm([NAN])) == pytest.approx([NAN], nan_ok=True)
    assert list(holm([])) == []


@pytest.mark.usefixtures("nothing_to_collect")
@given(st.lists(st.floats(0, 1), min_size=1))
def test_holm_keeps_the_order_and_lowers_nothing(p_values):
    raw, adjusted = np.array(p_values), holm(p_values)
    assert (adjusted >= raw).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(raw, kind="stable")]) >= 0).all()


# ---- proportions --------------------------------------------------------------------------------


def test_a_proportion_has_the_clopper_pearson_interval_of_r():
    # R's example, Mendel's peas: binom.test(682, 925, p = 3/4).
    effect = proportion(682, 925)
    assert effect[:3] == pytest.approx((682 / 925, 0.7076683, 0.7654066), abs=1e-6)
    assert math.isnan(effect.p)
    assert effect.n == 925


def test_none_and_all_have_one_sided_intervals():
    bound = 0.025 ** (1 / 10)  # in closed form
    assert proportion(0, 10)[:3] == pytest.approx((0, 0, 1 - bound))
    assert proportion(10, 10)[:3] == pytest.approx((1, bound, 1))
    assert proportion(0, 0) == pytest.approx((NAN, NAN, NAN, NAN, 0), nan_ok=True)


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3)])
def test_a_proportion_is_of_a_whole(k, n):
    with pytest.raises(ValueError, match=f"{k} of {n}"):
        proportion(k, n)


def rates(k1, k2, n):
    """So many of `n` in each of two arms, of as many seeds."""
    return rate_difference(np.arange(n) < k1, np.arange(n) < k2)


@pytest.mark.parametrize(
    ("k1", "k2", "n", "low", "high"),
    [
        # Newcombe 1998, "Interval estimation for the difference between independent proportions",
        # Statistics in Medicine 17, table II, method 10.
        (9, 3, 10, 0.1705, 0.8090),
        (6, 2, 7, 0.0582, 0.8062),
        (0, 0, 10, -0.2775, 0.2775),
        (10, 0, 10, 0.6075, 1.0),
    ],
)
def test_two_rates_have_newcombes_interval(k1, k2, n, low, high):
    effect = rates(k1, k2, n)
    assert effect[:3] == pytest.approx(((k1 - k2) / n, low, high), abs=5.1e-5)
    assert effect.n == n


def test_two_rates_have_the_p_of_mcnemars_exact_test():
    arm = np.array([1, 1, 1, 1, 1, 1, 1, 0, 0, 1])
    baseline = np.array([0, 0, 0, 0, 0, 0, 1, 0, 1, 1])
    assert rate_difference(arm, baseline).p == pytest.approx(stats.binomtest(6, 7).pvalue)
    assert math.isnan(rate_difference([], []).p)


def test_runs_of_one_seed_that_hang_together_find_no_difference_by_chance():
    """Twelve strata, all of which fail or don't: pooled, Fisher's test is wrong in every second."""
    draws = np.random.default_rng(7)
    a, b = (draws.random((2, 1000, 8)) < 0.5).astype(float)
    wrong = np.mean([rate_difference(x, y).p <= 0.05 for x, y in zip(a, b, strict=True)])
    assert wrong <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)


# ---- seeds of which some strata are missing ------------------------------------------------------


def test_a_full_table_has_each_seeds_mean():
    table = np.arange(12.0).reshape(3, 4) ** 2
    assert seed_values(table) == pytest.approx(table.mean(axis=0))
    assert seed_values([[1.0], [3.0]]) == pytest.approx([2.0])


def test_the_mean_is_that_of_the_strata_whatever_is_missing():
    table = np.array([[1.0, 2, 3, 6], [10, NAN, 30, NAN], [NAN, 5, 7, NAN]])
    values = seed_values(table)
    assert values.mean() == pytest.approx(np.nanmean(table, axis=1).mean())
    assert len(seed_values(np.append(table, np.full((3, 1), NAN), axis=1))) == 4


def test_a_stratum_needs_two_seeds():
    with pytest.raises(ValueError, match="two seeds in each stratum"):
        seed_values([[1, 2, 3], [1, NAN, NAN]])


def test_intervals_hold_where_a_tenth_of_the_runs_is_missing():
    draws, hits = np.random.default_rng(8), []
    for _ in range(2000):
        table = draws.normal(size=(6, 12)) + draws.normal(size=12) + np.arange(6)[:, None]
        table[draws.random(table.shape) < 0.1] = NAN
        _, low, high, *_ = paired_t(seed_values(table))
        hits.append(low <= 2.5 <= high)
    assert np.mean(hits) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("n", [3, 5, 10, 30])
def test_clopper_pearson_covers_every_proportion_95_times_in_100(n):
    low, high = np.array([proportion(k, n)[1:3] for k in range(n + 1)]).T
    for truth in np.linspace(0, 1, 201):
        covers = (low <= truth) & (truth <= high)
        assert stats.binom.pmf(np.arange(n + 1), n, truth) @ covers >= 0.95


def test_newcombe_covers_a_difference_about_95_times_in_100():
    n = 10
    bounds = [[rates(k, j, n)[1:3] for j in range(n + 1)] for k in range(n + 1)]
    low, high = np.moveaxis(np.array(bounds), -1, 0)
    grid = np.linspace(0.05, 0.95, 19)
    chances = stats.binom.pmf(np.arange(n + 1), n, grid[:, np.newaxis])
    coverage = [
        p @ ((low <= x - y) & (x - y <= high)) @ q
        for (x, p), (y, q) in itertools.product(zip(grid, chances, strict=True), repeat=2)
    ]
    assert np.mean(coverage) == pytest.approx(0.95, abs=0.005)
    assert np.min(coverage) > 0.9


# ---- A/A studies: the same arm twice, with other seeds ------------------------------------------


@pytest.mark.parametrize("seeds", [3, 6])
def test_an_aa_study_finds_a_difference_5_times_in_100_by_t(seeds):
    a, b = np.random.default_rng(2).normal(0.9, 0.01, (2, 3000, seeds))
    assert np.mean([paired_t(d).p <= 0.05 for d in a - b]) == within(0.05, 3000)


@pytest.mark.parametrize(
    "test", [sign_flip, lambda d: mean_score(np.sign(d)).p], ids=["flip", "signs"]
)
def test_an_aa_study_finds_a_difference_at_most_5_times_in_100_by_signs(test):
    # No normal distribution needed: skewed, and rounded as accuracies are, so that some tie.
    a, b = np.random.default_rng(3).exponential(0.02, (2, 1500, 7)).round(2)
    assert np.mean([test(d) <= 0.05 for d in a - b]) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1500)


@pytest.mark.usefixtures("nothing_to_collect")
def test_a_family_of_aa_studies_finds_a_difference_at_most_5_times_in_100():
    a, b = np.random.default_rng(4).normal(0.9, 0.01, (2, 3000, 5, 4))  # 5 tests of 4 seeds each
    p_values = stats.ttest_1samp(a - b, 0, axis=-1).pvalue
    rate = np.mean([holm(family).min() <= 0.05 for family in p_values])
    assert rate <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 3000)


@pytest.mark.parametrize("spread", [0.2, 1.0])
def test_a_difference_of_the_margin_is_taken_for_none_at_most_5_times_in_100(spread):
    samples = np.random.default_rng(5).normal(1.0, spread, (2000, 5))
    rate = np.mean([tost(d, 1.0) <= 0.05 for d in samples])
    assert rate <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


# ---- effect sizes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("differences", "d"),
    [([], NAN), ([1], NAN), ([0, 0], 0), (SAME, INF), ([-2, -2], -INF), ([0, 2], 1 / math.sqrt(2))],
)
def test_cohens_d_is_in_standard_deviations(differences, d):
    assert cohens_d(differences) == pytest.approx(d, nan_ok=True)


# ---- curves -------------------------------------------------------------------------------------


def test_what_is_not_finite_counts_as_the_cap():
    assert loss_area([1.0, 5.0, NAN, INF, 0.0], 2.0) == (1 + 2 + 2 + 2 + 0) / 5
    assert math.isnan(loss_area([], 2.0))


@given(st.lists(st.floats(min_value=0) | st.just(NAN), min_size=1), st.floats(0.01, 10))
def test_the_area_is_at_most_the_cap(losses, cap):
    assert 0 <= loss_area(losses, cap) <= cap * (1 + 1e-12)


def test_the_first_step_at_the_target_counts_and_no_later_one():
    steps, values = [10, 20, 30, 40], [0.1, 0.5, 0.3, 0.9]
    assert steps_to_target(steps, values, 0.5) == 20
    assert steps_to_target(steps, values, 0.6) == 40
    assert steps_to_target(steps, values, 0.95) == INF
    assert steps_to_target([10, 20], [NAN, 0.5], 0.1) == 20
    assert steps_to_target([], [], 0.1) == INF


@given(st.lists(st.floats(0, 1) | st.just(NAN)), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_target_takes_no_fewer_steps(values, target, other):
    steps = range(len(values))
    first = steps_to_target(steps, values, target)
    assert all(not v >= target for v in values[: len(values) if first == INF else int(first)])
    assert first == INF or values[int(first)] >= target
    assert steps_to_target(steps, values, max(target, other)) >= first


def test_gaps_are_compared_where_the_runs_have_trained_as_far():
    # a comes to 1.0 half-way between its looks, with a validation loss of 1.5; b ends there at 1.2.
    assert gap_at_matched_loss([2, 1.5, 0.5], [2, 1.6, 1.4], [2, 1.0], [2, 1.2]) == pytest.approx(
        0.3
    )


def test_a_gap_is_read_at_the_first_crossing():
    # a passes 1.0 at its second look, and again when it comes back from 3.
    a = [2, 1.0, 3, 0.5], [2, 1.1, 3, 9]
    assert gap_at_matched_loss(*a, [2, 1.0], [2, 1.0]) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (([], []), ([2, 1], [2, 1])),
        (([NAN, NAN], [2, 1]), ([2, 1], [2, 1])),
        (([0.5, 0.4], [1, 1]), ([2, 1], [2, 1])),  # a starts below b's lowest
    ],
)
def test_runs_without_a_level_in_common_have_no_gap(a, b):
    assert math.isnan(gap_at_matched_loss(*a, *b))
    assert math.isnan(gap_at_matched_loss(*b, *a))


def test_a_run_that_diverges_is_compared_up_to_there():
    whole = gap_at_matched_loss([2, 1, 0.5], [2, 1.3, 1], [2, 1], [2, 1.1])
    assert whole == pytest.approx(0.2)
    assert gap_at_matched_loss([2, 1, NAN, INF], [2, 1.3, NAN, 5], [2, 1], [2, 1.1]) == whole


def test_a_run_that_never_gets_below_its_start_is_compared_there():
    assert gap_at_matched_loss([2, 3], [2.5, 3], [3, 1], [2.2, 1]) == pytest.approx(2.5 - 1.6)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=10))
def test_a_run_has_no_gap_to_itself(looks):
    train, validation = zip(*looks, strict=True)
    assert gap_at_matched_loss(train, validation, train, validation) == 0


# ---- how many seeds -----------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "seeds"), [(0.2, 199), (0.5, 34), (0.8, 15), (-0.5, 34)])
def test_of_a_known_mean_and_spread_the_seeds_are_those_of_the_power_tables(d, seeds):
    # G*Power 3.1 and R: pwr.t.test(d = d, power = 0.8, type = "paired").
    draws = np.random.default_rng(0).normal(size=100_000)
    known = d + (draws - draws.mean()) / draws.std(ddof=1)
    for bound in (0, 3):
        low, high = seeds_to_decide(known + bound, bound)
        assert low - 2 <= seeds <= high + 2
        assert high / low < 1.2


def test_few_seeds_leave_it_open_how_many_would_decide():
    """Of six seeds of a known law the range holds the right number nine times in ten."""
    draws, right = np.random.default_rng(9), 34
    ranges = [seeds_to_decide(draws.normal(0.5, 1, 6)) for _ in range(1000)]
    assert np.mean([low <= right <= high for low, high in ranges]) == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("differences", [[], [1], [0, 0], SAME])
def test_without_a_spread_nothing_tells_how_many_would_decide(differences):
    assert np.isnan(seeds_to_decide(differences)).all()

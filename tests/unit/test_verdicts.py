"""Verdicts on made-up studies whose effects are known: each claim by its own rules alone."""

import gc
import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bench import DIVERGED, EVERY, Bench, T, clipped_at_1, row
from hypothesis import assume, given
from hypothesis import strategies as st

from clipgrid.judging import claims, rules, statistics, sums, verdicts
from clipgrid.judging.evidence import Evidence
from clipgrid.judging.hypotheses import of_difference
from clipgrid.judging.strata import Lookup
from clipgrid.study import config as study
from clipgrid.study import grid, parts

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden" / "claims.csv"
WIDE = np.array([-1, 1, -1, 1, -1, 1])  # its 95% interval is 1.15 to both sides
NARROW = WIDE / 10
VARIED = np.array([0, 0.1, 0.3, -0.1, -0.2, -0.1])
NEARLY = 1.34 + WIDE  # the p of its t-test is 0.03
TWO_MODELS = {"alexnet": {"width": 0.125}, "vgg11": {"width": 0.125}}


@pytest.fixture(scope="module", autouse=True)
def nothing_to_collect():
    """statsmodels collects garbage in every Holm: keep it from going through all that is loaded."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def bench(config, tmp_path):
    return Bench(config, tmp_path)


def rule(claim="higher", **keys):
    """λ = 1 against no clipping, a margin of one point."""
    return {
        "statistic": "paired t",
        "measure": "test_accuracy",
        "claim": claim,
        "margin": "1 points",
        "arm": {"clips": [1]},
        "baseline": {"clips": ["inf"]},
        **keys,
    }


def by_seed(points, measure="test_accuracy"):
    """Where λ = 1 an accuracy is higher by so many points, a number a seed; and in all arms alike
    it is very different from seed to seed."""

    def measured(cell):
        seed = cell.trajectory.seed
        points_here = points[seed] if clipped_at_1(cell) else 0
        return {measure: 0.3 + 0.07 * (seed % 7) + points_here / 100}

    return measured


# ---- higher, lower, the same --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "differences", "verdict"),
    [
        ("higher", 3 + WIDE, "supported"),
        ("higher", -3 + WIDE, "refuted"),
        ("higher", 0 + NARROW, "no effect that matters"),
        ("higher", 0.5 + NARROW, "no effect that matters"),  # above 0, and yet too small
        ("higher", -0.8 + WIDE, "refuted"),  # less than the margin, and maybe opposite
        ("higher", 0.9 + WIDE, "inconclusive"),
        ("lower", -3 + WIDE, "supported"),
        ("lower", 3 + WIDE, "refuted"),
        ("lower", 0 + NARROW, "no effect that matters"),
        ("lower", -0.9 + WIDE, "inconclusive"),
        ("not lower", 3 + WIDE, "supported"),
        ("not lower", -0.5 + NARROW, "supported"),  # lower, by less than what matters
        ("not lower", 0 + WIDE, "inconclusive"),
        ("not lower", -3 + WIDE, "refuted"),
        ("not higher", -3 + WIDE, "supported"),
        ("not higher", 0.5 + NARROW, "supported"),
        ("not higher", 0 + WIDE, "inconclusive"),
        ("not higher", 3 + WIDE, "refuted"),
        ("same", 0 + NARROW, "supported"),
        ("same", 0.5 + NARROW, "supported"),
        ("same", 0 + WIDE, "inconclusive"),
        ("same", 3 + WIDE, "refuted"),
        ("same", -3 + WIDE, "refuted"),
        ("different", 3 + WIDE, "supported"),
        ("different", -3 + WIDE, "supported"),
        ("different", 0.9 + WIDE, "inconclusive"),
        ("different", 0 + NARROW, "no effect that matters"),
    ],
)
def test_the_verdict_on_a_difference(bench, claim, differences, verdict):
    found = bench.verdict(bench.study(by_seed(differences)), rule(claim))
    assert found.verdict == verdict
    assert found.effect == pytest.approx(differences.mean())
    assert (found.unit, found.n) == ("points", 6)


def test_the_interval_is_students(bench):
    found = bench.verdict(bench.study(by_seed(3 + WIDE)), rule())
    # The standard error is sqrt(6/5)/sqrt(6), and t(0.975, 5) is 2.570582.
    assert (found.low, found.high) == pytest.approx((3 - 1.149599, 3 + 1.149599), abs=1e-5)


reals = st.floats(-5, 5, allow_subnormal=False)


@given(st.lists(reals, min_size=2, max_size=8), st.floats(0.1, 2))
def test_p_values_say_what_the_95_percent_interval_says(differences, margin):
    d = np.array(differences)
    assume(np.ptp(d) > 1e-3)
    low, high = statistics.paired_t(d)[1:3]
    assume(min(abs(bound - x) for bound in (low, high) for x in (0, margin, -margin)) > 1e-6)
    within = -margin < low and high < margin
    for claim, supported, against in (
        ("higher", low > 0, {"opposite": high < 0, "small": high < margin, "within": within}),
        ("lower", high < 0, {"opposite": low > 0, "small": low > -margin, "within": within}),
        ("not lower", low > -margin, {"opposite": high < -margin}),
        ("not higher", high < margin, {"opposite": low > margin}),
        ("same", within, {"opposite": low > margin or high < -margin}),
        ("different", low > margin or high < -margin, {"within": within}),
    ):
        p = of_difference(claim, margin, d[np.newaxis], ["alexnet"])
        shown = {name: value < 0.05 for name, value in p.items()}
        assert shown == {"support": supported, **against}, claim


@pytest.mark.parametrize("seeds", [5, 6])
def test_runs_that_are_the_same_bit_for_bit_refute_a_difference_with_6_seeds_or_more(bench, seeds):
    """There is no spread and no t: a p of 2 / 2^n, as of n coins, is below 5% from 6 seeds on."""
    found = bench.verdict(bench.study(by_seed([0] * seeds), seeds=list(range(seeds))), rule())
    assert (found.effect, found.low, found.high) == (0, 0, 0)
    assert (found.p, found.sign_flip_p, found.cohens_d) == (1, 1, 0)
    assert found.p_against == 2 / 2**seeds
    assert found.verdict == ("no effect that matters" if seeds == 6 else "inconclusive")


# ---- how many seeds -----------------------------------------------------------------------------


def test_what_is_inconclusive_says_how_many_seeds_would_decide(bench):
    found = bench.verdict(bench.study(by_seed(0.9 + WIDE)), rule())
    assert 2 < found.seeds_from < found.seeds_to
    assert f"One look would take {found.seeds_from:.0f} to" in found.reason


def test_a_larger_effect_takes_fewer_seeds(bench):
    needed = [
        bench.verdict(bench.study(by_seed(effect + WIDE)), rule("not lower", margin="0.001 points"))
        for effect in (0.4, 0.6, 0.8)
    ]
    assert [n.seeds_from for n in needed] == sorted({n.seeds_from for n in needed}, reverse=True)


def test_what_is_decided_says_nothing_of_seeds(bench):
    found = bench.verdict(bench.study(by_seed(3 + WIDE)), rule())
    assert "would take" not in found.reason


def test_one_seed_shows_an_effect_and_decides_nothing(bench):
    found = bench.verdict(bench.study(by_seed([30]), seeds=[0]), rule())
    assert found.verdict == "inconclusive"
    assert found.reason.startswith("There is one seed, so nothing is known about the spread.")
    assert "nan" not in found.reason
    assert (found.effect, found.n) == (pytest.approx(30), 1)
    assert pd.isna([found.low, found.high, found.cohens_d, found.seeds_from]).all()


# ---- pairs --------------------------------------------------------------------------------------


def test_the_order_of_the_cells_means_nothing(bench):
    evidence = bench.study(by_seed(0.9 + WIDE))
    first = bench.verdict(evidence, rule())
    path = evidence.results / "cells.csv"
    for i in range(3):
        pd.read_csv(path).sample(frac=1, random_state=i).to_csv(path, index=False)
        sums.seal(evidence.results, {})
        again = bench.verdict(Evidence(evidence.study, evidence.results), rule())
        pd.testing.assert_series_equal(first, again)


def test_only_seeds_that_both_arms_have_are_compared(bench):
    differences = [50, 2, 3, 4, -50]  # of the first and the last there is one arm alone
    arms = [{"clips": [1], "seeds": [0, 1, 2, 3]}, {"clips": ["inf"], "seeds": [1, 2, 3, 4]}]
    evidence = bench.study(
        by_seed(differences),
        seeds=[0, 1, 2, 3, 4],
        clips=[1, "inf"],
        experiments={"x": {"title": "X", "section": "1", "select": arms}},
    )
    found = bench.verdict(evidence, rule())
    assert (found.effect, found.n) == (pytest.approx(3), 3)


def test_strata_are_averaged_within_each_seed(bench):
    def measured(cell):
        better = {"alexnet": 4, "vgg11": 2}[cell.trajectory.model.name] + WIDE[cell.trajectory.seed]
        return {"test_accuracy": 0.5 + better / 100 * clipped_at_1(cell)}

    found = bench.verdict(bench.study(measured, models=TWO_MODELS), rule())
    assert (found.verdict, found.n) == ("supported", 6)
    assert found.effect == pytest.approx(3)
    assert "It ranges from +2.0 points (VGG-11) to +4.0 points (AlexNet)." in found.reason


def test_an_arm_of_several_values_is_compared_value_by_value(bench):
    def measured(cell):
        better = {1: 4, 10: 2, math.inf: 0}[cell.trajectory.clip.threshold]
        return {"test_accuracy": 0.5 + (better + WIDE[cell.trajectory.seed]) / 100}

    found = bench.verdict(bench.study(measured), rule(arm={"clips": [1, 10]}))
    assert (found.effect, found.n) == (pytest.approx(3), 6)
    assert "It ranges from +2.0 points (λ = 10) to +4.0 points (λ = 1)." in found.reason


@pytest.mark.parametrize(
    ("of_vgg", "verdict", "how"),
    [
        (-6, "depends", "it holds in some places and fails in others"),
        (-2, "inconclusive", ""),  # lower, but not shown to be so by more than the margin
        (4, "supported", ""),
    ],
)
def test_a_counterexample_beyond_the_margin_makes_it_depend(bench, of_vgg, verdict, how):
    def measured(cell):
        better = {"alexnet": 10, "vgg11": of_vgg}[cell.trajectory.model.name]
        better += WIDE[cell.trajectory.seed]
        return {"test_accuracy": 0.5 + better / 100 * clipped_at_1(cell)}

    found = bench.verdict(bench.study(measured, models=TWO_MODELS), rule())
    assert (found.verdict, found.how) == (verdict, how)
    assert found.effect == pytest.approx(5 + of_vgg / 2)
    if how:
        assert found.reason.startswith(
            "It holds in some places and fails in others: -6.0 points with VGG-11; +10.0 points"
            " with AlexNet. "
        )


def test_what_holds_nowhere_and_fails_in_one_stratum_is_refuted(bench):
    def measured(cell):
        better = {"alexnet": 6 * WIDE, "vgg11": -5 + WIDE}[cell.trajectory.model.name]
        return {"test_accuracy": 0.5 + better[cell.trajectory.seed] / 100 * clipped_at_1(cell)}

    found = bench.verdict(bench.study(measured, models=TWO_MODELS), rule())
    assert (found.verdict, found.how) == ("refuted", "it fails somewhere")


def test_what_is_said_in_general_has_to_hold_without_any_one_of_the_nets(bench):
    def measured(cell):
        better = {"alexnet": 30 + WIDE, "vgg11": 0.2 + WIDE}[cell.trajectory.model.name]
        return {"test_accuracy": 0.5 + better[cell.trajectory.seed] / 100 * clipped_at_1(cell)}

    evidence = bench.study(measured, models=TWO_MODELS)
    assert bench.verdict(evidence, rule()).verdict == "inconclusive"
    alone = bench.verdict(evidence, rule(cells={"models": ["alexnet"]}))
    assert alone.verdict == "supported"


@pytest.mark.parametrize(
    ("of_vgg", "verdict"),
    [(0 + NARROW, "supported"), (3 + WIDE, "depends"), (0 + 3 * WIDE, "inconclusive")],
)
def test_the_same_is_the_same_in_each_stratum(bench, of_vgg, verdict):
    """Over two nets, 3 and -3 are 0 on average."""

    def measured(cell):
        better = {"alexnet": 0 * WIDE + NARROW, "vgg11": of_vgg}[cell.trajectory.model.name]
        return {"test_accuracy": 0.5 + better[cell.trajectory.seed] / 100 * clipped_at_1(cell)}

    assert bench.verdict(bench.study(measured, models=TWO_MODELS), rule("same")).verdict == verdict


def test_opposite_effects_are_not_the_same(bench):
    def measured(cell):
        better = {"alexnet": 3, "vgg11": -3}[cell.trajectory.model.name] + WIDE
        return {"test_accuracy": 0.5 + better[cell.trajectory.seed] / 100 * clipped_at_1(cell)}

    found = bench.verdict(bench.study(measured, models=TWO_MODELS), rule("same"))
    assert (found.verdict, found.effect) == ("refuted", pytest.approx(0))


@pytest.mark.parametrize(
    ("of_vgg", "verdict"),
    [
        (4 + WIDE, "supported"),
        (0.9 + WIDE, "inconclusive"),
        (0 + NARROW, "no effect that matters"),
        (-4 + WIDE, "refuted"),
    ],
)
def test_what_may_happen_has_to_happen_somewhere(bench, of_vgg, verdict):
    def measured(cell):
        better = {"alexnet": 0 * WIDE + NARROW, "vgg11": of_vgg}[cell.trajectory.model.name]
        return {"test_accuracy": 0.5 + better[cell.trajectory.seed] / 100 * clipped_at_1(cell)}

    evidence = bench.study(measured, models=TWO_MODELS)
    assert bench.verdict(evidence, rule(holds="somewhere")).verdict == verdict


def test_a_stratum_that_may_be_chance_is_no_counterexample(bench):
    def measured(cell):
        better = {"alexnet": 10 + WIDE, "vgg11": -1 - NEARLY}[cell.trajectory.model.name]
        return {"test_accuracy": 0.5 + better[cell.trajectory.seed] / 100 * clipped_at_1(cell)}

    # Below 5% by itself, but there are two strata to find one in.
    assert bench.verdict(bench.study(measured, models=TWO_MODELS), rule()).verdict == "inconclusive"


# ---- families and rules -------------------------------------------------------------------------


def test_claims_of_one_family_share_their_5_percent(bench):
    evidence = bench.study(by_seed(NEARLY))
    other = rule(measure="validation_accuracy")  # no difference there, and no spread: p is 1
    alone = bench.judge(evidence, Q1=rule())
    assert alone.p["Q1"] == pytest.approx(0.03, abs=0.001)
    assert alone.verdict["Q1"] == "supported"
    together = bench.judge(evidence, Q1=rule(), Q2=other, Q3=other)
    assert together.p["Q1"] == pytest.approx(3 * alone.p["Q1"])
    assert together.verdict["Q1"] == "inconclusive"
    apart = bench.judge(
        evidence, Q1=rule(), Q2=other, Q3=other, families={"Q2": "others", "Q3": "others"}.get
    )
    assert apart.loc["Q1", "p"] == alone.p["Q1"]
    assert apart.verdict["Q1"] == "supported"


def test_a_claim_that_is_not_tested_costs_its_family_nothing(bench):
    missing = rule(cells={"iterations": [99]})
    table = bench.judge(bench.study(by_seed(NEARLY)), Q1=rule(), Q2=missing, Q3=missing)
    assert table.verdict.tolist() == ["supported", "inconclusive", "inconclusive"]


def test_all_rules_must_hold(bench):
    evidence = bench.study(by_seed(3 + WIDE))
    holds, fails = rule(), rule("lower")
    assert bench.verdict(evidence, holds, holds).verdict == "supported"
    assert bench.verdict(evidence, holds, rule("same", margin="3 points")).verdict == "inconclusive"
    assert bench.verdict(evidence, fails, fails).verdict == "refuted"
    for halves in ([holds, fails], [fails, holds]):
        found = bench.verdict(evidence, *halves)
        assert (found.verdict, found.how) == ("partly", "of its rules 1 supported and 1 refuted")


def test_what_has_more_rules_to_fail_fails_by_less_chance(bench):
    evidence = bench.study(by_seed(-NEARLY))
    not_lower = rule("not lower", margin="0.001 points")
    other = rule("same", measure="validation_accuracy")  # no difference there, and no spread
    alone = bench.verdict(evidence, not_lower)
    together = bench.judge(evidence, Q1=[not_lower, other])
    assert alone.verdict == "refuted"
    [first] = bench.findings[bench.findings.rule == 1].itertuples()
    assert (first.verdict, together.verdict["Q1"]) == ("inconclusive", "inconclusive")
    assert first.p_against == pytest.approx(2 * alone.p_against)


# ---- cells that failed, or that there are none of ------------------------------------------------


def failing(cells, level=0.7):
    """Those for which `cells` says so diverge; λ = 1 is 3 points better, and all vary a little."""

    def measured(cell):
        if cells(cell):
            return DIVERGED
        better = (3 + VARIED[cell.trajectory.seed]) * clipped_at_1(cell)
        return {"test_accuracy": level + better / 100, "test_loss": 0.5}

    return measured


def test_accuracies_are_compared_among_the_seeds_that_trained_in_both_arms(bench):
    evidence = bench.study(failing(lambda c: clipped_at_1(c) and c.trajectory.seed == 0))
    found = bench.verdict(evidence, rule())
    assert (found.verdict, found.n) == ("supported", 5)
    assert found.effect == pytest.approx(3 + VARIED[1:].mean())
    assert "1 of 6 runs failed, against 0 of 6." in found.reason
    assert "With failed runs as runs that guess it is -7.5 [" in found.reason
    assert "the sign is another" in found.reason


def test_an_arm_at_chance_is_no_baseline(bench):
    evidence = bench.study(failing(lambda c: math.isinf(c.trajectory.clip.threshold)))
    found = bench.verdict(evidence, rule())
    assert (found.verdict, found.n) == ("inconclusive", 0)
    assert "too few seeds trained in both arms. 0 of 6 runs failed, against 6 of 6." in found.reason

    def dead_vgg(cell):
        run = cell.trajectory
        return run.model.name == "vgg11" and math.isinf(run.clip.threshold) and run.seed > 1

    found = bench.verdict(bench.study(failing(dead_vgg), models=TWO_MODELS), rule())
    assert (found.n, found.effect) == (6, pytest.approx(3))  # AlexNet's alone
    assert "fewer than half of the seeds trained in both arms: VGG-11." in found.reason


def test_an_arm_whose_runs_fail_more_often_is_only_partly_better(bench):
    """Of two nets, the clipped runs of each seed fail in one."""

    def fails(cell):
        run = cell.trajectory
        return clipped_at_1(cell) and run.model.name == ("alexnet", "vgg11")[run.seed % 2]

    found = bench.verdict(bench.study(failing(fails), models=TWO_MODELS), rule())
    assert (found.verdict, found.how) == ("partly", "its runs fail more often")
    other = bench.verdict(bench.study(failing(fails), models=TWO_MODELS), rule("lower"))
    assert other.verdict == "refuted"  # said to be worse, it doesn't suffer from that


def test_where_all_diverged_there_is_nothing_to_compare(bench):
    diverged = DIVERGED | {"steps_clipped": 1}
    found = bench.verdict(bench.study(lambda _: diverged), rule("same"))
    assert (found.verdict, found.n) == ("inconclusive", 0)
    assert "6 of 6 runs failed, against 6 of 6." in found.reason


# ---- clones --------------------------------------------------------------------------------------


def idle(cells):
    """Where `cells` says so, the weights are those of the unclipped run."""

    def measured(cell):
        better = (3 + WIDE[cell.trajectory.seed]) * clipped_at_1(cell)
        row = {"test_accuracy": 0.5 + better / 100}
        return row | ({"weights_sha256": f"clone {cell.trajectory.seed}"} if cells(cell) else {})

    return measured


def test_an_arm_that_never_fired_is_left_out(bench):
    evidence = bench.study(idle(lambda cell: not clipped_at_1(cell)))
    found = bench.verdict(evidence, rule(arm={"clips": [1, 10]}))
    assert (found.effect, found.n) == (pytest.approx(3), 6)
    assert "the runs are the baseline's bit for bit: λ = 10." in found.reason
    alone = bench.verdict(evidence, rule(arm={"clips": [10]}))
    assert (alone.verdict, alone.n) == ("not applicable", 0)
    assert alone.reason.startswith("Each run of the arm is the baseline's, bit for bit")
    both = bench.verdict(evidence, rule(), rule(arm={"clips": [10]}))
    assert (both.verdict, both.how) == ("partly", "of its rules 1 supported and 1 not applicable")


def test_clones_that_diverged_are_clones_too(bench):
    evidence = bench.study(lambda c: {} if clipped_at_1(c) else DIVERGED)
    found = bench.verdict(evidence, {**LESS_OFTEN, "arm": {"clips": [10]}})
    assert found.verdict == "not applicable"
    found = bench.verdict(evidence, {**LESS_OFTEN, "arm": {"clips": [1, 10]}})
    assert "0 of 6 runs failed, against 6 of 6." in found.reason


def test_images_that_a_flip_makes_others_of_cant_show_it(bench):
    evidence = bench.study(augmentations=["none", "flip", "crop"])
    arms = {"baseline": {"augmentations": ["none"]}, "cells": {"clips": [1]}}
    found = bench.verdict(evidence, rule(arm={"augmentations": ["flip"]}, **arms))
    assert (found.verdict, found.n) == ("not applicable", 0)
    found = bench.verdict(evidence, rule(arm={"augmentations": ["flip", "crop"]}, **arms))
    assert "don't keep their class then: flip" in found.reason
    assert found.n == 6


def test_the_steps_after_a_run_diverged_have_the_loss_of_guessing(bench):
    def curve(run):
        losses = np.full(T, 1.0)
        if clipped_at_1(run):
            losses[T // 2 :] = np.nan
        return {"loss": losses}

    loss_area = rule(measure="loss_area", margin="0.05 nats")
    found = bench.verdict(bench.study(curve=curve), loss_area)
    assert found.effect == pytest.approx((math.log(10) - 1) / 2)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (rule(cells={"iterations": [99]}), "T = 99"),
        (rule(cells={"models": ["alexnet", "vgg11"]}), "VGG-11"),
        (rule(arm={"clips": [0.5]}), "λ = 0.5"),
        (rule(baseline={"clips": ["agc0.01"]}), "agc0.01"),
        (rule(gain={"start": {"iterations": [T]}, "end": {"iterations": [50]}}), "T = 50"),
        (
            {
                "statistic": "Clopper-Pearson",
                "event": "clipped",
                "cells": {"label_noise": [0.4]},
            },
            "label noise 0.4",
        ),
        (
            {
                "statistic": "figure of other data",
                "measure": "test_accuracy",
                "figure": "71%",
                "cells": {"models": ["resnet18"]},
            },
            "ResNet-18",
        ),
    ],
)
def test_what_the_study_has_no_cells_for_is_inconclusive_and_they_are_named(bench, asked, named):
    found = bench.verdict(bench.study(), asked)
    assert (found.verdict, found.n) == ("inconclusive", 0)
    assert found.reason.startswith("This study has no cell with ")
    assert named in found.reason
    assert pd.isna([found.effect, found.low, found.high, found.p, found.p_against]).all()


STUDIES = [
    "config.yaml",
    *(f"studies/{name}.yaml" for name in ("fashion-mnist", "cifar10", "imagenette", "imagenet")),
]


@pytest.mark.parametrize("path", STUDIES)
def test_the_studies_have_the_cells_that_each_claim_needs(path, tmp_path):
    s = study.load(ROOT / path)
    (tmp_path / "data.json").write_text(json.dumps({"name": "digits", "classes": ["0", "1"]}))
    table = pd.DataFrame([row(cell) for cell in grid.cells(s)])
    table.to_csv(tmp_path / "cells.csv", index=False)
    (tmp_path / "study.json").write_text(study.to_json(s))
    sums.seal(tmp_path, {})
    shipped = claims.load(ROOT / s.claims)
    lookup = Lookup(Evidence(s, tmp_path), shipped.usual.words)
    for key, claim in shipped.claims.items():
        for asked in claim.rules:
            if isinstance(asked, rules.Contrast):
                for gain in ("start", "end"):
                    assert lookup.pairs(asked, gain), key
            elif not isinstance(asked, rules.Computation):
                assert lookup.cells(asked.cells.words), key


@pytest.mark.parametrize(("better", "verdict"), [(3, "supported"), (-3, "refuted")])
def test_vggs_plain_clipping_run_is_said_to_be_less_accurate_than_the_average(
    bench, better, verdict
):
    """C15: what would support it is an average that is more accurate than the raw weights."""

    def measured(cell):
        averaged = cell.readout.ema is not None
        gain = (better + WIDE[cell.trajectory.seed - 5]) * averaged  # seeds that nobody has seen
        return {"validation_accuracy": 0.5 + gain / 100}

    evidence = bench.study(
        measured, models={"vgg11": {"width": 0.125}}, iterations=[1000], ema=["none", 0.999],
        seeds=list(range(5, 11)),
    )  # fmt: skip
    shipped = claims.load(ROOT / "claims.yaml")
    alone = shipped.model_copy(update={"claims": {"C15": shipped.claims["C15"]}})
    [found] = verdicts.judge(alone, evidence)[0].itertuples()
    assert (found.verdict, found.effect) == (verdict, pytest.approx(better))
    assert (found.section, found.phrase) == ("4.1.1", "实验的准确率更低")


# ---- families of models --------------------------------------------------------------------------

NETS = {"alexnet": {"width": 0.125}, "vgg11": {"width": 0.125}, "vgg13": {"width": 0.125}}


def test_a_family_stands_for_those_of_its_models_that_the_study_has(bench):
    def measured(cell):
        better = {"alexnet": 1, "vgg11": 2, "vgg13": 4, "vgg11_bn": 50}[cell.trajectory.model.name]
        return {"test_accuracy": 0.5 + (better * clipped_at_1(cell) + cell.trajectory.seed) / 100}

    evidence = bench.study(measured, models={**NETS, "vgg11_bn": {"width": 0.125}})
    for models, named in (
        (["alexnet", "vgg"], ["alexnet", "vgg11", "vgg13"]),
        (["vgg"], ["vgg13", "vgg11"]),
        (["vgg_bn"], ["vgg11_bn"]),
    ):
        table = bench.judge(
            evidence, Q1=rule(cells={"models": models}), Q2=rule(cells={"models": named})
        )
        assert table.effect["Q1"] == pytest.approx(table.effect["Q2"])
    assert "(VGG-13)" in bench.verdict(evidence, rule(cells={"models": ["vgg"]})).reason
    lacking = bench.verdict(evidence, rule(cells={"models": ["alexnet", "resnet"]}))
    assert "no cell with ResNet, " in lacking.reason


def test_arms_may_be_families(bench):
    def measured(cell):
        better = {"alexnet": 9, "vgg11": 2, "vgg13": 4}[cell.trajectory.model.name]
        return {"test_accuracy": (50 + better + WIDE[cell.trajectory.seed]) / 100}

    evidence = bench.study(measured, models=NETS)
    against = {"cells": {"clips": [1]}, "arm": {"models": ["vgg"]}}
    found = bench.verdict(evidence, rule(baseline={"models": ["alexnet"]}, **against))
    assert found.effect == pytest.approx(-6)
    assert "VGG-11 or VGG-13 less AlexNet" in found.reason


def test_of_several_models_a_figure_is_their_mean_within_a_seed(bench):
    def measured(cell):
        level = {"alexnet": 10, "vgg11": 40, "vgg13": 60}[cell.trajectory.model.name]
        return {"test_accuracy": (level + WIDE[cell.trajectory.seed]) / 100}

    stated = {"statistic": "figure of other data", "measure": "test_accuracy", "figure": "71%"}
    cells = {"models": ["vgg"], "clips": [1]}
    found = bench.verdict(bench.study(measured, models=NETS), {**stated, "cells": cells})
    assert (found.n, found.effect) == (6, pytest.approx(50))
    assert found.high - found.effect == pytest.approx(1.15, abs=0.01)


@pytest.mark.parametrize(
    ("keys", "several"),
    [
        (
            {"arm": {"models": ["alexnet"]}, "baseline": {"models": ["vgg"]}},
            "vgg stands for more than one model here: vgg11, vgg13.",
        ),
        (
            {"arm": {"clips": ["value"]}, "cells": {"models": ["alexnet"]}},
            "value stands for more than one clip here: value0.1, value0.2.",
        ),
    ],
)
def test_what_is_to_be_one_and_is_several_can_not_be_judged(bench, keys, several):
    evidence = bench.study(models=NETS, clips=[1, "inf", "value0.1", "value0.2"])
    found = bench.verdict(evidence, rule(**keys))
    assert (found.verdict, found.reason) == ("inconclusive", several)


# ---- measures and arms ---------------------------------------------------------------------------


RATES = [0.01, 0.03, 0.1]
TUNED = {"learning_rate": "tuned", "cells": {"learning_rates": RATES}}


def at_rates(validation, test):
    """Accuracies by clip and learning rate."""

    def measured(cell):
        run = cell.trajectory
        here = run.clip.threshold, RATES.index(run.learning_rate)
        return {
            "validation_accuracy": validation[here[0]][here[1]],
            "test_accuracy": test[here[0]][here[1]],
        }

    return measured, {"optimizers": {"momentum": {"learning_rates": RATES}}, "clips": [1, "inf"]}


def test_a_learning_rate_is_tuned_on_validation_images_and_not_on_test_images(bench):
    # λ = 1, best on validation images at 0.03, is better on test images at 0.1.
    validation = {1: (0.6, 0.8, 0.7), math.inf: (0.4, 0.6, 0.5)}
    test = {1: (0.5, 0.62, 0.9), math.inf: (0.4, 0.55, 0.5)}
    measured, keys = at_rates(validation, test)
    evidence = bench.study(measured, **keys)
    assert bench.verdict(evidence, rule(**TUNED)).effect == pytest.approx(62 - 55)
    each = bench.verdict(evidence, rule(cells={"learning_rates": RATES}))
    assert each.effect == pytest.approx(((50 - 40) + (62 - 55) + (90 - 50)) / 3)


def test_the_seeds_that_choose_the_rate_do_not_judge(bench):
    """Seeds 3 to 5 would choose 0.1; seeds 0 to 2, the first half, choose 0.03."""

    def measured(cell):
        run = cell.trajectory
        best = 0.03 if run.seed < 3 else 0.1
        accuracy = 0.9 if run.learning_rate == best else 0.5
        return {"validation_accuracy": accuracy, "test_accuracy": accuracy}

    _, keys = at_rates({}, {})
    evidence = bench.study(measured, **keys)
    lookup = Lookup(evidence, {})
    cells = dict(zip(lookup.words, lookup.words.iloc[0], strict=True))
    del cells["seeds"], cells["learning_rates"]
    rows, best = lookup.at_best_rate(cells, ["0.01", "0.03", "0.1"])
    assert best == "0.03"
    assert {seed: row.learning_rate for seed, row in rows.items()} == dict.fromkeys("345", 0.03)


@pytest.mark.parametrize(
    ("best", "said"),
    [
        (0, "η = 0.01 of no clipping"),
        (2, "η = 0.1 of no clipping"),
        (1, None),
    ],
)
def test_a_best_rate_at_an_edge_of_the_grid_leaves_it_undecided(bench, best, said):
    unclipped = [0.5, 0.5, 0.5]
    unclipped[best] = 0.6
    measured, keys = at_rates(
        {1: (0.5, 0.6, 0.5), math.inf: unclipped}, {1: (0.9, 0.9, 0.9), math.inf: (0.5, 0.5, 0.5)}
    )
    evidence = bench.study(measured, **keys, seeds=list(range(12)))
    found = bench.verdict(evidence, rule(**TUNED))
    assert (found.effect, found.n) == (pytest.approx(40), 6)
    assert found.verdict == ("inconclusive" if said else "supported")
    start = f"Undecided, as the best learning rate is the grid's first or last: {said}. "
    assert found.reason.startswith(start) == bool(said)


def test_a_gain_is_a_difference_of_differences(bench):
    def measured(cell):
        gained = {"alexnet": 5, "vgg11": 2}[cell.trajectory.model.name] * clipped_at_1(cell)
        level = {"alexnet": 30, "vgg11": 60}[cell.trajectory.model.name]
        noise = WIDE[cell.trajectory.seed] * clipped_at_1(cell)
        noise *= cell.trajectory.model.name == "alexnet"
        return {"test_accuracy": (level + gained + noise) / 100}

    found = bench.verdict(
        bench.study(measured, models=TWO_MODELS),
        rule(
            gain={"start": {"clips": ["inf"]}, "end": {"clips": [1]}},
            arm={"models": ["alexnet"]},
            baseline={"models": ["vgg11"]},
        ),
    )
    assert (found.verdict, found.n) == ("supported", 6)
    assert found.effect == pytest.approx(3)


@pytest.mark.parametrize(("steps", "area"), [(5, -0.4), (10, 0.0), (20, 0.2), (None, 0.2)])
def test_a_loss_area_is_that_of_the_first_steps_asked_for(bench, steps, area):
    def curve(run):
        lower, higher = np.full(5, 0.6), np.full(T - 5, 1.4)
        return {"loss": np.concatenate([lower, higher])} if clipped_at_1(run) else {}

    keys = {"steps": steps} if steps else {}
    loss_area = rule(measure="loss_area", margin="0.05 nats", **keys)
    found = bench.verdict(bench.study(curve=curve), loss_area)
    assert found.effect == pytest.approx(area, abs=1e-12)


def test_losses_are_compared_by_their_ratio_where_the_measure_is_logarithmic(bench):
    evidence = bench.study(lambda cell: {"test_loss": 0.25 if clipped_at_1(cell) else 0.5})
    found = bench.verdict(evidence, rule("lower", measure="log_test_loss", margin="10 %"))
    assert (found.effect, found.unit) == (pytest.approx(-100 * math.log(2)), "%")


def test_a_loss_area_is_up_to_the_cells_own_T(bench):
    def curve(run):
        return {"loss": np.linspace(1, 0.05, T) if clipped_at_1(run) else np.ones(T)}

    loss_area = rule("lower", measure="loss_area", margin="0.05 nats", cells={"iterations": [10]})
    found = bench.verdict(bench.study(curve=curve, iterations=[10, T]), loss_area)
    assert found.effect == pytest.approx(-np.arange(10).mean() * 0.05)


def test_a_run_that_only_learns_slower_has_no_other_gap_at_the_same_loss(bench):
    levels = {True: [2.0, 1.75, 1.5, 1.25], False: [2.0, 1.5, 1.0, 0.5]}  # of training loss

    def curve(run):
        train = np.array(levels[clipped_at_1(run)])
        return {"loss": train.repeat(EVERY), "validation_loss": 0.6 + 0.8 * train}

    def measured(cell):
        train = levels[clipped_at_1(cell)][-1]
        noise = 0.01 * WIDE[cell.trajectory.seed] * clipped_at_1(cell)
        return {"train_loss": train, "test_loss": 0.6 + 0.8 * train + noise}

    evidence = bench.study(measured, curve)
    matched = bench.verdict(
        evidence, rule("lower", measure="gap_at_matched_loss", margin="0.05 nats")
    )
    assert matched.effect == pytest.approx(0, abs=1e-9)
    assert matched.verdict == "no effect that matters"
    at_the_end = bench.verdict(evidence, rule("lower", measure="loss_gap", margin="0.05 nats"))
    assert at_the_end.effect == pytest.approx(-0.2 * (1.25 - 0.5))
    assert at_the_end.verdict == "supported"


def test_runs_that_share_no_training_loss_are_left_out_and_counted(bench):
    def curve(run):
        first = 0.4 if clipped_at_1(run) and run.seed < 2 else 2.0
        train = np.linspace(first, first / 2, 4)
        higher = 0.3 * clipped_at_1(run) + 0.01 * run.seed * clipped_at_1(run)
        return {"loss": train.repeat(EVERY), "validation_loss": train + higher}

    gap = rule(measure="gap_at_matched_loss", margin="0.05 nats")
    found = bench.verdict(bench.study(curve=curve), gap)
    assert (found.verdict, found.n) == ("supported", 4)
    assert found.effect == pytest.approx(0.3 + 0.035)
    assert "In 2 pairs the runs have no training loss in common." in found.reason


@pytest.mark.parametrize("clip", ["value0.13", "agc0.01", "agc0.01:eps=0.1"])
def test_a_kind_of_clipping_has_whatever_threshold_and_settings_the_study_has(bench, clip):
    kind = re.match("[a-z]+", clip)[0]

    def measured(cell):
        better = (2 + WIDE[cell.trajectory.seed]) * (cell.trajectory.clip.choice.name == kind)
        return {"test_accuracy": 0.5 + better / 100}

    evidence = bench.study(measured, clips=[1, clip, "inf"])
    found = bench.verdict(evidence, rule(arm={"clips": [kind]}))
    assert (found.effect, found.n) == (pytest.approx(2), 6)
    assert found.reason.startswith(f"{kind} less no clipping: ")


# ---- the other statistics ------------------------------------------------------------------------


def reaches_70_percent(never=()):
    """Looks at which λ = 1 finds 75% after 10 steps, but for the seeds in `never`."""

    def curve(run):
        reaches = clipped_at_1(run) and run.seed not in never
        return {"validation_accuracy": [0.3, 0.75, 0.6, 0.65] if reaches else [0.3, 0.4, 0.5, 0.6]}

    return curve


SOONER = {
    "statistic": "sign test",
    "target": "70 %",
    "claim": "sooner",
    "arm": {"clips": [1]},
    "baseline": {"clips": ["inf"]},
}


def test_a_run_that_never_gets_there_is_later_than_one_that_does(bench):
    evidence = bench.study(curve=reaches_70_percent())
    found = bench.verdict(evidence, SOONER)
    assert (found.effect, found.n, found.verdict) == (100, 6, "supported")
    assert found.p == 2 / 2**6
    assert found.low == pytest.approx(100 * 0.025 ** (1 / 6))
    assert "The first never reaches it in 0 pairs, the second in 6." in found.reason
    found = bench.verdict(evidence, {**SOONER, "claim": "later"})
    assert (found.effect, found.verdict, found.p_against) == (0, "refuted", 2 / 2**6)


def test_two_runs_that_never_get_there_tie(bench):
    found = bench.verdict(bench.study(curve=reaches_70_percent(never=(0, 1))), SOONER)
    assert (found.effect, found.n, found.verdict) == (pytest.approx(500 / 6), 6, "inconclusive")
    assert found.p == 2 / 2**4
    nobody = bench.verdict(bench.study(), SOONER)
    assert (nobody.effect, nobody.p, nobody.verdict) == (50, 1, "inconclusive")


def test_what_comes_after_T_is_not_looked_at(bench):
    def curve(run):
        return {"validation_accuracy": [0.3, 0.4, 0.75 if clipped_at_1(run) else 0.5, 0.6]}

    evidence = bench.study(curve=curve, iterations=[10, T])
    verdicts_at = [
        bench.verdict(evidence, {**SOONER, "cells": {"iterations": [steps]}}).verdict
        for steps in (10, T)
    ]
    assert verdicts_at == ["inconclusive", "supported"]


LESS_OFTEN = {
    "statistic": "Newcombe",
    "event": "failed",
    "claim": "less often",
    "arm": {"clips": [1]},
    "baseline": {"clips": ["inf"]},
}


@pytest.mark.parametrize(
    ("fails", "claim", "verdict"),
    [
        (math.inf, "less often", "supported"),
        (math.inf, "more often", "refuted"),
        (1, "less often", "refuted"),
        (1, "more often", "supported"),
        (10, "less often", "inconclusive"),
    ],
)
def test_rates_of_failures_are_compared(bench, fails, claim, verdict):
    def measured(cell):
        failed = cell.trajectory.clip.threshold == fails
        return {"status": "collapsed"} if failed else {}

    found = bench.verdict(bench.study(measured), {**LESS_OFTEN, "claim": claim})
    assert found.verdict == verdict
    assert (abs(found.effect), found.n) == (pytest.approx(0 if fails == 10 else 100), 6)
    assert found.low <= found.effect <= found.high


def test_strata_of_a_seed_are_no_runs_of_their_own(bench):
    """Three of six seeds fail in both nets: six runs of twelve, which Fisher would call decided."""

    def measured(cell):
        failed = math.isinf(cell.trajectory.clip.threshold) and cell.trajectory.seed < 3
        return {"status": "collapsed"} if failed else {}

    found = bench.verdict(bench.study(measured, models=TWO_MODELS), LESS_OFTEN)
    assert (found.effect, found.n, found.verdict) == (pytest.approx(-50), 6, "inconclusive")
    assert found.p == 2 / 2**3
    assert "0 of 12 runs failed, against 6 of 12." in found.reason


@pytest.mark.parametrize(("holds", "verdict"), [("somewhere", "supported"), (None, "inconclusive")])
def test_what_may_happen_to_runs_has_to_happen_in_one_stratum(bench, holds, verdict):
    """Of six seeds all fail in one net, and half of them the other way round in the other."""

    def measured(cell):
        run = cell.trajectory
        other = run.model.name == "vgg11" and run.seed < 5
        fails = clipped_at_1(cell) if other else math.isinf(run.clip.threshold)
        return {"status": "collapsed"} if fails else {}

    keys = {"holds": holds} if holds else {}
    seeds = list(range(8))
    evidence = bench.study(measured, models=TWO_MODELS, seeds=seeds)
    found = bench.verdict(evidence, {**LESS_OFTEN, **keys})
    assert found.verdict == verdict


def test_a_run_explodes_where_a_gradient_is_a_hundred_times_the_usual_before_T(bench):
    def curve(run):
        norms = np.ones(T)
        norms[14] = {1: 99, 10: 1, math.inf: 101}[run.clip.threshold]  # after T = 10, by T = 20
        return {"norm": norms}

    evidence = bench.study(curve=curve, iterations=[10, T])
    event = {**LESS_OFTEN, "event": "exploded"}
    early = bench.verdict(evidence, {**event, "cells": {"iterations": [10]}})
    assert (early.effect, early.verdict) == (0, "inconclusive")
    late = bench.verdict(evidence, {**event, "cells": {"iterations": [T]}})
    assert (late.effect, late.verdict) == (-100, "supported")


def test_a_run_whose_gradient_is_not_finite_explodes(bench):
    def curve(run):
        return {"norm": np.full(T, math.nan)} if math.isinf(run.clip.threshold) else {}

    found = bench.verdict(bench.study(curve=curve), {**LESS_OFTEN, "event": "exploded"})
    assert (found.effect, found.verdict) == (-100, "supported")


def test_a_run_that_collapses_with_small_gradients_does_not_explode(bench):
    evidence = bench.study(lambda _: {"status": "collapsed"})
    found = bench.verdict(evidence, {**LESS_OFTEN, "event": "exploded"})
    assert found.effect == 0


NEVER_CLIPPED = {"statistic": "Clopper-Pearson", "event": "clipped", "cells": {"clips": [1]}}


def test_one_run_refutes_that_it_never_happens(bench):
    def measured(cell):
        clipped = clipped_at_1(cell) and cell.trajectory.seed == 5
        return {"steps_clipped": 3, "clip_fraction": 0.15} if clipped else {}

    found = bench.verdict(bench.study(measured), NEVER_CLIPPED)
    assert (found.verdict, found.n) == ("refuted", 6)
    assert found.effect == pytest.approx(100 / 6)
    assert "1 of 6 runs" in found.reason
    assert "0.0% to 15.0%" in found.reason


def test_that_it_did_not_happen_in_some_runs_is_no_proof(bench):
    found = bench.verdict(bench.study(), NEVER_CLIPPED)
    assert (found.verdict, found.effect, found.low) == ("inconclusive", 0, 0)
    assert found.high == pytest.approx(100 * (1 - 0.025 ** (1 / 6)))


def test_a_figure_of_other_images_stands_beside_the_measured_one(bench):
    found = bench.verdict(bench.study(by_seed([0] * 6)), FIGURE)
    assert found.verdict == "not comparable"
    assert (found.effect, found.unit) == (pytest.approx(30 + 7 * 2.5), "%")
    assert "The article's 71% is of ImageNet" in found.reason
    assert "digits" in found.reason

    evidence = bench.study(by_seed([0] * 6))
    evidence.about["name"] = "imagenet"
    found = bench.verdict(evidence, FIGURE)
    assert found.verdict == "not comparable"
    assert "comes without batch size, learning rate and seeds" in found.reason


# ---- A/A studies ---------------------------------------------------------------------------------

REPLICATES = 120


def replicated(bench, truth, asked, **axes):
    """How often each verdict is given to as many studies of 5 seeds, in which λ = 1 is better by
    `truth` points in the mean. Each is one share of label noise of one study, and has a family of
    its own."""
    draws = np.random.default_rng(0)
    shares = [i / 1000 for i in range(REPLICATES)]

    def measured(cell):
        better = truth * clipped_at_1(cell)
        return {"test_accuracy": 0.5 + (better + draws.normal()) / 100}

    evidence = bench.study(
        measured, clips=[1, "inf"], label_noise=shares, seeds=list(range(5)), **axes
    )
    rules = {f"Q{i}": {**asked, "cells": {"label_noise": [s]}} for i, s in enumerate(shares)}
    names = ("".join(letters) for letters in itertools.product("abcdefghijklmno", repeat=2))
    families = dict(zip(rules, names, strict=False))
    found = bench.judge(evidence, families.get, **rules).verdict
    return (found.value_counts() / REPLICATES).reindex(verdicts.VERDICTS, fill_value=0)


def at_most(rate):
    return rate + 3 * math.sqrt(rate * (1 - rate) / REPLICATES)


def test_an_aa_study_has_a_direction_in_5_of_100_claims(bench):
    """With next to no margin "higher" is refuted by what is lower."""
    found = replicated(bench, 0, rule(margin="0.001 points"))
    assert 0 < found.supported <= at_most(0.025)
    assert 0 < found.refuted <= at_most(0.025)


def test_an_aa_study_of_two_strata_has_a_counterexample_in_at_most_5_of_100_claims(bench):
    found = replicated(bench, 0, rule(margin="0.001 points"), models=TWO_MODELS)
    assert found.supported <= at_most(0.025)
    assert found.refuted <= at_most(0.05)


def test_an_effect_of_the_margin_is_refuted_in_at_most_5_of_100_claims(bench):
    found = replicated(bench, 1, rule(margin="1 points"))
    assert 0 < found.refuted <= at_most(0.025)


# ---- the same cells, the same verdicts -----------------------------------------------------------


def every_statistic(bench):
    """A study with something to see for each statistic, and a claim for each."""
    noise = np.random.default_rng(0).normal(size=(6, 3)).round(3)

    def measured(cell):
        run, seed = cell.trajectory, cell.trajectory.seed
        if run.clip.threshold == 10 and seed == 3:
            return DIVERGED
        level = 0.5 + 0.005 * cell.readout.iterations + 0.02 * seed
        better = (0.02 + 0.01 * noise[seed, 0]) * clipped_at_1(run)
        return {
            "test_accuracy": level + better * cell.readout.iterations / T,
            "validation_accuracy": level + 0.005 * noise[seed, 1] * clipped_at_1(run),
            "test_loss": 1.5 - level - better,
            "train_loss": 1.2 - level + better,
            "steps_clipped": 4 * clipped_at_1(run),
            "clip_fraction": (0.2 + 0.01 * seed) * clipped_at_1(run),
        }

    def curve(run):
        slower = (0.2 + 0.02 * noise[run.seed, 1]) * clipped_at_1(run)
        train = np.array([2.0, 1.5, 1.0, 0.5]) + 0.01 * run.seed + slower
        validation = 0.6 + 0.8 * train + 0.05 * clipped_at_1(run) * (1 + noise[run.seed, 2])
        return {
            "loss": train.repeat(EVERY),
            "validation_loss": validation,
            "validation_accuracy": [0.2, 0.4, 0.65 + 0.1 * clipped_at_1(run), 0.8],
        }

    evidence = bench.study(measured, curve, iterations=[10, T])
    at = {"cells": {"iterations": [T]}}
    ends = {"start": {"iterations": [10]}, "end": {"iterations": [T]}}
    rules = {
        "Q1": rule(**at),
        "Q2": rule("lower", measure="loss_gap", margin="0.05 nats", **at),
        "Q3": rule("not lower", measure="validation_accuracy", **at),
        "Q4": rule("same", measure="loss_area", margin="0.1 nats", steps=10, **at),
        "Q5": rule("different", measure="gap_at_matched_loss", margin="0.001 nats", **at),
        "Q6": rule("not higher", margin="3 points", gain=ends),
        "Q7": rule("lower", holds="somewhere", arm={"clips": [1, 10]}, **at),
        "Q8": [{**SOONER, **at}, rule(arm={"clips": [1, 10]}, **at)],
        "Q9": {**LESS_OFTEN, "claim": "more often", "arm": {"clips": [10]}, **at},
        "C1": NEVER_CLIPPED,
        "C2": {
            "statistic": "figure of other data",
            "measure": "test_accuracy",
            "figure": "71%",
            "cells": {"clips": [1], "iterations": [T]},
        },
        "C3": {"statistic": "computation", "name": "alexnet_input"},
        "C4": rule(cells={"iterations": [5000]}),
    }
    return evidence, rules


def test_the_same_cells_give_the_same_table_byte_for_byte(bench, tmp_path):
    """Where a change of the verdicts is meant, the table that pytest leaves is the new one."""
    evidence, rules = every_statistic(bench)
    families = {"Q1": "a", "Q2": "a", "Q3": "a", "Q4": "b", "Q5": "c", "Q6": "d", "Q7": "e"}.get
    again = Evidence(evidence.study, evidence.results)
    texts = []
    for one in (evidence, again):
        table = bench.judge(one, families, **rules)
        texts.append(
            "\n".join(t.to_csv(index=False, float_format="%.6g") for t in (table, bench.findings))
        )
    assert texts[0] == texts[1]
    (tmp_path / "claims.csv").write_text(texts[0])
    assert (tmp_path / "claims.csv").read_text() == GOLDEN.read_text()


# ---- the rule that decided -----------------------------------------------------------------------

COMPUTED = {"statistic": "computation", "name": "alexnet_input"}
ILL_POSED = {"statistic": "computation", "name": "alexnet_on_imagenet"}
FIGURE = {
    "statistic": "figure of other data",
    "measure": "test_accuracy",
    "figure": "71%",
    "cells": {"clips": [1]},
}
NO_CELLS = rule(cells={"iterations": [99]})
VALIDATION = {"measure": "validation_accuracy"}
TRAIN = {"measure": "train_accuracy"}


def by_measure(test, validation, train=0 * WIDE):
    """Where λ = 1 each accuracy is higher by so many points, a number a seed."""

    def measured(cell):
        here = {"test": test, "validation": validation, "train": train}
        return {
            f"{of}_accuracy": 0.5 + clipped_at_1(cell) * points[cell.trajectory.seed] / 100
            for of, points in here.items()
        }

    return measured


def shown(found):
    return found.verdict, found.measure, found.decided_by


@pytest.mark.parametrize("turned", [False, True])
def test_what_is_supported_shows_the_rule_with_the_weakest_support(bench, turned):
    evidence = bench.study(by_measure(9 + WIDE, 3 + WIDE))
    rules = [rule(), rule(**VALIDATION)]
    found = bench.verdict(evidence, *(reversed(rules) if turned else rules))
    assert shown(found) == ("supported", "validation_accuracy", "test")
    alone = bench.verdict(evidence, rule(**VALIDATION))
    columns = ["effect", "low", "high", "p", "unit", "n", "sign_flip_p", "cohens_d"]
    assert found[columns].tolist() == alone[columns].tolist()


@pytest.mark.parametrize("turned", [False, True])
def test_what_is_refuted_shows_the_rule_with_the_strongest_evidence_against_it(bench, turned):
    evidence = bench.study(by_measure(-4 + WIDE, -9 + WIDE))
    rules = [rule(), rule(**VALIDATION)]
    found = bench.verdict(evidence, *(reversed(rules) if turned else rules))
    assert shown(found) == ("refuted", "validation_accuracy", "test")
    assert found.effect == pytest.approx(-9)


@pytest.mark.parametrize("turned", [False, True])
def test_what_holds_partly_shows_the_half_that_fails(bench, turned):
    evidence = bench.study(by_measure(3 + WIDE, -9 + WIDE))
    rules = [rule(), rule(**VALIDATION)]
    found = bench.verdict(evidence, *(reversed(rules) if turned else rules))
    assert shown(found) == ("partly", "validation_accuracy", "test")


def test_what_depends_shows_its_rule_and_where(bench):
    def measured(cell):
        seed, model = cell.trajectory.seed, cell.trajectory.model.name
        better = {"alexnet": 10, "vgg11": -6}[model] + WIDE[seed]
        return {
            "test_accuracy": 0.5 + better / 100 * clipped_at_1(cell),
            "validation_accuracy": 0.5 + NARROW[seed] / 100 * clipped_at_1(cell),
        }

    evidence = bench.study(measured, models=TWO_MODELS)
    holds = rule("same", measure="validation_accuracy")
    found = bench.verdict(evidence, holds, rule())
    assert shown(found) == ("depends", "test_accuracy", "test")
    assert found.effect == pytest.approx(2)
    assert "-6.0 points with VGG-11; +10.0 points with AlexNet. " in found.reason


def test_what_is_inconclusive_shows_its_first_rule_that_is_undecided(bench):
    evidence = bench.study(by_measure(3 + WIDE, 0.9 + WIDE, 0.8 + WIDE))
    found = bench.verdict(evidence, rule(), rule(**VALIDATION), rule(**TRAIN))
    assert shown(found) == ("inconclusive", "validation_accuracy", "test")
    found = bench.verdict(evidence, rule(), rule(**TRAIN), rule(**VALIDATION))
    assert shown(found) == ("inconclusive", "train_accuracy", "test")


def test_a_rule_without_cells_is_undecided_and_shows_no_effect(bench):
    found = bench.verdict(bench.study(by_seed(3 + WIDE)), rule(), NO_CELLS)
    assert shown(found) == ("inconclusive", "", "test")
    assert math.isnan(found.effect)


def test_what_only_the_correction_leaves_undecided_shows_the_weakest_support(bench):
    evidence = bench.study(by_measure(9 + WIDE, NEARLY))
    weak = rule(**VALIDATION)
    table = bench.judge(evidence, Q1=[rule(), weak], Q2=rule("lower"), Q3=rule("lower"))
    assert shown(table.loc["Q1"]) == ("inconclusive", "validation_accuracy", "test")
    assert table.p["Q1"] == pytest.approx(3 * 0.03, abs=0.003)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([rule(), ILL_POSED], ("ill-posed", "published top-1 accuracy", "computation")),
        ([FIGURE], ("not comparable", "test_accuracy", "figure")),
        ([rule(**VALIDATION), FIGURE], ("refuted", "validation_accuracy", "test")),
        ([rule(), FIGURE], ("partly", "test_accuracy", "test")),
        ([COMPUTED], ("supported", "side of the first map", "computation")),
        ([COMPUTED, rule()], ("supported", "test_accuracy", "test")),
        ([COMPUTED, rule(**VALIDATION)], ("partly", "validation_accuracy", "test")),
        ([COMPUTED, NO_CELLS], ("inconclusive", "", "test")),
    ],
)
def test_a_verdict_that_a_rule_fixes_shows_that_rule(bench, rules, expected):
    evidence = bench.study(by_measure(3 + WIDE, -3 + WIDE))
    assert shown(bench.verdict(evidence, *rules)) == expected


def test_one_run_that_refutes_what_never_happens_is_a_count_and_no_test(bench):
    evidence = bench.study(lambda cell: {"steps_clipped": int(clipped_at_1(cell))})
    found = bench.verdict(evidence, rule("lower"), NEVER_CLIPPED)
    assert shown(found) == ("refuted", "runs clipped", "computation")


def test_a_computation_of_an_extension_decides_a_claim(bench, tmp_path, monkeypatch):
    monkeypatch.setitem(parts.KINDS, "computation", dict(parts.KINDS["computation"]))
    (tmp_path / "mine.py").write_text(
        """
from clipgrid.judging.computations.answers import decided
from clipgrid.study.parts import computation

@computation("has_six_seeds")
def has_six_seeds(evidence):
    seeds = evidence.cells.seed.nunique()
    return decided(seeds == 6, f"There are {seeds} seeds.", seeds, "number of seeds", "seeds")
"""
    )
    parts.load_extension("mine.py", tmp_path)
    found = bench.verdict(bench.study(), {"statistic": "computation", "name": "has_six_seeds"})
    assert shown(found) == ("supported", "number of seeds", "computation")
    assert (found.effect, found.reason) == (6, "There are 6 seeds.")


# ---- several rules, several arms -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("differences", "verdict"), [(0 + WIDE, "inconclusive"), (-5 + WIDE, "partly")]
)
def test_all_rules_must_hold_beside_a_computation_that_does(bench, differences, verdict):
    assert bench.verdict(bench.study(by_seed(differences)), rule(), COMPUTED).verdict == verdict


def test_a_claim_stays_open_while_one_half_has_no_cells(bench):
    missing = rule(cells={"iterations": [99]})
    found = bench.verdict(bench.study(by_seed(-5 + WIDE)), rule(), missing)
    assert (found.verdict, found.how) == ("inconclusive", "")
    assert bench.findings.verdict.tolist() == ["inconclusive", "refuted"]


@pytest.mark.parametrize("claim", ["not lower", "same", "different"])
def test_seeds_to_decide_are_those_for_the_bound_in_question(bench, claim):
    found = bench.verdict(bench.study(by_seed(-0.5 + WIDE)), rule(claim))
    low, high = statistics.seeds_to_decide(-0.5 + WIDE, -1)
    assert found.seeds_from == pytest.approx(low) or found.seeds_from > low
    assert found.seeds_to >= high


def test_runs_of_a_baseline_are_counted_once(bench):
    evidence = bench.study(
        lambda c: {"status": "collapsed"} if c.trajectory.clip.threshold == math.inf else {},
        seeds=[0, 1],
    )
    found = bench.verdict(evidence, {**LESS_OFTEN, "arm": {"clips": [1, 10]}})
    assert found.n == 2
    assert "0 of 4 runs failed, against 2 of 2." in found.reason


def test_arms_without_a_seed_in_common_are_inconclusive_by_the_sign_test(bench):
    arms = [{"clips": [1], "seeds": [0, 1]}, {"clips": ["inf"], "seeds": [2, 3]}]
    evidence = bench.study(
        seeds=[0, 1, 2, 3],
        clips=[1, "inf"],
        experiments={"x": {"title": "X", "section": "1", "select": arms}},
    )
    assert bench.verdict(evidence, SOONER).verdict == "inconclusive"


def test_no_nan_stands_in_a_reason(bench):
    evidence = bench.study(
        curve=lambda run: {"loss": np.full(T, 2.0 if clipped_at_1(run) else 1.0)}
    )
    assert (
        "nan"
        not in bench.verdict(
            evidence, rule(measure="gap_at_matched_loss", margin="0.05 nats")
        ).reason
    )


@pytest.mark.parametrize(
    ("axis", "arm", "baseline", "said"),
    [
        ("augmentations", "crop", "none", "less original images"),
        ("ema", 0.9, "none", "less raw weights"),
        ("label_noise", 0.4, 0, "less label noise 0"),
    ],
)
def test_a_usual_baseline_is_named_all_the_same(bench, axis, arm, baseline, said):
    evidence = bench.study(**{axis: [baseline, arm]})
    found = bench.verdict(
        evidence, rule(arm={axis: [arm]}, baseline={axis: [baseline]}, cells={"clips": [1]})
    )
    assert said in found.reason


def test_a_claim_of_one_seed_has_no_p_and_costs_its_family_nothing(bench):
    select = [{"iterations": [T]}, {"iterations": [10], "seeds": [0]}]
    evidence = bench.study(
        by_seed(NEARLY),
        iterations=[10, T],
        experiments={"x": {"title": "X", "section": "1", "select": select}},
    )
    table = bench.judge(
        evidence, Q1=rule(cells={"iterations": [T]}), Q2=rule(cells={"iterations": [10]})
    )
    assert math.isnan(table.p["Q2"])
    assert table.verdict["Q1"] == "supported"


def test_runs_that_failed_at_the_start_of_a_gain_are_mentioned(bench):
    def measured(cell):
        here = clipped_at_1(cell) and cell.readout.iterations == 10 and cell.trajectory.seed == 0
        return DIVERGED if here else {}

    gain = {"start": {"iterations": [10]}, "end": {"iterations": [T]}}
    assert (
        "1 of 12 runs failed, against 0 of"
        in bench.verdict(bench.study(measured, iterations=[10, T]), rule(gain=gain)).reason
    )

"""What short runs say about a threshold."""

import math

import numpy as np
import pandas as pd
import pytest

from clipgrid.judging.pilots import of_study

RATES = (0.01, 0.03, 0.1)


def cells(failures, thresholds=(math.inf, 2.0), accuracy=0.9):
    """A row for each rate, λ and three seeds; `failures` {(rate, λ): how many of them fail}."""
    rows = [
        {
            "trajectory": f"{rate} {limit} {seed}",
            **{"model": "vit", "optimizer": "adamw", "clip": "norm", "augmentation": "none"},
            **{"schedule": "constant", "objective": "cross-entropy", "train_images": "all"},
            **{"label_noise": 0.0, "ema": math.nan, "iterations": 100, "seed": seed},
            "learning_rate": rate,
            "threshold": limit,
            "status": "diverged" if seed < failures.get((rate, limit), 0) else "finished",
            "validation_accuracy": accuracy + rate,
        }
        for rate in RATES
        for limit in thresholds
        for seed in range(3)
    ]
    return pd.DataFrame(rows)


def histories(table, norms):
    """100 steps of each run; `norms` {rate: of its steps}."""
    return pd.concat(
        pd.DataFrame(
            {"trajectory": row.trajectory, "step": range(1, 101), "norm": norms[row.learning_rate]}
        )
        for row in table.itertuples()
    )


NORMS = {rate: np.linspace(0, 2.2, 101)[1:] * k for k, rate in enumerate(RATES, 1)}


def pilots(failures, **more):
    table = cells(failures, **more)
    (one,) = of_study(table, histories(table, NORMS)).values()
    return one


def test_the_threshold_is_the_90th_percentile_at_the_largest_rate_that_trains():
    one = pilots({(0.1, math.inf): 1})
    assert one.rate == 0.03
    assert one.threshold == pytest.approx(np.percentile(NORMS[0.03], 90), rel=0.05)
    assert pilots({}).rate == 0.1
    assert pilots({(rate, math.inf): 3 for rate in RATES}).rate == 0.01


def test_where_clipping_saves_runs_the_advice_says_so_and_where():
    said = pilots({(0.1, math.inf): 3}).advice()
    assert said.startswith(
        "λ = 2 clips 55% of the steps at η = 0.03; at η = 0.1 you need it: 3 of 3"
    )
    assert "unclipped runs failed, and 0 of 3 clipped ones." in said
    assert (
        "Where no run fails, the best validation accuracy is 93.0% without clipping (η = 0.03)"
        in said
    )
    assert "100.0% with it (η = 0.1, the largest tried)" in said


def test_where_clipping_saves_some_of_few_the_advice_says_how_many():
    said = pilots({(0.1, math.inf): 1}).advice()
    assert "fewer runs fail with it: at η = 0.1 1 of 3 unclipped runs failed, and 0 of 3" in said
    assert "saves no run" not in said
    assert "(η = 0.03)" in said  # the best of those at which none failed


def test_of_several_thresholds_that_is_told_which_saves_runs():
    some = {(0.1, math.inf): 3, (0.1, 2.0): 3}
    said = pilots(some, thresholds=(math.inf, 2.0, 0.001)).advice()
    assert said.startswith(
        "λ = 0.001 clips 100% of the steps at η = 0.03 (its value hardly matters, as adamw divides"
    )
    assert "at η = 0.1 you need it: 3 of 3 unclipped runs failed, and 0 of 3 clipped ones" in said


@pytest.mark.parametrize(
    ("optimizer", "told"),
    [
        ("momentum", "that is a learning rate."),
        ("rmsprop", "its value hardly matters, as rmsprop divides by the gradient's own scale."),
        ("my_own", "under SGD that is a learning rate; under Adam its value hardly matters."),
    ],
)
def test_what_a_small_threshold_is_depends_on_the_optimizer(optimizer, told):
    table = cells({}).assign(optimizer=optimizer)
    (one,) = of_study(table, histories(table, NORMS)).values()
    assert one.spread().endswith(f" clips nearly every step there: {told}")


def test_a_rate_at_which_no_clipped_run_was_tried_says_nothing():
    table = cells({(0.1, math.inf): 3})
    table = table[np.isinf(table.threshold) | (table.learning_rate < 0.1)]
    (one,) = of_study(table, histories(table, NORMS)).values()
    assert "nan" not in one.advice() + one.table().to_string()
    assert one.advice().startswith("No run failed without clipping (λ = 2")


def test_where_clipping_saves_none_the_advice_is_to_tune_the_rate():
    said = pilots({(0.1, math.inf): 3, (0.1, 2.0): 3}).advice()
    assert "and saves no run: at η = 0.1 3 of 3 unclipped runs failed, and 3 of 3 clipped" in said
    assert "Tune η." in said


def test_where_nothing_fails_clipping_is_an_insurance():
    said = pilots({}).advice()
    assert said.startswith("No run failed without clipping (λ = 2 clips ")
    assert "tune η, and clip as an insurance" in said
    assert "On twelve small tasks a λ at the 90th percentile gained" in said


def test_where_nothing_trains_other_rates_are_asked_for():
    every = {(rate, limit): 3 for rate in RATES for limit in (math.inf, 2.0)}
    assert pilots(every).advice() == (
        "No run trained without clipping, or with λ = 2: try other learning rates."
    )


def test_without_clipped_runs_it_says_that_none_was_tried():
    said = pilots({}, thresholds=(math.inf,)).advice()
    assert said.startswith("No clipped run was tried: λ = 5.9 would clip one step in ten.")


def test_the_predicted_shares_are_those_of_the_norms():
    shares = pilots({}).shares()
    assert list(shares) == list(RATES)
    for rate in RATES:
        for limit, share in shares[rate].items():
            assert share == pytest.approx(np.mean(NORMS[rate] > limit) * 100)
    assert shares.iloc[0].min() > 90
    assert (shares.iloc[-1] == 0).all()


def test_norms_that_are_not_finite_count_nowhere():
    table = cells({})
    broken = {**NORMS, 0.1: np.append(NORMS[0.1][:-1], math.inf)}
    (one,) = of_study(table, histories(table, broken)).values()
    assert math.isfinite(one.threshold)
    assert one.shares().notna().all().all()
    (none,) = of_study(
        table, histories(table, dict.fromkeys(RATES, np.full(100, math.nan)))
    ).values()
    assert math.isnan(none.threshold)
    assert none.spread() == "No gradient was finite."


def test_runs_with_another_setting_are_told_apart_by_it():
    table = cells({})
    noisy = table.assign(label_noise=0.4, trajectory=table.trajectory + " noisy")
    both = pd.concat([table, noisy])
    assert list(of_study(both, histories(both, NORMS))) == [
        "vit, adamw",
        "vit, adamw, label noise 0.4",
    ]

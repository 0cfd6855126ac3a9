"""Measures of cells, as figures and verdicts both take them."""

import math

import numpy as np
import pytest
from bench import DIVERGED, EVERY, Bench, T, clipped_at_1

from clipgrid.judging import aggregate, sums
from clipgrid.judging import evidence as judging
from clipgrid.judging.evidence import Evidence
from clipgrid.judging.measures import EVENTS, UNITS

LN_10 = math.log(10)  # the loss of guessing


@pytest.fixture
def bench(config, tmp_path):
    return Bench(config, tmp_path)


def only(evidence, **values):
    """The one cell that has these values in its columns."""
    [row] = (
        r for r in evidence.cells.itertuples() if all(getattr(r, k) == v for k, v in values.items())
    )
    return row


ONE = {"seeds": [0], "clips": [1, "inf"], "iterations": [10, T]}


def test_text_of_the_cells_table_is_read_as_text(bench, tmp_path):
    words = {"experiments": "inf", "model": "nan", "weights_sha256": "1234567890123456"}
    bench.study(**ONE).cells.assign(**words).to_csv(tmp_path / "cells.csv", index=False)
    sums.seal(tmp_path, {})
    for row in aggregate.read_cells(tmp_path).itertuples():
        assert {name: getattr(row, name) for name in words} == words


def test_a_look_has_its_own_training_loss_and_none_is_after_T(bench):
    curve = {"loss": np.arange(1.0, T + 1), "training_loss": [4, 3, 2, 1]}
    evidence = bench.study(curve=lambda run: curve, **ONE)
    looks = evidence.looks(only(evidence, threshold=1, iterations=10))
    assert looks.step.tolist() == [5, 10]
    assert looks.loss.tolist() == [4, 3]
    assert looks.validation_accuracy.tolist() == [0.5, 0.5]


def test_the_gap_is_matched_by_the_training_loss_of_the_looks(bench):
    """That of the steps is of augmented images, and of a net that drops units."""

    def curve(run):
        noisy = np.full(T, 5.0 if clipped_at_1(run) else 3.0)
        validation = 2.0 + 0.25 * clipped_at_1(run)
        return {"loss": noisy, "training_loss": [2, 1.5, 1, 0.5], "validation_loss": validation}

    evidence = bench.study(curve=curve, **ONE)
    arm, baseline = (only(evidence, threshold=t, iterations=T) for t in (1, math.inf))
    assert evidence.matched_gap(arm, baseline) == pytest.approx(0.25)


def test_losses_are_smoothed_since_the_look_before(bench):
    evidence = bench.study(curve=lambda run: {"loss": np.arange(1.0, T + 1)}, **ONE)
    row = only(evidence, threshold=1, iterations=T)
    losses = evidence.losses(row)
    assert losses.tolist() == list(range(1, T + 1))
    smooth = evidence.smoothed(losses)
    assert smooth.tolist()[:3] == [1, 1.5, 2]
    assert smooth[evidence.looks(row).index].tolist() == [3, 8, 13, 18]


def test_a_loss_area_takes_guessing_for_what_is_worse_and_for_the_steps_that_a_run_lacks(bench):
    def curve(run):
        losses = np.full(T, 1.0)
        losses[0] = 50
        if clipped_at_1(run):
            losses[10:] = np.nan
        return {"loss": losses}

    evidence = bench.study(curve=curve, **ONE)
    whole = only(evidence, threshold=math.inf, iterations=T)
    assert evidence.loss_area(whole) == pytest.approx((LN_10 + 19) / 20)
    assert evidence.loss_area(whole, steps=4) == pytest.approx((LN_10 + 3) / 4)
    broken = only(evidence, threshold=1, iterations=T)
    assert evidence.loss_area(broken) == pytest.approx((11 * LN_10 + 9) / 20)
    assert evidence.loss_area(only(evidence, threshold=1, iterations=10)) == pytest.approx(
        (LN_10 + 9) / 10
    )


def test_steps_to_a_target_are_those_of_the_first_look_that_reaches_it_by_T(bench):
    curve = {"validation_accuracy": [0.3, 0.5, 0.7, 0.6]}
    evidence = bench.study(curve=lambda run: curve, **ONE)
    row = only(evidence, threshold=1, iterations=T)
    assert [evidence.steps_to(row, target) for target in (30, 50, 70)] == [EVERY, 10, 15]
    assert evidence.steps_to(row, 70.1) == math.inf
    assert evidence.steps_to(only(evidence, threshold=1, iterations=10), 70) == math.inf


def test_a_diverged_run_is_measured_as_one_that_guesses(bench):
    evidence = bench.study(lambda cell: DIVERGED if clipped_at_1(cell) else {}, **ONE)
    row = only(evidence, threshold=1, iterations=T)
    measured = {name: evidence.measure(name, row) for name in ("test_accuracy", "rotated_accuracy")}
    assert measured == {"test_accuracy": 10, "rotated_accuracy": 10}
    assert evidence.measure("test_loss", row) == LN_10
    assert evidence.measure("log_test_loss", row) == 100 * math.log(LN_10)
    assert evidence.measure("accuracy_gap", row) == evidence.measure("loss_gap", row) == 0


def test_every_measure_of_a_cell_is_a_number_and_every_event_is_known(bench):
    evidence = bench.study(**ONE)
    [row, *_] = evidence.cells.itertuples()
    of_one_cell = set(UNITS) - {"gap_at_matched_loss", "steps_to_target"}
    assert all(math.isfinite(evidence.measure(name, row)) for name in of_one_cell)
    assert [evidence.happened(event, row) for event in EVENTS] == [False] * len(EVENTS)


@pytest.mark.parametrize(("status", "failed"), [("finished", False), ("collapsed", True)])
def test_what_failed_and_was_clipped_is_told_of_a_row_and_of_a_table_alike(bench, status, failed):
    evidence = bench.study(lambda cell: {"status": status, "steps_clipped": 2 * failed}, **ONE)
    cells = evidence.cells
    assert judging.failed(cells).tolist() == [failed] * len(cells)
    assert judging.clipped(cells).tolist() == [failed] * len(cells)
    assert [judging.failed(row) for row in cells.itertuples()] == [failed] * len(cells)


def test_what_is_not_asked_for_is_not_read(bench):
    evidence = bench.study(**ONE)
    (evidence.results / "histories.parquet").unlink()
    (evidence.results / "data.json").unlink()
    again = Evidence(evidence.study, evidence.results)
    assert len(again.cells) == 4
    with pytest.raises(FileNotFoundError):
        again.looks(next(again.cells.itertuples()))

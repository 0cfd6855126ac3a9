"""Published facts that are computed: they are computed right, and could come out otherwise."""

import itertools
import math
import types

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression

from clipgrid import clipping
from clipgrid.images.data import Dataset
from clipgrid.judging.computations import optimisation, probes, smoothness
from clipgrid.judging.computations.optimisation import Problem
from clipgrid.judging.computations.smoothness import Path


@pytest.fixture(scope="module")
def evidence(digits, tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    (results / "data.pt").symlink_to(digits)
    return types.SimpleNamespace(results=results)


# ---- a bias that smaller steps don't remove ------------------------------------------------------


def means_of(*centres):
    """The mean over centres of ‖w - centre‖² / 2: each sample's gradient is w - centre."""
    centres = np.array(centres, dtype=float).reshape(len(centres), -1)
    return Problem(*centres.shape, 2.0, lambda weights, samples: weights - centres[samples])


def test_clipped_sgd_ends_where_its_clipped_gradients_balance():
    """Of centres 0, 0, 3 clipped at 1: 2/3 · w = 1/3 · 1 at w = 1/2, where the gradient is -1/2."""
    with_clip, without = optimisation.sgd(means_of(0, 0, 3), np.ones(1), threshold=1, rate=1 / 16)
    assert with_clip.mean() == pytest.approx(0.5, abs=0.03)
    assert without.mean() < 0.05


def test_a_bias_is_seen_where_noise_is_skewed():
    answer = optimisation.bias(means_of(0, 0, 3), threshold=1)
    assert answer.verdict == "supported"


CUBE = list(itertools.product((-1, 1), repeat=5))  # of 32 corners, symmetric about 0


@pytest.mark.parametrize(
    ("centres", "threshold"), [(CUBE, 1), (CUBE[:20], 10)], ids=["symmetric", "never clipped"]
)
def test_no_bias_is_seen_where_there_is_none(centres, threshold):
    assert optimisation.bias(means_of(*centres), threshold).verdict == "partly"


def test_gradient_descent_that_does_not_arrive_would_be_seen(monkeypatch):
    monkeypatch.setattr(optimisation, "descend", lambda problem, threshold: (np.zeros(1), 3))
    assert optimisation.bias(means_of(0, 0, 3), threshold=1).verdict == "partly"


def test_rows_are_clipped_as_the_library_clips():
    rows = np.random.default_rng(0).standard_normal((5, 4)) * np.logspace(-2, 2, 5)[:, None]
    expected = torch.tensor(rows)
    for row in expected:
        clipping.clip_by_global_norm([row], 1.0)
    assert optimisation.clipped(rows, 1.0) == pytest.approx(expected.numpy(), rel=1e-12)
    assert (optimisation.clipped(np.zeros((1, 4)), 1.0) == 0).all()
    assert (optimisation.clipped(rows, math.inf) == rows).all()


def images_and_signs(evidence, n):
    data = Dataset.load(evidence.results / "data.pt")
    images = data.images[data.train[:n]].flatten(1).double().numpy()
    images -= images.mean(0)
    images /= np.sqrt((images**2).sum(1).mean())
    return images, np.where(data.labels[data.train[:n]] >= 5, 1, -1)


def test_the_optimum_of_the_logistic_regression_is_scikit_learns(evidence):
    images, signs = images_and_signs(evidence, 500)
    fit = LogisticRegression(C=1 / (500 * 0.01), fit_intercept=False, tol=1e-10, max_iter=10_000)
    optimum, _ = optimisation.descend(optimisation.logistic_regression(evidence), math.inf)
    assert optimum == pytest.approx(fit.fit(images, signs).coef_[0], abs=1e-5)


def test_more_pixels_than_images_are_rotated_away(evidence):
    images, signs = images_and_signs(evidence, 50)
    problem = optimisation.logistic_regression(evidence, most=50)
    assert problem.dim == 50 < images.shape[1]
    ours = problem.gradients(np.zeros(50), np.arange(50))
    theirs = -signs[:, None] * images / 2
    assert ours @ ours.T == pytest.approx(theirs @ theirs.T, abs=1e-12)


# ---- heavy tails ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.25, 1.0])
def test_the_risk_without_clipping_is_that_of_the_recursion(monkeypatch, rate):
    """E r' = (1 - 2γ + γ² (d + 2)) r + γ² d σ² / 2 for standard normal inputs."""
    monkeypatch.setattr(optimisation, "DIM", 10)
    monkeypatch.setattr(optimisation, "STEPS", 30)
    risks = optimisation.stream(
        optimisation.gaussian, np.array([np.inf]), np.array([rate]), 20_000
    )[:, 0, 0]
    expected, step = 0.5, rate / 10
    for _ in range(30):
        expected = (1 - 2 * step + step**2 * 12) * expected + step**2 * 10 / 2
    assert risks.mean() == pytest.approx(expected, abs=4 * stats.sem(risks))


def test_students_noise_has_3_degrees_of_freedom_and_variance_1():
    draws = optimisation.student(np.random.default_rng(0), 10_000)
    law = stats.t(3, scale=3**-0.5)
    assert law.var() == pytest.approx(1)
    assert stats.kstest(draws, law.cdf).pvalue > 0.01


def test_too_large_a_rate_has_an_infinite_risk():
    rates = np.array([0.25, 64.0])
    risks = optimisation.stream(optimisation.gaussian, np.array([np.inf]), rates, 2)
    assert np.isfinite(risks).all(0).tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("heavy", "light", "verdict"),
    [("gaussian", "gaussian", "partly"), ("gaussian", "student", "refuted")],
)
def test_gains_under_other_noises_would_be_seen(heavy, light, verdict):
    noises = (getattr(optimisation, name) for name in (heavy, light))
    assert optimisation.gains(*noises).verdict == verdict


def test_rates_that_do_not_bracket_the_best_decide_nothing(monkeypatch):
    monkeypatch.setattr(optimisation, "STREAM_RATES", 2.0 ** np.arange(-8, -4))
    answer = optimisation.gains(optimisation.student, optimisation.gaussian)
    assert answer.verdict == "inconclusive"
    assert "doesn't bracket" in answer.reason


# ---- the range of learning rates -----------------------------------------------------------------


@pytest.mark.parametrize(("power", "verdict"), [(1, "refuted"), (2, "refuted"), (4, "supported")])
def test_clipping_widens_the_range_where_gradients_grow_fast_alone(power, verdict):
    found = optimisation.wider(power, seeds=8)
    assert optimisation.widening([found] * 3).verdict == verdict


def test_clipping_gradients_that_all_have_the_threshold_as_norm_changes_no_range():
    (with_clip, without), bracketed = optimisation.wider(1, seeds=2)
    assert bracketed
    assert with_clip.tolist() == without.tolist()


def test_a_grid_that_does_not_end_where_both_fail_decides_nothing(monkeypatch):
    monkeypatch.setattr(optimisation, "GRID", 10.0 ** np.arange(-3, 0, 0.25))
    answer = optimisation.widening([optimisation.wider(4, seeds=2)] * 3)
    assert answer.verdict == "inconclusive"
    assert "doesn't end" in answer.reason


def test_final_losses_are_those_of_torchs_sgd_and_clip(monkeypatch):
    monkeypatch.setattr(optimisation, "PASSES", 2)
    monkeypatch.setattr(optimisation, "GRID", np.array([1e-3, 1e-2]))
    draws = np.random.default_rng(0)
    rows, targets, starts = (draws.standard_normal(s) for s in ((1, 30, 4), (1, 30), (1, 4)))
    ours = optimisation.final_losses(rows, targets, starts, 4, np.array([[5.0], [np.inf]]))
    order = np.random.default_rng(2).integers(30, size=(60, 1))[:, 0]
    for (i, limit), (j, rate) in itertools.product(
        enumerate((5.0, math.inf)), enumerate((1e-3, 1e-2))
    ):
        x = torch.nn.Parameter(torch.tensor(starts[0]))
        optimizer = torch.optim.SGD([x], rate)
        for step, drawn in enumerate(order, start=1):
            optimizer.param_groups[0]["lr"] = rate / math.sqrt(step)
            optimizer.zero_grad()
            (torch.tensor(rows[0, drawn]) @ x - targets[0, drawn]).pow(4).backward()
            clipping.clip_by_global_norm([x.grad], limit)
            optimizer.step()
        loss = ((torch.tensor(rows[0]) @ x - torch.tensor(targets[0])) ** 4).mean()
        assert ours[i, 0, j] == pytest.approx(loss.item(), rel=1e-9)


# ---- smoothness ----------------------------------------------------------------------------------


def test_a_look_at_a_quadratic_sees_its_curvature_along_the_step():
    hessian = torch.diag(torch.tensor([1.0, 10.0], dtype=torch.float64))
    at, step = torch.tensor([3.0, 0.4]).double(), torch.tensor([0.0, 0.1]).double()
    norm, seen = smoothness.look(lambda weights: hessian @ weights, at, step)
    assert (norm, seen) == (pytest.approx(5), pytest.approx(10))


def test_a_look_takes_the_largest_change_on_the_way():
    """The gradient turns back: it changes by 1 halfway, and not at all over the whole step."""
    _, seen = smoothness.look(
        lambda w: torch.sin(math.pi * w), torch.zeros(1).double(), torch.ones(1).double()
    )
    assert seen == pytest.approx(2)


def test_the_gradient_at_the_runs_own_weights_is_that_of_its_model(evidence):
    run = probes.run(evidence, 3)
    images = run.batches.normalize(run.dataset.images[run.dataset.train[:100]])
    labels = run.dataset.labels[run.dataset.train[:100]]
    ours = smoothness.gradient(run, smoothness.weights(run))
    loss = torch.nn.functional.cross_entropy(run.model.eval()(images), labels)
    theirs = torch.cat([g.flatten() for g in torch.autograd.grad(loss, run.weights.parameters)])
    assert ours.numpy() == pytest.approx(theirs.double().numpy(), abs=1e-5)


def test_a_path_leaves_the_run_as_it_would_have_been(evidence, monkeypatch):
    monkeypatch.setattr(smoothness, "STEPS", 20)
    trained = []
    run = probes.run
    monkeypatch.setattr(
        probes, "run", lambda *args, **kwargs: trained.append(run(*args, **kwargs)) or trained[-1]
    )
    path = smoothness.path(evidence, seed=1)
    assert [len(values) for values in path] == [2, 2]
    expected = smoothness.weights(run(evidence, 20, seed=1))
    assert torch.equal(smoothness.weights(trained[0]), expected)


RISING = Path([1, 2, 3, 4], [10, 20, 40, 30])
FALLING = Path([1, 2, 3, 4], [40, 30, 10, 20])


@pytest.mark.parametrize(
    ("paths", "verdict"),
    [
        ([RISING] * 3, "supported"),
        ([FALLING] * 3, "refuted"),
        ([RISING, FALLING, RISING, FALLING], "inconclusive"),
        ([Path([1, 2, 3], [1, 2, 3])] * 3, "supported"),  # whose z would be infinite
    ],
)
def test_correlations_of_other_paths_would_be_seen(paths, verdict):
    answer = smoothness.correlation(paths)
    assert answer.verdict == verdict
    assert f"in {sum(p != FALLING for p in paths)} of {len(paths)} runs" in answer.reason

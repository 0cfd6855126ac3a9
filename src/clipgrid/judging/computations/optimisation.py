"""What others have published of clipped SGD, tried on problems small enough to be repeated over
many seeds: a bias, heavy tails, the range of learning rates. In float64, the same each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipgrid.judging.computations import probes
from clipgrid.judging.computations.answers import Answer, in_part
from clipgrid.lazy import Lazy
from clipgrid.study.parts import computation

if TYPE_CHECKING:
    from clipgrid.judging import statistics
    from clipgrid.judging.evidence import Evidence
else:
    statistics = Lazy("clipgrid.judging.statistics")  # imports scipy: not while a study is planned

Array = NDArray[np.float64]
Indices = NDArray[np.integer]


class Estimate(NamedTuple):
    """A mean over seeds and its 95% t-interval."""

    mean: float
    low: float
    high: float


def over_seeds(values: Array) -> Estimate:
    mean, half_width, _ = statistics.t_interval(values)
    return Estimate(mean, mean - half_width, mean + half_width)


def factor_over_seeds(ratios: Array) -> Estimate:
    """Of ratios, one a seed: their geometric mean, and its interval."""
    return Estimate(*np.exp(over_seeds(np.log(ratios))).tolist())


def above(estimate: Estimate, bound: float) -> str:
    """What is shown of the statement that it lies above."""
    low, high = estimate.low > bound, estimate.high < bound
    return "supported" if low else "refuted" if high else "inconclusive"


def both(verdicts: list[str], *rest: object) -> Answer:
    """The answer where a statement says two things."""
    if "inconclusive" in verdicts:
        return Answer("inconclusive", *rest)  # type: ignore[arg-type]
    return in_part([verdict == "supported" for verdict in verdicts], *rest)


def _percent(estimate: Estimate) -> str:
    """Of a share, without the sign of a zero."""
    mean, low, high = (100 * value for value in estimate)
    return f"{mean:z.1f}% [{low:z.1f}, {high:z.1f}]"


def _signed(estimate: Estimate) -> str:
    return f"{estimate.mean:+z.2f} [{estimate.low:z.2f}, {estimate.high:z.2f}]"


# ---- a bias that smaller steps don't remove ------------------------------------------------------

SEEDS = 16
RATES = (1.0, 1 / 4, 1 / 16)  # over the samples' smoothness
TRAVEL = 500  # steps at the first rate; at a smaller one so many more that rate × steps is the same


class Problem(NamedTuple):
    """A mean of `n` functions of weights [dim], that of sample i being smooth of `smoothness`."""

    n: int
    dim: int
    smoothness: float
    gradients: Callable[[Array, Indices], Array]
    """Of weights [..., dim] and samples [...] → each sample's gradient [..., dim]."""

    def gradient(self, weights: Array) -> Array:
        """The full one, [dim]."""
        return self.gradients(weights, np.arange(self.n)).mean(0)


@computation("clipping_keeps_a_bias")
def clipping_keeps_a_bias(evidence: Evidence) -> Answer:
    """Does clipped gradient descent reach the optimum, and clipped SGD not, however small the step?

    Koloskova, Hendrikx, Stich 2023: clipping costs gradient descent nothing in the limit, but SGD
    with gradient noise of variance σ² keeps a gradient norm of order min(σ, σ²/λ). Here λ is half
    the norm of the first full gradient, so that gradient descent is clipped too, and samples are
    drawn one at a time, which makes σ as large as it gets.
    """
    problem = logistic_regression(evidence)
    start = np.linalg.norm(problem.gradient(np.zeros(problem.dim)))
    return bias(problem, float(start / 2))


def logistic_regression(evidence: Evidence, most: int = 500, decay: float = 0.01) -> Problem:
    """Of the first training images, later classes against earlier ones, with an L2 penalty that
    makes the optimum unique. Images are centred, and scaled to a mean squared norm of 1."""
    data = probes.dataset(evidence)
    index = data.train[:most]
    images = data.take(index).flatten(1).numpy().astype(float)
    images -= images.mean(0)
    images /= np.sqrt((images**2).sum(1).mean())
    signs = np.where(data.labels[index].numpy() >= len(data.about["classes"]) / 2, 1.0, -1.0)
    if images.shape[1] > len(images):  # the weights stay in the span of the images: a rotation
        images = np.transpose(np.linalg.qr(images.T, mode="r"))

    def gradients(weights: Array, samples: Indices) -> Array:
        x, y = images[samples], signs[samples]
        margins = y * (x * weights).sum(-1)
        return (-y / (1 + np.exp(margins)))[..., None] * x + decay * weights

    smoothness = float((images**2).sum(1).max() / 4 + decay)
    return Problem(len(images), images.shape[1], smoothness, gradients)


def bias(problem: Problem, threshold: float) -> Answer:
    """Gradient descent from 0; then SGD, clipped and not, from the optimum that it found. A bias
    that goes with the step, be it as its root, is at most a quarter at a 16th of the step."""
    optimum, clipped_steps = descend(problem, threshold)
    reached = float(np.linalg.norm(problem.gradient(optimum)))
    left = np.array([sgd(problem, optimum, threshold, rate) for rate in RATES])  # [rates, 2, seeds]
    kept, lost = (factor_over_seeds(ratios) for ratios in left[-1] / left[0])
    floor = over_seeds(left[-1, 0])
    stays = above(kept, 0.5) if lost.high < 0.5 else "inconclusive"
    return both(
        ["supported" if reached < 1e-8 else "refuted", stays],
        f"Gradient descent, of which {clipped_steps} steps were clipped, ends at a gradient norm of"
        f" {reached:.0e}. Clipped SGD, started there, keeps {floor.mean:.3f}: as the step is made"
        f" {RATES[0] / RATES[-1]:.0f} times smaller, {_percent(kept)} of that norm is left, and"
        f" {_percent(lost)} without clipping ({SEEDS} seeds).",
        100 * kept.mean,
        "gradient norm left at smaller steps",
        "%",
    )


def clipped(gradients: Array, threshold: Array | float) -> Array:
    """Each gradient [..., dim]: λ/‖g‖ · g where ‖g‖ > λ."""
    norms = np.linalg.norm(gradients, axis=-1, keepdims=True)
    return gradients * np.where(norms > threshold, threshold / np.maximum(norms, 1e-300), 1)


def descend(problem: Problem, threshold: float, most: int = 20_000) -> tuple[Array, int]:
    """Where clipped gradient descent from 0 ends, and how many of its steps were clipped."""
    weights, steps = np.zeros(problem.dim), 0
    for _ in range(most):
        gradient = problem.gradient(weights)
        norm = np.linalg.norm(gradient)
        if norm < 1e-9:
            break
        steps += int(norm > threshold)
        weights -= clipped(gradient, threshold) / problem.smoothness
    return weights, steps


def sgd(problem: Problem, start: Array, threshold: float, rate: float) -> Array:
    """The full gradient's norm at the mean of the second half of the weights, clipped and not, by
    seed [2, seeds]. Both see the same samples."""
    steps = round(TRAVEL / rate)
    draws = [np.random.default_rng(seed).integers(problem.n, size=steps) for seed in range(SEEDS)]
    thresholds = np.array([threshold, np.inf])[:, None, None]
    weights = np.tile(start, (2, SEEDS, 1))
    total = np.zeros_like(weights)
    for step, samples in enumerate(np.transpose(draws)):
        gradients = problem.gradients(weights, samples)
        weights -= rate / problem.smoothness * clipped(gradients, thresholds)
        if step >= steps // 2:
            total += weights
    means = total / (steps - steps // 2)
    return np.linalg.norm([[problem.gradient(w) for w in arm] for arm in means], axis=-1)


# ---- heavy tails ---------------------------------------------------------------------------------

DIM, STEPS = 100, 1000
CHOOSING, SCORING = 16, 32  # streams on which rates and thresholds are chosen, and compared
STREAM_RATES = 2.0 ** np.arange(-6, 3.5, 0.5)  # over DIM: without clipping, 2 is the stable limit
THRESHOLDS = np.array([0.5, 1, 2, 4, np.inf])  # over √DIM, the norm of the inputs
MARGIN = 0.05  # of the risk: a gain below it is none

Noise = Callable[[np.random.Generator, int], Array]


def gaussian(draws: np.random.Generator, n: int) -> Array:
    return draws.standard_normal(n)


def student(draws: np.random.Generator, n: int) -> Array:
    """Student's t of 3 degrees of freedom, scaled to variance 1: its fourth moment is infinite."""
    return draws.standard_t(3, n) / np.sqrt(3)


@computation("clipping_helps_against_heavy_tails")
def clipping_helps_against_heavy_tails(evidence: Evidence) -> Answer:
    """Does clipping lower the risk of a least squares problem where noise has heavy tails, and not
    where it is Gaussian?

    Marshall, Xiao, Agarwala, Paquette 2024, for streaming SGD in high dimension. Both noises have
    one variance, so that without clipping they are as hard.
    """
    return gains(student, gaussian)


def gains(heavy: Noise, light: Noise) -> Answer:
    """What clipping gains, its threshold and both learning rates tuned, under each noise."""
    (gain, bracketed), (none, also) = tuned_gain(heavy), tuned_gain(light)
    opposite = {"supported": "refuted", "refuted": "supported"}
    verdicts = [above(gain, MARGIN), opposite.get(above(none, MARGIN), "inconclusive")]
    return both(
        verdicts if bracketed and also else ["inconclusive"],
        f"With tuned learning rates and thresholds clipping lowers the final risk by"
        f" {_percent(gain)} under Student's t of 3 degrees of freedom, and by {_percent(none)}"
        f" under Gaussian noise of the same variance ({DIM} dimensions, {STEPS} steps, {SCORING}"
        f" streams other than those tuned on)."
        + ("" if bracketed and also else " The grid of rates doesn't bracket the best."),
        100 * gain.mean,
        "risk saved by clipping, heavy tails",
        "%",
    )


def tuned_gain(noise: Noise) -> tuple[Estimate, bool]:
    """The share of the risk that clipping saves, over streams, and whether the best learning rates
    lie inside of the grid."""
    risks = stream(noise, THRESHOLDS, STREAM_RATES, CHOOSING + SCORING)
    chosen, scored = risks[:CHOOSING].mean(0), risks[CHOOSING:]
    threshold, rate = np.unravel_index(chosen[:-1].argmin(), chosen[:-1].shape)
    plain = chosen[-1].argmin()
    inside = all(0 < best < len(STREAM_RATES) - 1 for best in (rate, plain))
    ratio = factor_over_seeds(scored[:, threshold, rate] / scored[:, -1, plain])
    return Estimate(1 - ratio.mean, 1 - ratio.high, 1 - ratio.low), inside


def stream(noise: Noise, thresholds: Array, rates: Array, streams: int) -> Array:
    """The excess risk after STEPS steps, [streams, thresholds, rates]: inputs are standard normal,
    one a step, and the weights start at a distance of 1 from those sought. Infinite where it
    diverged."""
    draws = np.random.default_rng(0)
    errors = np.full((streams, len(thresholds) * len(rates), DIM), DIM**-0.5)
    limits = np.repeat(thresholds, len(rates)) * DIM**0.5
    sizes = np.tile(rates, len(thresholds)) / DIM
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(STEPS):
            inputs = draws.standard_normal((streams, DIM))
            residuals = (errors @ inputs[..., None])[..., 0] - noise(draws, streams)[:, None]
            norms = np.abs(residuals) * np.linalg.norm(inputs, axis=1)[:, None]
            scales = sizes * np.minimum(1, limits / norms)
            errors -= (scales * residuals)[..., None] * inputs[:, None]
        risks = (errors**2).sum(-1) / 2
    risks[~np.isfinite(risks)] = np.inf
    return risks.reshape(streams, len(thresholds), len(rates))


# ---- the range of learning rates -----------------------------------------------------------------

DECADES = 1 / 4  # from one learning rate of the grid to the next: a range wider by less is as wide
GRID = 10.0 ** np.arange(-7, 3 + DECADES, DECADES)
PASSES = 50  # over the samples
GOOD = 2  # times the best loss is as much as a good one may be
POWERS = (1, 2, 4)


@computation("clipping_widens_the_rates")
def clipping_widens_the_rates(evidence: Evidence) -> Answer:
    """Does SGD do well from more learning rates if it is clipped, where gradients grow fast?

    Mai and Johansson 2021, of convex functions whose subgradients grow faster than the distance to
    the optimum: too large a step leads to a much larger one. Here the loss is the mean of
    |<a, x> - b|^p, whose gradients are bounded for p = 1, grow as the distance for p = 2 and as its
    cube for p = 4, on which the verdict rests. In phase retrieval, which the paper tries, clipping
    hardly widens the range (+0.07 [0.02, 0.12] decades over 96 seeds); this family was chosen after
    that had been seen.
    """
    return widening([wider(power) for power in POWERS])


def widening(found: list[tuple[Array, bool]]) -> Answer:
    """By how many decades clipping widens the range for each of POWERS; the last decides."""
    *_, (widths, bracketed) = found
    estimates = [over_seeds(each[0] - each[1]) for each, _ in found]
    least, middle, most = estimates
    return Answer(
        above(most, DECADES) if bracketed else "inconclusive",
        f"Where gradients grow as the cube of the distance, the final loss is within {GOOD} times"
        f" the best from learning rates over {widths[0].mean():.2f} decades with clipping and"
        f" {widths[1].mean():.2f} without: {_signed(most)} ({len(widths[0])} seeds). Where they"
        f" grow as the distance, clipping adds {_signed(middle)} decades, and where they are"
        f" bounded {_signed(least)}. This family of losses was chosen after phase retrieval, which"
        " the paper tries, had shown a gain of 0.07 decades only."
        + ("" if bracketed else " The grid of rates doesn't end where both fail."),
        most.mean,
        "range of learning rates, clipped less unclipped",
        "decades",
    )


def wider(power: int, seeds: int = 16, m: int = 100, n: int = 20) -> tuple[Array, bool]:
    """How many decades of rates do well with clipping and without, by seed [2, seeds], and whether
    both fail at both ends of the grid. Clipped is what is above the median of the norms that the
    samples' gradients have at the start."""
    draws = np.random.default_rng(1)
    rows = draws.standard_normal((seeds, m, n))
    rows *= np.sqrt(n) / np.linalg.norm(rows, axis=2, keepdims=True)
    noise = draws.standard_normal((seeds, m))  # all that there is, as the weights sought are 0
    starts = draws.standard_normal((seeds, n))
    starts *= 3 / np.linalg.norm(starts, axis=1, keepdims=True)  # three times the noise
    residuals = (rows @ starts[..., None])[..., 0] - noise
    norms = power * np.abs(residuals) ** (power - 1) * np.sqrt(n)
    limits = np.stack([np.median(norms, axis=1), np.full(seeds, np.inf)])
    losses = final_losses(rows, noise, starts, power, limits)
    good = losses < GOOD * losses.min((0, 2))[:, None]
    return DECADES * good.sum(2), not good[..., [0, -1]].any()


def final_losses(rows: Array, targets: Array, starts: Array, power: int, limits: Array) -> Array:
    """The mean of |<a, x> - b|^power after SGD over single samples, clipped at each limit [limits,
    seeds], from each rate of the grid: [limits, seeds, rates]. Rates fall as 1/√step. Infinite
    where it diverged."""
    seeds, m, _ = rows.shape
    order = np.random.default_rng(2).integers(m, size=(PASSES * m, seeds))
    each, limits = np.arange(seeds), limits[..., None]
    weights = np.tile(starts[:, None], (len(limits), 1, len(GRID), 1))
    with np.errstate(all="ignore"):
        for step, drawn in enumerate(order, start=1):
            row = rows[each, drawn]
            residuals = (weights @ row[..., None])[..., 0] - targets[each, drawn][:, None]
            slopes = power * np.abs(residuals) ** (power - 1) * np.sign(residuals)
            norms = np.abs(slopes) * np.linalg.norm(row, axis=1)[:, None]
            sizes = GRID / np.sqrt(step) * np.minimum(1, limits / norms)
            weights -= (sizes * slopes)[..., None] * row[:, None]
        residuals = weights @ rows.transpose(0, 2, 1) - targets[:, None]
        losses = (np.abs(residuals) ** power).mean(-1)
    return np.where(np.isfinite(losses), losses, np.inf)

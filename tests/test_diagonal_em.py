"""EM with diagonal covariances against scikit-learn, scipy and the isotropic EM."""

import warnings

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from constructions.algorithms import em, metrics
from constructions.algorithms.diagonal_em import (
    average_log_likelihood,
    log_em_step,
    log_joint,
    log_m_step,
    log_responsibilities,
)
from constructions.algorithms.sampling import Mixture
from constructions.rounding_error import gamma

UNIT = 2.0**-53


@pytest.fixture
def problem(rng):
    """N = 23, d = 3, K = 5."""
    weights = rng.uniform(0.2, 1, 5)
    samples, means = 2 * rng.standard_normal((23, 3)), 2 * rng.standard_normal((5, 3))
    return samples, np.log(weights / weights.sum()), means, rng.uniform(0.5, 2, (5, 3))


def test_log_joint_is_the_log_density_of_every_component(problem):
    samples, log_weights, means, scales = problem
    joint = log_joint(*problem)
    assert joint.shape == (23, 5)
    # Σ_a (x² + μ²)/σ², the largest term of the expanded squares, is rounded a few times.
    terms = ((samples**2).max(axis=0) + (means**2).max(axis=0)).sum() / scales.min() ** 2
    for k in range(5):
        expected = log_weights[k] + multivariate_normal(means[k], np.diag(scales[k] ** 2)).logpdf(samples)
        assert np.abs(joint[:, k] - expected).max() <= gamma(50, UNIT) * terms


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_steps_are_those_of_scikit_learn(rng, steps):
    """The same start and no floor within reach: N = 101 samples, K = 3, d = 2."""
    samples = rng.standard_normal((3, 2))[rng.integers(3, size=101)] * 4 + rng.standard_normal((101, 2))
    weights, means, scales = np.array([0.5, 0.2, 0.3]), rng.standard_normal((3, 2)), rng.uniform(0.5, 2, (3, 2))
    reference = GaussianMixture(
        3,
        covariance_type="diag",
        reg_covar=0,
        tol=0,
        max_iter=steps,
        weights_init=weights,
        means_init=means,
        precisions_init=scales**-2,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        reference.fit(samples)
    now = np.log(weights), means, scales
    for _ in range(steps):
        now = log_em_step(samples, *now, least_scale=1e-3)
    # Rounding of a step is gamma(N) times squares of at most 20²; that it doubles in each step is generous.
    rounding = 2**steps * gamma(4 * 101, UNIT) * 20**2
    assert np.abs(np.exp(now[0]) - reference.weights_).max() <= rounding
    assert np.abs(now[1] - reference.means_).max() <= rounding
    assert np.abs(now[2] ** 2 - reference.covariances_).max() <= rounding
    assert now[2].min() > 1e-2
    assert average_log_likelihood(samples, *now) == pytest.approx(reference.score(samples), rel=rounding, abs=0)


def test_with_unit_scales_it_is_the_isotropic_model(problem):
    samples, log_weights, means, _ = problem
    ones, weights, rounding = np.ones_like(means), np.exp(log_weights), gamma(200, UNIT) * 100
    log_w = log_responsibilities(samples, log_weights, means, ones)
    assert np.abs(log_w - em.log_responsibilities(samples, weights, means)).max() <= rounding
    expected_weights, expected_means = em.log_em_step(samples, log_weights, means)
    got_weights, got_means, _ = log_em_step(samples, log_weights, means, ones)
    assert np.abs(got_weights - expected_weights).max() <= rounding
    assert np.abs(got_means - expected_means).max() <= rounding
    likelihood = metrics.average_log_likelihood(Mixture(weights, means), samples)
    assert average_log_likelihood(samples, log_weights, means, ones) == pytest.approx(likelihood, rel=rounding, abs=0)


def test_the_m_step_is_a_weighted_mean_and_variance_above_the_floor(problem):
    samples, _, means, _ = problem
    log_w = log_responsibilities(*problem)
    _, _, free = log_m_step(samples, log_w, 1e-3)
    floor = float(np.median(free))  # some scales are above, some below
    log_weights, means, scales = log_m_step(samples, log_w, floor)
    w, rounding = np.exp(log_w), gamma(200, UNIT)
    for k in range(5):
        mean = np.average(samples, axis=0, weights=w[:, k])
        variance = np.average((samples - mean) ** 2, axis=0, weights=w[:, k])
        expected = [max(np.sqrt(v), floor) for v in variance]
        assert np.exp(log_weights[k]) == pytest.approx(w[:, k].mean(), rel=rounding, abs=0)
        assert np.abs(means[k] - mean).max() <= rounding * np.abs(samples).max()
        # Of a variance, rounded by rounding·max x²; the root of one above floor² magnifies that by 1/(2·floor).
        assert np.abs(scales[k] - expected).max() <= rounding * (samples**2).max() / floor
    assert (scales == floor).sum() == 8  # the median of the 15, and what was below it


def test_at_the_floor_the_likelihood_never_decreases(rng):
    """Eleven samples of 37 agree in one coordinate: a component shrinks to the floor there, and stays."""
    samples = rng.standard_normal((37, 2))
    samples[:11] = 4 + 0.5 * samples[:11]
    samples[:11, 1] = 4.0
    now = np.log([0.5, 0.5]), np.array([[3.0, 3.0], [0.0, 1.0]]), np.ones((2, 2))
    levels = [average_log_likelihood(samples, *now)]
    for _ in range(20):
        now = log_em_step(samples, *now, least_scale=0.25)
        levels.append(average_log_likelihood(samples, *now))
    assert now[2][0, 1] == 0.25
    assert now[2][0, 0] > 0.25
    assert levels[-1] - levels[0] > 0.1
    assert (np.diff(levels) >= -gamma(500, UNIT) * 2 * 5**2 / 0.25**2).all()


def test_a_component_that_loses_all_weight_keeps_finite_parameters():
    """Component 1 is 100 away: its responsibilities are below e^-4000 and all but e^-89 of them is sample 1.0's."""
    samples, log_weights = np.array([[0.0], [0.1], [1.0]]), np.log([0.5, 0.5])
    now = log_em_step(samples, log_weights, np.array([[0.5], [100.0]]), np.ones((2, 1)))
    lost = (100 - 5000) - (0.5 - 0.125) - np.log(3)
    assert now[0][1] == pytest.approx(lost, rel=gamma(40, UNIT), abs=0)
    assert now[1][1, 0] == pytest.approx(1, rel=gamma(40, UNIT) + 5000 * UNIT, abs=0)  # scores of size 5000 are rounded
    assert now[2][1, 0] == 0.1
    for part in log_em_step(samples, *now):
        assert np.isfinite(part).all()


def test_batches_are_independent(rng):
    """Leading axes 2 and 7 of data sets with N = 11, K = 3, d = 5."""
    samples, means = rng.standard_normal((2, 7, 11, 5)), rng.standard_normal((2, 7, 3, 5))
    log_weights, scales = np.log(rng.dirichlet(np.ones(3), size=(2, 7))), rng.uniform(0.5, 2, (2, 7, 3, 5))
    together = log_em_step(samples, log_weights, means, scales)
    likelihood = average_log_likelihood(samples, log_weights, means, scales)
    assert together[2].shape == (2, 7, 3, 5)
    assert likelihood.shape == (2, 7)
    rounding = gamma(200, UNIT) * 100
    for where in np.ndindex(2, 7):
        problem = samples[where], log_weights[where], means[where], scales[where]
        for part, alone in zip(together, log_em_step(*problem), strict=True):
            assert np.abs(part[where] - alone).max() <= rounding / 0.1  # a root above the floor 0.1
        assert abs(likelihood[where] - average_log_likelihood(*problem)) <= rounding

"""Reference EM against independent implementations and against what EM guarantees."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from constructions.algorithms import metrics
from constructions.algorithms.em import em, em_step, log_em_step, log_joint, log_responsibilities, m_step
from constructions.algorithms.sampling import Mixture
from constructions.datasets import load_bundled, load_start
from constructions.rounding_error import gamma

UNIT = 2.0**-53


@pytest.fixture
def problem(rng):
    weights = rng.uniform(0.2, 1, 5)
    return 2 * rng.standard_normal((23, 3)), weights / weights.sum(), 2 * rng.standard_normal((5, 3))


def posterior(samples, weights, means):
    """log p(k | x_i) from scipy's densities, and the magnitude of the logarithms in it."""
    normals = [multivariate_normal(mean, np.eye(len(mean))) for mean in means]
    logs = np.log(weights) + np.array([normal.logpdf(samples) for normal in normals]).T
    densities = np.exp(logs)
    return np.log(densities / densities.sum(axis=1, keepdims=True)), np.abs(logs).max()


def test_the_e_step_is_the_posterior_of_a_mixture_of_normals(problem):
    expected, magnitude = posterior(*problem)
    got = log_responsibilities(*problem)
    assert got.shape == (23, 5)
    # Scores of this magnitude, computed twice from a few terms each.
    assert np.abs(got - expected).max() <= 4 * gamma(3 + 5 + 32, UNIT) * magnitude


def test_the_m_step_is_a_weighted_mean(problem):
    samples, weights, means = problem
    w = np.exp(log_responsibilities(samples, weights, means))
    new_weights, new_means = em_step(samples, weights, means)
    assert new_weights.shape == (5,)
    assert new_means.shape == (5, 3)
    rounding = gamma(4 * (23 + 32), UNIT)
    for k in range(5):
        assert new_weights[k] == pytest.approx(sum(w[i, k] for i in range(23)) / 23, rel=rounding, abs=0)
        expected = np.average(samples, axis=0, weights=w[:, k])
        assert np.abs(new_means[k] - expected).max() <= rounding * np.abs(samples).max()
    assert new_weights.sum() == pytest.approx(1, rel=rounding, abs=0)


def test_log_joint_misses_only_what_the_components_share(problem):
    samples, weights, means = problem
    joint = log_joint(samples, np.log(weights), means)
    for k in (0, 4):
        log_density = multivariate_normal(means[k], np.eye(3)).logpdf(samples) + np.log(weights[k])
        shared = -0.5 * (samples**2).sum(axis=1) - 1.5 * np.log(2 * np.pi)
        assert np.abs(joint[:, k] + shared - log_density).max() <= 8 * gamma(10, UNIT) * np.abs(joint).max() + 1e-14


def test_the_likelihood_never_decreases_on_iris():
    rng = np.random.default_rng(3)
    samples = load_bundled("iris", 3, None, None, rng).samples
    start = load_start("kmeans++", 3, samples, rng)
    likelihoods = [
        metrics.average_log_likelihood(Mixture(*em(samples, start.weights, start.means, steps)), samples)
        for steps in range(12)
    ]
    differences = np.diff(likelihoods)
    assert (differences >= -gamma(150, UNIT) * abs(likelihoods[0])).all()
    assert differences[0] > 1e-3


def test_responsibilities_that_underflow_leave_the_mean_finite():
    """All of component 1's responsibilities are below e^-4000; the share of its nearest sample is 1 - e^-89."""
    samples = np.array([[0.0], [0.1], [1.0]])
    weights, means = em_step(samples, np.array([0.5, 0.5]), np.array([[0.5], [100.0]]))
    assert weights[1] == 0
    assert weights[0] == pytest.approx(1, rel=gamma(40, UNIT), abs=0)
    assert means[1, 0] == pytest.approx(1, rel=gamma(40, UNIT) + 5000 * UNIT, abs=0)  # scores of size 5000 are rounded


def test_log_weights_make_the_same_step(problem):
    samples, weights, means = problem
    log_weights, new_means = log_em_step(samples, np.log(weights), means)
    expected_weights, expected_means = em_step(samples, weights, means)
    assert np.array_equal(np.exp(log_weights), expected_weights)
    assert np.array_equal(new_means, expected_means)


def test_logarithms_of_weights_that_underflow_are_kept():
    """A weight of e^-4000 is 0 in float64; its logarithm is the largest score over N = 3, here that of 1.0."""
    samples, log_weights = np.array([[0.0], [0.1], [1.0]]), np.log([0.5, 0.5])
    means = np.array([[0.5], [100.0]])
    new_log_weights, new_means = log_em_step(samples, log_weights, means)
    expected = (100 - 5000) - (0.5 - 0.125) - np.log1p(np.exp((100 - 5000) - (0.5 - 0.125))) - np.log(3)
    assert new_log_weights[1] == pytest.approx(expected, rel=gamma(40, UNIT), abs=0)
    weights, em_means = em_step(samples, np.exp(log_weights), means)
    assert np.array_equal(np.exp(new_log_weights), weights)
    assert np.array_equal(new_means, em_means)
    # The next step needs the logarithm: from a weight of 0 there is none, and no warning either.
    assert np.isfinite(log_em_step(samples, new_log_weights, new_means)[1]).all()
    lost_weights, lost_means = em_step(samples, weights, em_means)
    assert lost_weights[1] == 0
    assert np.isnan(lost_means[1]).all()
    assert np.isfinite(lost_means[0]).all()


def test_steps_are_composed(problem):
    samples, weights, means = problem
    assert em(samples, weights, means, 0) == (weights, means)
    twice = em_step(samples, *em_step(samples, weights, means))
    for got, expected in zip(em(samples, weights, means, 2), twice, strict=True):
        assert np.array_equal(got, expected)


def test_batches_are_independent(rng):
    """Leading axes 2 and 7 of data sets with N = 11, K = 3, d = 5."""
    samples, means = rng.standard_normal((2, 7, 11, 5)), rng.standard_normal((2, 7, 3, 5))
    weights = rng.dirichlet(np.ones(3), size=(2, 7))
    new_weights, new_means = em_step(samples, weights, means)
    assert new_means.shape == (2, 7, 3, 5)
    rounding = gamma(200, UNIT) * 20
    for where in np.ndindex(2, 7):
        one_weights, one_means = em_step(samples[where], weights[where], means[where])
        assert np.abs(new_weights[where] - one_weights).max() <= rounding
        assert np.abs(new_means[where] - one_means).max() <= rounding


def test_equal_responsibilities_give_the_mean(rng):
    samples = rng.standard_normal((13, 2))
    weights, means = m_step(samples, np.log(np.tile([0.25, 0.75], (13, 1))))
    np.testing.assert_allclose(weights, [0.25, 0.75], rtol=gamma(100, UNIT))
    np.testing.assert_allclose(means, [samples.mean(axis=0)] * 2, rtol=0, atol=gamma(100, UNIT) * 3)

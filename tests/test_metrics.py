"""Errors, likelihood and accuracy against independent implementations."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from constructions.algorithms import metrics
from constructions.algorithms.sampling import Mixture
from constructions.rounding_error import gamma

UNIT = 2.0**-53


@pytest.fixture
def mixture(rng) -> Mixture:
    return Mixture(rng.dirichlet(np.ones(5)), 3 * rng.standard_normal((5, 3)))


def permuted(mixture: Mixture, order: list[int]) -> Mixture:
    return Mixture(mixture.weights[order], mixture.means[order])


def test_average_log_likelihood_is_scikit_learns(mixture, rng):
    """Its spherical model with every precision set to 1; sums over K, not over N, and over unequal sizes."""
    samples = 2 * rng.standard_normal((23, 3))
    model = GaussianMixture(5, covariance_type="spherical")
    model.weights_, model.means_ = mixture.weights, mixture.means
    model.covariances_ = model.precisions_ = model.precisions_cholesky_ = np.ones(5)
    expected = model.score(samples)
    # Squared distances of size up to (‖x‖ + ‖μ‖)² are summed in two different ways.
    size = (np.linalg.norm(samples, axis=1).max() + np.linalg.norm(mixture.means, axis=1).max()) ** 2
    assert metrics.average_log_likelihood(mixture, samples) == pytest.approx(expected, abs=gamma(50, UNIT) * size)


def test_align_undoes_a_permutation(mixture, rng):
    order = [3, 0, 4, 1, 2]
    shuffled = permuted(mixture, order)
    noisy = Mixture(shuffled.weights, shuffled.means + 1e-3 * rng.standard_normal((5, 3)))
    aligned = metrics.align(noisy, mixture)
    assert np.array_equal(aligned.weights, mixture.weights)
    assert metrics.mean_error(aligned, mixture) < 0.01


def test_align_minimises_over_all_permutations(rng):
    """Means so close that a greedy matching would go wrong."""
    truth, estimate = (Mixture(np.full(5, 0.2), rng.standard_normal((5, 3))) for _ in range(2))
    costs = [((estimate.means[list(order)] - truth.means) ** 2).sum() for order in permutations(range(5))]
    aligned = ((metrics.align(estimate, truth).means - truth.means) ** 2).sum()
    assert aligned == pytest.approx(min(costs), rel=gamma(50, UNIT), abs=0)


def test_errors_by_hand():
    truth = Mixture(np.array([0.25, 0.75]), np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
    estimate = Mixture(np.array([0.5, 0.5]), np.array([[3.0, 4.0, 0.0], [1.0, 1.0, 3.0]]))
    assert metrics.mean_error(estimate, truth) == 5
    assert metrics.weight_error(estimate, truth) == 0.25
    assert metrics.log_weight_error(estimate, truth) == pytest.approx(np.log(2), rel=4 * UNIT, abs=0)
    assert metrics.l2_error(estimate, truth) == pytest.approx((25 / 3 + 4 / 3) / 2 + 0.0625, rel=8 * UNIT, abs=0)
    lost = Mixture(np.array([0.0, 1.0]), truth.means)
    assert metrics.log_weight_error(lost, truth) == np.inf


def test_accuracy_does_not_depend_on_the_names_of_the_clusters(rng):
    labels = rng.integers(0, 5, size=97)
    renamed = np.array([3, 0, 4, 1, 2])[labels]
    assert metrics.clustering_accuracy(labels, renamed) == 1
    renamed[:10] = (renamed[:10] + 1) % 5
    brute = max(np.mean(labels == np.array(order)[renamed]) for order in permutations(range(5)))
    assert metrics.clustering_accuracy(labels, renamed) == brute
    assert brute < 1


def test_accuracy_with_more_clusters_than_classes_and_fewer():
    labels = np.array([0, 0, 0, 1, 1, 1])
    assert metrics.clustering_accuracy(labels, np.array([0, 0, 2, 1, 1, 3])) == 4 / 6
    assert metrics.clustering_accuracy(labels, np.zeros(6, dtype=np.int64)) == 3 / 6

"""Random mixtures and samples."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from constructions.algorithms.sampling import Mixture, random_mixture, sample, simplex_mixture
from constructions.rounding_error import gamma

UNIT = 2.0**-53


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 13])
@pytest.mark.parametrize("components", [2, 3, 7, 11])
def test_the_smallest_distance_is_the_separation(dim, components):
    mixture = random_mixture(dim, components, 3.7, np.random.default_rng(5))
    assert mixture.means.shape == (components, dim)
    # centring and rotation: a few dozen roundings of numbers of the size of the grid
    assert pdist(mixture.means).min() == pytest.approx(
        3.7, rel=16 * gamma(4 * dim + components, UNIT) * components, abs=0
    )
    assert np.abs(mixture.means.mean(axis=0)).max() < 1e-13
    assert mixture.weights.sum() == pytest.approx(1, rel=components * UNIT, abs=0)
    assert mixture.weights.max() / mixture.weights.min() <= 4 * (1 + 4 * UNIT)
    assert len(set(mixture.weights)) == components


@pytest.mark.parametrize(("dim", "components"), [(1, 13), (2, 49), (2, 113), (3, 97)])
def test_the_means_are_the_grid_points_nearest_to_one_of_them(dim, components):
    """In 2 dimensions 49 points reach 4 steps out, one more than a square of 49 does."""
    grid = np.array(list(np.ndindex(*[19] * dim))) - 9
    nearest = grid[np.argsort((grid**2).sum(axis=1), kind="stable")[:components]]
    if dim > 1:
        assert np.abs(nearest).max() > np.ceil(components ** (1 / dim)) // 2
    found = np.sort(pdist(random_mixture(dim, components, 1.0, np.random.default_rng(5)).means))
    assert found == pytest.approx(np.sort(pdist(nearest)), rel=1e-12, abs=0)


def test_one_component_and_no_separation():
    assert np.array_equal(random_mixture(3, 1, 5.0, np.random.default_rng(5)).means, np.zeros((1, 3)))
    assert not random_mixture(3, 2, 0.0, np.random.default_rng(5)).means.any()


def test_samples_follow_the_mixture():
    """20 000 draws: proportions, means and covariance within 5 standard errors."""
    count = 20_000
    mixture = Mixture(np.array([0.2, 0.5, 0.3]), np.array([[0.0, 9.0], [-7.0, 1.0], [3.0, -5.0]]))
    samples, labels = sample(mixture, count, np.random.default_rng(11))
    assert samples.shape == (count, 2)
    for k, (weight, mean) in enumerate(zip(mixture.weights, mixture.means, strict=True)):
        own = samples[labels == k]
        assert abs(len(own) / count - weight) < 5 * np.sqrt(weight * (1 - weight) / count)
        assert np.abs(own.mean(axis=0) - mean).max() < 5 / np.sqrt(len(own))
        assert np.abs(np.cov(own.T) - np.eye(2)).max() < 5 * np.sqrt(2 / len(own))


def test_draws_are_reproducible():
    mixture = random_mixture(2, 3, 1.0, np.random.default_rng(7))
    again = random_mixture(2, 3, 1.0, np.random.default_rng(7))
    assert np.array_equal(mixture.means, again.means)
    first, second, other = (sample(mixture, 13, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(("dim", "components"), [(1, 1), (5, 2), (7, 5), (3, 3)])
def test_simplex_means_are_independent_and_equally_far(dim, components):
    mixture = simplex_mixture(dim, components, 4.0, np.random.default_rng(2))
    assert mixture.means.shape == (components, dim)
    gram = mixture.means @ mixture.means.T
    assert np.allclose(gram, 8 * np.eye(components), rtol=0, atol=8 * 64 * UNIT)  # 4²/2 on the diagonal
    assert mixture.weights.sum() == pytest.approx(1, rel=components * UNIT, abs=0)

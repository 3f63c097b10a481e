"""Population EM against its definition: on the line, by full-dimensional quadrature, and by sampling."""

from itertools import product

import numpy as np
import pytest

from constructions.algorithms import population_em
from constructions.algorithms.em import log_responsibilities
from constructions.algorithms.population_em import (
    monte_carlo_error,
    population_error,
    population_step,
    quadrature_error,
    rule,
)
from constructions.algorithms.sampling import Mixture, sample


def drawn(components, dim, apart, rng):
    """A mixture and one point near it."""
    shares = rng.uniform(0.4, 1, (2, components))
    means = apart * rng.standard_normal((components, dim))
    near = means + 0.4 * rng.standard_normal((components, dim))
    return Mixture(shares[0] / shares[0].sum(), means), shares[1] / shares[1].sum(), near


def defined(truth, weights, means):
    """(π⁺ − π*, μ⁺ − μ*) for d = 1 by the definition: Gauss and Legendre's rule, 20 nodes on each of 501 pieces."""
    ends = np.linspace(truth.means.min() - 10, truth.means.max() + 10, 502)
    nodes, masses = np.polynomial.legendre.leggauss(20)
    half = np.diff(ends)[:, None] / 2
    x, dx = (ends[:-1, None] + half * (1 + nodes)).ravel(), (half * masses).ravel()
    density = np.exp(-0.5 * (x[:, None] - truth.means[:, 0]) ** 2) @ truth.weights / np.sqrt(2 * np.pi)
    joint = weights * np.exp(-0.5 * (x[:, None] - means[:, 0]) ** 2)
    mass = (dx * density)[:, None] * joint / joint.sum(axis=1, keepdims=True)
    new = mass.sum(axis=0)
    return new - truth.weights, (x @ mass / new)[:, None] - truth.means


@pytest.mark.parametrize(("components", "apart"), [(2, 1.0), (2, 5.0), (3, 2.0)])
def test_a_step_on_the_line_is_its_definition(components, apart, rng):
    truth, weights, means = drawn(components, 1, apart, rng)
    found = population_error(truth, weights, means, nodes=301)
    for one, other in zip(found, defined(truth, weights, means), strict=True):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-13)
    step = population_step(truth, weights, means, nodes=301)
    assert step[0] == pytest.approx(truth.weights + found[0], rel=1e-15, abs=0)
    assert np.array_equal(step[1], truth.means + found[1])


def test_tiny_errors_keep_their_digits():
    """Means 9 apart: v is of the order of 1e-5, and so are the errors, to eight digits of their own."""
    truth = Mixture(np.array([0.25, 0.75]), np.array([[0.0], [9.0]]))
    weights, means = np.array([0.3, 0.7]), np.array([[0.25], [8.5]])
    for one, other in zip(population_error(truth, weights, means, 301), defined(truth, weights, means), strict=True):
        assert np.abs(other).max() < 1e-3
        assert one == pytest.approx(other, rel=1e-8, abs=0)


@pytest.mark.parametrize("components", [2, 3])
def test_directions_without_means_need_no_nodes(components, rng):
    """d = 3: against Gauss and Hermite's rule in all three dimensions, 37³ nodes a component."""
    truth, weights, means = drawn(components, 3, 0.8, rng)
    line, masses = np.polynomial.hermite_e.hermegauss(37)
    points, mass = np.array(list(product(line, repeat=3))), masses / masses.sum()
    mass = np.einsum("a,b,c->abc", mass, mass, mass).ravel()
    new, moved = np.zeros(components), np.zeros((components, 3))
    for share, centre in zip(truth.weights, truth.means, strict=True):
        w = np.exp(log_responsibilities(centre + points, weights, means))
        new += share * mass @ w
        moved += share * (mass[:, None] * w).T @ (centre + points)
    found = population_step(truth, weights, means)
    assert found[0] == pytest.approx(new, rel=1e-7, abs=0)
    assert found[1] == pytest.approx(moved / new[:, None], rel=0, abs=1e-6)


@pytest.mark.parametrize(("components", "dim"), [(2, 1), (2, 5), (3, 2), (3, 7), (5, 1), (7, 2)])
def test_the_truth_is_a_fixed_point(components, dim, rng):
    truth, _, _ = drawn(components, dim, 2.0, rng)
    off_weights, off_means = population_error(truth, truth.weights, truth.means, 129)
    assert np.abs(off_weights).max() < 1e-12
    assert np.abs(off_means).max() < 1e-11


def test_a_batch_is_its_members_whatever_the_block(rng, monkeypatch):
    truth, weights, means = drawn(3, 2, 2.0, rng)
    many = np.stack([weights, truth.weights] * 3).reshape(2, 3, 3)
    moved = means + 0.1 * rng.standard_normal((2, 3, 3, 2))
    whole = population_error(truth, many, moved, 31)
    monkeypatch.setattr(population_em, "BLOCK", 2 * 31**2 * 9)
    blocks = population_error(truth, many, moved, 31)
    for one, other, shape in zip(whole, blocks, ((2, 3, 3), (2, 3, 3, 2)), strict=True):
        assert one.shape == shape
        assert one == pytest.approx(other, rel=1e-13, abs=1e-16)
    alone = population_error(truth, many[1, 2], moved[1, 2], 31)
    assert alone[1] == pytest.approx(whole[1][1, 2], rel=1e-13, abs=1e-16)


def test_separations_beyond_the_range_of_floats():
    truth = Mixture(np.array([0.5, 0.5]), np.array([[0.0, 0.0], [107.0, 0.0]]))
    off_weights, off_means = population_error(
        truth, np.array([0.3, 0.7]), truth.means + np.array([[1.0, -4.0], [-5.0, 3.0]])
    )
    assert not off_weights.any()
    assert not off_means.any()


def test_of_a_component_that_no_node_gives_weight_nothing_is_known():
    truth = Mixture(np.array([0.5, 0.5]), np.array([[0.0], [1.0]]))
    off_weights, off_means = population_error(truth, np.array([0.5, 0.5]), np.array([[0.0], [1e4]]))
    assert off_weights == pytest.approx([0.5, -0.5], rel=1e-15, abs=0)
    assert np.isnan(off_means[1]).all()


def test_more_than_two_dimensions_are_for_sampling():
    truth = Mixture(np.full(4, 0.25), np.eye(4, 3))
    with pytest.raises(ValueError, match="d = 3, K = 4"):
        population_error(truth, truth.weights, truth.means)


def test_the_rule_integrates_moments():
    points, masses = rule(2, 41)
    assert points.shape == (41**2, 2)
    for powers, moment in (((0, 0), 1), ((2, 0), 1), ((2, 4), 3), ((1, 2), 0)):
        assert masses @ (points**powers).prod(axis=1) == pytest.approx(moment, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("components", "spread"), [(2, 3.0), (2, 7.0), (3, 4.0), (2, 0.1)])
def test_the_error_of_few_nodes_is_bounded(components, spread):
    """At thresholds in the middle of a component, where the rule is at its worst."""
    means = np.linspace(0, spread, components)[:, None]
    truth = Mixture(np.full(components, 1 / components), means[::-1] * 0.3 + 0.2 * spread)
    exact = population_step(truth, truth.weights, means, 1001)[0]
    for nodes in (11, 21, 31, 61):
        error = np.abs(population_step(truth, truth.weights, means, nodes)[0] - exact).max()
        bound = quadrature_error(components, spread, 1, nodes)
        assert error <= bound + 1e-15
        if spread == 3 and error > 1e-12:
            assert bound < 300 * error
    assert quadrature_error(components, spread, 2, 31) == 2 * quadrature_error(components, spread, 1, 31)


def test_sampling_agrees_with_quadrature(rng):
    truth, weights, means = drawn(3, 2, 1.5, rng)
    exact = population_error(truth, weights, means, 257)
    for found, value in zip(monte_carlo_error(truth, weights, means, 40_000, rng), exact, strict=True):
        assert (np.abs(found.value - value) < 5.5 * found.standard_error).all()
        assert (found.standard_error < 0.02).all()


def test_standard_errors_are_the_spread_of_estimates(rng, monkeypatch):
    """199 estimates from 211 samples each: their standard deviation over the mean standard error is 1 within 5/√398."""
    monkeypatch.setattr(population_em, "BLOCK", 1000)  # so that samples come in blocks
    truth, weights, means = drawn(3, 2, 1.5, rng)
    runs = [monte_carlo_error(truth, weights, means, 211, rng) for _ in range(199)]
    for place in range(2):
        values = np.stack([run[place].value for run in runs])
        errors = np.stack([run[place].standard_error for run in runs])
        assert values.std(axis=0) / np.sqrt((errors**2).mean(axis=0)) == pytest.approx(1, rel=0, abs=5 / np.sqrt(398))


def test_standard_errors_are_those_of_the_linearised_ratio(rng):
    """sd of v_k, and of (v_k(X − μ_k*) − (μ_k⁺ − μ_k*)w_k)/π_k⁺, over the very samples, over √n."""
    truth, weights, means = drawn(3, 2, 0.5, rng)
    found = monte_carlo_error(truth, weights, means, 101, np.random.default_rng(7))
    x, labels = sample(truth, 101, np.random.default_rng(7))
    w = np.exp(log_responsibilities(x, weights, means))
    v, new = w - np.eye(3)[labels], w.mean(axis=0)
    assert found[0].value == pytest.approx(v.mean(axis=0), rel=1e-12, abs=0)
    assert found[0].standard_error == pytest.approx(v.std(axis=0) / np.sqrt(101), rel=1e-12, abs=0)
    for k in range(3):
        scaled = v[:, [k]] * (x - truth.means[k])
        off = scaled.mean(axis=0) / new[k]
        assert found[1].value[k] == pytest.approx(off, rel=1e-12, abs=0)
        influence = (scaled - off * w[:, [k]]) / new[k]
        assert found[1].standard_error[k] == pytest.approx(influence.std(axis=0) / np.sqrt(101), rel=1e-9, abs=0)


@pytest.mark.parametrize(("components", "pole"), [(2, np.pi), (3, 2 * np.pi / 3)])
def test_the_strip_of_the_quadrature_bound_ends_before_the_poles(components, pole):
    """1 + e^{iθ} vanishes at θ = π, 1 + e^{iθ} + e^{−iθ} at 2π/3: nothing decays faster than e^{−2πθ/(spread·h)}."""
    one, other = (quadrature_error(components, 6.0, nodes=nodes) for nodes in (65, 129))
    decay = np.log(one / other) / (2 * np.pi * 64 / (2 * population_em.REACH))
    assert 0.5 * pole / 6 < decay < pole / 6
    assert quadrature_error(components, 0.1, nodes=1001) == pytest.approx(2 * np.exp(-40.5) / np.sqrt(2 * np.pi), abs=0)


def test_sampling_serves_every_dimension(rng):
    truth, weights, means = drawn(5, 7, 1.0, rng)
    batch = np.stack([weights, truth.weights])[:, None], np.stack([means, truth.means])[:, None]
    off_weights, off_means = monte_carlo_error(truth, *batch, 5000, rng)
    assert off_weights.value.shape == (2, 1, 5)
    assert off_means.value.shape == (2, 1, 5, 7)
    for found in (off_weights, off_means):  # the truth is a fixed point
        assert (np.abs(found.value[1]) < 5.5 * found.standard_error[1]).all()

from __future__ import annotations

import numpy as np
import pytest
import torch

from constructions.algorithms.em import em_step, log_responsibilities
from constructions.algorithms.population_em import population_step
from constructions.algorithms.sampling import Mixture
from constructions.concentration_bounds import Region
from theory_checks import concentration
from theory_checks.concentration import (
    Moments,
    Points,
    climb,
    draw,
    exact_moments,
    moment_norms,
    population_moments,
    sample_moments,
    signed_weights,
    step_errors,
    suprema,
    truth_errors,
)

TRUTH = Mixture(np.array([0.3, 0.7]), np.array([[0.0, 0.5, 0.0], [3.0, 0.0, 1.0]]))
REGION = Region(TRUTH, 0.4, 0.5)
LINE = Mixture(np.array([0.2, 0.3, 0.5]), np.array([[0.0], [3.0], [7.0]]))
PLANE = Mixture(np.array([0.2, 0.3, 0.5]), np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]))


def points(truth: Mixture, sets: int, count: int, rng: np.random.Generator) -> Points:
    weights = truth.weights * rng.uniform(0.5, 1.5, size=(sets, count, len(truth.weights)))
    return Points(weights, truth.means + 0.3 * rng.standard_normal((sets, count, *truth.means.shape)))


@pytest.mark.parametrize(("truth", "within"), [(TRUTH, 1e-13), (LINE, 1e-13), (PLANE, 1e-5)])
def test_both_populations_agree(rng, truth, within):
    """Torch's quadrature and population EM, which share no code; the plane's grid is coarser, and only climbed on."""
    at = points(truth, 2, 5, rng)
    found = population_moments(truth, torch.tensor(at.weights).log(), torch.tensor(at.means))
    new, means = population_step(truth, at.weights, at.means)
    assert found.weights.numpy() == pytest.approx(new, rel=0, abs=within)
    assert (found.means.numpy() + truth.means) == pytest.approx(means, rel=0, abs=20 * within)


def test_moments_of_a_sample_are_those_of_the_em_step(rng):
    x, at = draw(TRUTH, 2, 11, rng), points(TRUTH, 2, 5, rng)
    climbed = sample_moments(torch.tensor(x), TRUTH, torch.tensor(at.weights).log(), torch.tensor(at.means))
    exact, _ = exact_moments(x, TRUTH, at, TRUTH)
    for r in range(2):
        for b in range(5):
            weights, means = em_step(x[r], at.weights[r, b], at.means[r, b])
            for moments in (climbed, exact):
                assert moments.weights[r, b].numpy() == pytest.approx(weights, rel=1e-12)
                assert moments.means[r, b].numpy() + TRUTH.means == pytest.approx(means, rel=0, abs=1e-12)


def test_the_expectation_can_be_that_of_another_law(rng):
    x, at = draw(TRUTH, 2, 11, rng), points(TRUTH, 2, 5, rng)
    other = Mixture(TRUTH.weights, TRUTH.means + 1.0)
    _, population = exact_moments(x, TRUTH, at, other)
    new, means = population_step(other, at.weights, at.means)
    assert population.weights.numpy() == pytest.approx(new, rel=1e-13)
    assert population.means.numpy() + TRUTH.means == pytest.approx(means, rel=1e-12)


def test_objectives_are_their_formulas():
    truth = Mixture(np.array([0.25, 0.75]), np.array([[0.0, 0.0], [1.0, 2.0]]))
    empirical = Moments(torch.tensor([[[0.3, 0.7]]]).double(), torch.tensor([[[[0.3, 0.4], [0.0, 0.7]]]]).double())
    population = Moments(torch.tensor([[[0.2, 0.8]]]).double(), torch.tensor([[[[0.0, 0.1], [0.0, 0.0]]]]).double())
    at = empirical, population, truth, torch.tensor([[0.5]]).double()
    assert signed_weights(*at)[0, 0].tolist() == pytest.approx([0.1, -0.1, -0.1, 0.1], rel=1e-6)
    assert moment_norms(*at)[0, 0].tolist() == pytest.approx([np.hypot(0.3, 0.3), 0.7], rel=1e-6)
    means = [np.hypot(1.0, 4 / 3 - 0.5), 1.0]
    assert step_errors(*at)[0, 0].tolist() == pytest.approx([0.4, -0.1 / 0.75, -0.4, 0.1 / 0.75, *means], rel=1e-6)
    off = [0.2, -0.05 / 0.75, -0.2, 0.05 / 0.75]
    assert truth_errors(*at)[0, 0].tolist() == pytest.approx([*off, np.hypot(1.0, 4 / 3), 1.0], rel=1e-6)


def test_a_climb_stays_in_the_region_and_leaves_no_random_point_above_it(rng):
    x = draw(TRUTH, 2, 64, rng)
    for objective in (signed_weights, moment_norms, step_errors):
        found = suprema(x, REGION, objective, np.random.default_rng(5), starts=2, steps=20)
        assert np.linalg.norm(found.points.means - TRUTH.means, axis=-1).max() <= 0.4 * (1 + 1e-12)
        assert np.abs(found.points.weights / TRUTH.weights - 1).max() <= 0.5 * (1 + 1e-12)
        offsets = rng.standard_normal((2, 1009, 2, 3))
        offsets *= 0.4 * rng.uniform(size=(2, 1009, 2, 1)) / np.linalg.norm(offsets, axis=-1, keepdims=True)
        at = Points(TRUTH.weights * rng.uniform(0.5, 1.5, size=(2, 1009, 2)), TRUTH.means + offsets)
        values = objective(*exact_moments(x, TRUTH, at, TRUTH), TRUTH, torch.zeros(2, 1009)).numpy().max(axis=1)
        assert (found.values >= values).all()


def test_a_climb_goes_where_the_supremum_is_known():
    """One sample, at 0: w_2 is largest with μ_2 as near, μ_1 as far, and π_2/π_1 as large as they can be."""
    truth = Mixture(np.array([0.5, 0.5]), np.array([[0.0], [1.0]]))
    x = np.zeros((1, 1, 1))

    def objective(empirical, population, truth, distance):
        return empirical.weights[..., 1:]

    found = climb(x, Region(truth, 0.25, 0.5), objective, np.random.default_rng(0), starts=4, steps=40)
    assert np.abs(found.means[0, 0, 0]) == pytest.approx([0.25], rel=1e-9)
    assert found.means[0, 0, 1] == pytest.approx([0.75], rel=1e-9)
    assert found.weights[0, 0] == pytest.approx([0.25, 0.75], rel=1e-9)


def test_values_are_those_at_the_points_found(rng):
    x = draw(TRUTH, 3, 31, rng)
    found = suprema(x, REGION, truth_errors, np.random.default_rng(5), starts=1, steps=3)
    assert found.values.shape == (3, 6)
    for r in range(3):
        _, means = em_step(x[r], found.points.weights[r, 5], found.points.means[r, 5])
        assert found.values[r, 5] == pytest.approx(np.linalg.norm(means[1] - TRUTH.means[1]), rel=1e-12)
        w = np.exp(log_responsibilities(x[r], found.points.weights[r, 2], found.points.means[r, 2]))
        assert found.values[r, 2] == pytest.approx(1 - w[:, 0].mean() / 0.3, rel=1e-9)


def test_the_distance_is_that_of_the_point(rng):
    """With −D as the objective the climb stays at θ*; with D it ends on the region's boundary."""
    x = draw(TRUTH, 1, 7, rng)

    def far(empirical, population, truth, distance):
        return distance[..., None]

    def near(empirical, population, truth, distance):
        return -distance[..., None]

    wide = Region(TRUTH, 0.4, 0.1)
    assert suprema(x, wide, far, rng, starts=3, steps=20).values[0, 0] == pytest.approx(0.4, rel=1e-9)
    assert suprema(x, wide, near, rng, starts=3, steps=20).values[0, 0] == pytest.approx(0, abs=1e-12)


def test_uniformity_costs_little_far_apart(rng):
    """At R_min = 8 the supremum of an EM step's error over D ≤ ½ is within 10 % of its value at θ*, on average."""
    truth = Mixture(np.array([0.3, 0.7]), np.array([[0.0, 0.0], [8.0, 0.0]]))
    x = draw(truth, 11, 1021, rng)
    found = suprema(x, Region(truth, 0.5, 0.5), step_errors, np.random.default_rng(5)).values.max(axis=1)
    own = Points(np.tile(truth.weights, (11, 1, 1)), np.tile(truth.means, (11, 1, 1, 1)))
    at_truth = step_errors(*exact_moments(x, truth, own, truth), truth, torch.zeros(11, 1)).numpy().max(axis=(1, 2))
    one_step = suprema(x, Region(truth, 2.0, 0.5), step_errors, np.random.default_rng(5), starts=1, steps=1).values
    assert (one_step.max(axis=1) >= at_truth).all()  # the best point of a path is kept, not its last
    assert (found >= at_truth).all()
    assert found.mean() <= 1.1 * at_truth.mean()


def test_blocks_change_nothing(rng, monkeypatch):
    """By more than data that differ by 2²³ times as much as rounding makes them; another start changes more."""

    def found(x: np.ndarray, seed: int = 5) -> np.ndarray:
        return suprema(x, REGION, moment_norms, np.random.default_rng(seed), steps=5).values

    x = draw(TRUTH, 5, 31, rng)
    whole = found(x)
    within = np.abs(found(x * (1 + 2.0**-30)) - whole).max()
    assert np.abs(found(x, seed=6) - whole).max() > within
    monkeypatch.setattr(concentration, "BLOCK", 1)
    assert np.abs(found(x) - whole).max() <= within


def test_quadrature_says_what_it_cannot_do():
    truth = Mixture(np.full(3, 1 / 3), np.eye(3))
    with pytest.raises(ValueError, match="K = 2 or d <= 2, not for K = 3, d > 2"):
        population_moments(truth, torch.zeros(1, 1, 3), torch.zeros(1, 1, 3, 3))

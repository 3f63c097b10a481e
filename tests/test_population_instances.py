"""The regions of Theorems F.2 and F.3, and the climb to their worst points."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from constructions.algorithms.sampling import Mixture
from theory_checks.population_instances import (
    Region,
    assumption_a1,
    certified_distances,
    climb,
    contraction_rate,
    contraction_region,
    distance,
    mixture,
    one_step_radius,
    place,
)


@pytest.mark.parametrize(("shares", "dim"), [((1, 7), 3), ((1.0, 1.0, 5.0), 2), ((3, 1, 1), 5), ((1, 2, 3, 4, 5), 1)])
def test_mixtures_are_just_as_far_apart_as_a1_asks(shares, dim):
    found = mixture(3.0, shares, dim)
    assert found.means.shape == (len(shares), dim)
    assert found.weights == pytest.approx(np.array(shares) / sum(shares), rel=1e-15, abs=0)
    asked = 3 * np.sqrt(np.log(max(shares) / min(shares) * len(shares)))
    apart = pdist(found.means)
    assert apart.min() == pytest.approx(asked, rel=1e-14, abs=0)
    if len(shares) == 3:
        assert apart == pytest.approx(asked, rel=1e-14, abs=0)
    region = assumption_a1(found, "")
    assert (region.radius, region.share) == (pytest.approx(asked / 16, rel=1e-14, abs=0), 0.5)
    region = contraction_region(found, "", 0.7)
    assert (region.radius, region.share) == (0.7, 0.7)


def test_points_lie_in_the_region_and_fill_it(rng):
    region = Region("", mixture(3.0, (1, 2, 5), 2), 0.7, 0.3)
    weights, means = place(region, 2 * rng.standard_normal((1009, 3)), 2 * rng.standard_normal((1009, 3, 2)))
    off = np.linalg.norm(means - region.truth.means, axis=-1)
    tilts = np.abs(weights / region.truth.weights - 1)
    assert weights.sum(axis=-1) == pytest.approx(1, rel=1e-14, abs=0)
    assert off.max() == pytest.approx(0.7, rel=1e-14, abs=0)
    assert tilts.max() == pytest.approx(0.3, rel=1e-14, abs=0)
    assert off.min() < 0.2
    assert np.median(off) > 0.69
    again = place(region, (weights / region.truth.weights - 1) / 0.3, (means - region.truth.means) / 0.7)
    assert again[0] == pytest.approx(weights, rel=1e-13, abs=0)
    assert again[1] == pytest.approx(means, rel=0, abs=1e-13)


def test_distance_takes_the_worst_component_and_kind():
    truth = Mixture(np.array([0.2, 0.8]), np.zeros((2, 2)))
    off_weights = np.array([[0.1, -0.1], [0.02, -0.02]])
    off_means = np.array([[[0.0, 0.0], [0.3, 0.0]], [[0.0, 0.1], [0.3, 0.4]]])
    assert distance(truth, off_weights, off_means) == pytest.approx([0.5, 0.5], rel=1e-15, abs=0)


def test_the_climb_finds_a_maximum_that_is_known(rng):
    """⟨c, offsets⟩ + tilt of the lighter: radius·Σ‖c_k‖ + share."""
    region = Region("", mixture(3.0, (1, 4), 3), 0.7, 0.3)
    along = np.array([[1.0, 2.0, 2.0], [0.0, -3.0, 4.0]])

    def objective(region, weights, means, nodes):
        tilt = weights[:, 0] / region.truth.weights[0] - 1
        return ((means - region.truth.means) * along).sum(axis=(1, 2)) + tilt

    best, at = climb(region, objective, rng, 0, 16, 200)
    assert best == pytest.approx(0.7 * 8 + 0.3, rel=1e-3, abs=0)
    assert best <= 0.7 * 8 + 0.3 + 1e-12
    assert objective(region, at.weights[None], at.means[None], 0)[0] == best


def test_the_climb_keeps_what_is_no_number(rng):
    """Met by one point in one round, with larger numbers before and after."""
    region = Region("", mixture(3.0, (1, 4), 3), 0.7, 0.3)
    rounds = []

    def objective(region, weights, means, nodes):
        values = weights[:, 0].copy()
        if len(rounds) == 7:
            values[3] = np.nan
        rounds.append(np.isnan(values).any())
        return values

    best, _ = climb(region, objective, rng, 0, 16, 20)
    assert (sum(rounds), len(rounds)) == (1, 21)
    assert np.isnan(best)


def test_the_climb_beats_drawn_points(rng):
    region = assumption_a1(mixture(3.0, (1, 1), 2), "")
    best, _ = climb(region, one_step_radius, rng, 65, 24, 50)
    points = place(region, 2 * rng.standard_normal((5000, 2)), 2 * rng.standard_normal((5000, 2, 2)))
    assert best >= one_step_radius(region, *points, 65).max()


@pytest.mark.parametrize("shares", [(1, 1), (1, 13)])
def test_floats_and_balls_agree(shares, rng):
    region = contraction_region(mixture(4.0, shares, 3), "", 0.6)
    weights, means = place(region, rng.standard_normal((1, 2)), rng.standard_normal((1, 2, 3)))
    before, after = (float(ball.mid()) for ball in certified_distances(region.truth, Mixture(weights[0], means[0])))
    assert before == pytest.approx(
        distance(region.truth, weights - region.truth.weights, means - region.truth.means)[0], rel=1e-12, abs=0
    )
    assert after == pytest.approx(one_step_radius(region, weights, means, 301)[0], rel=1e-9, abs=0)
    assert after / before == pytest.approx(contraction_rate(region, weights, means, 301)[0], rel=1e-9, abs=0)


@pytest.mark.parametrize("quantity", [one_step_radius, contraction_rate])
def test_offsets_across_the_line_of_two_means_do_no_harm(quantity):
    """What is found in d = 2 is what is found in d = 1, within what the search leaves."""
    regions = [contraction_region(mixture(4.0, (1, 3), dim), "", 0.5) for dim in (1, 2)]
    line, plane = (climb(region, quantity, np.random.default_rng(5), 65, 24, 60)[0] for region in regions)
    assert plane == pytest.approx(line, rel=0.02, abs=0)

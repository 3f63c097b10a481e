"""The ingredients of the bounds; the statements themselves are checked in theory_checks."""

from math import exp, log, sqrt

import flint
import numpy as np
import pytest
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from scipy.special import softmax
from scipy.stats import chi2

from constructions import bounds
from constructions.em_class import Approximation
from constructions.relu_networks import chord_slope

UNIT = 2.0**-53


def test_tilt_is_attained_by_two_points():
    """P1: p = (s, 1−s) with s = sigmoid(−(b−a)/2)."""
    spread = 1.3
    logits = np.array([-spread / 4, spread / 4])
    p, q = softmax(logits), softmax(-logits)
    assert 0.5 * np.abs(p - q).sum() == pytest.approx(bounds.tilt(spread), rel=16 * UNIT, abs=0)
    assert bounds.tilt(0) == 0
    assert bounds.tilt(1e9) == 1


@pytest.mark.parametrize("size", [1e-3, 0.3, 5.0])
def test_the_bounds_of_the_paper_hold_and_the_tilt_is_sharper(size, rng):
    for _ in range(200):
        u, change = rng.standard_normal(7), rng.uniform(-size, size, 7)
        p, q = softmax(u), softmax(u + change)
        rounding = 100 * UNIT
        assert np.abs(np.log(p) - np.log(q)).max() <= bounds.log_ratio(size) + 10 * rounding
        assert np.abs(p - q).max() <= bounds.softmax_difference(size) + rounding
        assert 0.5 * np.abs(p - q).sum() <= bounds.softmax_variation(size) + rounding
    assert bounds.softmax_variation(size) == bounds.tilt(2 * size) < bounds.softmax_difference(size)


def test_floor_is_attained():
    """P2 with b = a + mass on a new point, as the log network's floor adds it."""
    a, b = np.array([2.0, 3.0, 0.0]), np.array([2.0, 3.0, 6.0])
    distance = 0.5 * np.abs(a / a.sum() - b / b.sum()).sum()
    assert bounds.floor(np.abs(a - b).sum(), 11.0) == pytest.approx(distance, rel=8 * UNIT, abs=0)


@pytest.mark.parametrize("dim", [2, 7, 101])
@pytest.mark.parametrize("excess", [0.0, 0.01, 0.3, 1.0, 3.0])
def test_the_norm_of_a_gaussian_vector(dim, excess):
    """The order of the three bounds, their values in closed form, and the same formula in balls."""
    tails = [bounds.norm_tail, bounds.norm_tail_sharp, bounds.norm_tail_prefactor]
    loose, sharp, closest = (tail(dim, excess) for tail in tails)
    probability = chi2.sf(dim * (1 + excess) ** 2, dim)
    assert probability * (1 - 1e-9) <= closest <= sharp * sqrt(2 * dim) / 5
    assert probability <= sharp <= loose <= 1
    assert loose == pytest.approx(exp(-dim * excess**2 / 2), rel=8 * UNIT, abs=0)
    assert sharp == pytest.approx(exp(dim * (log(1 + excess) - ((1 + excess) ** 2 - 1) / 2)), rel=1e-12, abs=0)
    for tail in tails:
        ball = tail(flint.arb(dim), flint.arb(excess))
        assert float(ball.mid()) == pytest.approx(tail(dim, excess), rel=1e-12, abs=0)
        assert ball.rad() < 1e-12


def test_floor_share():
    r, weight = 0.3, 0.02
    expected = 1 / (1 + 1000 * exp(chord_slope(r)) * weight)
    assert bounds.floor_share(log(1000), r, weight) == pytest.approx(expected, rel=64 * UNIT, abs=0)
    assert bounds.floor_share(log(1000), r, 0.0) == 1
    assert bounds.floor_share(5000.0, r, weight) == 0  # beyond the range of exp
    assert 0 < bounds.floor_share(702.0, 1e-9, 0.5) < 1e-300
    shares = [bounds.floor_share(log_a, r, weight) for log_a in np.linspace(0, 720, 101)]
    assert shares == sorted(shares, reverse=True)


def test_a_lost_component_makes_the_bound_vacuous():
    approximation = Approximation("floor", 9.0, 0.0, 31, 5.0, 13)
    assert bounds.m_step(approximation, 7.0, 0.0, 0.0) >= 7.0


def test_diameter_exactly(rng):
    x = rng.standard_normal((1511, 3))  # several blocks
    x = x[np.argsort(np.linalg.norm(x, axis=1))]  # the farthest pair is in the last one
    value, kind = bounds.diameter(x)
    assert kind == "exact"
    assert value == pytest.approx(pdist(x).max(), rel=8 * UNIT, abs=0)
    assert bounds.diameter(x[:1]) == (0.0, "exact")


@pytest.mark.parametrize("offset", [0.0, 1e9])
@pytest.mark.parametrize("shape", ["round", "long", "skewed"])
def test_the_diameter_of_many_samples_is_bounded_from_above(shape, offset, rng):
    """Above the exact one, also where the data lie far from 0; attained by two ends of a segment."""
    x = rng.standard_normal((5003, 2)) * {"round": (1, 1), "long": (50, 0.01), "skewed": (1, 1)}[shape]
    x = (np.exp(x) if shape == "skewed" else x) + offset
    value, kind = bounds.diameter(x)
    assert kind == "certified upper bound"
    hull = x[ConvexHull(x).vertices]
    assert pdist(hull).max() <= value <= 2 * pdist(hull).max()
    ends = np.repeat([[3.0, 4.0], [-3.0, -4.0]], 2503, axis=0)
    assert 10 * (1 + 6 * UNIT) < bounds.diameter(ends)[0] <= 10 * (1 + 20 * UNIT)  # exactly 10, times 1 + γ_7

"""Exponents on data whose exponents are known; constants; what contradicts a failure probability."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest

from theory_checks import rates

X = np.array([2.0, 3.0, 7.0, 29.0])


def noisy(power, rng, spread=0.3, sizes=(11, 13, 17, 19)):
    return [x**power * np.exp(spread * rng.standard_normal(size)) for x, size in zip(X, sizes, strict=True)]


def test_exponent_without_noise_is_exact(rng):
    found = rates.exponent(X, noisy(-0.7, rng, spread=0.0))
    assert (found.value, found.low, found.high) == pytest.approx((-0.7, -0.7, -0.7), rel=1e-12, abs=0)


def test_exponent_is_the_slope_of_the_cells_means(rng):
    errors = noisy(0.5, rng)
    wanted = np.polyfit(np.log(X), [np.log(cell).mean() for cell in errors], 1)[0]
    assert rates.exponent(X, errors).value == pytest.approx(wanted, rel=1e-12, abs=0)


def test_the_interval_has_the_width_of_the_slope_s_standard_error(rng):
    errors = noisy(0.5, rng, sizes=(101, 103, 107, 109))
    centred = np.log(X) - np.log(X).mean()
    weights = centred / (centred @ centred)
    variance = sum(w**2 * np.log(cell).var() / len(cell) for w, cell in zip(weights, errors, strict=True))
    found = rates.exponent(X, errors)
    assert found.high - found.low == pytest.approx(2 * 1.96 * sqrt(variance), rel=0.1, abs=0)
    assert found.low < found.value < found.high
    assert str(found) == f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def test_intervals_cover(rng):
    """Of 200 intervals at 95 % fewer than 170 cover with probability below 1e-7 even at a coverage of 93 %."""
    covered = 0
    for seed in range(200):
        found = rates.exponent(X, noisy(-0.5, rng), seed)
        covered += found.low <= -0.5 <= found.high
    assert 165 <= covered < 200


def test_what_an_estimate_leaves_to_chance():
    found = rates.Estimate(2.0, 1.9, 2.2)
    assert (found.least, found.most) == pytest.approx((1.75, 2.5), rel=1e-12, abs=0)


def test_interval_of_a_mean(rng):
    values = rng.standard_normal(211) + 3
    found = rates.interval(values)
    assert found.value == pytest.approx(values.mean(), rel=1e-12, abs=0)
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / sqrt(211), rel=0.1, abs=0)


def test_shape():
    assert rates.shape(3, 5, 700, 0.1, 0.02) == pytest.approx(sqrt(5 * 3 * log(700 / 0.02) / (700 * 0.1)), rel=1e-12)


def test_constants_are_the_worst_of_the_calibration():
    shapes, statistical = np.array([0.5, 0.25]), np.array([0.2, 0.15])
    found = rates.calibrate(shapes, statistical, np.array([0.2, 0.6]))
    assert found.beta == 0.6
    assert found.c == pytest.approx(0.4 * 0.15 / 0.25, rel=1e-12, abs=0)
    assert found.bound(0.25, 3, 0.02) == pytest.approx(0.6**3 + (found.c * 0.25 + 0.02) / 0.4, rel=1e-12, abs=0)
    assert found.bound(0.25, 500, 0.0) == pytest.approx(0.15, rel=1e-12, abs=0)


def test_misses_that_contradict_the_failure_probability():
    assert not rates.excess_failures(0, 20)
    assert not rates.excess_failures(1, 20)
    assert not rates.excess_failures(6, 20)  # 3.4e-8
    assert rates.excess_failures(7, 20)  # 6.9e-10
    assert not rates.excess_failures(7, 200)

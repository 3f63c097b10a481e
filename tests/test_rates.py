"""Exponents on data whose exponents are known; constants."""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
import pytest
from scipy.stats import norm

from theory_checks import rates

X = np.array([2.0, 3.0, 7.0, 29.0])
CENTRED = np.log(X) - np.log(X).mean()
WEIGHTS = CENTRED / (CENTRED @ CENTRED)
PLACES = np.array([-1, -1, 1, 1])


def noisy(power, rng, spread=0.3, size=101, shared=0.0):
    """Errors of cells whose logarithms have so much noise in common, growing along the axis."""
    common = shared * rng.standard_normal(size)
    return [
        x**power * np.exp(spread * rng.standard_normal(size) + place * common)
        for place, x in zip(PLACES, X, strict=True)
    ]


def test_exponent_without_noise_is_exact(rng):
    found = rates.exponent(X, noisy(-0.7, rng, spread=0.0))
    assert (found.value, found.low, found.high) == pytest.approx((-0.7, -0.7, -0.7), rel=1e-12, abs=0)
    assert found.margin == pytest.approx(0, abs=1e-12)


def test_exponent_is_the_slope_of_the_cells_means(rng):
    errors = noisy(0.5, rng, size=11)
    wanted = np.polyfit(np.log(X), [np.log(cell).mean() for cell in errors], 1)[0]
    assert rates.exponent(X, errors).value == pytest.approx(wanted, rel=1e-12, abs=0)


def test_the_interval_has_the_width_of_the_slope_s_standard_error(rng):
    errors = noisy(0.5, rng)
    variance = sum(w**2 * np.log(cell).var() / len(cell) for w, cell in zip(WEIGHTS, errors, strict=True))
    found = rates.exponent(X, errors)
    assert found.high - found.low == pytest.approx(2 * 1.96 * sqrt(variance), rel=0.3, abs=0)
    assert found.low < found.value < found.high
    assert str(found) == f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def test_replications_that_share_noise_are_taken_together(rng):
    """What cells have in common, with opposite signs at the two ends of the axis, does not average out."""
    errors = noisy(0.5, rng, spread=0.01, size=1009, shared=0.3)
    apart = sqrt(sum(w**2 * np.log(cell).var() / len(cell) for w, cell in zip(WEIGHTS, errors, strict=True)))
    together = WEIGHTS @ PLACES * 0.3 / sqrt(1009)
    assert together > 1.4 * apart  # the situation: cell by cell the error is underrated
    found = rates.exponent(X, errors)
    assert found.high - found.low == pytest.approx(2 * 1.96 * together, rel=0.15, abs=0)
    assert found.margin / rates.quantile(1009) == pytest.approx(together, rel=0.15, abs=0)


def test_intervals_cover(rng):
    """Of 200 intervals at 95 % fewer than 165 cover with probability below 1e-7 even at a coverage of 92 %."""
    covered = 0
    for seed in range(200):
        found = rates.exponent(X, noisy(-0.5, rng, size=53, shared=0.2), seed)
        covered += found.low <= -0.5 <= found.high
    assert 165 <= covered < 200


def test_what_an_estimate_leaves_to_chance():
    found = rates.Estimate(2.0, 1.9, 2.3, 0.5)
    assert (found.least, found.most) == (1.5, 2.5)
    assert -found == rates.Estimate(-2.0, -2.3, -1.9, 0.5)


def test_the_margin_is_student_s_t():
    """P(|t_3| > x) in closed form: ½ − (atan u + u/(1 + u²))/π to one side, u = x/√3."""
    u = rates.quantile(4) / sqrt(3)
    upper = 1 / u - 1 / (3 * u**3) - u / (1 + u**2)  # π/2 − atan u, and what is taken off it
    assert upper / pi == pytest.approx(rates.FALSE_ALARM, rel=1e-3, abs=0)
    assert rates.quantile(10**9) == pytest.approx(norm.isf(rates.FALSE_ALARM), rel=1e-6, abs=0)
    values = np.array([1.0, 2.0, 4.0, 9.0])
    margin = rates.quantile(4) * sqrt(sum((v - 4) ** 2 for v in values) / 3 / 4)
    assert rates.interval(values).margin == pytest.approx(margin, rel=1e-12, abs=0)


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan])
def test_an_error_that_is_none_makes_no_exponent(wrong, rng):
    errors = noisy(0.5, rng)
    errors[2][7] = wrong
    assert not np.isfinite(rates.exponent(X, errors).value)


def test_interval_of_a_mean(rng):
    values = rng.standard_normal(211) + 3
    found = rates.interval(values)
    assert found.value == pytest.approx(values.mean(), rel=1e-12, abs=0)
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / sqrt(211), rel=0.1, abs=0)


def test_constants_are_the_worst_of_the_calibration():
    shapes, statistical = np.array([0.5, 0.25]), np.array([0.2, 0.15])
    found = rates.calibrate(shapes, statistical, np.array([0.2, 0.6]))
    assert found.beta == 0.6
    assert found.c == pytest.approx(0.4 * 0.15 / 0.25, rel=1e-12, abs=0)
    assert found.bound(0.25, 3, 0.02) == pytest.approx(0.6**3 + (found.c * 0.25 + 0.02) / 0.4, rel=1e-12, abs=0)
    assert found.bound(0.25, 500, 0.0) == pytest.approx(0.15, rel=1e-12, abs=0)

"""Noise that is not unit is told, and unit noise is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2, norm

from constructions.noise_check import CHANCE, UNIT, strange_noise, variance_limits


@pytest.mark.parametrize(
    ("noise", "where"),
    [
        ([[1, 1], [1, 1]], None),
        ([[3, 3], [3, 3.1]], "one of the estimated means"),
        ([[0.2, 0.2], [0.2, 0.19]], "one of the estimated means"),
        ([[0.15, 1.38], [0.16, 1.38]], "one of the estimated means"),  # on average over coordinates about 1
        ([[0.2, 0.2], [1.2, 1.2]], "one of the estimated means"),  # on average over components about 1
        ([[1, 1.6], [1, 1.38]], "the estimated means"),  # of each alone it may be chance
    ],
    ids=["unit", "large", "small", "coordinate", "component", "all"],
)
def test_noise_that_is_not_unit(noise: list[list[float]], where: str | None, rng: np.random.Generator) -> None:
    """Σ_i w_ik (x_ij − μ_kj)² over Σ_i w_ik, with responsibilities of scipy's densities one sample at a time.

    The noise of the 31 samples of one component and the 71 of the other has just these root mean squares.
    """
    weights, means = np.array([0.3, 0.7]), np.array([[3.5, -4.0], [-3.5, 4.0]])
    labels = np.repeat([0, 1], [31, 71])
    deviations = rng.standard_normal((102, 2))
    for k in range(2):
        deviations[labels == k] *= np.array(noise[k]) / np.sqrt((deviations[labels == k] ** 2).mean(axis=0))
    samples = means[labels] + deviations
    sums, counts = np.zeros((3, 2)), np.zeros(3)
    responsibilities = np.empty((102, 2))
    for i, x in enumerate(samples):
        density = weights * norm.pdf(x, means).prod(axis=1)
        responsibilities[i] = density / density.sum()
        w = np.append(density / density.sum(), 1)
        sums += w[:, None] * np.vstack([(x - means) ** 2, (density / density.sum()) @ (x - means) ** 2])
        counts += w
    variances = sums / counts[:, None]
    said = strange_noise(samples, means, responsibilities)
    if where is None:
        assert said == []
        return
    off = np.abs(np.log(variances))
    if where == "the estimated means":
        off[:2] = 0
    row, coordinate = np.unravel_index(off.argmax(), (3, 2))
    assert f"in coordinate {coordinate + 1} is {variances[row, coordinate]:.3g} times the noise's" in said[0]
    assert said[0].startswith(f"around {where} the samples' variance")


def test_a_mean_without_samples_is_passed_over(rng: np.random.Generator) -> None:
    means, shares = np.array([[0.0, 0.0], [9.0, 9.0]]), np.tile([1.0, 0.0], (31, 1))
    assert strange_noise(rng.standard_normal((31, 2)), means, shares) == []


def test_scales_of_the_noise_are_divided_by(rng: np.random.Generator) -> None:
    """Noise of standard deviations 3 and 0.2 is as it should be with those, and strange with 1."""
    scales = np.array([[3.0, 0.2]])
    samples, one = scales * rng.standard_normal((101, 2)), np.ones((101, 1))
    assert strange_noise(samples, np.zeros((1, 2)), one, scales) == []
    assert len(strange_noise(samples, np.zeros((1, 2)), one)) == 1


def test_limits_of_a_variance_are_those_of_chance() -> None:
    """The chi-squared quantiles, which the formula meets within 3 % from m = 41 on; where they are narrower, UNIT."""
    assert norm.sf(CHANCE) == pytest.approx(1e-6, rel=0.02, abs=0)
    for m in (41, 53):
        low, high = variance_limits(np.array([float(m)]))
        assert low[0] == pytest.approx(chi2.ppf(norm.sf(CHANCE), m) / m, rel=0.03, abs=0)
        assert high[0] == pytest.approx(chi2.isf(norm.sf(CHANCE), m) / m, rel=0.03, abs=0)
    assert [float(limit[0]) for limit in variance_limits(np.array([1009.0]))] == list(UNIT)

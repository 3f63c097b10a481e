"""Enclosures of population EM with two components against its definition and against quadrature in floats."""

import flint
import numpy as np
import pytest
from scipy.stats import norm
from terms import Terms, assert_terms

from constructions.algorithms import population_em
from constructions.algorithms.ball_population_em import misplaced, population_error, trapezoid_error
from constructions.algorithms.sampling import Mixture
from constructions.balls import largest_radius, midpoints, to_balls

arb = flint.arb


@pytest.mark.parametrize(("threshold", "gap"), [(0.0, 2.0), (1.5, 3.25), (-0.75, 7.0), (4.5, 9.0), (1.0, 0.125)])
@pytest.mark.parametrize("bits", [53, 100])
def test_misplaced_encloses_its_integrals(threshold, gap, bits):
    with flint.ctx.workprec(128):

        def integrand(g, analytic, power):  # flint's adaptive quadrature, rigorous for meromorphic functions
            return g**power * (-g * g / 2).exp() / (1 + (gap * (threshold - g)).exp())

        scale = (2 * arb.pi()).sqrt()
        exact = [
            flint.acb.integral(lambda g, analytic, n=n: integrand(g, analytic, n), -13, 13).real / scale for n in (0, 1)
        ]
    with flint.ctx.workprec(bits):
        for found, value in zip(misplaced(arb(threshold), arb(gap)), exact, strict=True):
            assert found.overlaps(value + arb(0, 1e-36))  # what lies beyond 13
            assert found.rad() < 2.0 ** (12 - bits)


def test_every_term_of_the_trapezoid_rules_error_is_seen():
    """Much of the strip, of the spacing and of what lies beyond, each in turn."""

    def restated(t: Terms, a: float, h: float, reach: float) -> float:
        strip = t("mass", 1.0) + t("moment", a)
        lines = t("two lines", 2.0) * strip * np.exp(t("growth", a * a / 2)) / np.expm1(t("spacing", 2 * np.pi * a / h))
        return lines + t("tails", 2 * norm.pdf(reach))

    def stated(a: float, h: float, reach: float) -> float:
        return float(trapezoid_error(arb(a), arb(h), arb(reach)).mid())

    assert_terms(stated, restated, [(3.0, 2.0, 20.0), (0.25, 1.0, 20.0), (0.25, 0.01, 1.5)])


def test_wide_balls_enclose_all_they_hold(rng):
    wide = misplaced(arb(1.5, 0.1), arb(4, 0.25))
    for _ in range(7):
        inside = misplaced(arb(1.5 + 0.1 * rng.uniform(-1, 1)), arb(4 + 0.25 * rng.uniform(-1, 1)))
        assert all(outer.contains(inner) for outer, inner in zip(wide, inside, strict=True))
    assert wide[0].rad() < 0.1


@pytest.mark.parametrize(("dim", "apart"), [(1, 1.0), (2, 3.0), (5, 2.0)])
def test_a_step_agrees_with_quadrature(dim, apart, rng):
    """Unequal weights, means off in every direction."""
    truth = Mixture(np.array([0.125, 0.875]), apart * rng.standard_normal((2, dim)))
    weights, means = np.array([0.25, 0.75]), truth.means + 0.3 * rng.standard_normal((2, dim))
    expected = population_em.population_error(truth, weights, means, 401)
    found = population_error(*(to_balls(v) for v in (truth.weights, truth.means, weights, means)))
    for balls, numbers in zip(found, expected, strict=True):
        assert balls.shape == numbers.shape
        assert np.abs(midpoints(balls) - numbers).max() < 1e-13
        assert largest_radius(balls) < 1e-9
    with flint.ctx.workprec(128):
        finer = population_error(*(to_balls(v) for v in (truth.weights, truth.means, weights, means)))
    for balls, fine in zip(found, finer, strict=True):
        assert all(one.contains(other) for one, other in zip(balls.ravel(), fine.ravel(), strict=True))

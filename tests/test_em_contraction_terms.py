"""EM's contraction and the step's error on a ball, restated term by term; a term dropped, halved or doubled is seen."""

from dataclasses import replace
from math import exp, sqrt

import flint
import numpy as np
import pytest
from em_jacobians import clusters, growth, near_fixed_point, parts, reference
from terms import Terms, assert_terms

from constructions import bounds
from constructions.balls import midpoints, to_balls
from constructions.em_class import TaskClass, split_tolerance
from constructions.em_contraction import Certificate, contraction, grown, step_error
from constructions.em_enclosure import Parameters

arb = flint.arb
CLASS = TaskClass(max_dim=3, max_components=5, radius=8.0, min_weight=0.01)


@pytest.fixture(autouse=True)
def _bits():
    with flint.ctx.workprec(128):
        yield


def test_growth_term_by_term(rng):
    samples, centres = clusters(rng, 7, apart=1.0)
    log_weights, means = near_fixed_point(samples, centres, 3)
    _, _, w, features = parts(samples, log_weights, means)
    shares = np.exp(log_weights)

    def stated(w, features, shares, rho):
        return midpoints(grown(to_balls(w), to_balls(features), to_balls(shares), arb(rho)))

    given = [(midpoints(w), midpoints(features), shares, rho) for rho in (1e-3, 0.3)]
    assert_terms(stated, growth, given, rel=1e-11)


@pytest.mark.parametrize(("components", "dim", "apart"), [(3, 2, 3.0), (2, 1, 4.0), (5, 3, 5.0)])
def test_beta_term_by_term(components, dim, apart, rng):
    """Where it certifies, so that R is made twice, and where it does not; the metric may have other weights."""
    samples, centres = clusters(rng, 29, components, dim, apart)
    log_weights, means = near_fixed_point(samples, centres)
    shares = np.exp(log_weights) * (1 + 0.01 * np.arange(components))
    x, point, _, _ = parts(samples, log_weights, means)

    def stated(rho, eta):
        return float(contraction(x, point, to_balls(shares), arb(rho), arb(eta)))

    def restated(t: Terms, rho, eta):
        return reference(samples, log_weights, means, shares, rho, eta, t)[1]

    rounds = [
        reference(samples, log_weights, means, shares, *given) for given in ((1e-3, 1e-4), (1e-2, 0.0), (0.5, 0.1))
    ]
    assert [first < 1 for first, _ in rounds] == [True, True, False]
    assert all(abs(first - second) > 1e-6 for first, second in rounds[:2])
    assert_terms(stated, restated, [(1e-3, 1e-4), (1e-2, 0.0), (0.5, 0.1)], rel=1e-9)


def test_the_steps_error_term_by_term(rng):
    """The floor counts for `paper` too, because norms are not looked at; with its own A it is negligible."""
    samples, centres = clusters(rng)
    log_weights, means = near_fixed_point(samples, centres)
    shares, point = np.exp(log_weights) * 1.01, Parameters(to_balls(log_weights), to_balls(means))

    def stated(approximation, diameter, rho, eta):
        numbers = (arb(diameter), point, to_balls(shares), arb(rho), arb(eta))
        s, excuse = step_error(CLASS, approximation.in_balls, *numbers)
        assert excuse == ""
        return float(s)

    def restated(t: Terms, approximation, diameter, rho, eta):
        u, total = approximation.logit_error(2), 0.0
        floor = replace(approximation, construction="floor")
        for share, log_weight in zip(shares, log_weights, strict=True):
            moved = (t("rho", rho) + t("eta", eta)) / sqrt(share)
            new = exp(log_weight - moved - t("U of the new weight", u))
            mean = bounds.m_step(floor, diameter, new, t("U of the mean", u))
            total += t("share", share) * (t("means", mean**2) + t("weights", u**2))
        return sqrt(total)

    sizes = [replace(split_tolerance(CLASS, 0.3, "floor"), construction=name) for name in ("floor", "paper")]
    given = [(size, diameter, 0.02, 0.003) for size in sizes for diameter in (7.0, 0.1)]
    assert_terms(stated, restated, given, rel=1e-11)


def test_what_a_certificate_promises_term_by_term():
    point = Parameters(to_balls(np.zeros(2)), to_balls(np.zeros((2, 1))))

    def made(beta, eta, s):
        return Certificate(point, np.array([0.25, 0.75]), arb(1), arb(beta), arb(eta), arb(s), "")

    def plateau(t: Terms, beta, eta, s):
        return (t("s", s) + t("eta", eta)) / (1 - t("beta", beta))

    assert_terms(lambda *given: float(made(*given).plateau), plateau, [(0.5, 0.25, 0.125)])

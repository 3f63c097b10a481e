"""Enclosed EM steps against the definition in 60 digits (mpmath) and against EM in floats."""

import flint
import mpmath
import numpy as np
import pytest

from constructions.algorithms import ball_em
from constructions.algorithms.em import log_em_step
from constructions.balls import fill, largest_radius, midpoints, to_balls

arb = flint.arb
HUGE = [1e3, 1e5]


def defined(samples, log_weights, means):
    """Algorithm B.1, one number at a time: (w, log π⁺, μ⁺)."""
    with mpmath.workdps(60):
        x, mu = ([[mpmath.mpf(v) for v in row] for row in rows.tolist()] for rows in (samples, means))
        w = []
        for point in x:
            off = [sum((a - b) ** 2 for a, b in zip(point, mean, strict=True)) / 2 for mean in mu]
            terms = [mpmath.mpf(log) - one for log, one in zip(log_weights.tolist(), off, strict=True)]
            joint = [mpmath.exp(term - max(terms)) for term in terms]
            w.append([one / sum(joint) for one in joint])
        totals = [sum(row[k] for row in w) for k in range(len(mu))]
        centres = [
            [sum(row[k] * p[a] for row, p in zip(w, x, strict=True)) / totals[k] for a in range(len(mu[0]))]
            for k in range(len(mu))
        ]
        return w, [mpmath.log(total / len(x)) for total in totals], centres


def encloses(balls, numbers, width):
    """Each ball holds its number, to 50 digits, and is not wider than it must be."""
    for ball, number in zip(balls.ravel(), np.ravel(np.array(numbers, dtype=object)), strict=True):
        with flint.ctx.workprec(256):
            assert ball.overlaps(arb(mpmath.nstr(number, 55), 0) + arb(0, 1e-50) * arb(mpmath.nstr(number, 9)))
        assert ball.rad() <= width * (1 + abs(ball.mid()))


@pytest.mark.parametrize(("count", "components", "dim"), [(13, 3, 2), (11, 5, 7), (7, 1, 3), (5, 5, 2), (2, 2, 1)])
def test_a_step_encloses_its_definition(count, components, dim, rng):
    samples, means = rng.standard_normal((count, dim)), 2 * rng.standard_normal((components, dim))
    weights = rng.uniform(0.1, 1, components)
    log_weights = np.log(weights / weights.sum())
    given = to_balls(samples), to_balls(log_weights), to_balls(means)
    w, logs, centres = defined(samples, log_weights, means)
    with flint.ctx.workprec(128):
        encloses(ball_em.responsibilities(*given), w, 1e-34)
        found = ball_em.em_step(*given)
        encloses(found[0], logs, 1e-34)
        encloses(found[1], centres, 1e-34)
    for enclosed, floats in zip(found, log_em_step(samples, log_weights, means), strict=True):
        assert enclosed.shape == floats.shape
        assert np.abs(midpoints(enclosed) - floats).max() < 1e-13


@pytest.mark.parametrize("scale", HUGE)
def test_logits_beyond_the_range_of_floats(scale, rng):
    """Responsibilities far below 1e-308 keep their digits, and so does the weight that they make alone."""
    samples = rng.standard_normal((11, 2))
    means, log_weights = np.array([[0.0, 0.25], [scale, 0.5]]), np.log([0.5, 0.5])
    w, logs, centres = defined(samples, log_weights, means)
    with flint.ctx.workprec(192):
        given = to_balls(samples), to_balls(log_weights), to_balls(means)
        found = ball_em.responsibilities(*given)
        for ball, number in zip(found[:, 1], w, strict=True):
            with mpmath.workdps(60):
                exact = mpmath.nstr(mpmath.log(number[1]), 55)
            assert abs(ball.log() - arb(exact)) < 1e-30
        log_pi, mu = ball_em.em_step(*given)
        encloses(log_pi, logs, 1e-30)
        encloses(mu, centres, 1e-30)
    assert midpoints(log_pi)[1] < -scale


def test_log_joint_is_the_density_without_what_does_not_depend_on_the_component(rng):
    samples, log_weights, means = rng.standard_normal((5, 3)), rng.standard_normal(2), rng.standard_normal((2, 3))
    found = ball_em.log_joint(to_balls(samples), to_balls(log_weights), to_balls(means))
    expected = log_weights + samples @ means.T - (means**2).sum(axis=1) / 2
    assert np.abs(midpoints(found) - expected).max() < 1e-14


def test_wide_parameters_enclose_every_step_from_their_numbers(rng):
    samples, means, log_weights = rng.standard_normal((7, 2)), rng.standard_normal((3, 2)), np.log([0.2, 0.3, 0.5])
    wide = arb(0, 0.01)
    log_pi, mu = ball_em.em_step(to_balls(samples), to_balls(log_weights) + wide, to_balls(means) + wide)
    for _ in range(19):
        moved = (v + 0.01 * rng.choice([-1, 0.5, 1], v.shape) for v in (log_weights, means))
        for balls, numbers in zip((log_pi, mu), log_em_step(samples, *moved), strict=True):
            assert all(ball.contains(arb(v)) for ball, v in zip(balls.ravel(), numbers.ravel().tolist(), strict=True))
    assert largest_radius(mu) < 0.5


def test_the_m_step_of_given_responsibilities(rng):
    samples, w = rng.standard_normal((7, 2)), rng.dirichlet(np.ones(3), 7)
    log_weights, means = ball_em.m_step(to_balls(samples), to_balls(w))
    assert np.allclose(midpoints(log_weights), np.log(w.mean(axis=0)), rtol=1e-13, atol=0)
    assert np.allclose(midpoints(means), (w.T @ samples) / w.sum(axis=0)[:, None], rtol=1e-13, atol=0)


def test_logarithms():
    found = ball_em.logarithms(fill([arb(2), arb(0), arb(-1, 0.5), arb(0, 0.5), arb("nan")], (5,)))
    assert abs(found[0] - arb(2).log()) < 1e-14
    assert all(value == arb.neg_inf() for value in found[1:3])
    assert all(value.is_nan() for value in found[3:])


def test_of_a_component_without_weight_nothing_is_known():
    """Its mean is not defined; no enclosure pretends to one."""
    log_weights = fill([arb.neg_inf(), arb(0)], (2,))
    _, means = ball_em.em_step(to_balls(np.array([[1.0], [2.0]])), log_weights, to_balls(np.array([[0.0], [1.0]])))
    assert not means[0, 0].is_finite()

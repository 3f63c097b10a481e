"""EM's contraction around its fixed point: every enclosed quantity against its definition and against Jacobians."""

from dataclasses import replace

import flint
import numpy as np
import pytest
from em_jacobians import clusters, jacobian, near_fixed_point, norm_in, parts, reference, somewhere

from constructions.algorithms import ball_em
from constructions.algorithms.em import log_em_step
from constructions.algorithms.sampling import Mixture
from constructions.balls import fill, midpoints, to_balls
from constructions.em_class import TaskClass, split_tolerance
from constructions.em_contraction import (
    Certificate,
    certify,
    contraction,
    distance,
    fixed_point,
    grown,
    largest_eigenvalue,
    step_error,
)
from constructions.em_enclosure import Parameters

arb = flint.arb
CLASS = TaskClass(max_dim=3, max_components=5, radius=8.0, min_weight=0.01)


@pytest.fixture(autouse=True)
def _bits():
    with flint.ctx.workprec(128):
        yield


ADVERSARIAL = {
    "well apart": ({"apart": 4.0}, None),
    "one dimension": ({"components": 2, "dim": 1, "apart": 5.0}, None),
    "one component": ({"components": 1, "dim": 2, "count": 7}, None),
    "as many components as samples": ({"components": 5, "dim": 3, "count": 5, "apart": 12.0}, None),
    "duplicated samples": ({"count": 13, "apart": 4.0}, "double"),
    "coincident means": ({"apart": 0.5, "spread": 0.1}, "coincide"),
    "a sample that is a component": ({"count": 61, "apart": 5.0}, "lone"),
    "a tiny weight": ({"apart": 5.0}, "light"),
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_no_jacobian_of_the_ball_exceeds_beta_and_no_responsibility_outgrows(name, rng):
    shape, change = ADVERSARIAL[name]
    samples, centres = clusters(rng, **shape)
    if change == "lone":
        samples[samples[:, 1] < 2.5] = samples[samples[:, 1] >= 2.5][0]
        samples[0] = [9.0, -9.0]
        centres[0] = samples[0]
    log_weights, means = near_fixed_point(samples, centres, 200)
    if change == "double":
        samples = np.repeat(samples, 3, axis=0)
    if change == "coincide":
        means[1] = means[0] + 1e-9
    if change == "light":
        log_weights[0] = -12.0
    shares, judged = np.exp(log_weights), 0
    x, point, w, features = parts(samples, log_weights, means)
    eta = distance(point, Parameters(*ball_em.em_step(x, point.log_weights, point.means)), to_balls(shares)).upper()
    for rho in (1e-4, 1e-2, 0.1):
        growth = midpoints(grown(w, features, to_balls(shares), arb(rho)))
        beta = contraction(x, point, to_balls(shares), arb(rho), eta)
        for _ in range(9):
            drift, shift = somewhere(rng, shares, means.shape[1], rho)
            moved = log_weights + drift, means + shift
            after = midpoints(ball_em.responsibilities(x, *map(to_balls, moved)))
            assert (after <= growth * midpoints(w) * (1 + 1e-12)).all()
            norm = norm_in(shares, jacobian(samples, *moved), means.shape[1])
            assert norm <= float(beta) + 1e-9 or not beta < 1
            judged += bool(beta < 1)
    assert judged >= 9 or change in ("coincide", "light")


def test_beta_is_nearly_the_norm_on_a_small_ball(rng):
    samples, centres = clusters(rng, 29, apart=3.0)
    log_weights, means = near_fixed_point(samples, centres, 2000)
    shares = np.exp(log_weights)
    x, point, _, _ = parts(samples, log_weights, means)
    beta = float(contraction(x, point, to_balls(shares), arb(1e-9), arb(1e-12)))
    norm = norm_in(shares, jacobian(samples, log_weights, means), 2)
    assert norm <= beta <= norm * (1 + 1e-6)


def test_growth_is_the_formula_and_is_nearly_attained(rng):
    """Along the gradient of log w_ik, and with the quadratic term where it is all there is."""
    samples, centres = clusters(rng, 7, apart=1.0)
    log_weights, means = near_fixed_point(samples, centres, 3)
    shares = np.exp(log_weights)
    x, _, w, features = parts(samples, log_weights, means)
    growth, rho = midpoints(grown(w, features, to_balls(shares), arb(1e-4))), 1e-4
    phi, weights = midpoints(features), midpoints(w)
    for i, k in ((0, 0), (3, 2), (6, 1)):
        away = ((np.arange(3) == k) - weights[i])[:, None] * phi[i] / shares[:, None]
        away *= rho / np.sqrt((shares[:, None] * away**2).sum())
        moved = log_weights + away[:, 2], means + away[:, :2]
        after = midpoints(ball_em.responsibilities(x, *map(to_balls, moved)))
        gained = np.log(after[i, k] / weights[i, k])
        assert 0.999 * np.log(growth[i, k]) < gained <= np.log(growth[i, k])
    # with features of 0, only ½ρ² max_l w_l/p_l is left
    half = to_balls(np.array([[0.75, 0.25]]))
    zero = to_balls(np.zeros((1, 2, 2)))
    found = grown(half, zero, to_balls(np.array([0.5, 0.25])), arb(2))
    assert np.allclose(np.log(midpoints(found)), 0.5 * 4 * 1.5, rtol=1e-14, atol=0)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_an_upper_bound_of_the_largest_eigenvalue(size, rng):
    for scale in (1e-6, 1.0, 1e6):
        half = scale * rng.standard_normal((size, size))
        symmetric = half + half.T + 3 * scale * np.eye(size)
        largest = np.linalg.eigvalsh(symmetric).max()
        found = float(largest_eigenvalue(to_balls(symmetric)))
        assert max(largest, 0) * (1 - 1e-13) <= found <= max(largest, 0) * (1 + 1e-10) + 1e-12 * scale
        wide = largest_eigenvalue(to_balls(symmetric) + arb(0, scale))
        assert wide >= largest + scale * size * (1 - 1e-9)  # attained by adding scale·(1, …, 1)(1, …, 1)ᵀ
    assert largest_eigenvalue(to_balls(-np.eye(size))) >= 0


def test_eigenvalues_with_poor_eigenvectors(monkeypatch):
    """Q need not be orthogonal for the bound to hold; nothing is claimed when it may be singular."""
    symmetric = np.diag([1.0, 3.0])
    for q, holds in ((np.eye(2) * 0.9, True), (np.array([[1.0, 0.3], [0.0, 1.0]]), True), (np.ones((2, 2)), False)):
        monkeypatch.setattr(np.linalg, "eigh", lambda _, q=q: (None, q))
        found = largest_eigenvalue(to_balls(symmetric))
        assert found >= 3 if holds else not found.is_finite()


@pytest.mark.parametrize("entry", [arb("nan"), arb(0, np.inf), arb(10) ** 400], ids=["nan", "line", "huge"])
def test_eigenvalues_of_what_no_float_holds(entry):
    found = largest_eigenvalue(fill([arb(1), entry, entry, arb(1)], (2, 2)))
    assert not found < arb(10) ** 400


def test_the_metric():
    one = Parameters(to_balls(np.array([0.0, 1.0])), to_balls(np.array([[0.0, 0.0], [1.0, 1.0]])))
    other = Parameters(to_balls(np.array([2.0, 1.0])), to_balls(np.array([[3.0, 4.0], [1.0, 0.0]])))
    found = distance(one, other, to_balls(np.array([0.25, 0.75])))
    assert abs(found - arb(0.25 * (4 + 25) + 0.75).sqrt()) < 1e-30
    certificate = Certificate(one, np.array([0.25, 0.75]), *[arb(1)] * 4, "")
    assert certificate.distance(other).overlaps(found)
    assert certificate.distance(one) == 0
    assert abs(certificate.condition - arb(3).sqrt()) < 1e-30


@pytest.mark.parametrize(
    ("beta", "eta", "s", "excuse", "certified"),
    [
        (arb(0.5), arb(0.25), arb(0.25), "", True),
        (arb(0.5), arb(0.25), arb(0.26), "", False),
        (arb(0.5), arb(0.26), arb(0.25), "", False),
        (arb(0.5), arb(0.1), arb(0.1), "too light", False),
        (arb(1), arb(0), arb(0), "", False),
        (arb(1.5), arb(-1), arb(0), "", False),
        (arb("nan"), arb(0), arb(0), "", False),
        (arb(0.5, 0.01), arb(0.25), arb(0.25), "", False),
        (arb(0.5), arb("nan"), arb(0), "", False),
    ],
)
def test_a_certificate_needs_all_conditions(beta, eta, s, excuse, certified):
    point = Parameters(to_balls(np.zeros(1)), to_balls(np.zeros((1, 1))))
    found = Certificate(point, np.ones(1), arb(1), beta, eta, s, excuse)
    assert found.certified == certified
    if certified:
        assert found.plateau == 1


def test_excuses_of_a_ball_that_leaves_the_class(rng):
    _, centres = clusters(rng, apart=1.0)
    point = Parameters(
        to_balls(np.log([0.02, 0.48, 0.5])), to_balls(centres + [7.9, 0.0] * (np.arange(3) == 2)[:, None])
    )
    shares = to_balls(np.array([0.02, 0.48, 0.5]))
    approximation = split_tolerance(CLASS, 0.3, "floor").in_balls

    def excuse(task_class, given, rho, where=point):
        return step_error(task_class, given, arb(1), where, shares, arb(rho), arb(0))[1]

    inner = Parameters(point.log_weights, to_balls(centres))
    assert excuse(CLASS, approximation, 0.09, inner) == ""  # 0.02·exp(−0.09/√0.02) = 0.0106
    assert excuse(CLASS, approximation, 0.10, inner) == "a weight of the ball may be below 0.01"
    assert excuse(CLASS, approximation, 1e-9) == "a mean of the ball may have a coordinate above 8"
    edge = Parameters(point.log_weights, to_balls(np.array([[0.0, 0.0], [0.0, -7.5], [1.0, 0.0]])))
    assert excuse(CLASS, approximation, 0.05, edge) == ""
    near = replace(approximation, radius=arb(7.5) + arb(0.05) / arb(0.48).sqrt() * arb(0.999))
    assert excuse(CLASS, near, 0.05, edge) == "a mean of the ball may have a coordinate above 8"
    # networks that the class would not choose: 1/A = 0.0198 > π_min
    short = replace(approximation, log_a=-(arb(0.0198).log()))
    assert excuse(CLASS, short, 1e-4, inner) == ""
    assert excuse(CLASS, short, 0.01, inner) == "a weight of the ball may be below 0.0198"


def test_the_largest_radius_that_certifies_is_kept(rng):
    samples, centres = clusters(rng, 24, apart=5.0)
    start = Mixture(np.full(3, 1 / 3), centres)
    point = fixed_point(samples, start)
    approximation = split_tolerance(CLASS, 0.01, "floor")
    found = certify(samples, point, CLASS, approximation, [3.0, 0.05, 0.04])
    assert found.certified
    assert float(found.rho) == 0.05
    assert found.eta < 1e-12
    assert np.array_equal(found.shares, np.exp(midpoints(point.log_weights)))
    assert float(found.beta) == pytest.approx(
        reference(samples, midpoints(point.log_weights), midpoints(point.means), found.shares, 0.05, 0)[1], rel=1e-9
    )
    none = certify(samples, point, CLASS, approximation, [3.0, 2.0])
    assert not none.certified
    assert float(none.rho) == 2
    assert not certify(samples, point, CLASS, split_tolerance(CLASS, 1.0, "floor"), [0.05]).certified


def test_the_residual_is_that_of_the_point(rng):
    samples, centres = clusters(rng, 24, apart=5.0)
    point = Parameters(to_balls(np.log([0.3, 0.3, 0.4])), to_balls(centres))
    found = certify(samples, point, CLASS, split_tolerance(CLASS, 0.01, "floor"), [0.5])
    image = Parameters(*map(to_balls, log_em_step(samples, np.log([0.3, 0.3, 0.4]), centres)))
    assert float(found.eta) == pytest.approx(float(found.distance(image)), rel=1e-12)
    with flint.ctx.workprec(400):
        exact = Parameters(*ball_em.em_step(to_balls(samples), point.log_weights, point.means))
        assert found.distance(exact) <= found.eta


def test_samples_that_the_transformer_drops_are_not_part_of_the_map(rng):
    samples, centres = clusters(rng, 24, apart=5.0)
    more = np.concatenate([samples, [[7.0, 0.0], [7.0, 0.5]]])
    point = fixed_point(samples, Mixture(np.full(3, 1 / 3), centres))
    approximation = split_tolerance(CLASS, 0.01, "floor")
    one, other = (certify(given, point, CLASS, approximation, [0.05]) for given in (samples, more))
    assert one.certified
    for name in ("beta", "eta", "s"):
        assert getattr(one, name) == getattr(other, name)


def test_a_fixed_point_moves_no_more(rng):
    samples, centres = clusters(rng, 22, components=2, apart=2.0)
    point = fixed_point(samples, Mixture(np.array([0.3, 0.7]), centres))
    log_weights, means = midpoints(point.log_weights), midpoints(point.means)
    assert all(ball.is_exact() for ball in (*point.log_weights, *point.means.ravel()))
    after = log_em_step(samples, log_weights, means)
    assert max(np.abs(after[0] - log_weights).max(), np.abs(after[1] - means).max()) < 1e-13


def test_a_run_that_enters_the_ball_stays_within_the_bound(rng):
    """EM perturbed by ± s at every step, in the metric, from the ball's edge."""
    samples, centres = clusters(rng, 24, apart=4.0)
    point = fixed_point(samples, Mixture(np.full(3, 1 / 3), centres))
    found = certify(samples, point, CLASS, split_tolerance(CLASS, 0.01, "floor"), [0.05, 0.02, 0.01])
    assert found.certified
    drift, shift = somewhere(rng, found.shares, 2, float(found.rho))
    log_weights, means = midpoints(point.log_weights) + drift, midpoints(point.means) + shift
    for steps in range(1, 13):
        log_weights, means = log_em_step(samples, log_weights, means)
        drift, shift = somewhere(rng, found.shares, 2, float(found.s))
        log_weights, means = log_weights + drift, means + shift
        away = found.distance(Parameters(to_balls(log_weights), to_balls(means)))
        assert away <= found.beta**steps * found.rho + found.plateau

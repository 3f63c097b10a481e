"""Bounds of a population-EM step with two components: against quadrature, and against steps from drawn parameters."""

import flint
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm

from constructions import population_bounds
from constructions.algorithms.population_em import population_error
from constructions.algorithms.sampling import Mixture
from constructions.population_bounds import contested, mills, tail, thresholds

arb = flint.arb


def number(ball):
    return float(ball.mid())


def drawn(separation, ratio, radius, share, count, rng):
    """Parameters in d = 2 from all of the region, a third of them on its edge."""
    truth = Mixture(np.array([ratio, 1]) / (ratio + 1), np.array([[0.0, 0.0], [separation, 0.0]]))
    length = radius * np.minimum(1, rng.uniform(0, 1.5, (count, 2, 1)))
    angle = rng.uniform(0, 2 * np.pi, (count, 2))
    means = truth.means + length * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    light = truth.weights[1] * (1 + share * np.clip(rng.uniform(-1.5, 1.5, count), -1, 1))
    return truth, np.stack([1 - light, light], axis=-1), means


def distance(truth, off_weights, off_means):
    return np.maximum(np.linalg.norm(off_means, axis=-1), np.abs(off_weights) / truth.weights).max(axis=-1)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("x", [-1.5, 0.0, 0.75, 6.0])
def test_mills(order, x):
    exact, _ = quad(lambda v: v**order * np.exp(-v * v / 2 - x * v), 0, 40, epsabs=0, epsrel=1e-12)
    assert number(mills(arb(x), order)) == pytest.approx(exact, rel=1e-10, abs=0)


@pytest.mark.parametrize("s", [1.9, 2.5, 4.0])
@pytest.mark.parametrize("gap", [5.5, 9.0])
def test_misplaced_and_contested_mass(s, gap):
    """The bounds hold; they lose a factor of 2 in the integral of e^{−|y|} over that of σ′, little more."""

    def integral(function):
        return quad(lambda g: function(g) * norm.pdf(g), -12, 12, points=[0, s], epsabs=0, epsrel=1e-11, limit=200)[0]

    exact = integral(lambda g: expit(gap * (g - s)))
    assert exact <= number(tail(arb(s), arb(gap))) < 2 * exact
    for order in range(3):
        exact = integral(lambda g, n=order: abs(g) ** n * expit(gap * (g - s)) * expit(-gap * (g - s)))
        assert exact <= number(contested(arb(s), arb(gap), order)) < 3.2 * exact


def test_contested_mass_falls_with_the_threshold_and_the_gap():
    values = [[number(contested(arb(s), arb(gap), 2)) for gap in (6.5, 7.0, 8.0)] for s in (2.0, 2.6, 3.2, 3.8)]
    assert (np.diff(values, axis=0) < 0).all()
    assert (np.diff(values, axis=1) < 0).all()


@pytest.mark.parametrize(
    ("separation", "ratio", "radius", "share"), [(5, 1, 0.3, 0.5), (7, 13, 0.5, 0.5), (9, 2, 2, 0.8)]
)
def test_thresholds_hold_and_are_nearly_attained(separation, ratio, radius, share, rng):
    truth, weights, means = drawn(separation, ratio, radius, share, 100_000, rng)
    apart = means[:, 1] - means[:, 0]
    gap = np.linalg.norm(apart, axis=-1)
    middle, direction = means.mean(axis=1), apart / gap[:, None]
    prior = np.log(weights[:, 1] / weights[:, 0]) / gap
    p = ((middle - truth.means[0]) * direction).sum(-1) - prior
    q = ((truth.means[1] - middle) * direction).sum(-1) + prior
    at = thresholds(*(arb(float(v)) for v in (separation, np.log(2 * ratio), radius, share)))
    near = 0.12 * separation
    for claimed, found in ((at.gap, gap.min()), (at.p, p.min()), (at.q, q.min())):
        assert number(claimed) <= found <= number(claimed) + near
    for claimed, found in ((at.widest, gap.max()), (at.far, max(p.max(), q.max()))):
        assert number(claimed) >= found >= number(claimed) - near


@pytest.mark.parametrize(("separation", "ratio"), [(5, 1), (6, 1), (6, 5), (8, 29), (9, 1000)])
def test_no_step_under_a1_exceeds_its_bound(separation, ratio, rng):
    truth, weights, means = drawn(separation, ratio, separation / 16, 0.5, 4000, rng)
    after = distance(truth, *population_error(truth, weights, means))
    bound = number(population_bounds.first_step(arb(separation), arb(2 * ratio).log()))
    assert after.max() <= bound < 40 * after.max()


@pytest.mark.parametrize(("separation", "ratio", "radius"), [(7, 1, 0.5), (7, 5, 0.3), (8.5, 29, 0.5), (10, 1, 0.9)])
def test_no_contraction_is_slower_than_its_bound(separation, ratio, radius, rng):
    truth, weights, means = drawn(separation, ratio, radius, radius, 4000, rng)
    before = distance(truth, weights - truth.weights, means - truth.means)
    rates = distance(truth, *population_error(truth, weights, means)) / before
    bound = number(population_bounds.contraction(arb(separation), arb(2 * ratio).log(), arb(radius)))
    assert rates.max() <= bound < 200 * rates.max()


@pytest.mark.parametrize(
    ("s", "room", "expected"),
    [(2.4, 1.2, False), (2.4, 1.3, True), (1.5, 3.0, False), (1.7, 3.0, True), (9, -1, False)],
)
def test_where_contested_mass_is_known_to_fall(s, room, expected):
    """Each of 3/x ≤ s and 2/s + 1/x ≤ s decides one of the pairs."""
    at = population_bounds.Thresholds(arb(room + 4), arb(9), arb(s), arb(s), arb(4))
    assert population_bounds.steep(at, arb(s)) is expected


@pytest.mark.parametrize(("ratio", "a"), [(1.0, 0.5), (7.0, 0.9)])
def test_the_slope_of_the_prior(ratio, a, monkeypatch):
    light = np.linspace(1 - a, 1 + a, 1009) / (1 + ratio)
    exact = ((1 / light + 1 / (1 - light)) / (1 + ratio)).max()
    slope = number(population_bounds.prior_slope(arb(ratio), arb(a)))
    assert exact <= slope <= 1.6 * exact
    given = arb(14), arb(2 * ratio).log(), arb(a)
    before = population_bounds.contraction(*given)
    monkeypatch.setattr(population_bounds, "prior_slope", lambda ratio, radius: 0 * ratio)
    assert population_bounds.contraction(*given) < before


def test_moved_mass_is_the_expectation_of_its_factors(monkeypatch):
    """E ψH and E ψH(|g| + n) with n_1 = n_2 = n, where the bounds for the half-normals are equalities."""
    s, gap, logits = 2.1, 5.0, 3.7
    g, mass_g = np.polynomial.hermite_e.hermegauss(150)
    n = np.linspace(0, 12, 24_001)
    mass_n = norm.pdf(n) * np.where((n == 0) | (n == 12), 1, 2) * (n[1] - n[0])
    half = [mass_n @ n**power for power in range(3)]
    psi = mass_g / mass_g.sum() * expit(gap * (g - s)) * expit(-gap * (g - s))
    moments = [psi @ np.abs(g) ** order for order in range(3)]
    monkeypatch.setattr(population_bounds, "contested", lambda s, gap, order: arb(float(moments[order])))
    found = [number(ball) for ball in population_bounds._moved(arb(s), arb(gap), arb(logits))]
    h = logits + 2 * np.abs(g)
    assert half[0] == pytest.approx(1, rel=1e-9, abs=0)
    assert found[0] == pytest.approx(psi @ (h + 2 * half[1]), rel=1e-6, abs=0)
    squared = psi @ (h * np.abs(g) + h * half[1] + 2 * half[1] * np.abs(g) + 2 * half[2])
    assert found[1] == pytest.approx(squared, rel=1e-6, abs=0)


def test_the_tail_of_contraction_is_put_together_as_in_the_proof(monkeypatch):
    """(RW + 2N)e^{−(c−s)R²}/(1 − 2aWe^{−cR²}), with W and N at S_n = 1, R/2 + 1, R²/4 + R/2 + 1, and Λ = 2/(1 − a)."""
    separation, constant, radius, slower = 14.0, 9.0, 0.5, 1 / 16
    kappa = 0.5 - (radius + np.log(3) / (separation - 1)) / separation
    kappa_q = kappa - 1 / (constant**2 * (1 - 1 / separation))
    rate = min(kappa**2 / 2 - constant**-2, kappa_q**2 / 2)
    bounds = [arb(1), arb(8), arb(57)]
    monkeypatch.setattr(population_bounds, "contested", lambda s, gap, order: bounds[order])
    w, n = map(number, population_bounds._moved(arb(7), arb(13), arb(separation + 2 * radius + 4)))
    left = 1 - 2 * radius * w * np.exp(-rate * separation**2)
    expected = (separation * w + 2 * n) * np.exp(-(rate - slower) * separation**2) / left
    found = population_bounds.contraction_tail(arb(separation), arb(constant), arb(radius), arb(slower))
    assert number(found) == pytest.approx(expected, rel=1e-11, abs=0)
    assert 1 - left > 1e-8


def test_wide_balls_bound_all_they_hold(rng):
    wide = arb(8, 0.1), arb(1.5, 0.1)
    for bound in (population_bounds.first_step, lambda r, ell: population_bounds.contraction(r, ell, arb(0.5))):
        over = bound(*wide).upper()
        for _ in range(23):
            inside = [arb(number(w) + 0.1 * rng.choice([-1, 1, rng.uniform(-1, 1)])) for w in wide]
            assert bound(*inside) <= over
        assert over < 3 * bound(arb(8), arb(1.5))


@pytest.mark.parametrize("constant", [6.0, 9.0])
def test_the_tails_bound_what_they_stand_for(constant):
    a, slower = arb(0.5), arb(1) / 16
    last = None
    for least in (20.0, 25.0, 31.0):
        first = population_bounds.first_step_tail(arb(least), arb(constant))
        rate = population_bounds.contraction_tail(arb(least), arb(constant), a, slower)
        assert last is None or (first < last[0] and rate < last[1])
        last = first, rate
        for separation in (least, 1.3 * least):
            for share in (0.0, 0.5, 1.0):
                log_2 = arb(2).log()
                ell = log_2 + share * (arb(separation / constant) * (separation / constant) - log_2)
                grown = (slower * separation * separation).exp()
                assert population_bounds.first_step(arb(separation), ell) <= first
                assert population_bounds.contraction(arb(separation), ell, a) * grown <= rate


@pytest.mark.parametrize("order", [0, 1, 2])
def test_contested_mass_is_its_integrals(order):
    """g^n e^{−δ(g−s)} above s, and below, at g = s − v, (s + v) or (s² + v²) for |s − v|^n, times e^{−δv}."""
    s, gap = 2.3, 7.0
    powers = (lambda v: 1, lambda v: s + v, lambda v: s * s + v * v)[order]
    above = quad(lambda v: (s + v) ** order * np.exp(-gap * v) * norm.pdf(s + v), 0, 30, epsabs=0, epsrel=1e-11)[0]
    below = quad(lambda v: powers(v) * np.exp(-gap * v) * norm.pdf(s - v), 0, 30, epsabs=0, epsrel=1e-11)[0]
    assert number(contested(arb(s), arb(gap), order)) == pytest.approx(above + below, rel=1e-8, abs=0)


def test_a_tail_wants_thresholds_two_deviations_away():
    """κ_q R ≥ 2: from there on (s² + s + 1)e^{−s²/2} falls for certain."""
    near, beyond = (population_bounds.contraction_tail(arb(r), arb(20), arb(0.001), arb(0)) for r in (3.9, 4.2))
    assert near.is_nan()
    assert not beyond.is_nan()


def test_the_slower_decay_counts():
    assert number(population_bounds.decay(arb(0.4), arb(0.3), arb(10))) == pytest.approx(0.045, rel=1e-12, abs=0)
    assert number(population_bounds.decay(arb(0.4), arb(0.8), arb(10))) == pytest.approx(0.07, rel=1e-12, abs=0)
    assert population_bounds.decay(arb(0.4), arb(-0.8), arb(10)).is_nan()


def test_without_their_preconditions_bounds_say_nothing():
    close, far, equal = arb(3), arb(12), arb(2).log()
    assert population_bounds.first_step(arb(1), equal).is_nan()  # the threshold may lie beyond a mean
    assert population_bounds.contraction(close, equal, arb(0.5)).is_nan()
    assert not population_bounds.contraction(far, equal, arb(0.5)).is_nan()
    assert population_bounds.first_step_tail(far, arb(3)).is_nan()  # ρ grows faster than the mass between falls
    assert population_bounds.first_step_tail(arb(2.2), arb(9)).is_nan()  # 0 < 2cR² < 1: it may still grow
    assert population_bounds.contraction_tail(far, arb(2.5), arb(0.5), arb(0)).is_nan()
    assert population_bounds.contraction_tail(arb(24), arb(9), arb(0.5), arb(1) / 8).is_nan()

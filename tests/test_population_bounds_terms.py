"""The bounds of a population-EM step, restated in floats from proofs_notes/theorem_f2.md; no term can be dropped.

Scipy's scaled erfc makes Mills' ratio; differences such as 1 − xM lose what x² leaves of 2^−53, 1e-13 at most here.
"""

from functools import partial
from math import exp, expm1, log, pi, sqrt

import flint
import numpy as np
from scipy.special import erfcx
from terms import Terms, assert_terms

from constructions import population_bounds

MEAN = sqrt(2 / pi)  # of a half-normal variable


def balls(name: str, *numbers: float, **given) -> list[float]:
    """The code's value in balls, as floats."""
    found = getattr(population_bounds, name)(*map(flint.arb, numbers), **given)
    found = vars(found).values() if isinstance(found, population_bounds.Thresholds) else found
    return [float(ball.mid()) for ball in (found if not isinstance(found, flint.arb) else [found])]


def mills(t: Terms, x: float, order: int) -> float:
    m = sqrt(pi / 2) * erfcx(x / sqrt(2))
    if order == 0:
        return t("M", m)
    if order == 1:
        return t("1 of 1 - xM", 1) - t("xM", x * m)
    return (t("1 of 1 + x^2", 1) + t("x^2", x * x)) * m - t("x", x)


def density(x: float) -> float:
    return exp(-x * x / 2) / sqrt(2 * pi)


def tail(t: Terms, s: float, gap: float) -> float:
    return density(s) * (t("above", mills(Terms(), s, 0)) + t("below", mills(Terms(), gap - s, 0)))


def contested(t: Terms, s: float, gap: float, order: int) -> float:
    (a0, a1, a2), (b0, b1, b2) = ([mills(Terms(), x, n) for n in range(3)] for x in (gap + s, gap - s))
    if order == 0:
        return density(s) * (t("above", a0) + t("below", b0))
    if order == 1:
        return density(s) * (s * (t("s above", a0) + t("s below", b0)) + t("v above", a1) + t("v below", b1))
    squares = s * s * (t("s^2 above", a0) + t("s^2 below", b0)) + t("2sv", 2 * s * a1)
    return density(s) * (squares + t("v^2 above", a2) + t("v^2 below", b2))


def test_mass_that_is_misplaced_and_contested():
    at = [(1.0, 3.5), (2.3, 5.0)]
    for order in range(3):
        assert_terms(
            partial(balls, "mills", order=order), partial(mills, order=order), [(0.7,), (3.0,), (-0.5,)], rel=1e-11
        )
        assert_terms(partial(balls, "contested", order=order), partial(contested, order=order), at, rel=1e-11)
    assert_terms(partial(balls, "tail"), tail, at)


def thresholds(t: Terms, separation: float, ell: float, radius: float, share: float) -> list[float]:
    """δ at least and at most, p, q, and the farthest threshold."""
    rho = exp(ell) / 2
    most = log((1 + t("b up", share)) / (rho - t("b of rho, down", share)))
    least = log((rho + t("b of rho, up", share)) / (1 - t("b down", share)))
    gap, widest = separation - t("2r of the gap", 2 * radius), separation + t("2r of the widest", 2 * radius)
    middle = t("R/2", separation / 2) - t("r", radius)
    p = middle - t("L of p", max(most / gap, most / widest))
    far = t("R/2 of far", separation / 2) + t("r of far", radius) + t("L of far", max(least, most) / gap)
    return [gap, widest, p, middle - t("L of q", least / gap), far]


def test_the_thresholds():
    """ρ = 1, where priors may favour either; ρ = 7, where only one of them can."""
    given = [(7.0, log(2), 0.7, 0.5), (9.0, log(14), 0.5, 0.8)]
    assert_terms(partial(balls, "thresholds"), thresholds, given)


def first_step(t: Terms, separation: float, ell: float, lost, pull) -> float:
    """D⁺ from r = R/16, b = ½; `lost` and `pull` are A(s) and B(s)/δ as functions of s and δ."""
    rho = exp(ell) / 2
    gap, widest, p, q, _ = thresholds(Terms(), separation, ell, t("r", separation / 16), t("b", 0.5))
    lost_p, lost_q = t("lost of p", lost(p, gap)), t("lost of q", lost(q, gap))
    pull_p, pull_q = (t(f"pull of {name}", widest * pull(s, gap)) for name, s in (("p", p), ("q", q)))
    second = max(rho * lost_p * separation, rho * pull_p + pull_q) / (1 - t("left of 2", lost_q))
    first = max(lost_q / rho * separation, pull_q / rho + pull_p) / (1 - t("left of 1", lost_p))
    return max(t("second mean", second), t("first mean", first), rho * lost_p, t("first weight", lost_q))


def moved(t: Terms, s: float, gap: float, logits: float) -> list[float]:
    s_0, s_1, s_2 = (contested(Terms(), s, gap, order) for order in range(3))
    weights = (t("h_0", logits) + t("n_1 + n_2", 2 * MEAN)) * s_0 + t("2|g|", 2 * s_1)
    means = logits * (t("h_0|g|", s_1) + t("h_0 n", MEAN * s_0))
    return [weights, means + t("2g^2", 2 * s_2) + t("4|g|n", 4 * MEAN * s_1) + t("n_1 n + n_2 n", 2 * s_0)]


def contraction(t: Terms, separation: float, ell: float, a: float, masses) -> float:
    """β on D ≤ a; `masses` are E w_1w_2 H and E w_1w_2 H(|g| + n) as a function of s, δ, h_0."""
    rho = exp(ell) / 2
    gap, _, p, q, _ = thresholds(Terms(), separation, ell, t("r", a), t("b", a))
    slope = t("slope of heavy", 1 / (1 - a)) + t("slope of light", 1 / (rho - a))
    logits = t("R of logits", separation) + t("2a of logits", 2 * a) + slope
    (w_p, n_p), (w_q, n_q) = (masses(s, gap, logits) for s in (p, q))
    weights = t("weights of p", rho * w_p) + t("weights of q", w_q)
    second = rho * (t("R of p", separation * w_p) + t("near of p", n_p)) + t("near of q", n_q)
    first = t("near of p, first", n_p) + (t("R of q", separation * w_q) + t("near of q, first", n_q)) / rho
    return max(weights, t("second", second), t("first", first)) / (1 - t("left", weights * a))


def test_a_contraction(monkeypatch):
    """As it is; then with masses that fall fast, so that component 1's mean decides."""
    assert_terms(partial(balls, "_moved"), moved, [(2.1, 5.0, 3.7), (1.0, 3.0, 0.2)], rel=1e-11)
    plain = partial(moved, Terms())

    def steep(s, gap, logits):
        return 1e-3 * (3.3 / s) ** 60, 2e-3 * (3.3 / s) ** 61

    def stated(separation, ell, a, masses):
        with monkeypatch.context() as patch:
            if masses is steep:
                patch.setattr(population_bounds, "_moved", steep)
            return balls("contraction", separation, ell, a)

    rates = [(r, log(2 * rho), a, plain) for r, rho, a in ((7.0, 1.0, 0.5), (7.0, 3.0, 0.5), (9.0, 29.0, 0.5))]
    assert_terms(stated, contraction, [*rates, (9.0, log(6), 0.5, steep)], rel=1e-10)


def test_the_first_step(monkeypatch):
    """As it is; then with masses of any size, so that each of the mean's parts is the larger one once.

    ρA(p), the weight's part for component 2, is below ρA(p)R: R > 1 where both thresholds lie between the means.
    """
    plain = (lambda s, gap: tail(Terms(), s, gap)), (lambda s, gap: contested(Terms(), s, gap, 0))
    at = [(r, log(2 * rho)) for r, rho in ((5.0, 1.0), (7.0, 3.0), (4.0, 1.0), (9.0, 40.0))]

    def stated(separation, ell, lost, pull):
        with monkeypatch.context() as patch:
            if lost is not plain[0]:
                patch.setattr(population_bounds, "tail", lost)
                patch.setattr(population_bounds, "contested", pull)
            return balls("first_step", separation, ell)

    sizes = [(lambda s, gap, a=a: a * s, lambda s, gap, b=b: b * s) for a, b in ((0.2, 0.001), (0.001, 0.02))]
    steep = (lambda s, gap: 0.1 * (2.74 / s) ** 60), (lambda s, gap: 1e-12 / s)  # A(q) far above A(p)
    instances = [(*given, *size) for size in (plain, *sizes) for given in at]
    instances += [(*at[1], *steep), (*at[3], *steep)]
    assert_terms(stated, first_step, instances, rel=1e-11)


def decay(t: Terms, kappa_p: float, kappa_q: float, constant: float) -> float:
    return min(t("p", kappa_p**2 / 2) - t("rho", 1 / constant**2), t("q", kappa_q**2 / 2))


def first_step_tail(t: Terms, r: float, constant: float) -> float:
    kappa = 7 / 16 - t("priors", 8 * log(3) / (7 * r * r))
    rate = decay(Terms(), kappa, kappa - 8 / (7 * constant**2), constant)  # p's
    return t("13R/4", 13 * r / 4) / expm1(t("rate", rate * r * r))


def contraction_tail(t: Terms, r: float, constant: float, a: float, slower: float) -> float:
    priors = log((1 + a) / (1 - a)) / (r - t("2a of the gap", 2 * a))
    kappa = 0.5 - (t("a", a) + t("priors", priors)) / r
    kappa_q = kappa - 1 / (constant**2 * (1 - 2 * a / r))
    rate, s = decay(Terms(), kappa, kappa_q, constant), r / 2
    logits = t("R of logits", r) + t("2a of logits", 2 * a) + t("slopes", 2 / (1 - a))
    weights = logits + t("n_1 + n_2", 2 * MEAN) + t("2|g|", 2 * (s + 1))
    means = logits * (t("h_0|g|", s + 1) + t("h_0 n", MEAN)) + t("2g^2", 2 * (s * s + s + 1))
    means += t("4|g|n", 4 * MEAN * (s + 1)) + t("n_1 n + n_2 n", 2)
    left = 1 - t("left", 2 * a * weights * exp(-rate * r * r))
    return (t("RW", r * weights) + t("2N", 2 * means)) * exp(-(rate - t("slower", slower)) * r * r) / left


def test_the_tails():
    """q's rate is never the lesser of the two; where it counts is the next test."""
    assert_terms(partial(balls, "decay"), decay, [(0.4, 0.3, 10.0), (0.4, 0.8, 10.0)])
    assert_terms(partial(balls, "first_step_tail"), first_step_tail, [(12.0, 9.0), (24.0, 9.0), (12.0, 4.0)], rel=1e-11)
    given = [(14.0, 9.0, 0.5, 1 / 16), (11.0, 9.0, 0.7, 0.01), (24.0, 6.0, 0.5, 0.0)]
    assert np.isfinite([balls("contraction_tail", *numbers) for numbers in given]).all()
    assert_terms(partial(balls, "contraction_tail"), contraction_tail, given, rel=1e-11)


def test_the_tail_of_contraction_begins_where_the_nearer_threshold_is_two_away():
    """κ_q R = 2, κ_q = κ − 1/(C²(1 − 2a/R)), at R = 4.58 for C = 4: half or twice 1/C² would move it to 4.3 or 5.4."""
    assert np.isnan(balls("contraction_tail", 4.5, 4.0, 0.001, 0.0)).all()
    assert np.isfinite(balls("contraction_tail", 4.65, 4.0, 0.001, 0.0)).all()

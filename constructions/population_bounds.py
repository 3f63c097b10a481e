"""Bounds, in balls, of one population-EM step with two components in any dimension (proofs_notes/theorem_f2.md).

The true means are R apart and ρ = π_1*/π_2* ≥ 1 is given by ℓ = log 2ρ, so that (A1) reads R ≥ C√ℓ, ℓ ≥ log 2. Each of
R and ℓ may be a wide ball: the result then bounds all that it holds. NaN, which is below nothing, where a precondition
is not certain.
"""

from __future__ import annotations

from dataclasses import dataclass

import flint

from constructions.balls import largest

NAN = flint.arb("nan")


@dataclass(frozen=True)
class Thresholds:
    """Where the entering parameters of a region put the threshold between the components (see `thresholds`)."""

    gap: flint.arb  # least δ = ‖μ_2 − μ_1‖
    widest: flint.arb  # largest δ
    p: flint.arb  # least distance of the threshold from component 1's true mean
    q: flint.arb  # the same from component 2's
    far: flint.arb  # largest of either


def thresholds(separation: flint.arb, log_ratio: flint.arb, radius: flint.arb, share: flint.arb) -> Thresholds:
    """For ‖μ_k − μ_k*‖ ≤ r = `radius` ≤ R/2, |π_k − π_k*| ≤ bπ_k*, b = `share` < 1; R = `separation`, ℓ = `log_ratio`.

    R − 2r ≤ δ ≤ R + 2r, and with L = log(π_2/π_1), p ≥ R/2 − r − L/δ and q ≥ R/2 − r + L/δ, where
    −log((ρ + b)/(1 − b)) ≤ L ≤ log((1 + b)/(ρ − b)). Of wide balls, the extreme ends.
    """
    ratio = log_ratio.exp() / 2
    most, least = ((1 + share) / (ratio - share)).log(), ((ratio + share) / (1 - share)).log()
    gap, widest = separation - 2 * radius, separation + 2 * radius
    middle = separation / 2 - radius
    p, q = middle - (most / gap).max(most / widest), middle - least / gap
    far = separation / 2 + radius + least.max(most) / gap
    return Thresholds(gap.lower(), widest.upper(), p.lower(), q.lower(), far.upper())


def density(x: flint.arb) -> flint.arb:
    """φ(x) = e^{−x²/2}/√(2π)."""
    return (-x * x / 2).exp() / (2 * flint.arb.pi()).sqrt()


def mills(x: flint.arb, order: int = 0) -> flint.arb:
    """∫_0^∞ v^n e^{−v²/2 − xv} dv, n = `order` ≤ 2: Mills' ratio M(x) = (1 − Φ(x))/φ(x), 1 − xM, (1 + x²)M − x.

    It decreases in x.
    """
    ratio = (flint.arb.pi() / 2).sqrt() * (x * x / 2).exp() * (x / flint.arb(2).sqrt()).erfc()
    return (ratio, 1 - x * ratio, (1 + x * x) * ratio - x)[order]


def tail(s: flint.arb, gap: flint.arb) -> flint.arb:
    """A(s) = E σ(δ(g − s)) ≤ φ(s)(M(s) + M(δ − s)) for every threshold ≥ s ≥ 0 and every δ ≥ `gap`."""
    return density(s) * (mills(s) + mills(gap - s))


def contested(s: flint.arb, gap: flint.arb, order: int = 0) -> flint.arb:
    """S_n = E|g|^n σ′(δ(g − s)), n = `order` ≤ 2, for every threshold ≥ s and every δ ≥ `gap` (n > 0: see `steep`)."""
    above, below = gap + s, gap - s
    if order == 0:
        return density(s) * (mills(above) + mills(below))
    if order == 1:
        return density(s) * (s * (mills(above) + mills(below)) + mills(above, 1) + mills(below, 1))
    squares = s * s * (mills(above) + mills(below)) + 2 * s * mills(above, 1)
    return density(s) * (squares + mills(above, 2) + mills(below, 2))


def steep(at: Thresholds, s: flint.arb) -> bool:
    """Whether `contested` decreases between s and the farthest threshold: 3/x ≤ s and 2/s + 1/x ≤ s, x = δ − far."""
    x = at.gap - at.far
    return bool(s > 0) and bool(x > 0) and bool(3 / x <= s) and bool(2 / s + 1 / x <= s)


def first_step(separation: flint.arb, log_ratio: flint.arb) -> flint.arb:
    """D⁺ after one step from any parameters under (A1)'s conditions on the initialisation: r = R/16, b = ½.

    A mean is off by a·u − b·v, unit vectors less than 60° apart: by the larger of a and b at most.
    """
    r, half = separation / 16, flint.arb(1) / 2
    at, ratio = thresholds(separation, log_ratio, r, half), log_ratio.exp() / 2
    if not (at.p > 0 and at.q > 0):
        return NAN
    lost_p, lost_q = tail(at.p, at.gap), tail(at.q, at.gap)
    pull_p, pull_q = at.widest * contested(at.p, at.gap), at.widest * contested(at.q, at.gap)
    second = largest([ratio * lost_p * separation, ratio * pull_p + pull_q]) / (1 - lost_q)
    first = largest([lost_q / ratio * separation, pull_q / ratio + pull_p]) / (1 - lost_p)
    return largest([second, first, ratio * lost_p, lost_q]) if lost_p < 1 and lost_q < 1 else NAN


def contraction(separation: flint.arb, log_ratio: flint.arb, radius: flint.arb) -> flint.arb:
    """β with D⁺ ≤ βD from all parameters with D ≤ a = `radius` < 1, 2a < R."""
    at, ratio = thresholds(separation, log_ratio, radius, radius), log_ratio.exp() / 2
    if not (steep(at, at.p) and steep(at, at.q)):
        return NAN
    logits = separation + 2 * radius + prior_slope(ratio, radius)
    (moved_p, near_p), (moved_q, near_q) = (_moved(s, at.gap, logits) for s in (at.p, at.q))
    weights = ratio * moved_p + moved_q
    second = ratio * (separation * moved_p + near_p) + near_q
    first = near_p + (separation * moved_q + near_q) / ratio
    left = 1 - weights * radius
    return largest([weights, second / left, first / left]) if left > 0 else NAN


def prior_slope(ratio: flint.arb, radius: flint.arb) -> flint.arb:
    """Λ = 1/(1 − a) + 1/(ρ − a) ≥ π_2*|d log(π_2/π_1)/dπ_2| where |π_k − π_k*| ≤ aπ_k*; a = `radius`, ρ = `ratio`."""
    return 1 / (1 - radius) + 1 / (ratio - radius)


def _moved(s: flint.arb, gap: flint.arb, logits: flint.arb) -> tuple[flint.arb, flint.arb]:
    """E w_1w_2 H and E w_1w_2 H(|g| + n), H = h_0 + 2|g| + n_1 + n_2, h_0 = `logits`; half-normal n, E n ≤ √(2/π)."""
    c = (2 / flint.arb.pi()).sqrt()
    s_0, s_1, s_2 = (contested(s, gap, order) for order in range(3))
    return (logits + 2 * c) * s_0 + 2 * s_1, logits * (s_1 + c * s_0) + 2 * s_2 + 4 * c * s_1 + 2 * s_0


def first_step_tail(separation: flint.arb, constant: flint.arb) -> flint.arb:
    """Bound, decreasing in R, of D⁺ under (A1) for all R ≥ `separation` = R_1 with R ≥ C√ℓ, C = `constant`.

    (13R/4)e^{−cR²}/(1 − e^{−cR²}), c from `decay`, p ≥ κ_p R, q ≥ κ_q R; NaN unless 2cR_1² ≥ 1, where it decreases.
    """
    kappa = flint.arb(7) / 16 - 8 * flint.arb(3).log() / (7 * separation * separation)
    rate = decay(kappa, kappa - 8 / (7 * constant * constant), constant)
    power = rate * separation * separation
    return 13 * separation / 4 / (power.exp() - 1) if 2 * power >= 1 else NAN


def contraction_tail(separation: flint.arb, constant: flint.arb, radius: flint.arb, slower: flint.arb) -> flint.arb:
    """Bound, decreasing in R, of βe^{sR²} for all R ≥ `separation` = R_1 with R ≥ C√ℓ; a = `radius`, s = `slower`.

    (RW + 2N)e^{−(c−s)R²}/(1 − 2aWe^{−cR²}), W = h_0 + 2c' + 2(R/2 + 1) and N likewise quadratic in R; NaN unless
    κ_q R_1 ≥ max(2a, 2) and (c − s)R_1² ≥ 1.
    """
    log_ratio = ((1 + radius) / (1 - radius)).log()
    kappa = flint.arb(1) / 2 - (radius + log_ratio / (separation - 2 * radius)) / separation
    kappa_q = kappa - 1 / (constant * constant * (1 - 2 * radius / separation))
    rate, square = decay(kappa, kappa_q, constant), separation * separation
    if not ((rate - slower) * square >= 1 and kappa_q * separation >= (2 * radius).max(flint.arb(2))):
        return NAN
    c, s, logits = (2 / flint.arb.pi()).sqrt(), separation / 2, separation + 2 * radius + 2 / (1 - radius)
    moved = logits + 2 * c + 2 * (s + 1)
    near = logits * (s + 1 + c) + 2 * (s * s + s + 1) + 4 * c * (s + 1) + 2
    left = 1 - 2 * radius * moved * (-rate * square).exp()
    return (separation * moved + 2 * near) * (-(rate - slower) * square).exp() / left if left > 0 else NAN


def decay(kappa_p: flint.arb, kappa_q: flint.arb, constant: flint.arb) -> flint.arb:
    """Rate c with ρe^{−p²/2}, e^{−q²/2} ≤ e^{−cR²} if p ≥ κ_p R, q ≥ κ_q R, log ρ ≤ R²/C²; NaN unless both κ > 0."""
    if not (kappa_p > 0 and kappa_q > 0):
        return NAN
    return (kappa_p * kappa_p / 2 - 1 / (constant * constant)).min(kappa_q * kappa_q / 2)

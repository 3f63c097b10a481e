"""Every bound as one small function with its source. All hold for every instance: no probability, no constant.

Given balls, they are enclosures.

The proofs are in proofs_notes/, under the name of the statement.
"""

from __future__ import annotations

import flint
import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

from constructions.elementary import exp, expm1, log, log1p, sqrt, tanh
from constructions.em_class import Approximation, TaskClass
from constructions.number_system import Scalar
from constructions.relu_networks import chord_slope
from constructions.rounding_error import gamma


def log_ratio(difference: Scalar) -> Scalar:
    """Lemma F.7: ‖log softmax(u) − log softmax(v)‖_∞ ≤ 2‖u − v‖_∞."""
    return 2 * difference


def softmax_difference(difference: Scalar) -> Scalar:
    """Corollary F.1: ‖softmax(u) − softmax(v)‖_∞ ≤ e^{2‖u−v‖_∞} − 1."""
    return expm1(2 * difference)


def tilt(log_range: Scalar) -> Scalar:
    """P1: TV(p, q) ≤ tanh((b−a)/4) when q ∝ p·e^η with η in [a, b], log_range = b − a (Cohen & Fausti 2023)."""
    return tanh(log_range / 4)


def softmax_variation(difference: Scalar) -> Scalar:
    """Corollary F.1 sharpened by P1: TV(softmax(u), softmax(v)) ≤ tanh(‖u−v‖_∞/2), a maximum-norm bound as well."""
    return tilt(2 * difference)


def floor(difference: Scalar, larger_sum: Scalar) -> Scalar:
    """P2: TV(a/Σa, b/Σb) ≤ Σ|a_j − b_j| / max(Σa, Σb)."""
    return difference / larger_sum


def norm_tail(dim: Scalar, excess: Scalar) -> Scalar:
    """Lemma F.6: P(‖β‖² ≥ d(1+t)²) ≤ e^{−dt²/2} for β ~ N(0, I_d), d = `dim`, t = `excess` ≥ 0.

    Here and below, dim is a ball if excess is one.
    """
    return exp(-dim * excess * excess / 2)


def norm_tail_sharp(dim: Scalar, excess: Scalar) -> Scalar:
    """Chernoff's bound for the same: e^{−d(t²/2 + t − log(1+t))}, about e^{−dt²} for small t."""
    return exp(-dim * (excess * excess / 2 + excess - log1p(excess)))


def norm_tail_prefactor(dim: Scalar, excess: Scalar) -> Scalar:
    """For d ≥ 2, the sharp bound times (√(2d)/5)/(1 + dt(1 + t/2)): a constant factor above the probability."""
    return norm_tail_sharp(dim, excess) * sqrt(2 * dim) / (5 * (1 + dim * excess * (1 + excess / 2)))


def floor_share(log_a: Scalar, chord_width: Scalar, weight: Scalar) -> Scalar:
    """1/(1 + A e^c π̂): the share of a component's weight that the log network's floor can add."""
    if isinstance(weight, flint.arb):
        return 1 / (1 + exp(log_a + chord_slope(chord_width)) * weight.nonnegative_part())
    if weight <= 0:
        return 1.0
    exponent = log_a + chord_slope(chord_width) + np.log(weight)
    return float(1 / (1 + exp(exponent))) if exponent < 700 else exp(-exponent)


def m_step(approximation: Approximation, diameter: Scalar, weight: Scalar, logit_error: Scalar) -> Scalar:
    """‖μ̂_k − μ_k⁺‖ ≤ diam(X)·[tanh(U/4) + tanh(g/4) + 1/(1 + A e^c π̂_k)] (M-step, section 5; ours).

    π̂_k = `weight` is the new weight that is read out, U = `logit_error` (0 in the first step). The paper's
    parametrisation keeps every responsibility above 1/A, so its last term is absent.
    """
    share = tilt(logit_error) + tilt(approximation.log_error)
    if approximation.construction == "floor":
        share += floor_share(approximation.log_a, approximation.chord_width, weight)
    return diameter * share


def log_b_theta(task_class: TaskClass, approximation: Approximation) -> float:
    """Log of 1 + √(K_0(n(1 + h²) + 1) + 2d_0n′(1 + B²) + 2c) + √(K_0(A²r/2 + (1+r)² + log²h) + 8d_0n′η² + 2c) ≥ B_Θ.

    h = high, η = B/n′, c = the cleared coordinates. Frobenius norms of w1 and w2 (proofs_notes/theorem_f1.md): knots
    are at most h, Σ_i (r/t_i)² ≤ A² Σ_i r²e^{−2ir} ≤ A²r/2, the last unit weighs at most 1 + r, the constant's log h.
    In logarithms, because A² may be out of range.
    """
    d, k = task_class.max_dim, task_class.max_components
    n, pieces, r = approximation.segments, approximation.pieces, approximation.chord_width
    step, high = approximation.radius / pieces, approximation.log_high
    cleared = 2.0 * (2 * k + d + 1)
    rest = k + 2 * d * pieces * (1 + approximation.radius**2) + cleared
    reading = np.logaddexp.reduce([log(k * n), log(k * n) + 2 * high, log(rest)])
    rest = k * ((1 + r) ** 2 + high**2) + 8 * d * pieces * step**2 + cleared
    writing = np.logaddexp(log(k) + 2 * approximation.log_a + log(r / 2), log(rest))
    return float(np.logaddexp.reduce([0.0, reading / 2, writing / 2]))


EXACT_DIAMETER_LIMIT = 5000
"""Samples up to which diam(X) is computed from all pairs."""


def diameter(samples: Float[np.ndarray, "N d"]) -> tuple[float, str]:
    """diam(X) and how it was found: "exact" from all pairs, for large N a "certified upper bound" in linear time.

    The least of the bounding box's diagonal and of 2·max_i‖x_i − c‖ for c the mean and the middle of the box; any c
    will do, so c's own rounding does not matter. Each has one subtraction and a norm: a factor 1 + γ_{d+5} covers it.
    """
    if len(samples) <= EXACT_DIAMETER_LIMIT:
        blocks = np.array_split(samples, max(1, len(samples) // 500))
        return max(float(cdist(block, samples).max()) for block in blocks), "exact"
    low, high = samples.min(axis=0), samples.max(axis=0)
    spheres = [2 * float(np.linalg.norm(samples - c, axis=1).max()) for c in (samples.mean(axis=0), (low + high) / 2)]
    covered = 1 + gamma(samples.shape[1] + 5, float(np.finfo(np.float64).eps) / 2)
    return min(float(np.linalg.norm(high - low)), *spheres) * covered, "certified upper bound"

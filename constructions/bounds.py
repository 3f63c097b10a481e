"""Every bound as one small function with its source. All hold for every instance: no probability, no constant.

The proofs are in proofs_notes/, under the name of the statement.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, expm1, inf, log, log1p, sqrt, tanh

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.distance import cdist

from constructions.em_class import Approximation, TaskClass
from constructions.relu_networks import chord_slope


def log_ratio(difference: float) -> float:
    """Lemma F.7: ‖log softmax(u) − log softmax(v)‖_∞ ≤ 2‖u − v‖_∞."""
    return 2 * difference


def softmax_difference(difference: float) -> float:
    """Corollary F.1: ‖softmax(u) − softmax(v)‖_∞ ≤ e^{2‖u−v‖_∞} − 1."""
    return expm1(2 * difference)


def tilt(log_range: float) -> float:
    """P1: TV(p, q) ≤ tanh((b−a)/4) when q ∝ p·e^η with η in [a, b], log_range = b − a."""
    return tanh(log_range / 4)


def softmax_variation(difference: float) -> float:
    """Corollary F.1 sharpened by P1: TV(softmax(u), softmax(v)) ≤ tanh(‖u−v‖_∞/2), a maximum-norm bound as well."""
    return tilt(2 * difference)


def floor(difference: float, larger_sum: float) -> float:
    """P2: TV(a/Σa, b/Σb) ≤ Σ|a_j − b_j| / max(Σa, Σb)."""
    return difference / larger_sum


def floor_share(log_a: float, chord_width: float, weight: float) -> float:
    """1/(1 + A e^c π̂): the share of a component's weight that the log network's floor can add."""
    if weight <= 0:
        return 1.0
    exponent = log_a + chord_slope(chord_width) + np.log(weight)
    return float(1 / (1 + exp(exponent))) if exponent < 700 else exp(-exponent)


def m_step(approximation: Approximation, diameter: float, weight: float, logit_error: float) -> float:
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
    """diam(X) and how it was found: "exact" from all pairs, or "upper bound" 2·max_i‖x_i − x̄‖ for large N."""
    if len(samples) <= EXACT_DIAMETER_LIMIT:
        blocks = np.array_split(samples, max(1, len(samples) // 500))
        return max(float(cdist(block, samples).max()) for block in blocks), "exact"
    centred = samples - samples.mean(axis=0)
    return 2 * float(np.linalg.norm(centred, axis=1).max()) * (1 + 1e-12), "upper bound"


@dataclass(frozen=True)
class Rounding:
    """What floating point may add to one EM step: to a mean, and to a log weight."""

    mean: float
    log_weight: float


EXP_UNITS = 32
"""Assumed error of a vectorised exp or log, in unit roundoffs (assumption R2 of proofs_notes/rounding.md)."""


def gamma(operations: float, unit: float) -> float:
    """γ_n = nu/(1 − nu): the relative error of n roundings (Higham 2002, Lemma 3.1); infinite from nu = 1 on."""
    return operations * unit / (1 - operations * unit) if operations * unit < 1 else inf


def rounding(
    approximation: Approximation | None,
    samples: Float[np.ndarray, "N d"],
    means: Float[np.ndarray, "K d"],
    smallest_weight: float,
    diameter: float,
    dtype: torch.dtype,
    spread: tuple[float, float] = (0.0, 0.0),
) -> Rounding:
    """First-order-safe allowance for one EM step in `dtype` (proofs_notes/rounding.md has the derivation).

    With unit roundoff u, ‖x_i‖ ≤ X, ‖μ_k‖ ≤ M, n_log, n_sq chords in the left-facing networks, σ = γ_{2N+80}:
    ρ_log = γ_{n_log+6}(log A + 1 + 2 log high) + 4κ(1 + r) + (32 + |log π|)u, κ = (5(log A + 1) + 32)u;
    ρ_sq = (γ_{d n_sq+8} + 16u)(M² + dδ_sq); S = XM + max(log A + 1, |log π|) + M² + 1; copies of an
    entering mean and of a log weight are measured to differ by (Δ_μ, Δ_π) = `spread`; a score is off by
    E = γ_{d+3}S + ρ_log + ρ_sq/2 + (X + M + Δ_μ + ½h√d)Δ_μ + (1 + r)Δ_π; a log responsibility by
    η = 2E + 4uS + 2·32u + σ; the M-step's log weights by ζ = ρ_log + u(2 log A + 2) + 32u. Then

    mean: diam(X)(η/2 + ζ/2) + 3σX + diam(X)·N·tiny/π;  log weight: η + 2σ − log(1 − N·tiny/π).

    `paper` adds diam(X)η/4: rounding may take a responsibility below 1/A by a factor e^{−η}. `approximation`
    None is the exact EM step in floating point: no networks and no copies; log π and log w are computed, and the
    logarithm of a component's total adds u(|log π| + log N)X.
    """
    unit, tiny = torch.finfo(dtype).eps / 2, torch.finfo(dtype).tiny
    count, dim = samples.shape
    x = float(np.linalg.norm(samples, axis=1).max())
    m = float(np.linalg.norm(means, axis=1).max())
    sums = gamma(2 * count + 80, unit)
    log_weight = abs(float(np.log(max(smallest_weight, tiny))))
    rho_log = (EXP_UNITS + log_weight) * unit
    if approximation is None:
        log_span, rho_square, copies = log_weight, 0.0, 0.0
    else:
        log_span, r = max(log_weight, approximation.log_a + 1), approximation.chord_width
        knots = (5 * log_span + EXP_UNITS) * unit
        magnitude = approximation.log_a + 1 + 2 * approximation.log_high
        rho_log += gamma(approximation.segments + 6, unit) * magnitude + 4 * knots * (1 + r)
        rho_square = gamma(dim * approximation.pieces + 8, unit) + 16 * unit
        rho_square *= m**2 + dim * approximation.square_error
        half_chord = approximation.radius / approximation.pieces / 2 * sqrt(dim)
        copies = (x + m + spread[0] + half_chord) * spread[0] + (1 + r) * spread[1]
    scale = x * m + log_span + m**2 + 1
    score = gamma(dim + 3, unit) * scale + rho_log + rho_square / 2 + copies
    responsibility = 2 * score + 4 * unit * scale + 2 * EXP_UNITS * unit + sums
    compared = 2 * scale if approximation is None else 2 * log_span + 2
    share = rho_log + unit * compared + EXP_UNITS * unit
    tilted = (responsibility + share) / 2
    total = unit * (log_weight + log(count)) if approximation is None else 0.0
    if approximation is not None and approximation.construction == "paper":
        tilted += responsibility / 4
    lost = count * tiny / smallest_weight if smallest_weight > 0 else inf  # underflow, relative to the weight
    return Rounding(
        mean=diameter * (tilted + lost) + (3 * sums + total) * x,
        log_weight=responsibility + 2 * sums + (-log1p(-lost) if lost < 1 else inf),
    )

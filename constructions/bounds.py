"""Every bound as one small function with its source. All hold for every instance: no probability, no constant.

The proofs are in proofs_notes/, under the name of the statement.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, expm1, inf, tanh

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.distance import cdist

from constructions.em_transformer import Approximation
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


EXP_ULPS = 32
"""Allowed error of a vectorised exp or log, in units of the last place (torch's fastest states 20)."""


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
) -> Rounding:
    """First-order-safe allowance for one EM step in `dtype` (proofs_notes/rounding.md has the derivation).

    With unit roundoff u, ‖x_i‖ ≤ X, ‖μ_k‖ ≤ M and n_log, n_sq units in the left-facing networks:
    ρ_log = γ_{n_log+6}(log A + 1 + 2 log high) + 4κ(1 + r), the knots being off by the relative κ;
    ρ_sq = (γ_{d n_sq+8} + 16u)(M² + dδ_sq); S = XM + max(log A + 1, |log π|) + M²; a score is off by
    E = γ_{d+3}S + ρ_log + ρ_sq/2; a log responsibility by η = 2E + 4uS + 2·32u + 3γ_N; the M-step's log
    weights by ζ = ρ_log + u(2 log A + 2) + 32u. Then, with 4γ_{N+40}X for the sums over samples,

    mean: diam(X)(η/2 + ζ/2) + 4γ_{N+40}X + diam(X)·N·tiny/π;  log weight: η + 3γ_{N+40} + N·tiny/π.

    `approximation` None is the exact EM step in floating point: no networks, log π and log w are computed.
    """
    unit, tiny = torch.finfo(dtype).eps / 2, torch.finfo(dtype).tiny
    count, dim = samples.shape
    x = float(np.linalg.norm(samples, axis=1).max())
    m = float(np.linalg.norm(means, axis=1).max())
    log_weight = abs(float(np.log(max(smallest_weight, tiny))))
    rho_log = rho_square = (EXP_ULPS + log_weight) * unit
    log_span = log_weight
    if approximation is not None:
        log_span = max(log_weight, approximation.log_a + 1)
        r = approximation.chord_width
        knots = (log_span + EXP_ULPS) * unit
        magnitude = approximation.log_a + 1 + 2 * approximation.log_high
        rho_log += gamma(approximation.segments + 6, unit) * magnitude + 4 * knots * (1 + r)
        rho_square = gamma(dim * approximation.pieces + 8, unit) + 16 * unit
        rho_square *= m**2 + dim * approximation.square_error
    scale = x * m + log_span + m**2 + 1
    score = gamma(dim + 3, unit) * scale + rho_log + rho_square / 2
    responsibility = 2 * score + 4 * unit * scale + 2 * EXP_ULPS * unit + 3 * gamma(count, unit)
    compared = 2 * scale if approximation is None else 2 * log_span + 2
    share = rho_log + unit * compared + EXP_ULPS * unit
    sums = gamma(count + EXP_ULPS + 8, unit)
    underflow = count * tiny / max(smallest_weight, tiny)
    return Rounding(
        mean=diameter * (responsibility + share) / 2 + 4 * sums * x + diameter * underflow,
        log_weight=responsibility + 3 * sums + underflow,
    )

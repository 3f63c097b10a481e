"""What floating point may add to the error of one EM step (proofs_notes/rounding.md)."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log, log1p, sqrt

import numpy as np
import torch
from jaxtyping import Float

from constructions.em_class import Approximation


@dataclass(frozen=True)
class Allowance:
    """What floating point may add to one EM step: to a mean, and to a log weight."""

    mean: float
    log_weight: float


EXP_UNITS = 32
"""Assumed error of a vectorised exp or log, in unit roundoffs (assumption R2 of proofs_notes/rounding.md)."""


def gamma(operations: float, unit: float) -> float:
    """γ_n = nu/(1 − nu): the relative error of n roundings (Higham 2002, Lemma 3.1); infinite from nu = 1 on."""
    return operations * unit / (1 - operations * unit) if operations * unit < 1 else inf


def allowance(
    approximation: Approximation | None,
    samples: Float[np.ndarray, "N d"],
    means: Float[np.ndarray, "K d"],
    smallest_weight: float,
    diameter: float,
    dtype: torch.dtype,
    spread: tuple[float, float] = (0.0, 0.0),
) -> Allowance:
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
    return Allowance(
        mean=diameter * (tilted + lost) + (3 * sums + total) * x,
        log_weight=responsibility + 2 * sums + (-log1p(-lost) if lost < 1 else inf),
    )

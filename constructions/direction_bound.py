"""How far one normalised iteration can turn its vector: bounds on direction and norm (proofs_notes/remark_g2.md)."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf

import numpy as np
import torch
from jaxtyping import Float

from constructions.normalisation import Normalisation
from constructions.rounding_error import gamma
from constructions.tensor_power_bounds import REFERENCE_UNIT, Cube, Vector, contraction, own_rounding


@dataclass(frozen=True)
class DirectionBound:
    """‖v̂/‖v̂‖ − r/‖r‖‖ ≤ direction; ‖v̂‖ in [norm_low, norm_high]; `excuse` says why nothing is claimed."""

    direction: float
    norm_low: float
    norm_high: float
    exact_norm: float = 1.0  # ‖v‖ on the exact trajectory: 1, but for the start
    excuse: str = ""

    @property
    def distance(self) -> float:
        """‖v̂ − r‖ ≤ ‖v̂‖·direction + |‖v̂‖ − 1|."""
        return self.norm_high * self.direction + max(1 - self.norm_low, self.norm_high - 1)


def normalised_step(
    before: DirectionBound,
    tensor: Cube,
    reference: Vector,
    spread: float,
    range_: Normalisation,
    max_dim: int,
    dtype: torch.dtype,
    perturbation: float = 0.0,
) -> DirectionBound:
    """One step v ← T(I,v,v)·ρ(‖T(I,v,v)‖²) against the float64 step from the unit vector r (proofs_notes/remark_g2.md).

    In exact arithmetic the direction is that of T(I,v,v), whatever ‖v‖: nothing accumulates, and only the last norm is
    approximate. Rounding turns directions: with ŷ = T(I,r,r), P the projection across ŷ, ε = direction + spread (the
    tokens' copies differ by `spread`, measured) the new direction is off by at most p/(‖ŷ‖ − E),
    p = ‖P T(I,·,r)‖ε + ‖P T(I,r,·)‖ε_s + ‖T‖_F εε_s + rounding, E the same without P. If the transformer was given
    another tensor, `perturbation` is the Frobenius norm of the difference.
    """
    u, dim = torch.finfo(dtype).eps / 2, len(tensor)
    if before.excuse:
        return before
    y = contraction(tensor, reference, reference)
    size = float(np.hypot.reduce(y))  # whose squares may leave float64
    low, high = (norm**2 * size for norm in (before.norm_low, before.norm_high))
    exact = before.exact_norm**2 * size
    if not range_.low <= exact <= range_.high:
        return DirectionBound(inf, 0.0, inf, excuse=f"|T(I,v,v)| = {exact:.4g} leaves the range")
    first, second = tensor @ reference, np.swapaxes(tensor, 1, 2) @ reference  # T(I,·,r), T(I,r,·)
    across = np.eye(dim) - np.outer(y, y) / size**2
    eps = before.direction + spread
    eps_s = eps + gamma(max_dim + 1, u) * (1 + eps)
    frobenius = float(np.hypot.reduce(tensor, axis=None))
    magnitude = float(np.hypot.reduce(contraction(abs(tensor), abs(reference), abs(reference))))
    rounding = gamma(3 * max_dim + 2, u) * (magnitude + frobenius * (eps + eps_s + eps * eps_s))
    rounding += gamma(dim**2 + dim + 8, REFERENCE_UNIT) * magnitude + frobenius * eps * eps_s
    rounding += perturbation * (1 + eps) * (1 + eps_s)
    off = _norm(first) * eps + _norm(second) * eps_s + rounding
    product = gamma(max_dim + 3, u) * (size + off)  # 1/norm times new
    turned = _norm(across @ first) * eps + _norm(across @ second) * eps_s + rounding + product
    off += product
    if not (off < size / 8 and low * (1 - off / size) >= range_.low / 2**0.5):
        return DirectionBound(inf, 0.0, inf)
    if not high * (1 + off / size) <= range_.high * 2**0.5:
        return DirectionBound(inf, 0.0, inf)
    below, above = range_.norm_errors(dim)
    wrong = 2 * off / (size - off) + inverse_norm_rounding(range_, max_dim, u) + gamma(max_dim + 3, u)
    direction = turned / (size - off) * own_rounding(dim) + gamma(dim + 5, REFERENCE_UNIT)
    return DirectionBound(direction, (1 - below) * max(0.0, 1 - wrong), (1 + above) * (1 + 2 * wrong))


def inverse_norm_rounding(range_: Normalisation, max_dim: int, u: float) -> float:
    """Relative rounding error of ρ(Σ_a φ(y_a)), all of whose terms are non-negative (proofs_notes/remark_g2.md).

    Squares: γ_{d_0n′+8} + 16u, by attention γ_{2d_0+8}, times x|ρ′|/ρ ≤ max(1, q²/(q + 1)). ρ: γ_{n+6} for its sum,
    (6Λ + 1.5r + 105)u for weights and (1 + q²/(q + 1))(3Λ + 34)u for knots, |log t_i| ≤ Λ; q = e^{r/2}.
    """
    largest = max(abs(2 * np.log(range_.low) - np.log(2)), abs(2 * np.log(range_.high) + np.log(2)))
    squares = gamma(max_dim * (range_.pieces if range_.squares == "network" else 2) + 8, u) + 16 * u
    r = range_.chord_width
    steepest = exp(r) / (exp(r / 2) + 1)
    network = gamma(range_.segments + 6, u) + (6 * largest + 1.5 * r + 105) * u
    return float(squares * max(1.0, steepest) + network + (1 + steepest) * (3 * largest + 34) * u)


def _norm(matrix: Float[np.ndarray, "d d"]) -> float:
    """Operator norm."""
    return float(np.linalg.norm(matrix, 2))

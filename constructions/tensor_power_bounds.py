"""How far the tensor-power transformer can be from the iteration it imitates (proofs_notes/tensor_rounding.md).

Every bound holds for each instance: no probability and no unknown constant. u is the unit roundoff, N the number of
tokens, |T|(x, y) = Σ_{j,m} |T[:, j, m]| x_j y_m, θ_n a relative error of n roundings, |θ_n| ≤ γ_n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import cosh, exp, expm1, inf, log2, sinh, tanh

import numpy as np
import torch
from jaxtyping import Float

from constructions.rounding_error import EXP_UNITS, gamma
from constructions.tensor_power_transformer import Form

Vector = Float[np.ndarray, " d"]
Cube = Float[np.ndarray, "d d d"]
REFERENCE_UNIT = 2.0**-53  # the reference iterations run in float64


def contraction(tensor: Cube, left: Vector, right: Vector) -> Vector:
    """T(I, x, y) = Σ_{j,m} x_j y_m T[:, j, m]."""
    return (tensor @ right) @ left


def reference_errors(tensor: Cube, trajectory: Sequence[Vector]) -> list[Vector]:
    """Bounds |r_t − v_t| for r_t computed in float64 by v ← T(I,v,v), t = 0..L, coordinate by coordinate.

    e⁺ = |T|(e, |r|) + |T|(|r| + e, e) + γ_{d²+3}|T|(|r|, |r|) + (d² + Σ|T| + (Σ|r|)²)·tiny.
    """
    size, dim = abs(tensor), len(tensor)
    tiny = float(np.finfo(np.float64).tiny)
    e = np.zeros(dim)
    errors = [e]
    with np.errstate(over="ignore", invalid="ignore"):
        for r in map(np.abs, trajectory[:-1]):
            e = (
                contraction(size, e, r)
                + contraction(size, r + e, e)
                + gamma(dim**2 + 3, REFERENCE_UNIT) * contraction(size, r, r)
                + (dim**2 + size.sum(axis=(1, 2)) + r.sum() ** 2) * tiny
            ) * own_rounding(dim)
            e = np.where(np.isnan(e), inf, e)
            errors.append(e)
    return errors


@dataclass(frozen=True)
class _Step:
    """One step's deviations: of `scalar`; relative, on every product; absolute, of `vec`; what stays in `scalar`."""

    scalar: Vector
    relative: float
    absolute: Vector
    left_over: Vector


def iteration_errors(
    tensor: Cube, trajectory: Sequence[Vector], form: Form, max_dim: int, dtype: torch.dtype
) -> list[Vector]:
    """Bounds |v̂_t − v_t|, t = 0..L, for v_{t+1} = T(I,v_t,v_t) and any token's v̂_t; `trajectory` bounds |v_t|.

    A step of the transformer is v̂⁺ = Σ_{j,m} T[:,j,m] v̂_j ŝ_m (1 + ξ_jm) + a with |v̂ − v| ≤ e, |ŝ − v| ≤ e_s,
    |ξ| ≤ φ, so e⁺ = |T|(e, |v| + e_s) + |T|(|v|, e_s) + φ|T|(|v| + e, |v| + e_s) + |a|. Exact arithmetic with ReLU:
    all are 0. Softmax: O(s²). What each form's roundings add is in `_relu_step` and `_softmax_step`.
    """
    return [e for e, _ in _iterations(tensor, trajectory, form, max_dim, dtype)]


def left_over_errors(
    tensor: Cube, trajectory: Sequence[Vector], form: Form, max_dim: int, dtype: torch.dtype
) -> list[Vector]:
    """Bounds of what clearing leaves in `scalar` of tokens 1..d, t = 0..L: 0 but for the attention-only form."""
    return [left_over for _, left_over in _iterations(tensor, trajectory, form, max_dim, dtype)]


def _iterations(
    tensor: Cube, trajectory: Sequence[Vector], form: Form, max_dim: int, dtype: torch.dtype
) -> list[tuple[Vector, Vector]]:
    """Of every t = 0..L the errors of `vec` and what is left in `scalar`."""
    size, dim = abs(tensor), len(tensor)
    tiny = float(torch.finfo(dtype).tiny)
    e, left_over = np.zeros(dim), np.zeros(dim)
    pairs = [(e, left_over)]
    with np.errstate(over="ignore", invalid="ignore"):
        for v in map(np.abs, trajectory[:-1]):
            make = _softmax_step if form.twins else _relu_step
            step = make(size, v, e, left_over, form, max_dim, dtype)
            left_over = step.left_over
            reach, scalar = v + e, v + step.scalar
            underflow = 3 * max_dim * size.sum(axis=(1, 2)) + reach.sum() * scalar.sum() + 3 * max_dim**2 + 10
            e = (
                contraction(size, e, scalar)
                + contraction(size, v, step.scalar)
                + step.relative * contraction(size, reach, scalar)
                + step.absolute
                + tiny * underflow
            ) * own_rounding(dim)
            e = np.where(np.isnan(e), inf, e)
            pairs.append((e, left_over))
    return pairs


def _relu_step(
    size: Cube, v: Vector, e: Vector, left_over: Vector, form: Form, max_dim: int, dtype: torch.dtype
) -> _Step:
    """Rounding of the ReLU forms; ± and zeros are exact.

    `scalar`: /N and N − 1 sums, one sum of the two heads: θ_{N+1}. A product: score, /N, d_0·T, weight·value, N − 1
    sums over tokens, at most 2d_0 − 1 over heads: θ_{3d_0+2}; that is all if `vec` was cleared before (the result stays
    in `new`). Else the MLP adds new − vec to vec, (new + (new − vec)δ)(1 + δ′): two more on new, u(1 + u) ≤ γ_1 on vec.
    Without MLPs one more head takes vec and scalar off, each right to θ_3, and two more sums: what it leaves is at most
    γ_6 of either.
    """
    u = torch.finfo(dtype).eps / 2
    reach = v + e
    tiny = float(torch.finfo(dtype).tiny)
    counted = max_dim + (2 if form.attention_only else 1)
    scalar = e + left_over + gamma(counted, u) * (reach + left_over) + (max_dim + 1) * tiny
    if form.result == "new":
        return _Step(scalar, gamma(3 * max_dim + 2, u), np.zeros_like(v), left_over)
    if not form.attention_only:
        return _Step(scalar, gamma(3 * max_dim + 4, u), gamma(1, u) * reach, left_over)
    stays = gamma(6, u) * (v + scalar) + 2 * tiny
    return _Step(scalar, gamma(3 * max_dim + 4, u), gamma(6, u) * reach, stays)


def _softmax_step(
    size: Cube, v: Vector, e: Vector, left_over: Vector, form: Form, max_dim: int, dtype: torch.dtype
) -> _Step:
    """Approximation and rounding of the softmax form at scale s (a power of two, so that s, 1/s are exact).

    `scalar`: |tanh(sx)/s − x| = |x|(1 − tanh(s|x|)/(s|x|)); the softmax's weights are right to
    ω = 4uZ + 2·32u + γ_{2N+4}, Z the largest score, and multiply values of size 1/s. A product: with its largest score
    Z and D = s·max|v̂|·max(e + ω/s) (twins may differ), sinh/cosh give a factor in [e^{−2D}/cosh Z, e^{2D} sinh(Z)/Z];
    weights at most e^{2Z}/N, right to 6uZ + 2·32u + γ_{2N+d_0+6}, multiply values d_0|T|/s. Then the MLP, as for ReLU.
    """
    assert form.scale is not None
    u, s, tokens = torch.finfo(dtype).eps / 2, float(form.scale), 2 * max_dim
    reach = v + e
    if EXP_UNITS * u > 2.0**-10:  # ω counts exp's errors to first order: not for bfloat16
        return _Step(np.full_like(v, inf), inf, np.full_like(v, inf), left_over)
    z = s * reach.max(initial=0)
    weight = 4 * u * z + 2 * EXP_UNITS * u + gamma(2 * tokens + 4, u)
    scalar = e + reach * np.array([_tanh_loss(s * x) for x in reach]) + weight / s
    z, d = (s * reach.max(initial=0) * far.max(initial=0) for far in (v + scalar, e + weight / s))
    if not z < 100 or not d < 100:
        return _Step(scalar, inf, np.full_like(v, inf), left_over)
    above = expm1(2 * d) * (1 + _sinh_gain(z)) + _sinh_gain(z)
    below = (2 * sinh(z / 2) ** 2 - expm1(-2 * d)) / cosh(z)
    relative = max(above, below)
    weight = 6 * u * z + 2 * EXP_UNITS * u + gamma(2 * tokens + max_dim + 6, u)
    pooled = weight * exp(2 * z) / s * size.sum(axis=(1, 2))
    new = (1 + relative) * contraction(size, reach, v + scalar) + pooled
    return _Step(scalar, relative, pooled + gamma(2, u) * (new + reach), left_over)


def _tanh_loss(z: float) -> float:
    """1 − tanh(z)/z ≤ z²/3, for z ≥ 0: the latter where the difference would cancel."""
    return z**2 / 3 if z < 1e-2 else 1 - tanh(z) / z


def _sinh_gain(z: float) -> float:
    """sinh(z)/z − 1 ≤ (z²/6)cosh z, for z ≥ 0: the latter where the difference would cancel (term by term)."""
    return z**2 / 6 * cosh(z) if z < 1e-2 else sinh(z) / z - 1


def softmax_factor(scale: float, reach: float) -> float:
    """|v̂⁺ − T(I,v,v)| ≤ φ·|T|(|v|,|v|) for one softmax step in exact arithmetic, |v_j| ≤ V (Remark G.3; ours).

    φ = max(sinh(w)/w − 1, 1 − tanh(z)/(z cosh w)) with z = sV, w = sV²: at most s²(V²/3 + V⁴/2) while w ≤ 4.
    """
    z, w = scale * reach, scale * reach**2
    below = (2 * sinh(w / 2) ** 2 + _tanh_loss(z)) / cosh(w)  # cosh w − 1 + loss, over cosh w
    return max(_sinh_gain(w), below)


def best_scale(max_dim: int, dtype: torch.dtype) -> Fraction:
    """The power of two nearest to the s that minimises the bound of one step for |v_j| ≤ 1: s²·5/6 + 2ω/s.

    s = (6ω/5)^{1/3} with ω = 2·32u + γ_{5d_0+6}, the softmax weights' relative rounding error: a function of the format
    and d_0 alone, as a weight must be.
    """
    u = torch.finfo(dtype).eps / 2
    weight = 2 * EXP_UNITS * u + gamma(5 * max_dim + 6, u)
    return Fraction(2) ** round(log2(min(1.0, 6 * weight / 5)) / 3)


def own_rounding(dim: int) -> float:
    """1 + γ_{4d²+40}: sums of non-negative terms, evaluated in float64."""
    return 1 + gamma(4 * dim**2 + 40, REFERENCE_UNIT)

"""One-dimensional ReLU networks for log and square (Lemmas F.4 and F.5): chords between knots."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

import flint
import numpy as np

from constructions.elementary import exp, expm1, log, log1p, sinh, sqrt
from constructions.number_system import FLOAT64, Exact, NumberSystem, Scalar
from constructions.weights import Array

Orientation = Literal["left", "right"]


@dataclass(frozen=True)
class ReluNetwork:
    """x -> Σ_j a_j relu(w_j x + b_j), with w, b, a of shape (units,)."""

    w: Array
    b: Array
    a: Array

    @property
    def units(self) -> int:
        """The number of hidden units M."""
        return len(self.a)

    def __call__(self, x: Array) -> Array:
        """Evaluate in floating point, unit by unit, at x of any shape."""
        x = np.asarray(x, dtype=np.float64)
        value = np.zeros_like(x)
        for w, b, a in zip(self.w, self.b, self.a, strict=True):
            value += a * np.maximum(w * x + b, 0.0)
        return value


def log_segments(log_range: float, error: float) -> int:
    """The fewest chords r²/8 allows: n = ⌈log_range/√(8·error)⌉ (sharp form of Lemma F.4, ours)."""
    return max(1, ceil(log_range / sqrt(8 * error)))


def lemma_f4_units(log_a: float, delta: float) -> int:
    """M = ⌈2 log A/δ⌉ + 1, the width that Lemma F.4 spends for the error δ on [1/A, A]."""
    return ceil(2 * log_a / delta) + 1


def log_network(
    log_low: Scalar,
    log_high: Scalar,
    segments: int,
    orientation: Orientation = "left",
    numbers: NumberSystem = FLOAT64,
) -> ReluNetwork:
    """Chords of log between the knots t_i = low·e^{ir}, i = 0..n, r = log(high/low)/n (Lemma F.4).

    left:  log high − Σ_{i=1}^{n−1} (r/t_i) relu(t_i − x) − r/(t_n(1−e^{−r})) relu(t_n − x)
    right: log low + r/(t_0(e^r−1)) relu(x − t_0) − Σ_{i=1}^{n−1} (r/t_i) relu(x − t_i)

    The slope on [t_i, e^r t_i] is s_i = r/(t_i(e^r−1)), and s_{i−1} − s_i = r/t_i: the change of slope at
    a knot, without cancellation. Left: all terms have one sign and sum to at most log(high/low) + 1, so the
    evaluation is backward stable; constant right of `high`, first chord continued left of `low`. Right: terms
    of size high·s_0 cancel; constant left of `low`. The constant is a unit relu(0·x + 1), left out when 0.

    Parameters
    ----------
    log_low, log_high
        Logarithms of the interval's ends, in `numbers` (the ends themselves need not be representable).
    segments
        n ≥ 1, the number of chords.
    """
    one, zero = numbers.number(1), numbers.number(0)
    r = (log_high - log_low) / segments
    first, last = (1, segments) if orientation == "left" else (0, segments - 1)
    # Counted from the nearer zero of the exponent, so that floats lose least.
    log_knots: Array = np.array([log_high - (segments - i) * r for i in range(first, last + 1)], dtype=type_of(zero))
    knots = numbers.exp(log_knots)
    a = -r / knots
    if orientation == "left":
        a[-1] = r / (knots[-1] * numbers.expm1(-r))
        w, b, constant = np.full(len(a), -one, dtype=a.dtype), knots, log_high
    else:
        a[0] = r / (knots[0] * numbers.expm1(r))
        w, b, constant = np.full(len(a), one, dtype=a.dtype), -knots, log_low
    if constant == 0:
        return ReluNetwork(w, b, a)
    return ReluNetwork(*(np.append(units, [tail]) for units, tail in ((w, zero), (b, one), (a, constant))))


def square_pieces(radius: float, error: float) -> int:
    """n′ = ⌈radius/(2√error)⌉, the chords on [0, radius] that keep 0 ≤ φ(x) − x² ≤ error (Lemma F.5)."""
    return max(1, ceil(radius / (2 * sqrt(error))))


def square_network(radius: Scalar, pieces: int, numbers: NumberSystem = FLOAT64) -> ReluNetwork:
    """Chords of x² at the multiples of h = radius/n′, mirrored at 0 (Lemma F.5): M = 2n′ units.

    φ(x) = Σ_j a_j relu(x − jh) + Σ_j a_j relu(−x − jh), a_0 = h, a_j = 2h for 1 ≤ j < n′.
    Above x² by at most h²/4 on [−radius, radius]; all terms are non-negative, so it is backward stable.
    """
    one = numbers.number(1)
    h = radius / pieces
    dtype = type_of(one)
    b: Array = np.array([-j * h for j in range(pieces)], dtype=dtype)
    a: Array = np.array([h] + [2 * h] * (pieces - 1), dtype=dtype)
    w: Array = np.full(pieces, one, dtype=dtype)
    return ReluNetwork(np.append(w, -w), np.append(b, b), np.append(a, a))


def inverse_sqrt_network(
    log_low: Scalar, log_high: Scalar, segments: int, numbers: NumberSystem = FLOAT64
) -> ReluNetwork:
    """Chords of 1/√x between the knots t_i = low·e^{ir}, i = 0..n, r = log(high/low)/n (Remark G.2, ours).

    t_n^{−1/2} + Σ_{i=1}^{n−1} t_i^{−3/2}(q³−1)/(q(q+1)) relu(t_i − x) + t_n^{−3/2} q²/(q+1) relu(t_n − x), q = e^{r/2}:
    the slope on [t, q²t] is −t^{−3/2}/(q(q+1)). All terms are non-negative, so it is backward stable: constant right of
    `high`, first chord continued left of `low`. On the interval 1/√x ≤ ρ(x) ≤ (1 + inverse_sqrt_error(r))/√x.
    """
    one, zero = numbers.number(1), numbers.number(0)
    r = (log_high - log_low) / segments
    log_knots: Array = np.array([log_high - (segments - i) * r for i in range(1, segments + 1)], dtype=type_of(zero))
    minus_half, minus_three_halves = (numbers.exp(-power * log_knots / 2) for power in (1, 3))
    q = numbers.exp(np.array([r / 2], dtype=type_of(zero)))[0]
    # q³ − 1 = expm1(3r/2): without cancellation when the chords are short
    a = minus_three_halves * (numbers.expm1(3 * r / 2) / (q * (q + one)))
    a[-1] = minus_three_halves[-1] * (q * q / (q + one))
    w, knots = np.full(segments, -one, dtype=a.dtype), numbers.exp(log_knots)
    return ReluNetwork(np.append(w, [zero]), np.append(knots, [one]), np.append(a, [minus_half[-1]]))


def inverse_sqrt_error(r: Scalar) -> Scalar:
    """κ(r) = ((1 + 2cosh(r/2))/3)^{3/2}/cosh(r/4) − 1 ≤ 3r²/32·e^{r²/24}: relative error of a chord of x^{−1/2}.

    With S = sinh²(r/4) it is (1 + 4S/3)^{3/2}(1 + S)^{−1/2} − 1, accurate for small r.
    """
    root = sinh(r / 4)
    square = root * root
    return expm1(3 * log1p(4 * square / 3) / 2 - log1p(square) / 2)


def identity_network(scale: Exact, numbers: NumberSystem = FLOAT64) -> ReluNetwork:
    """scale·x = scale·relu(x) − scale·relu(−x), exactly."""
    plus, minus = numbers.number(scale), numbers.number(-scale)
    one = numbers.number(1)
    dtype = type_of(one)
    return ReluNetwork(np.array([one, -one], dtype=dtype), numbers.zeros((2,)), np.array([plus, minus], dtype=dtype))


def chord_slope(r: Scalar) -> Scalar:
    """c(r) = r/(e^r − 1) in (0, 1): slope times left end of the chord of log on [t, e^r t]."""
    return -r * exp(-r) / expm1(-r)


def chord_error(r: Scalar) -> Scalar:
    """g(r) = log((e^r−1)/r) − 1 + r/(e^r−1) ≤ r²/8: the largest error of the chord of log on [t, e^r t].

    With z = c(r) − 1 it is z − log(1 + z), accurate for small r; for large r, c itself may underflow.
    """
    if not isinstance(r, flint.arb) and r > 1:
        return r - log(r) + log1p(-exp(-r)) - 1 + chord_slope(r)
    z = chord_slope(r) - 1
    return z - log1p(z)


def type_of(scalar: Scalar) -> type:
    """The numpy dtype that holds a scalar: float for floats, object otherwise."""
    return float if isinstance(scalar, float) else object

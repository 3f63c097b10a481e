"""A ReLU network of one variable as a line on every segment, and its distance from a function over an interval.

f(x) = Σ_j a_j relu(w_j x + b_j) in balls or in rationals, whatever made the weights. A unit with w_j > 0 is active
right of its knot −b_j/w_j, one with w_j < 0 left of it. So between two neighbouring knots f(x) = offset + slope·x, with
the slope Σ a_j w_j over the units facing right with a knot to the left and over those facing left with a knot to the
right, and the offset the same of a_j b_j: two running sums each, which never mix the orientations.

On a segment the distances below have at most one stationary point, and it is a minimum or a maximum. Their extremes on
a piece of the segment are therefore among the values at its ends and at the stationary point moved into the piece:
three numbers a piece, all of them attained, prove a statement for every x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import flint
import numpy as np

from constructions.number_system import Scalar
from constructions.relu_networks import ReluNetwork
from constructions.weights import Array
from theory_checks.ledger import Verdict

NAN = flint.arb("nan")


def _ufunc(function: Callable[..., Any], inputs: int) -> Any:
    return np.frompyfunc(function, inputs, 1)


larger = _ufunc(lambda x, y: x.max(y) if isinstance(x, flint.arb) else max(x, y), 2)
"""Elementwise maximum; of balls, an enclosure of it."""
smaller = _ufunc(lambda x, y: x.min(y) if isinstance(x, flint.arb) else min(x, y), 2)
"""Elementwise minimum; of balls, an enclosure of it."""
_exp, _log, _sqrt = (_ufunc(lambda x, name=name: getattr(x, name)(), 1) for name in ("exp", "log", "sqrt"))


def clip(x: Array | Scalar, low: Array | Scalar, high: Array | Scalar) -> Array | Scalar:
    """The point of [low, high] that is nearest to x, elementwise."""
    return smaller(larger(x, low), high)


@dataclass(frozen=True, eq=False)
class Lines:
    """f(x) = offsets_i + slopes_i·x for left_{i−1} ≤ x ≤ right_i, i = 0..m, with left_{−1} = −∞ and right_m = ∞.

    `left` and `right` are both the sorted knots. Where balls do not tell the order of two knots, the slope between them
    is NaN, and left_{i−1} and right_i are the least and the greatest that these knots can be.
    """

    left: Array
    right: Array
    slopes: Array
    offsets: Array


def lines(network: ReluNetwork) -> Lines:
    """The segments of a network whose entries are balls, rationals, or floats, which are exact numbers.

    Raises
    ------
    ValueError
        If a ball does not tell the sign of a w_j.
    """
    parts = (network.w.tolist(), network.b.tolist(), network.a.tolist())
    units = list(zip(*([flint.arb(v) if isinstance(v, float) else v for v in part] for part in parts), strict=True))
    zero = type(units[0][0])(0)
    flat = [larger(b, zero) * a for w, b, a in units if w == 0]
    bent = [(-b / w, bool(w > 0), a * w, a * b) for w, b, a in units if w > 0 or w < 0]
    if len(flat) + len(bent) < network.units:
        raise ValueError("the sign of a weight w_j is undecided")
    bent.sort(key=lambda unit: unit[0].mid() if isinstance(zero, flint.arb) else unit[0])
    knots, facing, slopes, offsets = (_array([unit[i] for unit in bent]) for i in range(4))
    slopes, offsets = (_running(facing, terms, zero) for terms in (slopes, offsets))
    # Sorted by midpoints, a knot is certainly in its place if it is above all before and below all behind it.
    before, behind = larger.accumulate(knots), smaller.accumulate(knots[::-1])[::-1]
    left, right = before.copy(), behind.copy()
    doubtful = ~(before[:-1] <= behind[1:])
    left[:-1][doubtful] = smaller(before[:-1], behind[1:])[doubtful]
    right[1:][doubtful] = larger(before[:-1], behind[1:])[doubtful]
    slopes[1:-1][doubtful] = NAN
    return Lines(left, right, slopes, offsets + sum(flat, zero))


@dataclass(frozen=True, eq=False)
class Pieces:
    """f(x) = offsets + slopes·x for left ≤ x ≤ right: the parts of the segments in an interval, which they cover.

    A piece that is not `sure` may be empty: the balls of a knot and of an end of the interval overlap.
    """

    left: Array
    right: Array
    slopes: Array
    offsets: Array
    sure: Array

    def at(self, points: Array) -> Array:
        """The lines at points of shape (…, pieces)."""
        return self.offsets + self.slopes * points

    def largest(self, values: Array) -> Scalar:
        """Encloses the largest of `values`, shape (…, pieces), over the pieces that exist."""
        return self._extreme(larger, values)

    def least(self, values: Array) -> Scalar:
        """Encloses the least of `values`, shape (…, pieces), over the pieces that exist."""
        return self._extreme(smaller, values)

    def _extreme(self, choose: Any, values: Array) -> Scalar:
        over = choose.reduce(values.reshape(-1, len(self.sure)), axis=0)
        if self.sure.all():
            return choose.reduce(over)
        return choose.reduce(over).union(choose.reduce(over[self.sure])) if self.sure.any() else NAN


def pieces(f: Lines, low: Scalar, high: Scalar) -> Pieces:
    """The segments cut to [low, high], low < high; those that certainly have at most one point there are left out."""
    left, right = _array([low, *f.left]), _array([*f.right, high])
    starts, ends = clip(left, low, high), clip(right, low, high)
    # A comparison of balls is True only if it is certain, so neither of the two is the other's negation.
    empty = (left >= high) | (right <= low) | (left >= right)
    sure = (left < high) & (right > low) & (left < right)
    kept = ~empty
    return Pieces(starts[kept], ends[kept], f.slopes[kept], f.offsets[kept], sure[kept])


def non_decreasing(p: Pieces, instance: str) -> Verdict:
    """Judge that no piece has a negative slope; only a piece that exists can refute it."""
    falls = (p.slopes < 0) & p.sure
    holds = (p.slopes >= 0).all()
    return Verdict("holds" if holds else "refuted" if falls.any() else "undecided", instance)


def below_log(p: Pieces) -> Array:
    """The log x − f(x) at both ends and the stationary point x = 1/slope of every piece; left > 0.

    Shape (3, pieces). It is concave. For slope ≤ 0 it increases, and so the point is the right end.
    """
    points = np.stack([p.left, p.right, 1 / clip(p.slopes, 1 / p.right, 1 / p.left)])
    return _log(points) - p.at(points)


def times_root(p: Pieces) -> Array:
    """The f(x)·√x at both ends and the stationary point x = −offset/(3·slope) of every piece; left > 0.

    Shape (3, pieces). The derivative has the sign of offset + 3·slope·x. For slope 0 the point is put at the right end.
    """
    stationary = _ufunc(_where_times_root_is_stationary, 3)(p.slopes, p.offsets, p.right)
    points = np.stack([p.left, p.right, clip(stationary, p.left, p.right)])
    return p.at(points) * _sqrt(points)


def above_square(p: Pieces) -> Array:
    """The f(x) − x², concave, at both ends and the stationary point x = slope/2 of every piece, shape (3, pieces)."""
    points = np.stack([p.left, p.right, clip(p.slopes / 2, p.left, p.right)])
    return p.at(points) - points * points


def exp_above(p: Pieces) -> Array:
    """The exp(f(x)) − x at both ends and the stationary point −(log slope + offset)/slope of every piece.

    Shape (3, pieces). It is convex. For slope ≤ 0 it decreases, and the point is put at the right end.
    """
    stationary = _ufunc(_where_exp_has_slope_one, 3)(p.slopes, p.offsets, p.right)
    points = np.stack([p.left, p.right, clip(stationary, p.left, p.right)])
    return _exp(p.at(points)) - points


def _where_times_root_is_stationary(slope: flint.arb, offset: flint.arb, otherwise: flint.arb) -> flint.arb:
    return otherwise if slope == 0 else -offset / (3 * slope)  # NaN if it may be 0


def _where_exp_has_slope_one(slope: flint.arb, offset: flint.arb, otherwise: flint.arb) -> flint.arb:
    return otherwise if slope <= 0 else -(slope.log() + offset) / slope  # NaN if its sign is undecided


def _running(right: Array, terms: Array, zero: Scalar) -> Array:
    """For i = 0..m: the terms facing right before i, plus those facing left from i on."""
    forward = accumulate([t if r else zero for t, r in zip(terms, right, strict=True)], initial=zero)
    backward = accumulate([zero if r else t for t, r in zip(terms[::-1], right[::-1], strict=True)], initial=zero)
    return _array(list(forward)) + _array(list(backward)[::-1])


def _array(values: Any) -> Array:
    """Scalars in an object array; asked for one by one, a ball could be taken for a sequence."""
    result = np.empty(len(values), dtype=object)
    result[:] = values
    return result

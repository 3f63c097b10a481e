"""The function that ReLU units of one variable make together: breakpoints, and on every segment a value and a slope."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from math import inf

from constructions.number_system import NumberSystem
from constructions.weights import Array

Unit = tuple[float, float | Fraction, float]  # a·relu(w·x + b) as (w, b, a)


@dataclass(frozen=True, eq=False)
class PiecewiseLinear:
    """f(x) = values_i + slopes_i·(x − anchors_i) for breakpoints_{i−1} < x ≤ breakpoints_i, i = 0..n; exact rationals.

    An anchor is the point of its segment that is nearest to 0. There |f| ≤ Σ_j |a_j|(|w_j x| + |b_j|) for every x of
    the segment, so that nothing larger than the units' own terms at x is ever added (proofs_notes/execution.md).
    """

    breakpoints: tuple[Fraction, ...]
    anchors: tuple[Fraction, ...]
    values: tuple[Fraction, ...]
    slopes: tuple[Fraction, ...]

    @property
    def linear(self) -> bool:
        """Whether f is slope·x + constant on the whole line; then values[0] is f(0)."""
        return not self.breakpoints

    def __call__(self, x: Fraction) -> Fraction:
        """f(x), exactly."""
        i = bisect_left(self.breakpoints, x)
        return self.values[i] + self.slopes[i] * (x - self.anchors[i])

    def evaluate(self, x: Array, numbers: NumberSystem) -> Array:
        """f(x) in any number system: the first segment's line plus Σ_i (slopes_{i+1} − slopes_i)·relu(x − t_i)."""
        line, slope, anchor = (numbers.number(part[0]) for part in (self.values, self.slopes, self.anchors))
        result = line + slope * (x - anchor)
        for i, point in enumerate(self.breakpoints):
            turn = numbers.number(self.slopes[i + 1] - self.slopes[i])
            result = result + turn * numbers.relu(x - numbers.number(point))
        return result


def from_units(units: Iterable[Unit]) -> PiecewiseLinear:
    """Σ_j a_j relu(w_j x + b_j) as a function of its segments, from exact prefix sums: floats are rationals.

    Left of all breakpoints the units with w_j < 0 are active; passing −b_j/w_j from the left adds |w_j|a_j to the slope
    whatever the sign of w_j.
    """
    slope = offset = Fraction(0)
    turns: dict[Fraction, Fraction] = {}
    for unit in units:
        w, b, a = (Fraction(number) for number in unit)
        if w < 0:
            slope, offset = slope + a * w, offset + a * b
        elif w == 0:
            offset += a * max(b, Fraction(0))
        if w != 0:
            point = -b / w
            turns[point] = turns.get(point, Fraction(0)) + a * abs(w)
    kept = ((nearest_float(point), point) for point, turn in turns.items() if turn != 0)
    points = tuple(point for _, point in sorted(kept))  # floats are compared first: faster
    slopes = tuple(accumulate((turns[point] for point in points), initial=slope))
    # f(x) = slope·x + offset on a segment; passing t adds turn·(x − t)
    offsets = accumulate((-turns[point] * point for point in points), initial=offset)
    anchors = tuple(nearest_to_zero(low, high) for low, high in segments(points))
    values = tuple(s * anchor + o for s, anchor, o in zip(slopes, anchors, offsets, strict=True))
    return PiecewiseLinear(points, anchors, values, slopes)


def segments(points: tuple[Fraction, ...]) -> list[tuple[Fraction | None, Fraction | None]]:
    """The ends of all segments; None is ∓∞."""
    return list(zip((None, *points), (*points, None), strict=True))


def nearest_to_zero(low: Fraction | None, high: Fraction | None) -> Fraction:
    """The point of [low, high] of least modulus."""
    if low is not None and low > 0:
        return low
    return high if high is not None and high < 0 else Fraction(0)


def nearest_float(number: Fraction) -> float:
    """Rounded to double; infinite beyond its range."""
    try:
        return float(number)
    except OverflowError:
        return inf if number > 0 else -inf

"""Hidden units that differ in one number only, as a piecewise-linear function of it, in balls."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

import flint
import numpy as np
from jaxtyping import Shaped

from constructions.balls import ZERO, fill

Sums = list[list[flint.arb]]
LINE = flint.arb(0, math.inf)


class BallCurve:
    """x -> Σ_j a_j relu(w_j x + b_j), with a (targets × units): O(log units) for a thin ball x.

    Units are sorted by their breakpoints −b_j/w_j. Those that are certainly active for all numbers of x are together
    one line, whose slope Σ a_j w_j and value at 0 Σ a_j b_j are prefix sums; units whose breakpoint x may meet are
    added one by one. Where w_j may be 0 without being 0 the breakpoint may be anywhere.
    """

    def __init__(self, w: Sequence[flint.arb], b: Sequence[flint.arb], a: Shaped[np.ndarray, "targets units"]) -> None:
        flat = [j for j, slope in enumerate(w) if slope.is_zero()]
        self.constant = [_relu_sum(row[flat].tolist(), [b[j] for j in flat]) for row in a]
        self.sides = []
        signs = [0 if slope.is_zero() else -1 if slope < 0 else 1 for slope in w]
        for sign in (1, -1):  # active right of the breakpoint; left of it
            chosen = [j for j, side in enumerate(signs) if side == sign]
            self.sides.append(_Side(sign, [w[j] for j in chosen], [b[j] for j in chosen], a[:, chosen]))

    def __call__(self, x: Sequence[flint.arb]) -> Shaped[np.ndarray, "x targets"]:
        """Enclosures at the balls x."""
        right, left = self.sides
        shape = len(x), len(self.constant)
        rows = (
            [sum(parts, start) for start, *parts in zip(self.constant, right.at(ball), left.at(ball), strict=True)]
            for ball in x
        )
        return fill((value for row in rows for value in row), shape)


class _Side:
    """Units with w_j > 0 (sign 1, active right of their breakpoint) or w_j < 0 (sign −1, active left of it).

    A w_j without a sign is on either side: what is not known of its breakpoint is the whole line.
    """

    def __init__(
        self, sign: int, w: list[flint.arb], b: list[flint.arb], a: Shaped[np.ndarray, "targets units"]
    ) -> None:
        breaks = [-sign * offset / slope for slope, offset in zip(w, b, strict=True)]
        places = [point if point.is_finite() else LINE for point in breaks]
        order = sorted(range(len(w)), key=lambda j: places[j].mid())  # as x meets them, from outside
        self.sign, self.w, self.b, self.a = sign, [w[j] for j in order], [b[j] for j in order], a[:, order]
        # The farthest that the first i + 1 and the nearest that the units from i on can lie: monotone in i.
        ends = [places[j] for j in order]
        self.passed = list(accumulate((end.upper() for end in ends), max))
        self.ahead = list(accumulate((end.lower() for end in reversed(ends)), min))[::-1]
        self.slopes: Sums = [_prefix(row.tolist(), self.w) for row in self.a]
        self.values: Sums = [_prefix(row.tolist(), self.b) for row in self.a]

    def at(self, x: flint.arb) -> list[flint.arb]:
        """Its sum at x, for every target."""
        position = self.sign * x
        active = bisect_right(self.passed, position.lower())  # certainly
        until = max(active, bisect_left(self.ahead, position.upper()))  # certainly not, from here on
        met = [relu_ball(self.w[j] * x + self.b[j]) for j in range(active, until)]
        return [
            slopes[active] * x + values[active] + sum((row[active + i] * unit for i, unit in enumerate(met)), ZERO)
            for slopes, values, row in zip(self.slopes, self.values, self.a, strict=True)
        ]


def relu_ball(x: flint.arb) -> flint.arb:
    """An enclosure of max(x, 0): a ball that straddles 0 becomes the union."""
    return x if x >= ZERO else ZERO if x <= ZERO else x.max(ZERO)


def _prefix(weights: Sequence[flint.arb], factors: Sequence[flint.arb]) -> list[flint.arb]:
    """Σ_{j<i} weights_j·factors_j for i = 0..n."""
    return list(accumulate((w * f for w, f in zip(weights, factors, strict=True)), initial=ZERO))


def _relu_sum(weights: Sequence[flint.arb], values: Sequence[flint.arb]) -> flint.arb:
    return sum((w * relu_ball(v) for w, v in zip(weights, values, strict=True)), ZERO)

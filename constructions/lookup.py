"""A piecewise-linear function in a float format, evaluated by search."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite

import torch
from jaxtyping import Float
from torch import Tensor

from constructions.piecewise_linear import PiecewiseLinear, nearest_float

LARGEST_SHIFT = 22  # of float32's bits: sign, exponent and the first bit of the mantissa are always kept
LARGEST_CELLS = 2**14


class Lookup:
    """A piecewise-linear function rounded once to a float format and evaluated by search, without a loop over units.

    Where all breakpoints have one sign, the leading bits of x (sign, exponent, a few of the mantissa: monotone in x)
    are the index of a cell that holds at most one breakpoint: f(x) = v + s⁻·min(x − t, 0) + s⁺·max(x − t, 0), with t
    that breakpoint or the anchor of the cell's segment; constant time. Otherwise a binary search finds the segment.
    Either is off by at most 5u·Σ_j|a_j|(|w_j x| + |b_j|) (proofs_notes/execution.md), if the table is `representable`:
    its numbers are 0 or normal numbers of the format.
    """

    def __init__(self, function: PiecewiseLinear, dtype: torch.dtype) -> None:
        def held(numbers: Iterable[Fraction]) -> Tensor:
            return torch.tensor([nearest_float(number) for number in numbers], dtype=torch.float64).to(dtype)

        self.breakpoints, self.slopes, self.anchors = map(
            held, (function.breakpoints, function.slopes, function.anchors)
        )
        # the segment's line at the anchor that is held, not at the exact one: rounding an anchor then costs nothing
        self.values = held(
            value + slope * (Fraction(anchor) - exact) if isfinite(anchor) else value
            for value, slope, anchor, exact in zip(
                function.values, function.slopes, self.anchors.tolist(), function.anchors, strict=True
            )
        )
        self.representable = all(
            bool((part.isfinite() & ((part.abs() >= torch.finfo(dtype).tiny) | exactly_zero(numbers))).all())
            for part, numbers in (
                (self.breakpoints, function.breakpoints),
                (self.slopes, function.slopes),
                (self.values, function.values),
            )
        )
        self.mirrored = bool((self.breakpoints < 0).all())
        self.cells = _Cells.build(self, function) if self.representable else None

    def __call__(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """f(x), elementwise."""
        if self.cells is not None:
            return self.cells(-x if self.mirrored else x)
        segment = torch.bucketize(x.contiguous(), self.breakpoints)
        return torch.addcmul(self.values[segment], self.slopes[segment], x - self.anchors[segment])


@dataclass(frozen=True)
class _Cells:
    """Cell c of y = |x| where it matters: t, v, s⁻, s⁺; `shift` and `offset` make the index of a cell from y's bits."""

    shift: int
    offset: int
    t: Tensor
    v: Tensor
    left: Tensor
    right: Tensor

    @classmethod
    def build(cls, lookup: Lookup, function: PiecewiseLinear) -> _Cells | None:
        """None where breakpoints have both signs, leave float32's normal range, or are too close to each other."""
        sign = -1.0 if lookup.mirrored else 1.0
        points = lookup.breakpoints * sign
        normal = torch.finfo(torch.float32)
        if not len(points) or float(points.min()) < normal.tiny or float(points.max()) > normal.max:
            return None
        order = points.argsort()
        bits = _bits(points)[order]
        for shift in range(LARGEST_SHIFT, -1, -1):
            cells = (bits >> shift).long()
            if bool((cells.diff() > 0).all()):
                break
        else:
            return None
        offset, count = int(cells[0]) - 1, int(cells[-1] - cells[0]) + 3  # and a cell to either side
        if count > LARGEST_CELLS:
            return None
        inside = cells - offset
        # the segments in the order of y, each in the cells after its lower end's
        segment = torch.bucketize(torch.arange(count), inside)
        if lookup.mirrored:
            segment = len(points) - segment
        t, v = lookup.anchors[segment] * sign, lookup.values[segment]
        left = lookup.slopes[segment] * sign
        right = left.clone()
        which = order.tolist()
        held = lookup.breakpoints[order]
        t[inside] = held * sign
        at_points = [
            function.values[i] + function.slopes[i] * (Fraction(point) - function.anchors[i])
            for i, point in zip(which, held.double().tolist(), strict=True)
        ]
        v[inside] = torch.tensor([nearest_float(value) for value in at_points], dtype=torch.float64).to(v.dtype)
        below, above = (lookup.slopes[[i + side for i in which]] * sign for side in (0, 1))
        left[inside], right[inside] = (above, below) if lookup.mirrored else (below, above)
        return cls(shift, offset, t, v, left, right)

    def __call__(self, y: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Four look-ups by the cell's index and two products."""
        # clamped before the offset is taken off: the difference might overflow
        cell = (_bits(y) >> self.shift).clamp_(self.offset, self.offset + len(self.t) - 1).sub_(self.offset).reshape(-1)
        t, v, left, right = (
            part.index_select(0, cell).view(y.shape) for part in (self.t, self.v, self.left, self.right)
        )
        distance = torch.sub(y, t, out=t)
        v.addcmul_(left, distance.clamp(max=0))
        return v.addcmul_(right, distance.clamp_(min=0))


def _bits(y: Tensor) -> Tensor:
    """float32's bits as integers: monotone in y ≥ 0; negative for y < 0."""
    return y.float().view(torch.int32)


def exactly_zero(numbers: Iterable[Fraction]) -> Tensor:
    """Which of them are 0."""
    return torch.tensor([number == 0 for number in numbers], dtype=torch.bool)
